// Bytes into an <audio> element while they arrive: one MediaSource with one MP3 buffer.

const MP3 = "audio/mpeg";

/** Seconds kept behind the play head when room must be made, so that a short step back still works. */
const KEEP_BEHIND_SECONDS = 10;

/** What was asked of a feed that something else has replaced. */
const replaced = () => new DOMException("another recording is playing", "AbortError");

export class LiveFeed {
  /** Whether this browser plays MP3 from a MediaSource. Firefox does not. */
  static get supported() {
    return globalThis.MediaSource?.isTypeSupported(MP3) ?? false;
  }

  #audio;
  #source = new MediaSource();
  #buffer = null;
  #opened;
  #gone = new AbortController();

  constructor(audio) {
    this.#audio = audio;
    this.#opened = happens(this.#source, "sourceopen", this.#gone.signal).then(() => {
      this.#buffer = this.#source.addSourceBuffer(MP3);
    });
    this.#opened.catch(() => {}); // `append` awaits it and reports; an unused feed must not count as unhandled
    const address = URL.createObjectURL(this.#source);
    audio.src = address;
    this.#opened.finally(() => URL.revokeObjectURL(address)).catch(() => {});
  }

  /** True once another recording took the element. */
  get abandoned() {
    return this.#gone.signal.aborted;
  }

  /**
   * Hand over the next bytes; resolves when the buffer took them. Callers wait for it before they read on, so one
   * piece at most is held here, and the network does the waiting. Throws AbortError once abandoned, and Error when
   * the browser cannot decode.
   */
  async append(bytes) {
    await this.#opened;
    while (!this.#tryAppend(bytes)) await this.#makeRoom();
    await this.#settled();
  }

  /** No more bytes will come: playback ends where they end. */
  finish() {
    if (this.#buffer?.updating) {
      // Somebody pressed Stop in the middle of an append; a source cannot end before the buffer has taken it.
      this.#buffer.addEventListener("updateend", () => this.finish(), { once: true });
      return;
    }
    if (this.#source.readyState === "open") this.#source.endOfStream();
  }

  /** The element belongs to another recording now. */
  abandon() {
    this.#gone.abort(replaced());
  }

  #tryAppend(bytes) {
    this.#gone.signal.throwIfAborted();
    if (this.#source.readyState !== "open") throw new Error("This browser cannot play the audio it received.");
    try {
      this.#buffer.appendBuffer(bytes);
    } catch (error) {
      if (error.name === "QuotaExceededError") return false;
      throw error;
    }
    return true;
  }

  /** The buffer is full (12 MiB in Chromium): drop what was played, or wait until more of it was. */
  async #makeRoom() {
    const end = this.#audio.currentTime - KEEP_BEHIND_SECONDS;
    const { buffered } = this.#buffer;
    if (buffered.length > 0 && end > buffered.start(0)) {
      this.#buffer.remove(0, end);
      await this.#settled();
    } else {
      await happens(this.#audio, "timeupdate", this.#gone.signal);
    }
  }

  #settled() {
    return happens(this.#buffer, "updateend", this.#gone.signal);
  }
}

/** Resolves at the next `name` event of `target`; rejects when `signal` aborts first. */
export function happens(target, name, signal) {
  return new Promise((resolve, reject) => {
    if (signal.aborted) reject(signal.reason);
    const leave = () => reject(signal.reason);
    signal.addEventListener("abort", leave, { once: true });
    target.addEventListener(name, (event) => {
      signal.removeEventListener("abort", leave);
      resolve(event);
    }, { once: true });
  });
}
