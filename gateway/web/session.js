// Who is signed in: an access token in memory, renewed before it ends.
//
// The token is kept in this object alone, not in web storage, so that nothing else on the origin can read it later.

const FACTS_ROUTE = "/api/page";
const TOKEN_ROUTE = "/api/dev/token";

/** Seconds before its end at which a token is replaced, so that no request starts with one about to expire. */
const RENEW_BEFORE_SECONDS = 60;

/** The server does not sign this page in. `message` is for people. */
export class SignInRefused extends Error {}

/** The project where accounts are refused. `message` is for people. */
export class Refused extends Error {}

export class Session {
  #token = null;
  #expiresAt = 0; // milliseconds of performance.now(), which a changed wall clock does not move
  #pasted = false;
  #pending = null;
  #facts = null;
  #supabase = null;
  #onRefused;

  /** `onRefused(error)` is called each time nobody can be signed in, before the error is thrown. */
  constructor(onRefused) {
    this.#onRefused = onRefused;
  }

  /** True when the server signs this page in by itself: there is nobody to sign out. */
  get automatic() {
    return !this.#pasted && !this.#supabase;
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
    this.#pasted = true;
    this.#keep({ token, seconds: Infinity });
  }

  /** Sign in with an account of the project. Throws Refused, or TypeError without a network. */
  async signIn(email, password) {
    const project = await this.#project();
    this.#keep(await project.signIn(email, password));
  }

  /** Sign out, here and where the account is. */
  async signOut() {
    await this.#supabase?.signOut(this.#token);
    this.reset();
  }

  /** Go back to signing in by itself. */
  reset() {
    this.#token = null;
    this.#pasted = false;
  }

  async #signIn() {
    if (this.#pasted) throw this.#refused("The access token was refused or has expired.");
    if (await this.#project()) return this.#keep(await this.#renewed());
    const response = await fetch(TOKEN_ROUTE, { method: "POST" });
    const { token, expires_in: seconds = 0 } = await response.json().catch(() => ({}));
    if (!response.ok || typeof token !== "string") {
      throw this.#refused("This server did not sign the page in by itself.");
    }
    return this.#keep({ token, seconds });
  }

  /** Where accounts are, null on a server without any. */
  async #project() {
    const { sign_in: way } = await this.facts();
    if (way.method === "supabase" && !this.#supabase) {
      const { Supabase } = await import("./supabase.js");
      this.#supabase ??= new Supabase(way);
    }
    return this.#supabase;
  }

  async #renewed() {
    if (!this.#supabase.remembers) throw this.#refused("");
    try {
      return await this.#supabase.renew();
    } catch (error) {
      throw error instanceof Refused ? this.#refused("Your session has ended. Please sign in again.") : error;
    }
  }

  #keep({ token, seconds }) {
    this.#token = token;
    this.#expiresAt = performance.now() + Math.max(0, seconds - RENEW_BEFORE_SECONDS) * 1000;
    return token;
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
