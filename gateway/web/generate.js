// The Generate page: text, voice and language in, speech out.

import { ApiError } from "./api.js";
import { byId, element, measured, showError } from "./dom.js";
import { LiveFeed } from "./feed.js";
import { VoicePicker } from "./picker.js";
import { completion, follow, openStream, openTask, StreamLost } from "./speech.js";

/** UTF-16 units below the limit at which the counter starts to stand out. */
const COUNTER_WARNS_AT = 100;

export class GenerateView {
  #api;
  #player;
  #catalog;
  #picker;
  #run = null;
  #text = byId("text");
  #language = byId("language");
  #error = byId("generate-error");

  constructor({ api, player, catalog }) {
    this.#api = api;
    this.#player = player;
    this.#catalog = catalog;
    this.#picker = new VoicePicker({ api, player, onError: (error) => showError(this.#error, error.message) });
    const languages = catalog.spoken_languages ?? catalog.languages;
    this.#language.append(...languages.map((name) => element("option", { value: name }, name)));
    this.#language.value = catalog.default;
    byId("composer").addEventListener("submit", (event) => {
      event.preventDefault();
      this.#start();
    });
    byId("stop").addEventListener("click", () => this.#stop());
    this.#text.addEventListener("input", () => this.#count());
    this.#text.addEventListener("keydown", (event) => {
      if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) this.#start();
    });
    this.#count();
  }

  /** Open the page, filled with what the address names (`voice`, `text`, `language`). */
  async show(query) {
    if (query.has("text")) {
      this.#text.value = query.get("text");
      this.#count();
    }
    const language = query.get("language");
    if ([...this.#language.options].some(({ value }) => value === language)) this.#language.value = language;
    try {
      this.#picker.show(await this.#api.voices(), this.#catalog.provider);
    } catch (error) {
      showError(this.#error, error.message);
    }
    if (query.has("voice")) this.#picker.choose(query.get("voice"));
  }

  get #limit() {
    return this.#catalog.capabilities?.max_text_chars ?? Infinity;
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
    return voice ? null : { words: "Choose a voice first.", field: this.#picker };
  }

  async #start() {
    if (this.#run) return;
    const text = this.#text.value.trim();
    const voice = this.#picker.chosen;
    const problem = this.#problem(text, voice);
    showError(this.#error, problem?.words);
    if (problem) {
      problem.field.focus();
      return;
    }
    const run = new Run({ voice, text, language: this.#language.value });
    this.#run = run;
    this.#showBusy();
    this.#clearMeters();
    try {
      if (this.#catalog.capabilities?.supports_generate_stream) await this.#speakLive(run);
      else await this.#speakWhenReady(run);
    } catch (error) {
      this.#report(run, error);
    }
    this.#end(run);
  }

  async #speakLive(run) {
    const live = LiveFeed.supported ? this.#player.startLive(run.item) : null;
    this.#say(run, "Waiting for the voice…");
    const opened = await openStream(this.#api, run.order);
    run.opened(opened);
    if (run.stopped) {
      opened.line.abort();
      await this.#cancel(run);
      return;
    }
    this.#say(run, "Speaking while it is being made.");
    if (live) await this.#hear(run, opened, live);
    else this.#hearAddress(run, opened);
    await this.#settle(run);
  }

  /** Play from the bytes of the answer itself; where those cannot be had any more, from the store. */
  async #hear(run, opened, live) {
    live.firstSound.then((at) => this.#meter(run, "first", at - run.pressedAt));
    try {
      await follow(this.#api, opened, {
        signal: run.signal,
        append: async (bytes) => {
          await live.append(bytes);
          this.#meterReceived(run);
        },
        onBreak: () => this.#say(run, "The connection broke. Picking up where it stopped…"),
        onResume: () => this.#say(run, "Back. Speaking while it is being made."),
      });
      this.#meter(run, "total", performance.now() - run.pressedAt);
    } catch (error) {
      if (!(error instanceof StreamLost)) throw error;
      run.incomplete = true;
      this.#say(run, "The live connection is lost. Waiting for the recording instead…");
    } finally {
      live.finish();
    }
  }

  /** Without MP3 in MediaSource the <audio> element follows the stream by itself, at its signed address. */
  #hearAddress(run, opened) {
    run.item.onError = () => { run.incomplete = true; };
    const { firstSound } = this.#player.startUrl(opened.streamUrl, run.item);
    firstSound.then((at) => this.#meter(run, "first", at - run.pressedAt));
    opened.line.abort();
  }

  /** Wait until the recording is stored; play on from there when the live way ended early. */
  async #settle(run) {
    const position = () => this.#player.position;
    await completion(this.#api, run.taskId, { signal: run.signal, onWait: () => this.#meterReceived(run) });
    this.#meterReceived(run);
    if (!run.metered.has("total")) this.#meter(run, "total", performance.now() - run.pressedAt);
    const download = () => this.#api.audioUrl(run.generationId);
    this.#player.update(run.item, { live: false, download });
    if (run.incomplete && this.#player.holds(run.item)) {
      run.item.onError = null;
      this.#player.startUrl(await download(), run.item, { at: position() });
    }
    this.#say(run, "Done. The recording is in your history.");
  }

  /** The way without live streaming: wait for the whole recording, then play it. */
  async #speakWhenReady(run) {
    this.#say(run, "Making the recording. It plays when it is ready.");
    run.opened(await openTask(this.#api, run.order));
    if (run.stopped) {
      await this.#cancel(run);
      return;
    }
    await completion(this.#api, run.taskId, { signal: run.signal });
    const url = await this.#api.audioUrl(run.generationId);
    run.item.live = false;
    run.item.download = () => this.#api.audioUrl(run.generationId);
    const { firstSound } = this.#player.startUrl(url, run.item);
    firstSound.then((at) => this.#meter(run, "first", at - run.pressedAt));
    this.#meter(run, "total", performance.now() - run.pressedAt);
    this.#say(run, "Done. The recording is in your history.");
  }

  async #stop() {
    const run = this.#run;
    this.#player.stop(run.item);
    run.stop();
    this.#say(run, "Stopping…");
    this.#end(run);
    // Before the answer came there is no task to name; it is cancelled as soon as it is known.
    if (run.taskId) await this.#cancel(run);
  }

  async #cancel(run) {
    try {
      await this.#api.cancelTask(run.taskId);
      this.#say(run, "Stopped.");
    } catch (error) {
      const over = error instanceof ApiError && error.status === 400;
      this.#say(run, over ? "Stopped. It was already made: see History." : "");
      if (!over) showError(this.#error, `The server did not stop: ${error.message}`);
    }
  }

  #report(run, error) {
    if (run.stopped) {
      // Stopping ends every wait with an error. Without a task the request itself failed, so nothing is being made.
      if (!run.taskId) this.#say(run, "Stopped.");
      return;
    }
    this.#player.end(run.item);
    if (error.name === "AbortError") {
      this.#say(run, "Another recording is playing. This one is still being made and will be in your history.");
      return;
    }
    this.#say(run, "");
    showError(this.#error, error.message);
  }

  #end(run) {
    if (this.#run !== run) return;
    this.#run = null;
    this.#showBusy();
  }

  #showBusy() {
    const busy = Boolean(this.#run);
    const hadFocus = document.activeElement === byId(busy ? "generate" : "stop");
    byId("generate").hidden = busy;
    byId("stop").hidden = !busy;
    // The button that was pressed goes away; without this the keyboard would be nowhere.
    if (hadFocus) byId(busy ? "stop" : "generate").focus();
  }

  /** Progress in words, unless a newer run has the page. */
  #say(run, words) {
    if (!this.#run || this.#run === run) byId("generate-status").textContent = words;
  }

  #clearMeters() {
    byId("meters").hidden = false;
    for (const name of ["first", "received", "total"]) byId(`meter-${name}`).textContent = "–";
  }

  #meter(run, name, milliseconds) {
    if (run.stopped || (this.#run && this.#run !== run)) return;
    run.metered.add(name);
    byId(`meter-${name}`).textContent = measured(milliseconds);
  }

  #meterReceived(run) {
    if (this.#player.holds(run.item)) this.#meter(run, "received", this.#player.received * 1000);
  }
}

/** One press of Generate and what is known of it so far. */
class Run {
  pressedAt = performance.now();
  metered = new Set();
  taskId = null;
  generationId = null;
  /** The live way ended before the speech did. */
  incomplete = false;
  #control = new AbortController();

  constructor({ voice, text, language }) {
    this.order = { voice_id: voice.id, text, language };
    this.item = { title: voice.name, subtitle: text, live: true, fileName: `${voice.name}.mp3` };
  }

  get signal() {
    return this.#control.signal;
  }

  get stopped() {
    return this.#control.signal.aborted;
  }

  opened({ taskId, generationId }) {
    this.taskId = taskId;
    this.generationId = generationId;
  }

  stop() {
    this.#control.abort();
  }
}
