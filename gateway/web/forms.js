// Fields of the forms that make voices: a label, a hint, and what is wrong, said where it is wrong.

import { element, showError } from "./dom.js";

/** A labelled control with a place for what is wrong with it. */
export function field(id, label, control, hint = "") {
  control.id = id;
  control.setAttribute("aria-describedby", `${id}-hint ${id}-wrong`);
  return element("div", { class: "form-field" },
    element("label", { for: id }, label),
    element("p", { class: "quiet", id: `${id}-hint` }, hint),
    control,
    element("p", { class: "wrong", id: `${id}-wrong`, hidden: true }));
}

/** A text that may not be empty nor longer than `limit` UTF-16 units. */
export function textInput(tag, limit, more = {}) {
  const control = element(tag, { required: true, autocomplete: "off", dir: "auto", ...more });
  control.dataset.limit = String(limit);
  control.addEventListener("input", () => mark(control, null));
  return control;
}

/** A choice of the languages that the active provider speaks. */
export function languageSelect({ spoken_languages: spoken, languages, default: usual }) {
  const select = element("select", {}, ...(spoken ?? languages).map((name) => element("option", { value: name }, name)));
  select.value = usual;
  return select;
}

/** Check the texts of a form: each says what is wrong with it, the first such takes the focus. True when all is well. */
export function complete(controls) {
  const wrong = controls.filter((control) => !isComplete(control));
  wrong[0]?.focus();
  return wrong.length === 0;
}

/** Say what is wrong with a control, or take it back. */
function mark(control, words) {
  control.setAttribute("aria-invalid", String(Boolean(words)));
  showError(document.getElementById(`${control.id}-wrong`), words);
}

function isComplete(control) {
  const length = control.value.trim().length;
  const over = length - Number(control.dataset.limit);
  const words = length === 0 ? "This is needed." : over > 0 ? `Too long: shorten it by ${over} characters.` : null;
  mark(control, words);
  return !words;
}
