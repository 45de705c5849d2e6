// Signing in with e-mail and password at a Supabase project, by its REST interface.
//
// Only the refresh token is kept in the browser, so that a reload or a second tab is signed in: it opens nothing here
// by itself, works once, and is ended by signing out. Access tokens stay in memory.

import { Refused } from "./session.js";

const KEPT = "utter.refresh-token";

/** Milliseconds that signing out waits for the project: somebody wants to leave. */
const FAREWELL_MS = 3000;

/** Milliseconds after which a tab surely sees what another has kept: browsers hand that on without waiting for it. */
const SETTLE_MS = 500;

/** Tabs share one refresh token, which works once: they take turns. */
const TURN = "utter.refresh";

const WORDS = {
  invalid_credentials: "This e-mail address and password do not belong together. Check both and try again.",
  invalid_grant: "This e-mail address and password do not belong together. Check both and try again.",
  email_not_confirmed: "This e-mail address is not confirmed yet. Follow the link in the message that was sent to it.",
  user_banned: "This account is locked. Ask whoever runs this server.",
  over_request_rate_limit: "Too many tries. Wait a minute, then try again.",
};

/** The project does not answer, which says nothing about the account. A TypeError, as fetch throws without a network. */
export class Unanswered extends TypeError {}

export class Supabase {
  #url;
  #key;

  constructor({ supabase_url: url, supabase_anon_key: key }) {
    this.#url = `${url}/auth/v1`;
    this.#key = key;
  }

  /** Whether somebody was signed in when this browser was last here. */
  get remembers() {
    return localStorage.getItem(KEPT) !== null;
  }

  /** {token, seconds} for this account. Throws Refused and Unanswered. */
  async signIn(email, password) {
    return this.#grant("password", { email, password });
  }

  /** {token, seconds}, the next of a session that goes on. Throws Refused when it is over, and Unanswered. */
  renew() {
    // Only pages over https, and of this machine, have locks. Without them two tabs at the same instant may end it.
    return navigator.locks ? navigator.locks.request(TURN, () => this.#renew()) : this.#renew();
  }

  async #renew() {
    const kept = localStorage.getItem(KEPT);
    try {
      return await this.#grant("refresh_token", { refresh_token: kept });
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      await new Promise((resolve) => { setTimeout(resolve, SETTLE_MS); });
      const newer = localStorage.getItem(KEPT);
      if (newer && newer !== kept) return this.#grant("refresh_token", { refresh_token: newer });
      localStorage.removeItem(KEPT);
      throw error;
    }
  }

  /** End the session here and at the project. Never throws: on this machine it is over in any case. */
  async signOut(token) {
    localStorage.removeItem(KEPT);
    const signal = AbortSignal.timeout(FAREWELL_MS);
    await this.#post("logout?scope=local", { more: { authorization: `Bearer ${token}` }, signal }).catch(() => {});
  }

  async #grant(kind, content) {
    const response = await this.#post(`token?grant_type=${kind}`, { content });
    const answer = await response.json().catch(() => ({}));
    if (response.ok && answer.access_token) {
      localStorage.setItem(KEPT, answer.refresh_token);
      return { token: answer.access_token, seconds: answer.expires_in };
    }
    const code = answer.error_code ?? answer.code ?? answer.error;
    if (response.ok || response.status >= 500) throw new Unanswered(`sign-in answered ${response.status}`);
    if (response.status === 429 && kind !== "password") throw new Unanswered("sign-in answered 429");
    throw new Refused(WORDS[code] ?? (response.status === 429 ? WORDS.over_request_rate_limit
      : "You could not be signed in. Ask whoever runs this server to look at its Supabase settings."));
  }

  #post(path, { content, more, signal }) {
    const headers = { apikey: this.#key, "content-type": "application/json", ...more };
    return fetch(`${this.#url}/${path}`, { method: "POST", headers, body: content && JSON.stringify(content), signal });
  }
}
