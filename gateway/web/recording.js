// A recording on its way to a voice: read, measured against what the provider takes, and written as the WAV it wants.

import { readHeader } from "./mp3.js";

/** Loudest sample, as a share of full scale, below which there is no speech, and below which it is faint. */
const SILENT_PEAK = 0.02;
const FAINT_PEAK = 0.1;

/** A sample this near full scale was cut off there; speech that is loud touches it now and then. */
const CUT_OFF = 0.99;
const CUT_OFF_SHARE = 0.001;

/** Seconds over which loudness is taken, and the share of the loudest that still counts as speech. */
const WINDOW_SECONDS = 0.05;
const SPEECH_SHARE = 0.1;

/** Seconds of quiet that are left before and after speech: a voice that is cut at its first sound has none. */
const MARGIN_SECONDS = 0.25;

/** Longest recording that can be cut by hand on a small screen, and that the memory of a phone holds. */
export const LONGEST_SECONDS = 600;

const WAV_HEADER_BYTES = 44;
const MP3_LOOK_BYTES = 65_536; // of cover pictures before the first frame, beyond their declared length

/** This is no recording that can be used. `message` is for people. */
export class Unreadable extends Error {}

/** The sound of a file as one channel of `rate` samples a second, and the rate it was made with, null if unknown. */
export async function read(buffer, rate) {
  const madeAt = rateOf(new Uint8Array(buffer));
  const decoded = await new OfflineAudioContext(1, 1, rate).decodeAudioData(buffer).catch(() => null);
  if (!decoded) throw new Unreadable("This file cannot be read as sound. Choose a WAV, MP3 or M4A file.");
  if (decoded.duration > LONGEST_SECONDS) {
    const minutes = LONGEST_SECONDS / 60;
    throw new Unreadable(`This recording is longer than ${minutes} minutes. Choose a shorter one: a minute is enough.`);
  }
  return { samples: mixed(decoded), madeAt };
}

/** What the provider would say of `samples`: [{grade, words}], grade is "bad", "fair" or "good". */
export function judge(samples, limits, madeAt) {
  const { min_seconds: least, max_seconds: most, advised_seconds: [from, to], sample_rate: rate } = limits;
  const seconds = samples.length / rate;
  const { peak, cutOff } = loudest(samples);
  const spoken = speech(samples, rate).seconds;
  const found = [];
  const say = (grade, words) => found.push({ grade, words });
  if (madeAt && madeAt < rate) {
    say("bad", `Made with ${madeAt / 1000} kHz; at least ${rate / 1000} kHz are needed. Choose another, or record here.`);
  }
  if (peak < SILENT_PEAK) say("bad", "Too quiet: no speech can be heard. Come closer to the microphone and record again.");
  else if (seconds < least) say("bad", `Too short: ${seconds.toFixed(1)} s. At least ${least} s are needed.`);
  else if (seconds > most) say("bad", `Too long: ${seconds.toFixed(1)} s. Move Start or End until at most ${most} s are left.`);
  else if (spoken < least) say("bad", `Only ${spoken.toFixed(1)} s of it are speech. At least ${least} s are needed.`);
  else if (seconds < from) say("fair", `${seconds.toFixed(1)} s will do; ${from} to ${to} s sound more like you.`);
  else say("good", `${seconds.toFixed(1)} s: a good length.`);
  if (cutOff > CUT_OFF_SHARE) say("fair", "Too loud in places, where it is distorted. A little further away sounds better.");
  else if (peak >= FAINT_PEAK) say("good", "The level is good.");
  else if (peak >= SILENT_PEAK) say("fair", "Rather quiet. Closer to the microphone sounds better.");
  return found;
}

