// How a task goes on: told by the server as it changes, asked for where that cannot be had.

/** Milliseconds from one look to the next without events. It doubles while nobody answers. */
const POLL_MS = 1000;
const LONGEST_POLL_MS = 8000;

/** Milliseconds without a sign of life, of which the server gives one in 15 s, after which a connection is dead. */
const SILENCE_MS = 40_000;

export const isFinal = ({ status }) => ["completed", "failed", "cancelled"].includes(status);

/**
 * Each state of a task, from the present one to the last. Broken connections end nothing: `onTrouble(true)` is called
 * when nobody answers, `onTrouble(false)` when somebody does again. Throws the reason of `signal`, and ApiError for a
 * task that is gone.
 */
export async function* states(api, taskId, { signal, onTrouble = () => {} }) {
  for (let wait = POLL_MS; ;) {
    try {
      for await (const task of told(api, taskId, signal)) {
        onTrouble(false);
        wait = POLL_MS;
        yield task;
        if (isFinal(task)) return;
      }
    } catch {
      signal.throwIfAborted(); // of anything else the answer to the next question tells
    }
    await pause(wait, signal);
    try {
      const task = await api.task(taskId, signal);
      onTrouble(false);
      wait = POLL_MS;
      yield task;
      if (isFinal(task)) return;
    } catch (error) {
      if (!error.transient) throw error;
      onTrouble(true);
      wait = Math.min(wait * 2, LONGEST_POLL_MS);
    }
  }
}

/** The states that one answer tells. EventSource cannot send the access token, so the stream is read by hand. */
async function* told(api, taskId, signal) {
  const { body } = await api.send(`/api/tasks/${taskId}/events`, { signal });
  const reader = body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  try {
    for (;;) {
      const { done, value } = await patiently(reader, SILENCE_MS);
      if (done) return;
      const events = (rest + value).split("\n\n");
      rest = events.pop();
      for (const event of events) {
        if (event.startsWith("event: task\n")) yield JSON.parse(event.slice(event.indexOf("data: ") + 6));
      }
    }
  } finally {
    reader.cancel().catch(() => {}); // it may have broken already
  }
}

/** The next piece. A connection that says nothing for so many milliseconds counts as one that broke. */
export async function patiently(reader, milliseconds) {
  let timer;
  const silence = new Promise((_, reject) => {
    timer = setTimeout(() => reject(new TypeError("the connection went silent")), milliseconds);
  });
  try {
    return await Promise.race([reader.read(), silence]);
  } finally {
    clearTimeout(timer);
  }
}

export function pause(milliseconds, signal) {
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
