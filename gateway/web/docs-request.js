// One try of an operation: the request as fetch and curl have it, and its answer as elements.

import { element } from "./dom.js";

/** Longest body that is shown as text. */
const SHOWN_CHARS = 20000;

/** The address with its parameters filled in. Throws an Error with words when a part of the path is missing. */
export function address(base, template, parameters, values) {
  let path = template;
  const query = new URLSearchParams();
  for (const { name, in: place } of parameters) {
    const value = values.get(name) ?? "";
    if (place === "path") {
      if (!value) throw new Error(`Fill in ${name} first.`);
      // A slash belongs to the keys of stored objects; elsewhere nobody types one.
      path = path.replace(`{${name}}`, encodeURIComponent(value).replaceAll("%2F", "/"));
    } else if (value) {
      query.set(name, value);
    }
  }
  return `${base}${path}${query.size ? `?${query}` : ""}`;
}

/** The same as a line for a terminal. The token stays out of it: a shell keeps what is typed. */
export function asCurl(method, url, { signed, body, type, files = [] }) {
  const quoted = (text) => `'${text.replaceAll("'", String.raw`'\''`)}'`;
  const words = ["curl", "-X", method, quoted(new URL(url, location.href).href)];
  if (signed) words.push("-H", '"Authorization: Bearer $TOKEN"');
  if (type) words.push("-H", quoted(`Content-Type: ${type}`));
  if (body !== undefined) words.push("--data", quoted(body));
  for (const { name, value, file } of files) words.push("-F", quoted(file ? `${name}=@${value}` : `${name}=${value}`));
  return words.join(" ");
}

/** The answer, with a player where there is something to hear. */
export async function shown(response, milliseconds) {
  const type = response.headers.get("content-type") ?? "";
  const facts = [`${response.status} ${response.statusText}`.trim(), `${Math.round(milliseconds)} ms to the head`];
  if (response.redirected) facts.push("after a redirect");
  const parts = [element("p", { class: "quiet" }, facts.join(", "))];
  if (response.ok && type.startsWith("audio/")) parts.push(...(await sound(response)));
  else parts.push(element("pre", { tabindex: "0" }, await text(response, type)));
  const headers = [...response.headers].map(([name, value]) => `${name}: ${value}`).join("\n");
  return [...parts, element("details", {}, element("summary", {}, "Headers"), element("pre", {}, headers))];
}

async function sound(response) {
  const blob = await response.blob();
  const player = element("audio", { controls: true, src: URL.createObjectURL(blob) });
  return [player, element("p", { class: "quiet" }, `${blob.size} bytes of ${blob.type}`)];
}

async function text(response, type) {
  const words = await response.text();
  if (type.includes("json")) {
    try {
      return cut(JSON.stringify(JSON.parse(words), null, 2));
    } catch {
      return cut(words); // a proxy may call an error page JSON
    }
  }
  return cut(words) || "(no body)";
}

function cut(words) {
  return words.length > SHOWN_CHARS ? `${words.slice(0, SHOWN_CHARS)}\n…` : words;
}
