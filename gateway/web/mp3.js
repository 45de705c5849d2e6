// MPEG audio layer III framing, enough to cut a byte stream into whole frames and to know how long they last.
// Source: ISO/IEC 11172-3 section 2.4.1.3 (header), ISO/IEC 13818-3 (the lower sampling rates).

const HEADER_BYTES = 4;
const LAYER_III = 1;

/** By the header's version field: 0 is MPEG 2.5, 1 is reserved, 2 is MPEG 2, 3 is MPEG 1. */
const SAMPLE_RATES = [[11025, 12000, 8000], [], [22050, 24000, 16000], [44100, 48000, 32000]];
const KBITS_MPEG1 = [0, 32, 40, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320];
const KBITS_MPEG2 = [0, 8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160];

/** What a frame header says, or null when these are not the first bytes of a layer III frame. */
export function readHeader(bytes, at) {
  if (bytes[at] !== 0xff || (bytes[at + 1] & 0xe0) !== 0xe0) return null;
  const version = (bytes[at + 1] >> 3) & 3;
  const layer = (bytes[at + 1] >> 1) & 3;
  const mpeg1 = version === 3;
  const kbits = (mpeg1 ? KBITS_MPEG1 : KBITS_MPEG2)[bytes[at + 2] >> 4];
  const sampleRate = SAMPLE_RATES[version][(bytes[at + 2] >> 2) & 3];
  if (layer !== LAYER_III || !kbits || !sampleRate) return null;
  const samples = mpeg1 ? 1152 : 576;
  const padding = (bytes[at + 2] >> 1) & 1;
  return { sampleRate, samples, size: Math.floor((samples / 8) * kbits * 1000 / sampleRate) + padding };
}

/** Cuts a stream of bytes into frames. Holds at most one incomplete frame. */
export class FrameSplitter {
  #rest = new Uint8Array(0);

  /** Whole frames that `bytes` completed, as {bytes, seconds, sampleRate}; what fits no frame is skipped. */
  push(bytes) {
    const data = join(this.#rest, bytes);
    const frames = [];
    let at = 0;
    while (at + HEADER_BYTES <= data.length) {
      const header = readHeader(data, at);
      if (!header) {
        at += 1;
        continue;
      }
      if (at + header.size > data.length) break;
      frames.push({
        bytes: data.subarray(at, at + header.size),
        seconds: header.samples / header.sampleRate,
        sampleRate: header.sampleRate,
      });
      at += header.size;
    }
    this.#rest = data.slice(at);
    return frames;
  }
}

/** One array with the bytes of all. */
export function join(...parts) {
  const whole = new Uint8Array(parts.reduce((total, part) => total + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}
