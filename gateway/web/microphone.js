// The record button: asks for the microphone, shows that it hears something, and ends by itself at the limit.

import { clock, element, icon, whileBusy } from "./dom.js";

/** Loudest sample of the last moments below which nobody is heard, and above which it distorts. */
const QUIET = 0.05;
const LOUD = 0.98;

/** Milliseconds from one word about the level to the next: fewer cannot be read, nor spoken by a screen reader. */
const HINT_MS = 1500;

export class Microphone {
  #limit;
  #onRecording;
  #onRefused;
  #recorder = null;
  #peak = 0;
  #timer = 0;
  #button = element("button", { class: "button", type: "button" });
  #time = element("span", { class: "dock-time", role: "timer" });
  #meter = element("meter", { min: 0, max: 1, low: QUIET, high: LOUD, optimum: 0.5, "aria-label": "Level" });
  #hint = element("span", { class: "quiet", role: "status" });
  #live = element("span", { class: "live", hidden: true }, this.#meter, this.#time);

  /** `onRecording` gets the bytes of a WAV file, `onRefused` words about why there is none, null when it begins. */
  constructor({ limitSeconds, onRecording, onRefused }) {
    this.#limit = limitSeconds;
    this.#onRecording = onRecording;
    this.#onRefused = onRefused;
    this.#button.addEventListener("click", () => whileBusy(this.#button, () => this.#press()));
    this.root = element("span", { class: "microphone" }, this.#button, this.#live, this.#hint);
    this.#label("Record");
  }

  /** End a recording, if there is one, and hand it over. */
  stop() {
    if (this.#recorder) this.#onRecording(this.#end());
  }

  async #press() {
    if (this.#recorder) {
      this.stop();
      return;
    }
    this.#onRefused(null);
    this.#hint.textContent = "Waiting for your permission…";
    try {
      const { Recorder } = await import("./recorder.js");
      this.#begin(await Recorder.begin());
    } catch (error) {
      this.#hint.textContent = "";
      const lost = error instanceof TypeError; // the module did not come
      this.#onRefused(lost ? "The server cannot be reached. Check the connection and press Record again." : error.message);
    }
  }

  #begin(recorder) {
    this.#recorder = recorder;
    this.#peak = 0;
    recorder.onLost = () => this.stop();
    recorder.onSound = (peak) => this.#hear(peak);
    this.#label("Stop");
    this.#live.hidden = false;
    this.#hint.textContent = "Recording: speak now.";
    this.#timer = setInterval(() => this.#say(), HINT_MS);
  }

  #hear(peak) {
    this.#peak = Math.max(this.#peak, peak);
    this.#meter.value = peak;
    this.#time.textContent = `${clock(this.#recorder.seconds)} of ${clock(this.#limit)}`;
    if (this.#recorder.seconds >= this.#limit) this.stop();
  }

  #say() {
    if (this.#peak < QUIET) this.#hint.textContent = "Very quiet: come closer to the microphone.";
    else if (this.#peak > LOUD) this.#hint.textContent = "Too loud: a little further away.";
    else this.#hint.textContent = "You are heard well.";
    this.#peak = 0;
  }

  #end() {
    const recorder = this.#recorder;
    this.#recorder = null;
    recorder.onSound = () => {};
    recorder.onLost = () => {};
    clearInterval(this.#timer);
    this.#live.hidden = true;
    this.#hint.textContent = "";
    this.#label("Record again");
    return recorder.stop();
  }

  #label(words) {
    this.#button.replaceChildren(icon(words === "Stop" ? "stop" : "record"), words);
  }
}
