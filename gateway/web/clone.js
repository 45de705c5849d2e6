// Cloning: a recording by file or microphone, the words in it, and a voice in return.

import { ApiError } from "./api.js";
import { element, showError, whileBusy } from "./dom.js";
import { complete, field, languageSelect, textInput } from "./forms.js";
import { Microphone } from "./microphone.js";
import { read } from "./recording.js";
import { Take } from "./take.js";
import { upload } from "./upload.js";
import { dollars, providerName } from "./voice.js";

/** Limits of the server, in UTF-16 units; it has none for the words of a recording but those of a minute's speech. */
const NAME_UNITS = 100;
const WORDS_UNITS = 5000;

/** Statuses that the same recording, text or link would meet again. */
const REFUSED = [400, 401, 403, 404, 409, 413];

/** Some fifteen seconds of speech, with most sounds of English. */
const SUGGESTION = "I have always liked to read aloud. On winter evenings we sat by the fire, and whoever held the book "
  + "decided how the story sounded. Some voices were quick and bright, others calm and deep, and each of them made it "
  + "a different tale.";

export class ClonePanel {
  #api;
  #price;
  #provider;
  #rate;
  #take;
  #microphone;
  #attempt = null; // the upload that a next try goes on with
  #control = null; // of the upload that runs
  #fileBytes;
  #file = element("input", { type: "file", accept: "audio/*,.wav,.mp3,.m4a", class: "sr-only", id: "clone-file" });
  #drop = element("div", { class: "drop" });
  #words = textInput("textarea", WORDS_UNITS, { rows: 5 });
  #name = textInput("input", NAME_UNITS, { type: "text" });
  #language;
  #progress = element("progress", { max: 1, "aria-label": "Upload" });
  #cancel = element("button", { class: "button", type: "button", hidden: true }, "Cancel");
  #submit = element("button", { class: "button primary", type: "submit" }, "Create voice");
  #status = element("p", { class: "status", role: "status" });
  #error = element("p", { class: "error", role: "alert", hidden: true });
  #wrong = element("p", { class: "wrong", role: "alert", hidden: true });
  #form;
  #done = element("div", { class: "done", hidden: true });

  constructor({ api, player, catalog, facts }) {
    this.#api = api;
    this.#price = facts.clone_price_usd;
    this.#provider = providerName(catalog.provider);
    this.#rate = facts.recording.sample_rate;
    this.#fileBytes = facts.recording.max_bytes;
    this.#language = languageSelect(catalog);
    this.#take = new Take({ player, limits: facts.recording });
    this.#take.onChange = () => this.#forget();
    this.#microphone = new Microphone({
      limitSeconds: facts.recording.max_seconds,
      onRecording: (bytes) => this.#show(bytes),
      onRefused: (words) => showError(this.#wrong, words),
    });
    this.#form = this.#make(facts.recording);
    this.root = element("div", { class: "panel" }, this.#form, this.#done);
    this.#listen();
  }

