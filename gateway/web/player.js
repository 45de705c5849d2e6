// The player at the foot of the page: one <audio> element that everything is heard through.

import { byId, clock, download, icon } from "./dom.js";
import { Envelope } from "./envelope.js";
import { LiveFeed } from "./feed.js";
import { Waveform } from "./waveform.js";

/** Seconds a step of the arrow keys moves the position. */
const SEEK_STEP_SECONDS = 1;

/**
 * Milliseconds from the first bytes to the start of playback, unless there is enough before. Chromium takes about
 * 100 ms of sound ahead of what is heard (measured at `waiting`), so a speech that arrives at exactly its own pace
 * would stop after the first piece. Below the 150 ms in which a first sound still feels immediate.
 */
const HOLD_MS = 105;

/** Seconds of sound with which playback starts at once: more than a piece of a speech that arrives at its own pace. */
const ENOUGH_SECONDS = 0.6;

/**
 * What is playing: `title` and `subtitle` for people, `download()` (resolving to an address) when it can be kept,
 * `live` while more of it is still being made.
 */
export class Player {
  #dock = byId("dock");
  #audio = byId("audio");
  #toggle = byId("dock-toggle");
  #seek = byId("dock-seek");
  #download = byId("dock-download");
  #wave = new Waveform(byId("dock-wave"));
  #envelope = new Envelope(() => {});
  #feed = null;
  #item = null;
  #frame = 0;
  #held = false; // playback is wanted and waits for its first sound
  #hold = 0;
  #replaced = new AbortController(); // of the recording shown: aborted when the next one begins
  #stillness = matchMedia("(prefers-reduced-motion: reduce)");

  /** Called with words when a recording cannot be played. */
  onError = () => {};

  constructor() {
    this.#download.append(icon("download"));
    this.#download.setAttribute("aria-label", "Download this recording");
    this.#toggle.addEventListener("click", () => this.#playOrPause());
    this.#seek.addEventListener("input", () => this.#moveTo(Number(this.#seek.value)));
    this.#download.addEventListener("click", () => this.#save());
    for (const name of ["play", "pause", "ended", "playing", "waiting"]) {
      this.#audio.addEventListener(name, () => this.#showState());
    }
    for (const name of ["timeupdate", "durationchange", "progress", "seeked"]) {
      this.#audio.addEventListener(name, () => this.#draw());
    }
    this.#audio.addEventListener("error", () => this.#reportError());
    addEventListener("resize", () => this.#draw());
  }

  /** Seconds of sound that have reached this page. */
  get received() {
    const { buffered } = this.#audio;
    return buffered.length > 0 ? buffered.end(buffered.length - 1) : 0;
  }

  get position() {
    return this.#audio.currentTime;
  }

  get ended() {
    return this.#audio.ended;
  }

  /** Whether it plays, or will as soon as there is something to hear. */
  get playing() {
    return this.#held || (!this.#audio.paused && !this.#audio.ended);
  }

  /**
   * Make ready for bytes that are still to come, and ask for playback at once: browsers allow it now, in the press of
   * a key or button, and not a second later. `append` what arrives, then `finish`. `firstSound` resolves to the time
   * (performance.now()) at which the speech is first heard. With `at` it goes on at that second, where it was `paused`
   * only when asked to.
   */
  startLive(item, { at = 0, paused = false } = {}) {
    this.#begin(item);
    const feed = new LiveFeed(this.#audio);
    const envelope = new Envelope(() => this.#draw());
    this.#feed = feed;
    this.#envelope = envelope;
    if (at > 0) this.#audio.currentTime = at; // counts once there is something to go to
    if (!paused) {
      this.#play(); // for the browser's permission only; the first bytes start it
      this.#audio.pause();
      this.#held = true;
    }
    return {
      firstSound: this.#nextSound(),
      append: async (bytes) => {
        if (this.received >= at) this.#holdFromNow();
        await feed.append(bytes);
        if (this.received >= at + ENOUGH_SECONDS) this.#startHeld();
        envelope.push(bytes);
      },
      finish: () => {
        if (feed.abandoned) return;
        feed.finish();
        envelope.finish();
        this.#startHeld();
      },
    };
  }

  /** Play an address, from `at` seconds on; `blob` is what is there, if the page has it. Answers {firstSound} as startLive. */
  startUrl(url, item, { at = 0, paused = false, blob = null } = {}) {
    this.#begin(item);
    this.#audio.src = url;
    this.#envelope = new Envelope(() => this.#draw());
    this.#envelope.outline(blob ?? url, this.#replaced.signal);
    if (at > 0) this.#once("loadedmetadata", () => this.#moveTo(at));
    if (!paused) this.#play();
    return { firstSound: this.#nextSound() };
  }

  /** The recording is complete and stored: `changes` are merged into what is known of it. */
  update(item, changes) {
    Object.assign(item, changes);
    if (item === this.#item) this.#showItem();
  }

  /** Whether `item` is what the dock shows. */
  holds(item) {
    return this.#item === item;
  }

  /** Stop playing `item`. What arrived can be played again, unless the element itself would go on fetching more. */
  stop(item) {
    if (!this.holds(item)) return;
    this.#held = false;
    this.#audio.pause();
    if (this.#feed) this.end(item);
    else this.#close();
  }

  /** No more of `item` will come. What arrived plays on; the dock goes away when that is nothing. */
  end(item) {
    if (!this.holds(item)) return;
    this.#feed?.finish();
    this.update(item, { live: false });
    if (this.received === 0) this.#close();
  }

  #begin(item) {
    this.#replaced.abort();
    this.#replaced = new AbortController();
    this.#feed?.abandon();
    this.#feed = null;
    this.#envelope = new Envelope(() => {});
    this.#item = item;
    this.#held = false;
    clearTimeout(this.#hold);
    this.#hold = 0;
    this.#audio.pause();
    this.#dock.hidden = false;
    document.body.classList.add("has-dock");
    this.#showItem();
  }

  #close() {
    this.#replaced.abort();
    this.#feed?.abandon();
    this.#feed = null;
    this.#audio.removeAttribute("src");
    this.#audio.load();
    this.#dock.hidden = true;
    document.body.classList.remove("has-dock");
  }

  #play() {
    this.#audio.play().catch((error) => {
      if (error.name === "NotAllowedError") this.onError("Your browser wants one more press: choose Play below.");
      // AbortError: the next recording took the element. NotSupportedError arrives at its error event as well.
      else if (error.name !== "AbortError" && error.name !== "NotSupportedError") throw error;
    });
  }

  #holdFromNow() {
    if (this.#held) this.#hold ||= setTimeout(() => this.#startHeld(), HOLD_MS);
  }

  #startHeld() {
    if (!this.#held) return;
    clearTimeout(this.#hold);
    this.#held = false;
    this.#play();
    this.#showState();
  }

  #nextSound() {
    return new Promise((resolve) => {
      this.#once("playing", () => resolve(performance.now()));
    });
  }

  /** Listen for the next `name` event of this recording, not of the one that may replace it. */
  #once(name, listener) {
    this.#audio.addEventListener(name, listener, { once: true, signal: this.#replaced.signal });
  }

  #playOrPause() {
    if (this.playing) {
      this.#held = false;
      this.#audio.pause();
      this.#showState();
      return;
    }
    if (this.#audio.ended) this.#moveTo(0);
    this.#play();
  }

  /** Go to `seconds`, or to the nearest second that is still there: a long live speech forgets its beginning. */
  #moveTo(seconds) {
    const { buffered } = this.#audio;
    const first = this.#feed && buffered.length > 0 ? buffered.start(0) : 0;
    this.#audio.currentTime = Math.max(first, Math.min(seconds, this.#length() || seconds));
    this.#draw();
  }

