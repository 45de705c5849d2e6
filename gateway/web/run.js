// The course of one generation, from the press of Generate to sound that is stored, whatever breaks on the way.
//
// A second generation is never begun while the first may still deliver: a lost answer is asked for again under the key
// of the first, a broken stream is resumed where it stopped, then the task is waited for. Only when the server says
// that it failed is the text made again, the former way, and the listener told that this is charged again.

import { ApiError } from "./api.js";
import { states } from "./events.js";
import { LiveFeed } from "./feed.js";
import { follow, newKey, openStream, openTask, sameOrigin, StreamLost } from "./speech.js";

/** The server gave up on this generation. `message` is for people. */
export class GenerationFailed extends Error {
  constructor(task) {
    super(task.error ?? "The generation did not finish.");
    this.status = task.status;
  }
}

const RECORDING = "Making the recording. It plays when it is ready.";
const REPEATED = "The live speech failed. It is made again as a recording, which is charged again.";

/** Milliseconds since 1970 that a reload does not begin anew, as performance.now() does. */
export const now = () => performance.timeOrigin + performance.now();

export class Run {
  /** Plain data, kept across a reload: what was ordered, which way, and what is known of it by now. */
  state;
  item;
  #api;
  #player;
  #show;
  #catalog;
  #control = new AbortController();
  #incomplete = false; // the live way ended before the speech did
  #said = "";

  /**
   * `state` is {order, voice, streams} at first. `show` has say(words), meter(name, milliseconds), known() when there
   * is more to keep, and progress(seconds, estimate), whose null says that there is none to show.
   */
  constructor({ api, player, catalog, show }, state) {
    this.#api = api;
    this.#player = player;
    this.#catalog = catalog;
    this.#show = show;
    this.state = { key: newKey(), pressedAt: now(), position: 0, paused: false, ...state };
    this.item = { title: state.voice, subtitle: state.order.text, live: true };
  }

  get stopped() {
    return this.#control.signal.aborted;
  }

