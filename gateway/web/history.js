// The History page: what was made, newest first, with what is still being made as it goes on.

import { byId, clock, confirmed, download, element, icon, showError, timestamp } from "./dom.js";
import { isFinal, pause, states } from "./events.js";

const ROWS_PER_PAGE = 20;

/** Milliseconds without a key pressed before a search begins. */
const SEARCH_AFTER_MS = 250;

/** Rows followed by events. Each holds a connection, of which browsers open six to one host; more are looked at. */
const FOLLOWED_ROWS = 2;
const LOOK_MS = 3000;

const STATUS_WORDS = {
  pending: "Waiting",
  processing: "Being made",
  completed: "Ready",
  failed: "Failed",
  cancelled: "Stopped",
};

/** How far the provider is with what is being made. */
const PROGRESS_WORDS = { queued: "Waiting", finalizing: "Storing", spooled: "Storing" };

export class HistoryView {
  #api;
  #player;
  #rows = byId("history-list");
  #status = byId("history-status");
  #error = byId("history-error");
  #search = byId("history-search");
  #state = byId("history-state");
  #page = 1;
  #typing = 0;
  #shown = new AbortController(); // of the rows shown: aborted when others take their place

  constructor({ api, player }) {
    this.#api = api;
    this.#player = player;
    byId("history-newer").addEventListener("click", () => this.#turn(-1));
    byId("history-older").addEventListener("click", () => this.#turn(1));
    byId("history-finder").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#find();
    });
    this.#state.addEventListener("change", () => this.#find());
    this.#search.addEventListener("input", () => {
      clearTimeout(this.#typing);
      this.#typing = setTimeout(() => this.#find(), SEARCH_AFTER_MS);
    });
  }

  show() {
    return this.#load();
  }

  hide() {
    clearTimeout(this.#typing);
    this.#shown.abort();
  }

  #find() {
    clearTimeout(this.#typing);
    this.#page = 1;
    return this.#load();
  }

  async #turn(by) {
    this.#page += by;
    await this.#load();
    byId("history-title").scrollIntoView({ block: "end" });
  }

  async #load() {
    this.#shown.abort();
    this.#shown = new AbortController();
    const { signal } = this.#shown;
    const query = { page: this.#page, per_page: ROWS_PER_PAGE, search: this.#search.value, status: this.#state.value };
    try {
      const { generations, pagination } = await this.#api.generations(query, signal);
      if (this.#page > pagination.pages) return this.#turn(pagination.pages - this.#page); // its last row was deleted
      showError(this.#error, null);
      this.#fill(generations, pagination);
      this.#follow(generations, signal);
    } catch (error) {
      if (!signal.aborted) showError(this.#error, error.message);
    }
  }

  #fill(generations, { total, page, pages }) {
    const focused = document.activeElement?.closest("[data-key]")?.dataset.key;
    this.#rows.replaceChildren(...generations.map((generation) => this.#row(generation)));
    if (focused) this.#rows.querySelector(`[data-key="${focused}"]`)?.focus();
    const searched = this.#search.value.trim() || this.#state.value !== "all";
    const none = searched ? "Nothing matches. Search for less, or choose every status."
      : "Nothing here yet. What you generate is kept on this page.";
    this.#status.textContent = total === 0 ? none : total === 1 ? "One recording" : `${total} recordings`;
    byId("history-pager").hidden = pages === 1;
    byId("history-page").textContent = `Page ${page} of ${pages}`;
    byId("history-newer").disabled = page <= 1;
    byId("history-older").disabled = page >= pages;
  }

  /** Keep the rows that can still change up to date, until `signal`. */
  #follow(generations, signal) {
    const unfinished = generations.filter((generation) => !isFinal(generation));
    const told = unfinished.filter(({ task_id: task }) => task).slice(0, FOLLOWED_ROWS);
    for (const generation of told) this.#followOne(generation, signal);
    if (unfinished.length > told.length) pause(LOOK_MS, signal).then(() => this.#load(), () => {});
  }

  async #followOne({ id, task_id: task }, signal) {
    try {
      for await (const { status, provider_status: progress } of states(this.#api, task, { signal })) {
        const chip = this.#rows.querySelector(`[data-id="${id}"] .chip`);
        if (chip) chip.textContent = PROGRESS_WORDS[progress] ?? STATUS_WORDS[status];
      }
    } catch {
      // It was deleted, or nobody looks any more: the list tells, where it is still shown.
    }
    if (!signal.aborted) this.#load();
  }

  #row(generation) {
    const { id, status, text } = generation;
    const ready = status === "completed";
    const seconds = generation.duration_seconds;
    const facts = [generation.voice_name ?? "Deleted voice", generation.language, seconds == null ? null : clock(seconds)];
    return element("li", { class: "row", "data-id": id },
      this.#button("play", "Play", generation, () => this.#play(generation), { class: "round", disabled: !ready }),
      element("div", { class: "row-words" },
        element("p", { class: "row-text clamp", dir: "auto" }, text),
        element("p", { class: "quiet" }, `${facts.filter(Boolean).join(" · ")} · `, timestamp(generation.created_at)),
        generation.error_message ? element("p", { class: "reason" }, generation.error_message) : null),
      element("div", { class: "row-actions" },
        element("span", { class: `chip ${status}` }, STATUS_WORDS[status] ?? status),
        ready ? this.#button("download", "Download", generation, () => this.#download(generation)) : null,
        this.#button("again", "Generate again", generation, () => this.#again(generation)),
        this.#button("remove", "Delete", generation, () => this.#remove(generation))));
  }

  #button(name, words, { id, text }, action, properties = {}) {
    const onclick = async () => {
      showError(this.#error, null);
      try {
        await action();
      } catch (error) {
        showError(this.#error, error.message);
      }
    };
    return element("button", {
      class: "round small", type: "button", "data-key": `${name}-${id}`, "aria-label": `${words}: ${text.slice(0, 40)}`,
      title: words, onclick, ...properties,
    }, icon(name));
  }

  async #play({ id, text, voice_name: voice }) {
    const address = () => this.#api.audioUrl(id);
    this.#player.startUrl(await address(), { title: voice ?? "Recording", subtitle: text, download: address });
  }

  async #download({ id, voice_name: voice }) {
    download(await this.#api.audioUrl(id), voice ?? "recording");
  }

  /** The form of the Generate page, filled in; nothing is made, or charged, before Generate is pressed there. */
  async #again({ id }) {
    const { redirect_url: address } = await this.#api.regeneration(id);
    const link = element("a", { href: address, "data-link": true, hidden: true });
    document.body.append(link);
    link.click();
    link.remove();
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
    await this.#api.removeGeneration(id);
    await this.#load();
    byId("history-title").focus();
  }
}
