// The gateway's HTTP interface as this page uses it. Every failure becomes words somebody can act on.

/** Voices are asked for in the largest pages the server gives. */
const VOICES_PER_PAGE = 100;

/** A bound on the pages of voices that are fetched: 1000 voices are more than anybody scrolls through. */
const VOICE_PAGES_LIMIT = 10;

/** The server said no. `status` is the HTTP status, `message` its detail. */
export class ApiError extends Error {
  constructor(status, message) {
    super(message);
    this.status = status;
  }

  /** Whether asking again may help. */
  get transient() {
    return this.status >= 500;
  }
}

/** The server could not be reached, or the connection broke before it answered. */
export class Unreachable extends Error {
  constructor(cause) {
    super("The server cannot be reached. Check the connection and that Utter is running, then try again.", { cause });
  }

  transient = true;
  unanswered = true;
}

export class Api {
  #session;

  constructor(session) {
    this.#session = session;
  }

  /** The answer of a request that succeeded. Throws ApiError, Unreachable, SignInRefused, or AbortError. */
  async send(path, { method = "GET", body, key, signal } = {}) {
    const response = await this.#attempt(path, { method, body, key, signal });
    if (response.status !== 401) return accepted(response);
    // A restarted local server signs with a new secret: one fresh token settles it, or shows the sign-in notice.
    this.#session.expire();
    return accepted(await this.#attempt(path, { method, body, key, signal }));
  }

  async json(path, options) {
    const response = await this.send(path, options);
    return response.json();
  }

  /**
   * Where a protected audio route leads: a signed address that needs no header, so that an <audio> can play it.
   * Only the redirect is wanted; the body is dropped unread.
   */
  async mediaUrl(path) {
    const response = await this.send(path);
    await response.body?.cancel();
    return response.url;
  }

  languages() {
    return this.json("/api/languages");
  }

  me() {
    return this.json("/api/me");
  }

  /** Every voice of the caller, newest first. */
  async voices() {
    const found = [];
    for (let page = 1; page <= VOICE_PAGES_LIMIT; page += 1) {
      const { voices, pagination } = await this.json(`/api/voices?page=${page}&per_page=${VOICES_PER_PAGE}`);
      found.push(...voices);
      if (page >= pagination.pages) break;
    }
    return found;
  }

  previewUrl(voiceId) {
    return this.mediaUrl(`/api/voices/${voiceId}/preview`);
  }

  removeVoice(voiceId) {
    return this.json(`/api/voices/${voiceId}`, { method: "DELETE" });
  }

  /** Take a deletion back. */
  restoreVoice(voiceId) {
    return this.json(`/api/voices/${voiceId}/restore`, { method: "POST" });
  }

  /** A voice of the active provider from the recording of another's. Billed once. */
  recloneVoice(voiceId) {
    return this.json(`/api/voices/${voiceId}/reclone`, { method: "POST" });
  }

  /** Where to PUT a recording: {voice_id, upload_url}. */
  uploadLink(order) {
    return this.json("/api/clone/upload-url", { method: "POST", body: order });
  }

  /** Make a voice of an uploaded recording. Billed once, however often it is asked for with the same `voice_id`. */
  finalizeClone(order) {
    return this.json("/api/clone/finalize", { method: "POST", body: order });
  }

  /** Begin a voice by description: {task_id}. Billed each time. */
  startDesign(order) {
    return this.json("/api/voices/design/preview", { method: "POST", body: order });
  }

  /** Keep the voice of a preview. `form` is a FormData. */
  saveDesign(form) {
    return this.json("/api/voices/design", { method: "POST", body: form });
  }

  /** `query` has page, per_page, search and status. */
  generations(query, signal) {
    return this.json(`/api/generations?${new URLSearchParams(query)}`, { signal });
  }

  regeneration(generationId) {
    return this.json(`/api/generations/${generationId}/regenerate`, { method: "POST" });
  }

  audioUrl(generationId) {
    return this.mediaUrl(`/api/generations/${generationId}/audio`);
  }

  removeGeneration(generationId) {
    return this.json(`/api/generations/${generationId}`, { method: "DELETE" });
  }

  task(taskId, signal) {
    return this.json(`/api/tasks/${taskId}`, { signal });
  }

  cancelTask(taskId) {
    return this.json(`/api/tasks/${taskId}/cancel`, { method: "POST" });
  }

  async #attempt(path, { method, body, key, signal }) {
    try {
      const headers = { authorization: `Bearer ${await this.#session.token()}` };
      const form = body instanceof FormData; // which the browser names and encodes itself
      if (body !== undefined && !form) headers["content-type"] = "application/json";
      if (key) headers["idempotency-key"] = key;
      return await fetch(path, { method, headers, body: body && !form ? JSON.stringify(body) : body, signal });
    } catch (error) {
      if (error instanceof TypeError) throw new Unreachable(error);
      throw error;
    }
  }
}

async function accepted(response) {
  if (response.ok) return response;
  const answer = await response.json().catch(() => null); // a proxy in between may answer in HTML
  const words = typeof answer?.detail === "string" ? answer.detail : `The server answered ${response.status}.`;
  throw new ApiError(response.status, words);
}
