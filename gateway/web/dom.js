// Small helpers that build and announce. No framework: the page is a few lists and one form.

const SVG = "http://www.w3.org/2000/svg";

const ICON_PATHS = {
  play: "M8 5.5v13l10.5-6.5z",
  pause: "M8 5.5h3v13H8zM14 5.5h3v13h-3z",
  download: "M12 4v10m0 0 4.2-4.2M12 14l-4.2-4.2M5 19h14",
  record: "M12 5a7 7 0 1 0 0 14a7 7 0 0 0 0-14z",
  stop: "M6.5 6.5h11v11h-11z",
  again: "M19 12a7 7 0 1 1-2.2-5.1L19 9M19 4v5h-5",
  remove: "M5 7h14M10 7V5h4v2m-7.5 0 .9 12h9.2l.9-12M10.5 11v5m3-5v5",
};

/** The element with this id. Throws when the page lost it, because nothing can work then. */
export function byId(id) {
  const found = document.getElementById(id);
  if (!found) throw new Error(`index.html has no #${id}`);
  return found;
}

/** Make an element: properties are set as attributes, `on…` functions as listeners, children may be strings. */
export function element(tag, properties = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(properties)) {
    if (typeof value === "function") made.addEventListener(name.slice(2), value);
    else if (value === true) made.setAttribute(name, "");
    else if (value !== false && value != null) made.setAttribute(name, value);
  }
  made.append(...children.filter((child) => child != null));
  return made;
}

/** A decorative icon; the button around it carries the name. */
export function icon(name) {
  const path = svg("path", { d: ICON_PATHS[name] });
  return svg("svg", { viewBox: "0 0 24 24", class: `icon icon-${name}`, "aria-hidden": "true" }, path);
}

export function svg(tag, attributes, ...children) {
  const made = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** Show `message` in a role=alert element, or hide it when there is none. */
export function showError(target, message) {
  target.textContent = message ?? "";
  target.hidden = !message;
}

/** Run `work` for a press of `button`; presses while it runs do nothing. It stays focusable, unlike a disabled one. */
export async function whileBusy(button, work) {
  if (button.getAttribute("aria-disabled") === "true") return;
  button.setAttribute("aria-disabled", "true");
  try {
    await work();
  } finally {
    button.removeAttribute("aria-disabled");
  }
}

/** Ask before something is lost or paid for. Resolves to true only for the named action. */
export function confirmed({ title, text, action, refusal = "Keep it" }) {
  const dialog = byId("confirm");
  byId("confirm-no").textContent = refusal;
  byId("confirm-title").textContent = title;
  byId("confirm-text").textContent = text;
  byId("confirm-yes").textContent = action;
  // Escape closes a dialog without setting returnValue, so a former answer would count again.
  dialog.returnValue = "cancel";
  dialog.showModal();
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => resolve(dialog.returnValue === "yes"), { once: true });
  });
}

/** Have the browser keep what is at `url`, as `name` with the extension that the address has. */
export function download(url, name) {
  const [extension = ""] = new URL(url, location.href).pathname.match(/\.\w+$/) ?? [];
  element("a", { href: url, download: name + extension }).click();
}

/** Something remembered in this tab, also across a reload; null when there is nothing, or nothing may be kept. */
export function remembered(name) {
  try {
    return JSON.parse(sessionStorage.getItem(`utter.${name}`));
  } catch {
    return null;
  }
}

/** Remember `value` in this tab; null forgets. */
export function remember(name, value) {
  try {
    if (value === null) sessionStorage.removeItem(`utter.${name}`);
    else sessionStorage.setItem(`utter.${name}`, JSON.stringify(value));
  } catch {
    // Storage is off or full: a reload begins afresh, and nothing else is lost.
  }
}

/** Seconds as m:ss. */
export function clock(seconds) {
  const whole = Number.isFinite(seconds) ? Math.max(0, Math.floor(seconds)) : 0;
  return `${Math.floor(whole / 60)}:${String(whole % 60).padStart(2, "0")}`;
}

/** Milliseconds as seconds with two decimals, for measured times. */
export function measured(milliseconds) {
  return `${(milliseconds / 1000).toFixed(2)} s`;
}

/** A <time> element with the local date and time of an ISO timestamp. */
export function timestamp(iso) {
  const when = new Date(iso);
  const sameDay = when.toDateString() === new Date().toDateString();
  const style = sameDay ? { timeStyle: "short" } : { dateStyle: "medium", timeStyle: "short" };
  const words = new Intl.DateTimeFormat(undefined, style).format(when);
  return element("time", { datetime: iso }, sameDay ? `Today, ${words}` : words);
}
