// The Voices page: what there is, how it sounds, how to make more of it and how to let it go.

import { byId, confirmed, element, icon, showError, timestamp, whileBusy } from "./dom.js";
import { describe, dollars, obstacle, playPreview, providerName, providerTag, voicePrint } from "./voice.js";

const TITLES = { clone: "Clone a voice", design: "Design a voice" };

/** Fetched when they are first opened: most visits only listen. */
const PANELS = {
  clone: async (parts) => new (await import("./clone.js")).ClonePanel(parts),
  design: async (parts) => new (await import("./design.js")).DesignPanel(parts),
};

export class VoicesView {
  #parts;
  #provider;
  #voices = [];
  #deleted = new Set(); // ids that can be had back until the page is left
  #warnings = new Map(); // what is to be known of a voice, by its id
  #panels = {};
  #panel = null; // the one that is open
  #list = byId("voices-list");
  #status = byId("voices-status");
  #error = byId("voices-error");
  #search = byId("voices-search");
  #kind = byId("voices-kind");
  #again = byId("voices-again");

  constructor(parts) {
    this.#parts = parts;
    this.#provider = parts.catalog.provider;
    this.#search.addEventListener("input", () => this.#fill());
    this.#kind.addEventListener("change", () => this.#fill());
  }

  /** The list, or with `?new=` a way to make a voice. */
  async show(query) {
    this.hide();
    const making = Object.hasOwn(PANELS, query.get("new")) ? query.get("new") : null;
    byId("voices-title").textContent = TITLES[making] ?? "Voices";
    byId("voices-make").hidden = Boolean(making);
    byId("voices-back").hidden = !making;
    byId("voices-browse").hidden = Boolean(making);
    for (const panel of byId("voices-panel").children) panel.hidden = true;
    await (making ? this.#open(making) : this.#load());
  }

  hide() {
    this.#panel?.hide?.();
    this.#panel = null;
  }

  async #open(name) {
    const place = byId("voices-panel");
    try {
      this.#panels[name] ??= PANELS[name](this.#parts);
      const panel = await this.#panels[name];
      const { root } = panel;
      if (root.parentNode !== place) place.append(root);
      panel.show();
      // Whoever has gone on meanwhile shall not be brought back.
      root.hidden = byId("voices-title").textContent !== TITLES[name];
      if (!root.hidden) this.#panel = panel;
    } catch {
      delete this.#panels[name];
      byId("voices-browse").hidden = false;
      showError(this.#error, "This part of the page could not be loaded. Check the connection and load the page again.");
    }
  }

  async #load() {
    showError(this.#error, null);
    this.#again.hidden = true;
    if (this.#voices.length === 0) this.#status.textContent = "Loading your voices…";
    try {
      const voices = await this.#parts.api.voices();
      const other = (voice) => Boolean(obstacle(voice, this.#provider));
      this.#voices = voices.sort((one, two) => other(one) - other(two)); // what can be used comes first
      this.#deleted.clear();
      this.#fill();
    } catch (error) {
      this.#status.textContent = "";
      showError(this.#error, error.message);
      this.#offer("Try again", () => this.#load());
    }
  }

  #offer(words, action) {
    this.#again.textContent = words;
    this.#again.onclick = action;
    this.#again.hidden = false;
  }

  #fill() {
    const wanted = this.#search.value.trim().toLowerCase();
    const shown = this.#voices.filter((voice) => this.#isOfKind(voice) && mentions(voice, wanted));
    this.#list.replaceChildren(...shown.map((voice) => this.#deleted.has(voice.id) ? this.#gone(voice) : this.#card(voice)));
    const count = this.#voices.filter(({ id }) => !this.#deleted.has(id)).length;
    byId("voices-filters").hidden = this.#voices.length === 0;
    this.#again.hidden = true;
    if (this.#voices.length === 0) {
      this.#status.textContent = "You have no voices yet. Clone one from ten seconds of speech, or describe one and hear it.";
    } else if (shown.length === 0) {
      this.#status.textContent = "No voice is like that.";
      this.#offer("Show all voices", () => this.#showAll());
    } else {
      const all = count === 1 ? "One voice" : `${count} voices`;
      this.#status.textContent = shown.length === this.#voices.length ? all : `${shown.length} of ${all.toLowerCase()}`;
    }
  }

  #showAll() {
    this.#search.value = "";
    this.#kind.value = "all";
    this.#fill();
    this.#search.focus();
  }

  #isOfKind(voice) {
    const kind = this.#kind.value;
    const other = Boolean(obstacle(voice, this.#provider));
    return kind === "all" || kind === voice.source || (kind === "other" && other) || (kind === "ready" && !other);
  }

  #card(voice) {
    const reason = obstacle(voice, this.#provider);
    const warning = this.#warnings.get(voice.id);
    return element("li", { class: reason ? "card other" : "card", "data-id": voice.id },
      element("div", { class: "card-head" },
        voicePrint(voice),
        element("h2", {}, voice.name),
        providerTag(voice)),
      element("p", { class: "quiet" }, describe(voice), " · ", timestamp(voice.created_at)),
      voice.description ? element("p", { class: "clamp" }, voice.description) : null,
      reason ? element("p", { class: "reason" }, reason) : null,
      warning ? element("p", { class: "reason" }, warning) : null,
      element("p", { class: "error", role: "alert", hidden: true }),
      element("div", { class: "card-foot" }, ...(reason ? [this.#recloning(voice)] : this.#uses(voice))));
  }

  /** The one thing to be done with a voice of the other provider. */
  #recloning(voice) {
    const price = this.#parts.facts.clone_price_usd;
    return element("button", {
      class: "button", type: "button",
      onclick: ({ currentTarget }) => whileBusy(currentTarget, () => this.#reclone(voice, currentTarget)),
    }, price ? `Re-clone for ${dollars(price)}` : "Re-clone", element("span", { class: "sr-only" }, `: ${voice.name}`));
  }

  #uses(voice) {
    return [
      element("a", {
        class: "button", href: `/generate?voice=${voice.id}`, "data-link": true, "aria-label": `Use ${voice.name}`,
      }, "Use"),
      element("button", {
        class: "button", type: "button", "aria-label": `Preview ${voice.name}`,
        onclick: ({ currentTarget }) => whileBusy(currentTarget, () => this.#attempt(voice, () =>
          playPreview(this.#parts.api, this.#parts.player, voice))),
      }, icon("play"), "Preview"),
      element("button", {
        class: "round small push", type: "button", "aria-label": `Delete ${voice.name}`,
        onclick: ({ currentTarget }) => whileBusy(currentTarget, () => this.#remove(voice)),
      }, icon("remove")),
    ];
  }

  /** What stands where a deleted voice was. It stays until the page is left, for as long as somebody needs to read. */
  #gone(voice) {
    return element("li", { class: "card gone", "data-id": voice.id },
      element("p", {}, `${voice.name} is deleted. What it has said stays in your history.`),
      element("p", { class: "error", role: "alert", hidden: true }),
      element("div", { class: "card-foot" },
        element("button", {
          class: "button", type: "button", "aria-label": `Undo: keep ${voice.name}`,
          onclick: ({ currentTarget }) => whileBusy(currentTarget, () => this.#restore(voice)),
        }, "Undo")));
  }

  /** Do something with a voice. What goes wrong is said on its card; then the answer is false. */
  async #attempt(voice, work) {
    const error = this.#list.querySelector(`[data-id="${voice.id}"] .error`);
    showError(error, null);
    try {
      await work();
      return true;
    } catch (problem) {
      showError(error, problem.message);
      return false;
    }
  }

  async #remove(voice) {
    if (!await this.#attempt(voice, () => this.#parts.api.removeVoice(voice.id))) return;
    this.#deleted.add(voice.id);
    this.#fill();
    this.#focusIn(voice, "button");
  }

  async #restore(voice) {
    if (!await this.#attempt(voice, () => this.#parts.api.restoreVoice(voice.id))) return;
    this.#deleted.delete(voice.id);
    this.#fill();
    this.#focusIn(voice, "a");
  }

  async #reclone(voice, button) {
    const price = this.#parts.facts.clone_price_usd;
    const provider = providerName(this.#provider);
    const agreed = await confirmed({
      title: `Re-clone ${voice.name} for ${provider}?`,
      text: `${price ? `${provider} bills ${dollars(price)} for it, once.` : "It costs nothing."} The new voice is made `
        + "from the recording and the transcript of this one, which stays as it is.",
      action: price ? `Re-clone for ${dollars(price)}` : "Re-clone",
      refusal: "Not now",
    });
    if (!agreed) return;
    const [label] = button.childNodes;
    const former = label.data;
    label.data = "Re-cloning…";
    this.#status.textContent = `Making ${voice.name} again. This takes some ten seconds.`;
    let made = null;
    const done = await this.#attempt(voice, async () => { made = await this.#parts.api.recloneVoice(voice.id); });
    label.data = former;
    if (!done) return;
    if (made.warning) this.#warnings.set(made.id, made.warning);
    this.#voices = [made, ...this.#voices.filter(({ id }) => id !== made.id)];
    this.#showAll();
    this.#status.textContent = `${made.name} can be used now.`;
    this.#focusIn(made, "a");
  }

  #focusIn(voice, selector) {
    this.#list.querySelector(`[data-id="${voice.id}"] ${selector}`)?.focus();
  }
}

function mentions({ name, description, language }, wanted) {
  return [name, description, language].some((text) => text?.toLowerCase().includes(wanted));
}
