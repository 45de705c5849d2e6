// The sign-in view: e-mail and password where the server has a project for that, else an access token.

import { byId, showError, whileBusy } from "./dom.js";
import { Refused } from "./session.js";

const UNREACHABLE = "The sign-in service cannot be reached. Check the connection, then try again.";

export class SignInView {
  #session;
  #onSignedIn;
  #reason = byId("sign-in-reason");
  #password = byId("password");

  /** `onSignedIn()` goes on with the page that was asked for. */
  constructor(session, onSignedIn) {
    this.#session = session;
    this.#onSignedIn = onSignedIn;
    this.#on("password-form", "password-submit", () => this.#byPassword());
    this.#on("sign-in-form", "sign-in-submit", () => this.#byToken());
    byId("sign-in-retry").addEventListener("click", () => {
      session.reset();
      onSignedIn();
    });
  }

  /** Nobody is signed in, or the server does not answer: say so, and what to do. */
  async show(error) {
    showError(this.#reason, error.message);
    const facts = await this.#session.facts().catch(() => null); // without it a token is the only way
    const byPassword = facts?.sign_in.method === "supabase";
    byId("password-form").hidden = !byPassword;
    byId("token-way").hidden = byPassword;
    byId("sign-in-address").textContent = `http://localhost:${location.port || 80}`;
    if (byPassword) byId("email").focus();
  }

  #on(form, button, work) {
    byId(form).addEventListener("submit", (event) => {
      event.preventDefault();
      whileBusy(byId(button), work);
    });
  }

  async #byPassword() {
    const email = byId("email");
    const empty = [email, this.#password].find(({ value }) => !value);
    if (empty) {
      showError(this.#reason, "Type your e-mail address and your password.");
      empty.focus();
      return;
    }
    showError(this.#reason, null);
    try {
      await this.#session.signIn(email.value.trim(), this.#password.value);
    } catch (error) {
      if (!(error instanceof Refused || error instanceof TypeError)) throw error;
      showError(this.#reason, error instanceof Refused ? error.message : UNREACHABLE);
      this.#password.select();
      return;
    }
    this.#password.value = "";
    await this.#onSignedIn();
  }

  async #byToken() {
    const token = byId("sign-in-token");
    if (!token.value.trim()) return;
    this.#session.use(token.value.trim());
    token.value = "";
    await this.#onSignedIn();
  }
}
