// What the picker and the voices page both know about a voice.

import { element, svg } from "./dom.js";

const PROVIDER_NAMES = { qwen: "Qwen", modal: "Modal" };
const SOURCE_NAMES = { uploaded: "Cloned", designed: "Designed" };

/** Bars of a voice print, and the share of its height that the lowest one has. */
const PRINT_BARS = 9;
const PRINT_LOWEST = 0.18;

export function providerOf(voice) {
  return voice.tts_provider ?? "modal"; // voices of the first version carry no such field
}

export function providerName(provider) {
  return PROVIDER_NAMES[provider] ?? provider;
}

/** One line on where a voice comes from. */
export function describe(voice) {
  return [SOURCE_NAMES[voice.source] ?? voice.source, voice.language].filter(Boolean).join(" · ");
}

/** Why this voice cannot speak now, or null when it can. */
export function obstacle(voice, provider) {
  if (providerOf(voice) === provider) return null;
  return `Made with ${providerName(providerOf(voice))}; this server speaks with ${providerName(provider)} now.`;
}

/** A price as people write it. */
export function dollars(price) {
  return `US$${price.toFixed(2)}`;
}

/** A small picture that is always the same for one voice and differs between voices. Decorative. */
export function voicePrint(voice) {
  const bars = Array.from({ length: PRINT_BARS }, (_, index) => {
    const bell = Math.sin(((index + 1) / (PRINT_BARS + 1)) * Math.PI);
    const tall = 32 * (PRINT_LOWEST + (1 - PRINT_LOWEST) * bell * fraction(`${voice.id}/${index}`));
    return svg("rect", { x: 2 + index * 5, y: (36 - tall) / 2, width: 2.6, height: tall, rx: 1.3 });
  });
  return svg("svg", { viewBox: "0 0 47 36", class: "print", "aria-hidden": "true" }, ...bars);
}

export function providerTag(voice) {
  return element("span", { class: "tag" }, providerName(providerOf(voice)));
}

/** Play the recording or preview that a voice was made from. Throws what the request throws. */
export async function playPreview(api, player, voice) {
  const url = await api.previewUrl(voice.id);
  player.startUrl(url, { title: voice.name, subtitle: "Voice preview" });
}

/** A number from 0 to 1 that depends on the whole of `text` (FNV-1a, 32 bits, with a final mix). */
function fraction(text) {
  let hash = 0x811c9dc5;
  for (const character of text) hash = Math.imul(hash ^ character.codePointAt(0), 0x01000193);
  hash = Math.imul(hash ^ (hash >>> 15), 0x2c1b3c6d);
  return ((hash ^ (hash >>> 13)) >>> 0) / 2 ** 32;
}
