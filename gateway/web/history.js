// The History page: what was made, newest first.

import { byId, clock, confirmed, element, icon, showError, timestamp } from "./dom.js";

const ROWS_PER_PAGE = 20;

/** Milliseconds from one look to the next while something on the page is still being made. */
const REFRESH_MS = 3000;

const STATUS_WORDS = {
  pending: "Waiting",
  processing: "Being made",
  completed: "Ready",
  failed: "Failed",
  cancelled: "Stopped",
};

export class HistoryView {
  #api;
  #player;
  #rows = byId("history-list");
  #status = byId("history-status");
  #error = byId("history-error");
  #more = byId("history-more");
  #pagesShown = 1;
  #timer = 0;
  #visible = false;

  constructor({ api, player }) {
    this.#api = api;
    this.#player = player;
    this.#more.addEventListener("click", () => {
      this.#pagesShown += 1;
      this.#load();
    });
  }

  show() {
    this.#visible = true;
    return this.#load();
  }

  hide() {
    this.#visible = false;
    clearTimeout(this.#timer);
  }

  async #load() {
    clearTimeout(this.#timer);
    try {
      // Deleted rows move others from one page to the next, so the pages are always read together.
      const pages = await Promise.all(Array.from({ length: this.#pagesShown }, (_, index) =>
        this.#api.generations(index + 1, ROWS_PER_PAGE)));
      this.#fill(pages.flatMap(({ generations }) => generations), pages[0].pagination);
      showError(this.#error, null);
    } catch (error) {
      showError(this.#error, error.message);
    }
  }

  #fill(generations, { total, pages }) {
    const focused = document.activeElement?.closest("[data-key]")?.dataset.key;
    this.#rows.replaceChildren(...generations.map((generation) => this.#row(generation)));
    if (focused) this.#rows.querySelector(`[data-key="${focused}"]`)?.focus();
    this.#status.textContent = total === 0
      ? "Nothing here yet. What you generate is kept on this page."
      : total === 1 ? "One recording" : `${total} recordings`;
    this.#more.hidden = this.#pagesShown >= pages;
    const unfinished = generations.some(({ status }) => status === "pending" || status === "processing");
    if (unfinished && this.#visible) this.#timer = setTimeout(() => this.#load(), REFRESH_MS);
  }

  #row(generation) {
    const { id, status, text } = generation;
    const opening = text.slice(0, 40);
    const length = generation.duration_seconds == null ? null : clock(generation.duration_seconds);
    const play = element("button", {
      class: "round", type: "button", "data-key": `play-${id}`, "aria-label": `Play: ${opening}`,
      disabled: status !== "completed", onclick: () => this.#play(generation),
    }, icon("play"));
    const facts = [generation.voice_name ?? "Deleted voice", generation.language, length].filter(Boolean).join(" · ");
    return element("li", { class: "row", "data-id": id },
      play,
      element("div", { class: "row-words" },
        element("p", { class: "row-text clamp", dir: "auto" }, text),
        element("p", { class: "quiet" }, `${facts} · `, timestamp(generation.created_at)),
        generation.error_message ? element("p", { class: "reason" }, generation.error_message) : null),
      element("span", { class: `chip ${status}` }, STATUS_WORDS[status] ?? status),
      element("button", {
        class: "round small", type: "button", "data-key": `remove-${id}`, "aria-label": `Delete: ${opening}`,
        onclick: () => this.#remove(generation),
      }, icon("remove")));
  }

  async #play({ id, text, voice_name: voice }) {
    showError(this.#error, null);
    try {
      const download = () => this.#api.audioUrl(id);
      const item = { title: voice ?? "Recording", subtitle: text, fileName: `${voice ?? "recording"}.mp3`, download };
      this.#player.startUrl(await download(), item);
    } catch (error) {
      showError(this.#error, error.message);
    }
  }

  async #remove({ id, status }) {
    const agreed = await confirmed({
      title: "Delete this recording?",
      text: status === "completed"
        ? "The sound and the text are removed for good."
        : "It is stopped if it is still being made, and removed for good.",
      action: "Delete recording",
    });
    if (!agreed) return;
    try {
      await this.#api.removeGeneration(id);
    } catch (error) {
      showError(this.#error, error.message);
      return;
    }
    await this.#load();
    byId("history-title").focus();
  }
}