  /** Resolves when the recording is stored. Throws GenerationFailed, what the requests throw, or the reason of a stop. */
  async go() {
    if (!this.state.streams) return this.#record(this.state.again ? REPEATED : RECORDING);
    try {
      return await this.#live();
    } catch (error) {
      if (await this.#isOff(error)) return this.#record("Live speech is switched off, so this is made as a recording.");
      if (error instanceof GenerationFailed && error.status === "failed") return this.#repeat();
      throw error;
    }
  }

  /** End it: here at once, and at the server as soon as it is known there. */
  async stop() {
    this.#player.stop(this.item);
    this.#control.abort();
    this.#show.progress(null);
    this.#say("Stopping…");
    if (this.state.taskId) await this.#cancel();
  }

  async #live() {
    const { state } = this;
    const again = Boolean(state.generationId);
    const live = LiveFeed.supported ? this.#player.startLive(this.item, this.#where()) : null;
    this.#say(again ? "Picking up where you left…" : "Waiting for the voice…");
    const opened = again
      ? { generationId: state.generationId, line: new AbortController() }
      : await openStream(this.#api, state.order, state.key, this.#control.signal);
    if (!again) this.#know({ taskId: opened.taskId, generationId: opened.generationId });
    if (this.stopped) {
      opened.line.abort();
      return this.#cancel();
    }
    if (live) await this.#hear(opened, live);
    else await this.#hearAddress(opened);
    return this.#settle();
  }

  /** Play from the bytes of the answer itself; where those cannot be had any more, from the store. */
  async #hear(opened, live) {
    const speaking = "Speaking while it is being made.";
    if (opened.response) this.#say(speaking);
    this.#meterFirst(live);
    try {
      await follow(this.#api, opened, {
        signal: this.#control.signal,
        append: async (bytes) => {
          await live.append(bytes);
          this.#meterReceived();
        },
        onBreak: () => this.#say("The connection broke. Picking up where it stopped…"),
        onResume: () => this.#say(speaking),
      });
      this.#meterTotal();
    } catch (error) {
      if (!(error instanceof StreamLost)) throw error;
      this.#incomplete = true;
      this.#say("The live connection is lost. Waiting for the recording instead…");
    } finally {
      live.finish();
    }
  }

  /** Without MP3 in MediaSource the <audio> element follows the stream by itself, at its signed address. */
  async #hearAddress({ streamUrl, line }) {
    const address = streamUrl ?? (await this.#api.task(this.state.taskId)).stream_url;
    line.abort();
    this.item.onError = () => { this.#incomplete = true; };
    if (!address) this.#incomplete = true; // it has ended, and the task says how
    else this.#meterFirst(this.#player.startUrl(sameOrigin(address), this.item, this.#where()));
    this.#say("Speaking while it is being made.");
  }

  /** Wait until the recording is stored; play on from there when the live way ended early. */
  async #settle() {
    await this.#completion(() => this.#meterReceived());
    this.#meterReceived();
    this.#meterTotal();
    // What the <audio> element fetches by itself may break later still.
    this.item.onError = LiveFeed.supported ? null : () => this.#playStored();
    if (this.#incomplete) await this.#playStored();
    this.#store();
  }

  /** Play on from the store, where it is heard still. */
  async #playStored() {
    this.item.onError = null;
    const at = Math.max(this.#player.position, this.state.position);
    const { paused } = this.state;
    try {
      const address = await this.#download();
      if (this.#player.holds(this.item)) this.#player.startUrl(address, this.item, { at, paused });
    } catch (error) {
      this.#player.onError(error.message);
    }
  }

  /** The way without live streaming: wait for the whole recording, then play it. */
  async #record(words) {
    const { state } = this;
    this.#say(words);
    if (!state.taskId) {
      const task = await openTask(this.#api, state.order, state.key, this.#control.signal);
      this.#know({ ...task, beganAt: now() });
    }
    if (this.stopped) return this.#cancel();
    const progress = () => this.#show.progress((now() - state.beganAt) / 1000, state.estimate);
    const tick = setInterval(progress, 1000);
    progress();
    try {
      await this.#completion();
    } finally {
      clearInterval(tick);
      this.#show.progress(null);
    }
    Object.assign(this.item, { live: false, onError: null });
    this.#meterFirst(this.#player.startUrl(await this.#download(), this.item, this.#where()));
    this.#meterTotal();
    return this.#store();
  }

  #repeat() {
    this.#player.end(this.item);
    Object.assign(this.state, { streams: false, key: newKey(), taskId: null, generationId: null, position: 0, again: true });
    this.#show.known();
    return this.#record(REPEATED);
  }

  /** Whether the server does not stream now although it did when this page asked what it can do. */
  async #isOff(error) {
    if (!(error instanceof ApiError) || error.status !== 409 || this.state.taskId) return false;
    Object.assign(this.#catalog, await this.#api.languages());
    const off = !this.#catalog.capabilities?.supports_generate_stream;
    if (off) this.state.streams = false;
    return off;
  }

  async #completion(onState = () => {}) {
    const signal = this.#control.signal;
    let last = null;
    let before = null;
    const onTrouble = (away) => {
      if (away) {
        before ??= this.#said;
        this.#say("The server cannot be reached. Trying again; what it has begun goes on meanwhile…");
      } else if (before) {
        this.#say(before);
        before = null;
      }
    };
    for await (last of states(this.#api, this.state.taskId, { signal, onTrouble })) onState(last);
    if (last.status !== "completed") throw new GenerationFailed(last);
  }

  async #cancel() {
    try {
      await this.#api.cancelTask(this.state.taskId);
      this.#say("Stopped.");
    } catch (error) {
      if (!(error instanceof ApiError) || error.status !== 400) throw error;
      this.#say("Stopped. It was already made: see History.");
    }
  }

  #know(facts) {
    Object.assign(this.state, facts);
    this.#show.known();
  }

  #store() {
    this.#player.update(this.item, { live: false, download: () => this.#download() });
    const twice = this.state.again ? ", at the second attempt, which is charged again" : "";
    this.#say(`Done${twice}. The recording is in your history.`);
  }

  #download() {
    return this.#api.audioUrl(this.state.generationId);
  }

  /** Where playback goes on after a reload. */
  #where() {
    return { at: this.state.position, paused: this.state.paused };
  }

  #say(words) {
    this.#said = words;
    this.#show.say(words);
  }

  #meterFirst({ firstSound }) {
    firstSound.then((at) => this.#meterOnce("first", performance.timeOrigin + at));
  }

  #meterTotal() {
    this.#meterOnce("total", now());
  }

  /** Times of the first run through, which a reload does not change. */
  #meterOnce(name, at) {
    if (this.stopped) return;
    this.state[name] ??= at - this.state.pressedAt;
    this.#show.meter(name, this.state[name]);
  }

  #meterReceived() {
    if (!this.stopped && this.#player.holds(this.item)) this.#show.meter("received", this.#player.received * 1000);
  }
}