  #length() {
    const { duration } = this.#audio;
    return Number.isFinite(duration) ? duration : this.received;
  }

  async #save() {
    const item = this.#item;
    try {
      download(await item.download(), item.title);
    } catch (error) {
      this.onError(error.message);
    }
  }

  #reportError() {
    // Taking the address away from the element is reported as an error too, with nothing wrong.
    if (!this.#audio.getAttribute("src")) return;
    if (this.#item?.onError) this.#item.onError();
    else this.onError("This recording cannot be played right now. Please try again.");
  }

  #showItem() {
    byId("dock-title").textContent = this.#item.title;
    byId("dock-subtitle").textContent = this.#item.subtitle ?? "";
    this.#download.hidden = !this.#item.download;
    this.#dock.dataset.live = String(Boolean(this.#item.live));
    this.#showState();
  }

  #showState() {
    const playing = this.playing;
    const shown = playing ? "pause" : "play";
    if (this.#toggle.dataset.shows !== shown) {
      this.#toggle.dataset.shows = shown;
      this.#toggle.replaceChildren(icon(shown));
      this.#toggle.setAttribute("aria-label", playing ? "Pause" : "Play");
    }
    this.#draw();
    if (playing && !this.#stillness.matches && !this.#frame) this.#animate();
  }

  #animate() {
    this.#frame = requestAnimationFrame(() => {
      this.#frame = 0;
      this.#draw();
      if (this.playing) this.#animate();
    });
  }

  #draw() {
    if (this.#dock.hidden) return;
    const length = this.#length();
    const span = Waveform.span(length, Boolean(this.#item.live)) || 1;
    const { currentTime } = this.#audio;
    this.#wave.draw({ bars: this.#envelope.bars, span, position: currentTime });
    this.#seek.max = String(span);
    this.#seek.step = String(SEEK_STEP_SECONDS / 100);
    this.#seek.value = String(currentTime);
    this.#seek.setAttribute("aria-valuetext", `${clock(currentTime)} of ${clock(length)}`);
    byId("dock-position").textContent = clock(currentTime);
    byId("dock-duration").textContent = clock(length);
  }
}
