// The Voices page: what there is, how it sounds, and a way to let it go.

import { byId, confirmed, element, icon, showError, timestamp } from "./dom.js";
import { describe, obstacle, playPreview, providerTag, voicePrint } from "./voice.js";

export class VoicesView {
  #api;
  #player;
  #catalog;
  #list = byId("voices-list");
  #status = byId("voices-status");
  #error = byId("voices-error");

  constructor({ api, player, catalog }) {
    this.#api = api;
    this.#player = player;
    this.#catalog = catalog;
  }

  async show() {
    showError(this.#error, null);
    try {
      const voices = await this.#api.voices();
      this.#list.replaceChildren(...voices.map((voice) => this.#card(voice)));
    } catch (error) {
      showError(this.#error, error.message);
    }
    this.#showCount();
  }

  #showCount() {
    const count = this.#list.children.length;
    this.#status.textContent = count === 0 ? "You have no voices yet." : count === 1 ? "One voice" : `${count} voices`;
  }

  #card(voice) {
    const reason = obstacle(voice, this.#catalog.provider);
    const use = element("a", { class: "button", href: `/generate?voice=${voice.id}`, "data-link": true }, "Use");
    return element("li", { class: "card", "data-id": voice.id },
      element("div", { class: "card-head" },
        voicePrint(voice),
        element("h2", {}, voice.name),
        providerTag(voice)),
      element("p", { class: "quiet" }, describe(voice), " · ", timestamp(voice.created_at)),
      voice.description ? element("p", { class: "clamp" }, voice.description) : null,
      reason ? element("p", { class: "reason" }, reason) : null,
      element("div", { class: "card-foot" },
        reason ? null : use,
        element("button", {
          class: "button", type: "button", "aria-label": `Preview ${voice.name}`, onclick: () => this.#preview(voice),
        }, icon("play"), "Preview"),
        element("button", {
          class: "round small push", type: "button", "aria-label": `Delete ${voice.name}`,
          onclick: (event) => this.#remove(voice, event.currentTarget.closest("li")),
        }, icon("remove"))));
  }

  async #preview(voice) {
    showError(this.#error, null);
    try {
      await playPreview(this.#api, this.#player, voice);
    } catch (error) {
      showError(this.#error, error.message);
    }
  }

  async #remove(voice, card) {
    const agreed = await confirmed({
      title: `Delete ${voice.name}?`,
      text: "It can no longer be used for new speech. Recordings made with it stay in your history.",
      action: "Delete voice",
    });
    if (!agreed) return;
    try {
      await this.#api.removeVoice(voice.id);
    } catch (error) {
      showError(this.#error, error.message);
      return;
    }
    card.remove();
    this.#showCount();
    byId("voices-title").focus();
  }
}