/** Where speech begins and ends, in seconds, with a margin; and how much of it is not pauses. */
export function speech(samples, rate) {
  const width = Math.round(WINDOW_SECONDS * rate);
  const powers = Array.from({ length: Math.floor(samples.length / width) }, (_, index) => {
    let power = 0;
    for (let at = index * width; at < (index + 1) * width; at += 1) power += samples[at] ** 2;
    return power;
  });
  const enough = Math.max(...powers, 0) * SPEECH_SHARE ** 2;
  const heard = powers.map((power) => power > 0 && power >= enough);
  const margin = MARGIN_SECONDS / WINDOW_SECONDS;
  return {
    from: Math.max(0, heard.indexOf(true) - margin) * WINDOW_SECONDS,
    to: Math.min(samples.length / rate, (heard.lastIndexOf(true) + 1 + margin) * WINDOW_SECONDS),
    seconds: heard.filter(Boolean).length * WINDOW_SECONDS,
  };
}

/** The bytes of a WAV file: 16 bits, one channel. */
export function toWav(samples, rate) {
  const buffer = new ArrayBuffer(WAV_HEADER_BYTES + samples.length * 2);
  const view = new DataView(buffer);
  const text = (at, words) => [...words].forEach((letter, index) => view.setUint8(at + index, letter.charCodeAt(0)));
  text(0, "RIFF");
  view.setUint32(4, buffer.byteLength - 8, true);
  text(8, "WAVEfmt ");
  view.setUint32(16, 16, true);
  view.setUint16(20, 1, true); // PCM
  view.setUint16(22, 1, true); // channels
  view.setUint32(24, rate, true);
  view.setUint32(28, rate * 2, true);
  view.setUint16(32, 2, true);
  view.setUint16(34, 16, true);
  text(36, "data");
  view.setUint32(40, samples.length * 2, true);
  samples.forEach((sample, index) => {
    view.setInt16(WAV_HEADER_BYTES + index * 2, Math.round(Math.max(-1, Math.min(1, sample)) * 32767), true);
  });
  return buffer;
}

function mixed(decoded) {
  const samples = decoded.getChannelData(0);
  for (let channel = 1; channel < decoded.numberOfChannels; channel += 1) {
    decoded.getChannelData(channel).forEach((sample, index) => { samples[index] += sample; });
  }
  return decoded.numberOfChannels === 1 ? samples : samples.map((sample) => sample / decoded.numberOfChannels);
}

function loudest(samples) {
  let peak = 0;
  let cut = 0;
  for (const sample of samples) {
    peak = Math.max(peak, Math.abs(sample));
    if (Math.abs(sample) >= CUT_OFF) cut += 1;
  }
  return { peak, cutOff: cut / Math.max(1, samples.length) };
}

/**
 * Samples a second that a file was made with: decoding raises a poor recording to any rate, and it stays poor.
 * WAV by its format chunk, M4A by its sample entry (ISO/IEC 14496-12, 12.2.3), MP3 by its first frame; else null.
 */
function rateOf(bytes) {
  const view = new DataView(bytes.buffer);
  if (find(bytes, "RIFF", 0, 1) === 0) {
    const format = find(bytes, "fmt ", 12, bytes.length);
    return format > 0 && format + 16 <= bytes.length ? view.getUint32(format + 12, true) : null;
  }
  if (find(bytes, "ftyp", 4, 5) === 4) {
    const entry = find(bytes, "mp4a", 8, bytes.length);
    return entry > 0 && entry + 30 <= bytes.length ? view.getUint16(entry + 28) : null;
  }
  const tagged = find(bytes, "ID3", 0, 1) === 0;
  const begin = tagged ? 10 + bytes.subarray(6, 10).reduce((size, byte) => (size << 7) | byte, 0) : 0;
  for (let at = begin; at < Math.min(begin + MP3_LOOK_BYTES, bytes.length - 4); at += 1) {
    const header = readHeader(bytes, at);
    if (header && readHeader(bytes, at + header.size)) return header.sampleRate;
  }
  return null;
}

/** The first place from `begin` and before `end` where these letters are, or -1. */
function find(bytes, letters, begin, end) {
  const codes = [...letters].map((letter) => letter.charCodeAt(0));
  for (let at = begin; at < end; at += 1) if (codes.every((code, index) => bytes[at + index] === code)) return at;
  return -1;
}
