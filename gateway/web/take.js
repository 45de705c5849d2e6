// One recording, shown as a wave: where it begins and ends, whether it is good enough, how it sounds.

import { element, icon } from "./dom.js";
import { BAR_SECONDS, loudness } from "./envelope.js";
import { judge, speech, toWav } from "./recording.js";
import { Waveform } from "./waveform.js";

/** Least that can be left between the two ends, and one step of them, in seconds. */
const LEAST_SECONDS = 0.5;
const STEP_SECONDS = 0.1;

const MARKS = { good: "✓", fair: "!", bad: "✕" };

export class Take {
  #samples = new Float32Array(0);
  #madeAt = null;
  #bars = [];
  #limits;
  #player;
  #heard = null; // the address of what was last listened to
  #canvas = element("canvas", { "aria-hidden": "true" });
  #wave = new Waveform(this.#canvas);
  #start = this.#end();
  #finish = this.#end();
  #verdicts = element("ul", { class: "verdicts" });

  /** Called whenever other samples are selected. */
  onChange = () => {};

  constructor({ player, limits }) {
    this.#player = player;
    this.#limits = limits;
    this.root = element("div", { class: "take", hidden: true },
      this.#canvas,
      element("div", { class: "ends" },
        ...[["Start", this.#start], ["End", this.#finish]].map(([name, { input, shown }]) =>
          element("label", {}, name, shown, input))),
      element("div", { role: "status" }, this.#verdicts),
      element("button", { class: "button", type: "button", onclick: () => this.#listen() }, icon("play"), "Listen"));
    new ResizeObserver(() => this.#draw()).observe(this.#canvas);
  }

  /** Show a recording, with the silence at its ends left out; of a long one only as much as is advised. */
  show({ samples, madeAt }) {
    const { sample_rate: rate, max_seconds: most, advised_seconds: [, advised] } = this.#limits;
    this.#samples = samples;
    this.#madeAt = madeAt;
    const seconds = samples.length / rate;
    this.#bars = loudness(samples, Math.max(1, Math.round(seconds / BAR_SECONDS)));
    const { from, to } = speech(samples, rate);
    for (const { input } of [this.#start, this.#finish]) input.max = String(seconds);
    this.#start.input.value = String(from);
    this.#finish.input.value = String(to - from > most ? from + advised : to);
    this.root.hidden = false;
    this.#changed();
  }

  clear() {
    this.root.hidden = true;
  }

  get empty() {
    return this.root.hidden;
  }

  /** What stands in the way of using the selection, in words, or null. */
  get problem() {
    return this.#judged().find(({ grade }) => grade === "bad")?.words ?? null;
  }

  /** The selection as a WAV file. */
  wav() {
    return new Blob([toWav(this.#selected(), this.#limits.sample_rate)], { type: "audio/wav" });
  }

  focus() {
    this.#start.input.focus();
  }

  #end() {
    const input = element("input", { type: "range", min: 0, step: STEP_SECONDS });
    input.addEventListener("input", () => this.#moved(input));
    return { input, shown: element("span", { class: "push", "aria-hidden": "true" }) };
  }

  #moved(input) {
    const [start, finish] = [this.#start.input, this.#finish.input];
    if (input === start) start.value = String(Math.min(start.value, finish.value - LEAST_SECONDS));
    else finish.value = String(Math.max(finish.value, Number(start.value) + LEAST_SECONDS));
    this.#changed();
  }

  #changed() {
    for (const { input, shown } of [this.#start, this.#finish]) {
      shown.textContent = `${Number(input.value).toFixed(1)} s`;
      input.setAttribute("aria-valuetext", `${Number(input.value).toFixed(1)} seconds`);
    }
    const found = this.#judged();
    this.#verdicts.replaceChildren(...found.map(({ grade, words }) =>
      element("li", { class: grade }, element("span", { "aria-hidden": "true" }, MARKS[grade]), words)));
    this.#draw();
    this.onChange();
  }

  #judged() {
    return judge(this.#selected(), this.#limits, this.#madeAt);
  }

  #selected() {
    const at = ({ input }) => Math.round(Number(input.value) * this.#limits.sample_rate);
    return this.#samples.subarray(at(this.#start), at(this.#finish));
  }

  #listen() {
    if (this.#heard) URL.revokeObjectURL(this.#heard);
    const blob = this.wav();
    this.#heard = URL.createObjectURL(blob);
    this.#player.startUrl(this.#heard, { title: "Your recording", subtitle: "As it will be sent" }, { blob });
  }

  #draw() {
    const span = this.#samples.length / this.#limits.sample_rate || 1;
    const [start, position] = [Number(this.#start.input.value), Number(this.#finish.input.value)];
    this.#wave.draw({ bars: this.#bars, span, start, position });
  }
}
