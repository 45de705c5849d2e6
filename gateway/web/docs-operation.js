// One operation: what it takes, a form to try it, what it answers.

import { address, asCurl, shown } from "./docs-request.js";
import { example, inWords, isFile, resolve } from "./docs-schema.js";
import { element, showError } from "./dom.js";

/** A `details` element. Its inside is made when it is first opened: thirty of them are more than anybody reads. */
export class OperationView {
  #document;
  #method;
  #path;
  #operation;
  #authorization;
  #fields = new Map();
  #form = [];

  /** `authorization()` gives the headers of somebody who is signed in, none when nobody is. */
  constructor(document, method, path, operation, authorization) {
    this.#document = document;
    this.#method = method.toUpperCase();
    this.#path = path;
    this.#operation = operation;
    this.#authorization = authorization;
  }

  element() {
    const summary = element(
      "summary",
      {},
      element("span", { class: `method ${this.#method.toLowerCase()}` }, this.#method),
      element("code", {}, this.#path),
      element("span", { class: "said" }, this.#operation.summary),
    );
    const details = element("details", { class: "operation", id: this.#operation.operationId }, summary);
    details.addEventListener("toggle", () => details.append(this.#inside()), { once: true });
    return details;
  }

  #inside() {
    const answers = element("section", {}, element("h3", {}, "Answers"), this.#answers());
    return element("div", { class: "operation-body" }, this.#request(), answers);
  }

  #request() {
    const result = element("div", { class: "result", "aria-live": "polite" });
    const error = element("p", { class: "error", role: "alert", hidden: true });
    const curl = () => this.#attempt(error, () => this.#curl(result));
    const form = element(
      "form",
      { novalidate: true },
      element("h3", {}, this.#who()),
      element("div", { class: "docs-fields" }, ...this.#parameters(), ...this.#body()),
      element(
        "div",
        { class: "docs-buttons" },
        element("button", { class: "button primary", type: "submit" }, "Send"),
        element("button", { class: "button", type: "button", onclick: curl }, "As curl"),
      ),
    );
    form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#attempt(error, () => this.#send(result));
    });
    return element("section", {}, form, error, result);
  }

  #who() {
    const schemes = this.#operation.security.flatMap((one) => Object.keys(one));
    const anybody = this.#operation.security.some((one) => Object.keys(one).length === 0);
    if (!schemes.length) return "Nobody needs to be signed in";
    const words = { bearer: "an access token", link: "the token of a signed address" };
    return `Needs ${schemes.map((name) => words[name]).join(" or ")}${anybody ? ", or nothing" : ""}`;
  }

  #wanted() {
    const link = this.#operation.security.some((one) => "link" in one);
    const token = { name: "token", in: "query", description: "From a signed address.", schema: { type: "string" } };
    return [...this.#operation.parameters, ...(link ? [token] : [])];
  }

  #parameters() {
    return this.#wanted().map((parameter) => {
      const note = [parameter.description, inWords(this.#document, parameter.schema)].filter(Boolean).join(" ");
      return this.#field(parameter.name, element("input", { autocomplete: "off", spellcheck: "false" }), note);
    });
  }

  #body() {
    const content = this.#operation.requestBody?.content ?? {};
    const [[type, { schema }] = [null, {}]] = Object.entries(content);
    if (type === "application/json") {
      const start = JSON.stringify(example(this.#document, schema), null, 2);
      return [this.#field("body", element("textarea", { spellcheck: "false" }, start), type)];
    }
    if (type === "multipart/form-data") return this.#parts(resolve(this.#document, schema).properties);
    return type ? [this.#field("body", element("input", { type: "file" }), Object.keys(content).join(", "))] : [];
  }

  #parts(properties) {
    return Object.entries(properties).map(([name, schema]) => {
      const file = isFile(this.#document, schema);
      this.#form.push(name);
      return this.#field(name, element("input", { type: file ? "file" : "text" }), inWords(this.#document, schema));
    });
  }

  #field(name, input, note) {
    const id = `${this.#operation.operationId}-${name}`;
    input.id = id;
    this.#fields.set(name, input);
    const words = note ? element("span", { class: "note" }, ` ${note}`) : null;
    return element("div", { class: "docs-field" }, element("label", { for: id }, name, words), input);
  }

  /** What would be sent, as fetch takes it, and as curl does. */
  #made() {
    const values = new Map([...this.#fields].map(([name, input]) => [name, input.value.trim()]));
    const base = this.#document.servers[0].url;
    const url = address(base, this.#path, this.#wanted(), values);
    const body = this.#fields.get("body");
    if (this.#form.length) return { url, ...this.#multipart() };
    if (!body) return { url, sent: undefined, curl: {} };
    if (body.type !== "file") {
      return { url, sent: body.value, type: "application/json", curl: { body: body.value, type: "application/json" } };
    }
    const [file] = body.files;
    if (!file) throw new Error("Choose a file first.");
    return { url, sent: file, type: file.type, curl: { body: `@${file.name}`, type: file.type } };
  }

  #multipart() {
    const form = new FormData();
    const files = [];
    for (const name of this.#form) {
      const input = this.#fields.get(name);
      const file = input.type === "file";
      const value = file ? input.files[0] : input.value;
      if (!value) continue;
      form.append(name, value);
      files.push({ name, value: file ? value.name : value, file });
    }
    return { sent: form, curl: { files } };
  }

  async #attempt(error, work) {
    showError(error, null);
    try {
      await work();
    } catch (problem) {
      const words = problem instanceof TypeError ? "The server cannot be reached." : problem.message;
      showError(error, words);
    }
  }

  #curl(result) {
    const { url, curl } = this.#made();
    const signed = this.#operation.security.some((one) => "bearer" in one);
    result.replaceChildren(element("pre", { tabindex: "0" }, asCurl(this.#method, url, { signed, ...curl })));
  }

  async #send(result) {
    const { url, sent, type } = this.#made();
    const headers = await this.#authorization();
    if (type) headers["content-type"] = type;
    const began = performance.now();
    const response = await fetch(url, { method: this.#method, headers, body: sent, cache: "no-store" });
    result.replaceChildren(...(await shown(response, performance.now() - began)));
  }

  #answers() {
    const rows = Object.entries(this.#operation.responses).map(([status, given]) => {
      const answer = resolve(this.#document, given);
      const [[type, media] = []] = Object.entries(answer.content ?? {});
      const shape = media?.schema && Number(status) < 400 ? example(this.#document, media.schema) : null;
      const inside = shape ? element("pre", {}, JSON.stringify(shape, null, 2)) : null;
      const kind = type && !shape && Number(status) < 400 ? ` ${Object.keys(answer.content).join(", ")}` : "";
      const words = answer.description.replaceAll("`", "") + kind;
      return element("tr", {}, element("th", { scope: "row" }, status), element("td", {}, words, inside));
    });
    return element("table", { class: "answers" }, element("tbody", {}, ...rows));
  }
}
