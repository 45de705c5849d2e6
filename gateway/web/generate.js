// The Generate page: text, voice and language in, speech out.

import { byId, clock, element, measured, remember, remembered, showError } from "./dom.js";
import { VoicePicker } from "./picker.js";
import { Run } from "./run.js";

/** UTF-16 units below the limit at which the counter starts to stand out. */
const COUNTER_WARNS_AT = 100;

export class GenerateView {
  #parts;
  #user;
  #catalog;
  #picker;
  #run = null;
  #reloaded = false; // with the form as it was
  #filled = false; // the voices came, or a failure did
  #trouble = null; // why there are none to choose from
  #last = null; // the run before, or the same once it has ended
  #text = byId("text");
  #language = byId("language");
  #error = byId("generate-error");

  constructor({ api, player, catalog, user }) {
    this.#parts = { api, player, catalog };
    this.#user = user;
    this.#catalog = catalog;
    this.#picker = new VoicePicker({ api, player, onError: (error) => showError(this.#error, error.message) });
    const languages = catalog.spoken_languages ?? catalog.languages;
    this.#language.append(...languages.map((name) => element("option", { value: name }, name)));
    this.#language.value = catalog.default;
    this.#offerWays();
    byId("composer").addEventListener("submit", (event) => {
      if (!this.#filled) return; // the page keeps it until the view is there
      event.preventDefault();
      this.#start();
    });
    byId("stop").addEventListener("click", () => this.#stop());
    byId("again").addEventListener("click", () => this.#follow(this.#last.state.order, this.#last.state.voice));
    this.#text.addEventListener("input", () => this.#count());
    this.#text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) byId("composer").requestSubmit();
    });
    this.#restore();
    this.#keep();
    // Whoever signs out has cleared what was remembered, and nothing is to be remembered of them again.
    addEventListener("pagehide", () => remembered("form") && this.#keep());
  }

  /** Open the page, filled with what the address names (`voice`, `text`, `language`). */
  async show(query) {
    if (this.#reloaded) query = new URLSearchParams(); // what was typed since is worth more
    this.#reloaded = false;
    if (query.has("text")) {
      this.#text.value = query.get("text");
      this.#count();
    }
    this.#chooseLanguage(query.get("language"));
    const chosen = query.get("voice") ?? this.#picker.chosen?.id ?? remembered("form")?.voice;
    try {
      this.#picker.show(await this.#parts.api.voices(), this.#catalog.provider);
      this.#trouble = null;
    } catch (error) {
      this.#trouble = error.message;
      showError(this.#error, error.message);
    }
    this.#filled = true;
    if (chosen) this.#picker.choose(chosen);
  }

  /** What the server can do decides which ways there are, and whether there is a choice. */
  #offerWays() {
    const can = this.#catalog.capabilities ?? {};
    const both = can.supports_generate_stream && can.supports_generate !== false;
    byId("ways").hidden = !(can.allow_generate_mode_toggle && both);
    byId(can.default_generate_mode === "task" ? "way-task" : "way-stream").checked = true;
    if (can.supports_generate === false && !can.supports_generate_stream) {
      byId("generate").disabled = true;
      showError(this.#error, "This server makes no speech at the moment. What was made before is in your history.");
    }
  }

  get #streams() {
    const streams = this.#catalog.capabilities?.supports_generate_stream ?? false;
    return streams && (byId("ways").hidden || byId("way-stream").checked);
  }

  get #limit() {
    return this.#catalog.capabilities?.max_text_chars ?? Infinity;
  }

  #chooseLanguage(language) {
    if ([...this.#language.options].some(({ value }) => value === language)) this.#language.value = language;
  }

  /** A JavaScript string counts UTF-16 units, which is how the server counts. */
  #count() {
    const length = this.#text.value.trim().length;
    const counter = byId("counter");
    const limit = Number.isFinite(this.#limit) ? ` / ${this.#limit}` : "";
    counter.textContent = `${length}${limit} characters`;
    counter.classList.toggle("near", length > this.#limit - COUNTER_WARNS_AT);
    counter.classList.toggle("over", length > this.#limit);
    this.#text.setAttribute("aria-invalid", String(length > this.#limit));
  }

  /** What is wrong with the form and where, or null. */
  #problem(text, voice) {
    const over = text.length - this.#limit;
    if (!text) return { words: "Type a text first.", field: this.#text };
    if (over > 0) {
      const words = `Text cannot exceed ${this.#limit} characters. Shorten it by ${over}.`;
      return { words, field: this.#text };
    }
    return voice ? null : { words: this.#trouble ?? "Choose a voice first.", field: this.#picker };
  }

  #start() {
    if (this.#run || byId("generate").disabled) return;
    const text = this.#text.value.trim();
    const voice = this.#picker.chosen;
    const problem = this.#problem(text, voice);
    showError(this.#error, problem?.words);
    if (problem) problem.field.focus();
    else this.#follow({ voice_id: voice.id, text, language: this.#language.value }, voice.name);
  }

  /** A new generation. */
  #follow(order, voice) {
    if (!this.#run) this.#through({ user: this.#user, order, voice, streams: this.#streams });
  }

  /** A generation from `state` to its end, with what it does on the page. */
  async #through(state) {
    const run = new Run({ ...this.#parts, show: this.#showing(() => run) }, state);
    this.#run = this.#last = run;
    this.#keep();
    showError(this.#error, null);
    this.#clearMeters(state.streams);
    this.#showBusy();
    byId("generate-status").scrollIntoView({ block: "nearest" });
    try {
      await run.go();
    } catch (error) {
      this.#report(run, error);
    }
    this.#end(run);
  }

  /** How a run shows itself, for as long as no newer one has the page. */
  #showing(run) {
    const mine = () => this.#last === run();
    return {
      say: (words) => mine() && (byId("generate-status").textContent = words),
      meter: (name, milliseconds) => mine() && (byId(`meter-${name}`).textContent = measured(milliseconds)),
      progress: (seconds, estimate) => mine() && this.#showProgress(seconds, estimate),
      known: () => this.#keep(),
    };
  }

  async #stop() {
    const run = this.#run;
    this.#end(run);
    try {
      await run.stop();
    } catch (error) {
      showError(this.#error, `The server did not stop: ${error.message}`);
    }
  }

  #report(run, error) {
    const say = (words) => { if (this.#last === run) byId("generate-status").textContent = words; };
    if (run.stopped) {
      // Stopping ends every wait with an error. Without a task the request itself failed, so nothing is being made.
      if (!run.state.taskId) say("Stopped.");
      else if (error.name !== "AbortError") showError(this.#error, `The server did not stop: ${error.message}`);
      return;
    }
    this.#parts.player.end(run.item);
    if (error.name === "AbortError") {
      say("Another recording is playing. This one is still being made and will be in your history.");
      return;
    }
    say("");
    showError(this.#error, error.message);
  }

  #end(run) {
    if (this.#run !== run) return;
    this.#run = null;
    this.#keep();
    this.#showBusy();
  }

  #showBusy() {
    const busy = Boolean(this.#run);
    const focused = document.activeElement;
    byId("generate").hidden = busy;
    byId("stop").hidden = !busy;
    byId("again").hidden = busy || !this.#last;
    // The button that was pressed goes away; without this the keyboard would be nowhere.
    if (focused?.hidden) byId(busy ? "stop" : "generate").focus();
  }

  #showProgress(seconds, estimate) {
    byId("progress").hidden = seconds === null;
    if (seconds === null) return;
    const bar = byId("progress-bar");
    if (estimate > seconds) bar.value = seconds / estimate;
    else bar.removeAttribute("value"); // longer than usual: how long nobody knows
    byId("progress-words").textContent = estimate ? `${clock(seconds)}, usually about ${clock(estimate)}` : clock(seconds);
  }

  #clearMeters(streams) {
    byId("meters").hidden = false;
    byId("meter-received").parentElement.hidden = !streams;
    for (const name of ["first", "received", "total"]) byId(`meter-${name}`).textContent = "–";
  }

  /** What a reload needs: the form, and the run for as long as it goes on or is heard. */
  #keep() {
    const { player } = this.#parts;
    remember("form", {
      user: this.#user,
      text: this.#text.value,
      voice: this.#picker.chosen?.id ?? remembered("form")?.voice,
      language: this.#language.value,
    });
    const run = this.#run ?? this.#last;
    const heard = Boolean(run) && player.holds(run.item) && !player.ended;
    if (heard) Object.assign(run.state, { position: player.position, paused: !player.playing });
    remember("run", this.#run || (heard && !run.stopped) ? run.state : null);
  }

  #restore() {
    const [form, run] = [remembered("form"), remembered("run")];
    if (form?.user === this.#user) {
      this.#text.value = form.text;
      this.#chooseLanguage(form.language);
      this.#reloaded = performance.getEntriesByType("navigation")[0]?.type === "reload";
    }
    this.#count();
    if (run?.user === this.#user) this.#through(run);
  }
}
