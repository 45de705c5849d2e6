// The voice picker: one radio button per voice, with a preview beside it.

import { byId, element, icon } from "./dom.js";
import { describe, obstacle, playPreview, voicePrint } from "./voice.js";

export class VoicePicker {
  #list = byId("picker-voices");
  #note = byId("picker-note");
  #voices = [];
  #api;
  #player;
  #onError;

  constructor({ api, player, onError }) {
    this.#api = api;
    this.#player = player;
    this.#onError = onError;
    this.#list.addEventListener("change", () => this.#followChoice());
  }

  /** The voice that is chosen, or undefined. */
  get chosen() {
    const checked = this.#list.querySelector("input:checked");
    return checked ? this.#voices.find((voice) => voice.id === checked.value) : undefined;
  }

  choose(voiceId) {
    const input = [...this.#list.querySelectorAll("input")].find(({ value }) => value === voiceId);
    if (input && !input.disabled) input.checked = true;
    this.#followChoice();
  }

  focus() {
    this.#list.querySelector("input:not(:disabled)")?.focus();
  }

  /** Show `voices`; the former choice stays where it can, otherwise the newest usable voice is chosen. */
  show(voices, provider) {
    const former = this.chosen?.id;
    const focused = this.#list.contains(document.activeElement);
    this.#voices = voices;
    this.#list.replaceChildren(...voices.map((voice) => this.#option(voice, obstacle(voice, provider))));
    const usable = voices.filter((voice) => !obstacle(voice, provider));
    this.choose(usable.find(({ id }) => id === former)?.id ?? usable[0]?.id);
    if (focused) this.#list.querySelector("input:checked")?.focus();
    this.#note.hidden = usable.length > 0;
    this.#note.textContent = voices.length > 0
      ? "None of your voices can be used with the current speech service."
      : "You have no voices yet. Clone or design one to begin.";
  }

  #option(voice, reason) {
    const words = `voice-words-${voice.id}`;
    const preview = element("button", {
      type: "button",
      class: "round small",
      "aria-label": `Preview ${voice.name}`,
      onclick: () => playPreview(this.#api, this.#player, voice).catch(this.#onError),
    }, icon("play"));
    const input = element("input", {
      type: "radio", name: "voice", value: voice.id, disabled: Boolean(reason), "aria-describedby": words,
    });
    return element("div", { class: "voice-option" },
      element("label", {}, input, voicePrint(voice),
        element("span", { class: "voice-words" },
          element("span", { class: "voice-name" }, voice.name),
          element("span", { class: "quiet", id: words }, reason ?? describe(voice)))),
      preview);
  }

  /** Tab reaches the preview of the chosen voice only: with fifty voices, the text after them stays near. */
  #followChoice() {
    for (const option of this.#list.children) {
      const chosen = option.querySelector("input").checked;
      option.querySelector("button").tabIndex = chosen ? 0 : -1;
    }
  }
}
