// The sound of one generation: asked for, followed to its end, picked up again when the line breaks.
//
// The generation belongs to the server. Whatever happens to this page or its connection, it goes on, and the bytes
// that were missed can be asked for again.

import { patiently, pause } from "./events.js";

/** Milliseconds before each attempt to pick up what broke; the first is at once. Begun anew by every byte that comes. */
const RESUME_DELAYS_MS = [0, 500, 1000, 2000, 4000];

/** Milliseconds without a byte after which a line is dead: the server itself gives a voice 20 s for the next piece. */
const SILENCE_MS = 30_000;

/** The live stream cannot be had any more; the task knows how it ended. */
export class StreamLost extends Error {}

/** A name for one request, so that sending it again never begins it twice. */
export function newKey() {
  // Not crypto.randomUUID, which exists over HTTPS and on this very machine only.
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

/**
 * Ask for speech that plays while it is made. Resolves once the first audio exists. Aborting `line` hangs up, and the
 * generation goes on. An answer that got lost is asked for again under the same `key`.
 */
export async function openStream(api, order, key, signal) {
  const line = new AbortController();
  const ask = () => api.send("/api/generate/stream", { method: "POST", body: order, key, signal: line.signal });
  const response = await persistently(ask, signal);
  return {
    response,
    line,
    generationId: response.headers.get("X-Utter-Generation-Id"),
    taskId: response.headers.get("X-Utter-Task-Id"),
    streamUrl: response.headers.get("X-Utter-Stream-Url"),
  };
}

/** Ask for speech the former way: it can be played when its task is completed. `estimate` is in seconds. */
export async function openTask(api, order, key, signal) {
  const answer = await persistently(() => api.json("/api/generate", { method: "POST", body: order, key }), signal);
  const estimate = answer.estimated_duration_minutes * 60;
  return { taskId: answer.task_id, generationId: answer.generation_id, estimate };
}

/**
 * Hand every byte of a generation to `append`, once and in order, across broken connections. `opened` is what
 * `openStream` gave; without a `response` it is joined at its first byte. `onBreak` is called when the line breaks and
 * `onResume` when it is back. Throws StreamLost, the reason of `signal`, or what `append` throws; however it ends, the
 * line is hung up.
 */
export async function follow(api, { response, generationId, line }, { append, onBreak, onResume, signal }) {
  signal.addEventListener("abort", () => line.abort(signal.reason), { once: true });
  let received = 0;
  let attempts = 0;
  let reader = response?.body.getReader();
  try {
    for (;;) {
      if (!reader) {
        ({ reader, attempts } = await rejoin(api, generationId, received, attempts, line.signal));
        onResume();
      }
      const { done, value, broken } = await readNext(reader);
      line.signal.throwIfAborted();
      if (done) return;
      if (broken) {
        reader.cancel().catch(() => {});
        reader = null;
        onBreak();
        continue;
      }
      await append(value);
      received += value.length;
      attempts = 0;
    }
  } finally {
    line.abort();
  }
}

/** The signed address, on the host this page came from: the server may know itself by another name than the reader. */
export function sameOrigin(address) {
  const { pathname, search } = new URL(address, location.href);
  return pathname + search;
}

async function readNext(reader) {
  try {
    return await patiently(reader, SILENCE_MS);
  } catch (error) {
    // The only failure a body has is a network one, whatever the browser calls it.
    return { broken: error };
  }
}

async function rejoin(api, generationId, offset, attempts, signal) {
  for (let attempt = attempts; attempt < RESUME_DELAYS_MS.length; attempt += 1) {
    await pause(RESUME_DELAYS_MS[attempt], signal);
    try {
      const response = await api.send(`/api/generations/${generationId}/stream?offset=${offset}`, { signal });
      return { reader: response.body.getReader(), attempts: attempt + 1 };
    } catch (error) {
      signal.throwIfAborted();
      if (!error.transient) throw new StreamLost("the stream cannot be resumed", { cause: error });
    }
  }
  throw new StreamLost("the stream broke too often");
}

/** The answer to a request that may be sent more than once, over a network that may be away for some seconds. */
async function persistently(ask, signal) {
  for (const wait of RESUME_DELAYS_MS.slice(1)) {
    try {
      return await ask();
    } catch (error) {
      if (!error.unanswered) throw error;
    }
    await pause(wait, signal);
  }
  return ask();
}
