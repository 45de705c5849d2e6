// The microphone. What it hears is kept as it is, without the browser's own improvements: they change a voice.

import { toWav } from "./recording.js";

const WORKLET = "/web/capture.js";

const REFUSALS = {
  NotAllowedError: "The microphone was refused. Allow it for this page beside the address, then press Record again. "
    + "A file works as well.",
  NotFoundError: "No microphone was found. Connect one and press Record again, or choose a file.",
  NotReadableError: "The microphone is used by another program. Close that and press Record again, or choose a file.",
};

/** Nothing can be recorded. `message` is for people. */
export class MicrophoneRefused extends Error {}

export class Recorder {
  #stream;
  #context;
  #pieces = [];
  #samples = 0;

  /** Called for each piece with its loudest sample, from 0 to 1. */
  onSound = () => {};

  /** Called when the microphone goes away by itself. */
  onLost = () => {};

  /** Begin to record. Throws MicrophoneRefused. */
  static async begin() {
    if (!navigator.mediaDevices) {
      throw new MicrophoneRefused("This browser gives the microphone to pages over https only. Choose a file instead.");
    }
    const sound = { channelCount: 1, echoCancellation: false, noiseSuppression: false, autoGainControl: false };
    const stream = await navigator.mediaDevices.getUserMedia({ audio: sound }).catch((error) => {
      const words = REFUSALS[error.name] ?? `The microphone does not work (${error.name}). Choose a file instead.`;
      throw new MicrophoneRefused(words, { cause: error });
    });
    const recorder = new Recorder(stream);
    try {
      await recorder.#connect();
    } catch (error) {
      recorder.#close();
      throw new MicrophoneRefused("Recording could not be started. Load the page again, or choose a file.", {
        cause: error,
      });
    }
    return recorder;
  }

  constructor(stream) {
    this.#stream = stream;
    this.#context = new AudioContext();
  }

  get seconds() {
    return this.#samples / this.#context.sampleRate;
  }

  /** End it. The bytes of a WAV file with all that was heard. */
  stop() {
    const samples = new Float32Array(this.#samples);
    let at = 0;
    for (const piece of this.#pieces) {
      samples.set(piece, at);
      at += piece.length;
    }
    this.#close();
    return toWav(samples, this.#context.sampleRate);
  }

  async #connect() {
    await this.#context.audioWorklet.addModule(WORKLET);
    const capture = new AudioWorkletNode(this.#context, "capture", { numberOfOutputs: 0, channelCount: 1 });
    capture.port.onmessage = ({ data }) => {
      this.#pieces.push(data);
      this.#samples += data.length;
      this.onSound(data.reduce((peak, sample) => Math.max(peak, Math.abs(sample)), 0));
    };
    this.#context.createMediaStreamSource(this.#stream).connect(capture);
    this.#stream.getAudioTracks()[0].addEventListener("ended", () => this.onLost());
    await this.#context.resume();
  }

  #close() {
    for (const track of this.#stream.getTracks()) track.stop();
    this.#context.close();
  }
}
