// Runs on the browser's audio thread: hands the samples of a microphone to the page, a few at a time.

/** Samples in one message: 128, which is what `process` gets, would be 375 messages a second. */
const SAMPLES_PER_MESSAGE = 2048;

class Capture extends AudioWorkletProcessor {
  #samples = new Float32Array(SAMPLES_PER_MESSAGE);
  #filled = 0;

  process([input]) {
    const [channel] = input;
    if (!channel) return true; // the microphone is not connected yet
    this.#samples.set(channel, this.#filled);
    this.#filled += channel.length;
    if (this.#filled >= SAMPLES_PER_MESSAGE) {
      this.port.postMessage(this.#samples.slice());
      this.#filled = 0;
    }
    return true;
  }
}

registerProcessor("capture", Capture);
