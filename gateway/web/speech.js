// One generation, seen from its listener: asked for, followed to its end, picked up again when the line breaks.
//
// The generation belongs to the server. Whatever happens to this page or its connection, it goes on, and the bytes
// that were missed can be asked for again.

import { ApiError, Unreachable } from "./api.js";

/** Milliseconds before each attempt to pick up a broken stream; the first is at once. Reset by every byte that comes. */
const RESUME_DELAYS_MS = [0, 500, 1000, 2000, 4000];

/** Milliseconds from one look at a task to the next, as the former page did. */
const POLL_MS = 1000;

/** Looks at a task that get no answer at all, in a row, before giving up: half a minute without a network. */
const POLL_FAILURES_LIMIT = 30;

const TERMINAL = ["completed", "failed", "cancelled"];

/** The live stream cannot be had any more; the task knows how it ended. */
export class StreamLost extends Error {}

/** The server gave up on this generation. `message` is for people. */
export class GenerationFailed extends Error {}

/**
 * Ask for speech that plays while it is made. Resolves once the first audio exists. Aborting `line` hangs up, and the
 * generation goes on.
 */
export async function openStream(api, order) {
  const line = new AbortController();
  const response = await api.send("/api/generate/stream", { method: "POST", body: order, signal: line.signal });
  return {
    response,
    line,
    generationId: response.headers.get("X-Utter-Generation-Id"),
    taskId: response.headers.get("X-Utter-Task-Id"),
    streamUrl: sameOrigin(response.headers.get("X-Utter-Stream-Url")),
  };
}

/** Ask for speech the former way: it can be played when its task is completed. */
export async function openTask(api, order) {
  const { task_id: taskId, generation_id: generationId } = await api.json("/api/generate", {
    method: "POST",
    body: order,
  });
  return { taskId, generationId };
}

/**
 * Hand every byte of an opened stream to `append`, once and in order, across broken connections. `onBreak` is called
 * when the line breaks and `onResume` when it is back. Throws StreamLost, ApiError, the reason of `signal`, or what
 * `append` throws; however it ends, the line is hung up.
 */
export async function follow(api, opened, { append, onBreak, onResume, signal }) {
  const { response, generationId, line } = opened;
  signal.addEventListener("abort", () => line.abort(signal.reason), { once: true });
  let received = 0;
  let attempts = 0;
  let reader = response.body.getReader();
  try {
    for (;;) {
      const { done, value, broken } = await readNext(reader);
      line.signal.throwIfAborted();
      if (done) return received;
      if (value) {
        await append(value);
        received += value.length;
        attempts = 0;
      }
      if (broken) {
        onBreak();
        ({ reader, attempts } = await rejoin(api, generationId, received, attempts, line.signal));
        onResume();
      }
    }
  } finally {
    line.abort();
  }
}

/** Resolves with the task once it has ended well. Throws GenerationFailed, or Unreachable after half a minute. */
export async function completion(api, taskId, { signal, onWait = () => {} }) {
  let failures = 0;
  for (;;) {
    try {
      const task = await api.task(taskId, signal);
      failures = 0;
      if (task.status === "completed") return task;
      if (TERMINAL.includes(task.status)) throw new GenerationFailed(task.error ?? "The generation did not finish.");
      onWait(task);
    } catch (error) {
      if (!transient(error) || ++failures >= POLL_FAILURES_LIMIT) throw error;
    }
    await pause(POLL_MS, signal);
  }
}

async function readNext(reader) {
  try {
    return await reader.read();
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
      if (!transient(error)) throw new StreamLost("the stream cannot be resumed", { cause: error });
    }
  }
  throw new StreamLost("the stream broke too often");
}

/** Whether asking again may help: nobody answered, or the server was busy. */
function transient(error) {
  return error instanceof Unreachable || (error instanceof ApiError && error.status >= 500);
}

/** The signed address, on the host this page came from: the server may know itself by another name than the reader. */
function sameOrigin(address) {
  if (!address) return null;
  const { pathname, search } = new URL(address, location.href);
  return pathname + search;
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    signal.throwIfAborted();
    const leave = () => {
      clearTimeout(timer);
      reject(signal.reason);
    };
    const timer = setTimeout(() => {
      signal.removeEventListener("abort", leave);
      resolve();
    }, milliseconds);
    signal.addEventListener("abort", leave, { once: true });
  });
}