  #make({ advised_seconds: [from, to], max_seconds: most, sample_rate: rate, max_bytes: bytes }) {
    const choose = element("label", { class: "button", for: "clone-file" }, "Choose a file");
    this.#drop.append(this.#file, choose, this.#microphone.root, element("span", { class: "quiet" }, "or drop a file here"));
    const suggest = element("button", {
      class: "button", type: "button", onclick: () => { this.#words.value ||= SUGGESTION; this.#words.focus(); },
    }, "Suggest a text to read");
    const bill = this.#price ? `${this.#provider} bills ${dollars(this.#price)} for a cloned voice, once. ` : "";
    this.#progress.hidden = true;
    return element("form", { class: "studio", novalidate: true },
      element("section", { "aria-labelledby": "clone-recording" },
        element("h2", { id: "clone-recording" }, "Recording"),
        element("p", { class: "quiet" }, `${from} to ${to} seconds of one person speaking, without music or echo. WAV, MP3 or `
          + `M4A of up to ${megabytes(bytes)} and at least ${rate / 1000} kHz, of which up to ${most} seconds are used.`),
        this.#drop, this.#wrong, this.#take.root),
      element("section", { "aria-label": "About the voice" },
        field("clone-words", "What is said in it", this.#words, "Word for word. To record yourself, write it first and read it out."),
        suggest,
        field("clone-name", "Name of the voice", this.#name),
        field("clone-language", "Language", this.#language)),
      element("div", { class: "submit" },
        element("p", { class: "quiet" }, bill || "Making a voice costs nothing here. ", "Only clone voices whose owner agrees."),
        element("div", { class: "view-actions" }, this.#submit, this.#cancel),
        this.#progress, this.#status, this.#error));
  }

  /** Open the panel: with what was left in it, or anew after a voice was made. */
  show() {
    if (this.#done.hidden) return;
    this.#done.hidden = true;
    this.#form.hidden = false;
    this.#submit.textContent = "Create voice";
    this.#take.clear();
    for (const control of [this.#words, this.#name]) control.value = "";
    this.#forget();
  }

  /** Nobody is recorded by a page that they do not see. */
  hide() {
    this.#microphone.stop();
  }

  #listen() {
    this.#file.addEventListener("change", () => this.#open(this.#file.files[0]));
    this.#cancel.addEventListener("click", () => this.#control?.abort());
    for (const name of ["dragover", "dragleave", "drop"]) {
      this.#drop.addEventListener(name, (event) => {
        event.preventDefault();
        this.#drop.classList.toggle("over", name === "dragover");
        if (name === "drop") this.#open(event.dataTransfer.files[0]);
      });
    }
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      whileBusy(this.#submit, () => this.#create());
    });
  }

  async #open(file) {
    this.#file.value = ""; // the same file may be chosen again
    if (!file) return;
    if (file.size > this.#fileBytes) {
      showError(this.#wrong, `This file has ${megabytes(file.size)}; up to ${megabytes(this.#fileBytes)} are taken. Choose `
        + "a shorter one, or record here.");
      return;
    }
    await this.#show(await file.arrayBuffer());
  }

  async #show(bytes) {
    showError(this.#wrong, null);
    try {
      this.#take.show(await read(bytes, this.#rate));
      this.#take.focus();
    } catch (error) {
      showError(this.#wrong, error.message);
    }
  }

  /** Another recording is another upload, and another voice. */
  #forget() {
    this.#attempt = null;
    showError(this.#wrong, null);
  }

  #isComplete() {
    const problem = this.#take.empty ? "Choose a file or record something first." : this.#take.problem;
    showError(this.#wrong, problem);
    const written = complete([this.#words, this.#name]);
    if (problem) (this.#take.empty ? this.#file : this.#take).focus();
    return !problem && written;
  }

  async #create() {
    showError(this.#error, null);
    this.#status.textContent = "";
    if (!this.#isComplete()) return;
    const order = { name: this.#name.value.trim(), transcript: this.#words.value.trim(), language: this.#language.value };
    this.#showBusy(true);
    try {
      this.#finish(order, await this.#produce(order));
    } catch (error) {
      this.#report(error);
    }
    this.#showBusy(false);
  }

  /** A next try goes on where this one fails: what is there is not sent again, and nothing is paid for twice. */
  async #produce(order) {
    this.#say("Asking where to upload…");
    const attempt = (this.#attempt ??= await this.#api.uploadLink(order));
    if (!attempt.uploaded) await this.#send(attempt);
    this.#progress.removeAttribute("value"); // from here on nobody knows how far it is
    this.#say(`${this.#provider} is making the voice. This takes some ten seconds.`);
    return this.#finalize(attempt, order);
  }

  async #send(attempt) {
    this.#control = new AbortController();
    this.#cancel.hidden = false;
    this.#say("Uploading…");
    try {
      const onProgress = (share) => { this.#progress.value = share; };
      await upload(attempt.upload_url, this.#take.wav(), { onProgress, signal: this.#control.signal });
    } catch (error) {
      // There already: the answer to the last try was lost, be it one of ours or of the browser, which repeats a PUT
      // by itself. Nobody else has the address.
      if (error.status !== 409) throw error;
    } finally {
      this.#cancel.hidden = true;
    }
    attempt.uploaded = true;
  }

  async #finalize(attempt, order) {
    try {
      return await this.#api.finalizeClone({ voice_id: attempt.voice_id, ...order });
    } catch (error) {
      const made = attempt.asked && error.status === 409 && await this.#find(attempt.voice_id);
      if (made) return made;
      attempt.asked = true;
      throw error;
    }
  }

  /** The voice that an earlier try has made, whose answer was lost. */
  async #find(voiceId) {
    return (await this.#api.voices()).find(({ id }) => id === voiceId);
  }

  #report(error) {
    this.#say("");
    if (error.name === "AbortError") {
      this.#say("Cancelled. Nothing was made.");
      return;
    }
    // What was refused will be refused again; what broke, or came to no answer, can be gone on with.
    if (error instanceof ApiError && REFUSED.includes(error.status)) this.#attempt = null;
    showError(this.#error, error.message);
    this.#submit.textContent = "Try again";
    this.#submit.focus();
  }

  #say(words) {
    this.#status.textContent = words;
  }

  #showBusy(busy) {
    for (const section of this.#form.querySelectorAll("section")) section.inert = busy;
    this.#progress.hidden = !busy;
    this.#progress.value = 0;
  }

  #finish({ name }, { id, warning }) {
    this.#say("");
    const title = element("h2", { tabindex: "-1" }, `${name} is ready.`);
    this.#done.replaceChildren(title,
      element("p", { class: warning ? "reason" : "quiet" }, warning ?? "It is the first of your voices now."),
      element("p", { class: "view-actions" },
        element("a", { class: "button primary", href: `/generate?voice=${id}`, "data-link": true }, "Use it"),
        element("button", { class: "button", type: "button", onclick: () => this.show() }, "Clone another")));
    this.#form.hidden = true;
    this.#done.hidden = false;
    title.focus();
  }
}

function megabytes(bytes) {
  return `${(bytes / 1e6).toFixed(1)} MB`;
}
