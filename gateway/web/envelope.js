// How loud the speech is, bar by bar, worked out from the bytes as they arrive.
//
// The bytes are decoded a second time, apart from playback: tapping the <audio> element instead would send the
// sound through an AudioContext, which a browser may suspend, and then the speech would be silent.

import { FrameSplitter, join } from "./mp3.js";

/** Seconds of speech in one bar. */
export const BAR_SECONDS = 0.05;

/** Frames are decoded in batches of at least this many seconds: one decoder start each, and a wave that grows fluently. */
const BATCH_SECONDS = 0.4;

/** Samples a second in which a recording that is no MP3 is looked at: enough for its loudness. */
const RATE = 8000;

/** Frames of the batch before that are decoded again: a layer III frame may keep its bits in the two before it. */
const CONTEXT_FRAMES = 2;

export class Envelope {
  /** Loudness from 0 to 1, one number per BAR_SECONDS. */
  bars = [];

  #splitter = new FrameSplitter();
  #context = [];
  #batch = [];
  #batchSeconds = 0;
  #decoding = Promise.resolve();
  #onChange;

  constructor(onChange) {
    this.#onChange = onChange;
  }

  push(bytes) {
    for (const frame of this.#splitter.push(bytes)) {
      this.#batch.push(frame);
      this.#batchSeconds += frame.seconds;
    }
    if (this.#batchSeconds >= BATCH_SECONDS) this.finish();
  }

  /** Decode what is waiting, however short. */
  finish() {
    if (this.#batch.length === 0) return;
    const frames = [...this.#context, ...this.#batch];
    const skipped = this.#context.reduce((total, frame) => total + frame.seconds, 0);
    const seconds = this.#batchSeconds;
    this.#context = this.#batch.slice(-CONTEXT_FRAMES);
    this.#batch = [];
    this.#batchSeconds = 0;
    this.#decoding = this.#decoding.then(() => this.#decode(frames, skipped, seconds));
  }

  /**
   * Work out a whole recording, a blob or at an address, until `signal`. It is fetched apart from playback, past the
   * cache, where one would wait for the other.
   */
  async outline(source, signal) {
    try {
      const response = source instanceof Blob ? new Response(source) : await fetch(source, { signal, cache: "no-store" });
      if (response.headers.get("content-type") !== "audio/mpeg") {
        const decoded = await new OfflineAudioContext(1, 1, RATE).decodeAudioData(await response.arrayBuffer());
        this.#draw(decoded.getChannelData(0), decoded.duration);
        return;
      }
      for (const reader = response.body.getReader(); ;) {
        const { done, value } = await reader.read();
        if (done) break;
        this.push(value);
      }
      this.finish();
    } catch {
      // Only a picture: what cannot be heard is reported by the <audio> element.
    }
  }

  async #decode(frames, skipped, seconds) {
    const { sampleRate } = frames[0];
    const context = new OfflineAudioContext(1, 1, sampleRate);
    const encoded = join(...frames.map((frame) => frame.bytes)).buffer;
    // What cannot be decoded is drawn as silence. The <audio> element decodes the same bytes and reports it in words.
    const decoded = await context.decodeAudioData(encoded).catch(() => null);
    const samples = decoded?.getChannelData(0).subarray(Math.round(skipped * sampleRate)) ?? [];
    this.#draw(samples, seconds);
  }

  #draw(samples, seconds) {
    for (const bar of loudness(samples, Math.max(1, Math.round(seconds / BAR_SECONDS)))) this.bars.push(bar);
    this.#onChange();
  }
}

/** The root mean square of each of `count` equal parts, lifted so that quiet speech is still visible. */
export function loudness(samples, count) {
  const width = samples.length / count;
  return Array.from({ length: count }, (_, index) => {
    const part = samples.slice(Math.floor(index * width), Math.floor((index + 1) * width));
    const power = part.reduce((total, sample) => total + sample * sample, 0) / Math.max(1, part.length);
    return Math.min(1, Math.sqrt(power) ** 0.6 * 2.2);
  });
}
