// Designing: a description and a text to hear it by. Each try is made, paid for and kept here until one is saved.

import { element, icon, remember, remembered, showError, whileBusy } from "./dom.js";
import { states } from "./events.js";
import { complete, field, languageSelect, textInput } from "./forms.js";
import { dollars, providerName } from "./voice.js";

/** Limits of the server, in UTF-16 units. */
const DESIGN_UNITS = 500;
const NAME_UNITS = 100;

/** As many tries are kept when the page is loaded again: they are paid for. Only in this tab, and the newest of them. */
const TRIES_LIMIT = 8;

/** A try came to nothing. `message` is for people. */
class NotMade extends Error {}

const WORKING = "Designing the voice. This takes some ten seconds.";

export class DesignPanel {
  #api;
  #player;
  #price;
  #sendsAudio;
  #tries = remembered("designs") ?? []; // newest first: {task, number, instruct, text, language, made}
  #rows = new Map(); // the row of each, by its task
  #description = textInput("textarea", DESIGN_UNITS, {
    rows: 4, placeholder: "A warm, unhurried narrator with a low voice, for long evenings",
  });
  #text = textInput("textarea", DESIGN_UNITS, { rows: 3 });
  #language;
  #submit = element("button", { class: "button primary", type: "submit" }, "Design and listen");
  #status = element("p", { class: "status", role: "status" });
  #error = element("p", { class: "error", role: "alert", hidden: true });
  #list = element("ol");

  constructor({ api, player, catalog, facts }) {
    this.#api = api;
    this.#player = player;
    this.#price = facts.design_price_usd;
    this.#sendsAudio = catalog.provider === "modal"; // where nobody but us has the preview's sound
    this.#language = languageSelect(catalog);
    this.#text.value = "Make yourself comfortable, and let me tell you how it began.";
    this.root = element("div", { class: "panel" }, this.#form(providerName(catalog.provider)),
      element("section", { class: "tries", "aria-label": "Your tries" }, this.#list));
    for (const one of [...this.#tries].reverse()) this.#append(one);
    for (const one of this.#tries.filter(({ made }) => !made)) this.#follow(one);
  }

  /** Open the panel with what was left in it. */
  show() {}

  #form(provider) {
    const bill = this.#price ? `Each try is billed by ${provider}: ${dollars(this.#price)}. Saving one costs nothing more.` : "";
    const form = element("form", { class: "studio", novalidate: true },
      element("section", { "aria-label": "The voice" },
        field("design-description", "What is the voice like?", this.#description,
          "Age, pitch, pace, mood, what it is for. English or Chinese work best.")),
      element("section", { "aria-label": "The preview" },
        field("design-text", "What shall it say in the preview?", this.#text),
        field("design-language", "Language of the preview", this.#language)),
      element("div", { class: "submit" }, element("p", { class: "quiet" }, bill || "A try costs nothing here."),
        element("div", { class: "view-actions" }, this.#submit), this.#status, this.#error));
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      whileBusy(this.#submit, () => this.#try());
    });
    return form;
  }

  async #try() {
    showError(this.#error, null);
    if (!complete([this.#description, this.#text])) return;
    const order = {
      instruct: this.#description.value.trim(), text: this.#text.value.trim(), language: this.#language.value,
    };
    this.#status.textContent = WORKING;
    try {
      const { task_id: task } = await this.#api.startDesign(order);
      const one = { task, number: (this.#tries[0]?.number ?? 0) + 1, ...order, made: false };
      this.#tries = [one, ...this.#tries].slice(0, TRIES_LIMIT);
      this.#append(one);
      await this.#follow(one);
    } catch (error) {
      this.#status.textContent = "";
      showError(this.#error, error.message);
    }
  }

  /** Wait for a try, and let it be heard. */
  async #follow(one) {
    const row = this.#rows.get(one.task);
    this.#keep();
    try {
      await this.#made(one);
      one.made = true;
      this.#keep();
      this.#offer(one, row);
      this.#status.textContent = `Try ${one.number} can be heard. Save it, or change the description and try again.`;
      await this.#play(one);
    } catch (error) {
      if (error instanceof NotMade || error.status === 404) this.#drop(one);
      this.#status.textContent = "";
      showError(this.#error, error.message);
    }
  }

  /** Resolves when a try is made. Throws NotMade with the reason when it is not. */
  async #made({ task }) {
    await this.#api.task(task).catch(() => {}); // Modal begins with the first look
    const onTrouble = (trouble) => {
      this.#status.textContent = trouble ? "Nobody answers. Your try goes on, and is looked for…" : WORKING;
    };
    let last;
    for await (last of states(this.#api, task, { signal: new AbortController().signal, onTrouble }));
    if (last.status !== "completed") throw new NotMade(last.error ?? "This voice was not made.");
  }

  #append(one) {
    const row = element("li", { class: "try" },
      element("div", { class: "try-words" },
        element("h2", {}, `Try ${one.number}`),
        element("p", { class: "quiet clamp" }, one.instruct)),
      element("div", { class: "try-form" }));
    this.#rows.set(one.task, row);
    this.#list.prepend(row);
    if (one.made) this.#offer(one, row);
    else row.lastChild.append(element("span", { class: "chip processing" }, "Being made"));
  }

  /** What can be done with a try that is made. */
  #offer(one, row) {
    const name = textInput("input", NAME_UNITS, { type: "text" });
    const wrong = element("p", { class: "wrong", role: "alert", hidden: true });
    const save = element("button", { class: "button primary", type: "submit" }, "Save voice");
    const form = element("form", { class: "try-form", novalidate: true },
      element("button", {
        class: "button", type: "button", "aria-label": `Listen to try ${one.number}`,
        onclick: ({ currentTarget }) => whileBusy(currentTarget, () =>
          this.#play(one).catch((error) => showError(wrong, error.message))),
      }, icon("play"), "Listen"),
      field(`design-name-${one.number}`, "Name", name), save, wrong);
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      whileBusy(save, async () => {
        showError(wrong, null);
        if (!complete([name])) return;
        await this.#save(one, name.value.trim()).catch((error) => showError(wrong, error.message));
      });
    });
    row.lastChild.replaceWith(form);
  }

  /** The address of a preview is signed anew with each look at its task. */
  async #address({ task }) {
    const { result } = await this.#api.task(task);
    return result.audio_url;
  }

  async #play(one) {
    const item = { title: `Try ${one.number}`, subtitle: one.text };
    this.#player.startUrl(await this.#address(one), item);
  }

  async #save(one, name) {
    const form = new FormData();
    const fields = { name, text: one.text, language: one.language, instruct: one.instruct, task_id: one.task };
    for (const [key, value] of Object.entries(fields)) form.append(key, value);
    if (this.#sendsAudio) form.append("audio", await (await fetch(await this.#address(one))).blob(), "preview.wav");
    const { id } = await this.#api.saveDesign(form);
    const use = element("a", { class: "button primary", href: `/generate?voice=${id}`, "data-link": true }, `Use ${name}`);
    this.#rows.get(one.task).lastChild.replaceChildren(element("p", { role: "status" }, `${name} is saved.`), use);
    this.#tries = this.#tries.filter((other) => other !== one);
    this.#keep();
    use.focus();
  }

  #drop(one) {
    this.#rows.get(one.task).remove();
    this.#tries = this.#tries.filter((other) => other !== one);
    this.#keep();
  }

  #keep() {
    remember("designs", this.#tries);
  }
}
