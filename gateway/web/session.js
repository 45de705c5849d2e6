// Who is signed in: an access token in memory, renewed before it ends.
//
// The token is kept in this object alone, not in web storage, so that nothing else on the origin can read it later.

const FACTS_ROUTE = "/api/page";
const TOKEN_ROUTE = "/api/dev/token";

/** Seconds before its end at which a token is replaced, so that no request starts with one about to expire. */
const RENEW_BEFORE_SECONDS = 60;

/** The server does not sign this page in. `message` is for people. */
export class SignInRefused extends Error {}

export class Session {
  #token = null;
  #expiresAt = 0; // milliseconds of performance.now(), which a changed wall clock does not move
  #pasted = false;
  #pending = null;
  #facts = null;
  #onRefused;

  /** `onRefused(error)` is called each time nobody can be signed in, before the error is thrown. */
  constructor(onRefused) {
    this.#onRefused = onRefused;
  }

  /** True when the token came from the server by itself, not from somebody's clipboard. */
  get automatic() {
    return !this.#pasted;
  }

  /** What differs from one server to the next: how to sign in, limits of recordings, prices. */
  facts() {
    this.#facts ??= readFacts().catch((error) => {
      this.#facts = null; // asked again the next time
      throw error;
    });
    return this.#facts;
  }

  /** The current token, fetched or renewed when needed. Throws SignInRefused, or TypeError without a network. */
  async token() {
    if (this.#token && performance.now() < this.#expiresAt) return this.#token;
    // Several requests start at once when the page opens; they share one sign-in.
    this.#pending ??= this.#signIn().finally(() => { this.#pending = null; });
    return this.#pending;
  }

  /** Forget a token that the server refused. */
  expire() {
    this.#token = null;
  }

  /** Use a token that somebody pasted. The server is the judge of it. */
  use(token) {
    this.#token = token;
    this.#pasted = true;
    this.#expiresAt = Infinity;
  }

  /** Go back to signing in by itself. */
  reset() {
    this.#token = null;
    this.#pasted = false;
  }

  async #signIn() {
    if (this.#pasted) throw this.#refused("The access token was refused or has expired.");
    const response = await fetch(TOKEN_ROUTE, { method: "POST" });
    const answer = await response.json().catch(() => ({}));
    if (!response.ok || typeof answer.token !== "string") {
      throw this.#refused("This server did not sign the page in by itself.");
    }
    const seconds = Math.max(0, (answer.expires_in ?? 0) - RENEW_BEFORE_SECONDS);
    this.#token = answer.token;
    this.#expiresAt = performance.now() + seconds * 1000;
    return this.#token;
  }

  #refused(words) {
    const error = new SignInRefused(words);
    this.#onRefused(error);
    return error;
  }
}

async function readFacts() {
  const response = await fetch(FACTS_ROUTE);
  if (!response.ok) throw new Error(`The server answered ${response.status}. Try again in a moment.`);
  return response.json();
}
