// Start of the page: sign in, learn what the server can do, then show the view that the address names.

import { Api, Unreachable } from "./api.js";
import { byId, remembered, showError } from "./dom.js";
import { Player } from "./player.js";
import { Session, SignInRefused } from "./session.js";

const HOME = "generate";
const TITLES = { generate: "Generate", voices: "Voices", history: "History" };

/** A view is fetched when it is first opened: a visit loads what it needs. */
const VIEWS = {
  generate: async () => (await import("./generate.js")).GenerateView,
  voices: async () => (await import("./voices.js")).VoicesView,
  history: async () => (await import("./history.js")).HistoryView,
};

const session = new Session(showSignIn);
const api = new Api(session);
const player = new Player();
const views = {}; // promises of those that were opened, by name
let signIn = null;
let parts = null; // that every view is made of; none before somebody is signed in
let current = null;
let shown = null; // the view itself
let address = null; // path and query that are shown
let pressed = null; // a form that was sent before its view was there

player.onError = (words) => showError(byId(`${current}-error`), words);

/** Sign in and open the view of the address. Repeated after a sign-in by hand. */
async function start() {
  try {
    VIEWS[nameOf(location)]().catch(() => {}); // it comes while others are asked; a failure is reported when it opens
    await session.token();
    const [catalog, facts] = await Promise.all([api.languages(), session.facts()]);
    const { user } = await api.me();
    if (!user) throw new Error("The access token was refused or has expired.");
    if (parts && parts.user !== user.id) {
      location.reload(); // nothing of one user is shown to another
      return;
    }
    parts ??= { api, player, catalog, facts, user: user.id };
    showAccount(user);
    if (remembered("run")) load("generate"); // what was being spoken goes on, whatever is looked at
    await open(new URL(location.href), { focus: false });
  } catch (error) {
    if (!(error instanceof SignInRefused)) showSignIn(error instanceof TypeError ? new Unreachable(error) : error);
  }
}

/** Show the view of `url`. `focus` moves to its heading, as after the load of a page of its own. */
async function open(url, { focus }) {
  const name = nameOf(url);
  shown?.hide?.();
  shown = null;
  current = name;
  address = url.pathname + url.search;
  showOnly(`view-${name}`);
  document.title = `${TITLES[name]} – Utter`;
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  const view = await load(name);
  if (!view || address !== url.pathname + url.search) return; // somebody has gone on
  shown = view;
  const filled = view.show(url.searchParams); // first, for it may change its heading
  if (focus) {
    byId(`${name}-title`).focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  await filled;
  const form = pressed;
  pressed = null;
  if (shown === view && form?.checkVisibility()) form.requestSubmit();
}

/** The view, null when it cannot be loaded. */
async function load(name) {
  try {
    views[name] ??= VIEWS[name]().then((View) => new View(parts));
    return await views[name];
  } catch (error) {
    delete views[name];
    if (!(error instanceof TypeError)) throw error;
    showError(byId(`${name}-error`), new Unreachable(error).message);
    return null;
  }
}

function nameOf({ pathname }) {
  return Object.hasOwn(VIEWS, pathname.slice(1)) ? pathname.slice(1) : HOME;
}

function showOnly(id) {
  for (const view of document.querySelectorAll(".view")) view.hidden = view.id !== id;
}

function showAccount(user) {
  const account = byId("account");
  account.hidden = false;
  account.textContent = session.automatic ? "Demo user" : "Signed in";
  account.title = `Signed in as ${user.id}`;
  byId("sign-out").hidden = session.automatic;
}

/** Nobody is signed in, or the server does not answer: say so, and what to do. */
async function showSignIn(error) {
  showOnly("view-sign-in");
  byId("account").hidden = true;
  byId("sign-out").hidden = true;
  document.title = "Sign in – Utter";
  const { SignInView } = await import("./signin.js");
  signIn ??= new SignInView(session, start);
  await signIn.show(error);
}

// Nobody listens to a form whose view is still on its way, and the browser would send it as an address.
document.addEventListener("submit", (event) => {
  if (event.defaultPrevented || event.target.method === "dialog") return;
  event.preventDefault();
  pressed = event.target;
});

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-link]");
  const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (!link || !plain || !parts) return;
  event.preventDefault();
  history.pushState(null, "", link.href);
  open(new URL(link.href), { focus: true });
});

addEventListener("popstate", () => {
  // A jump within the page, as of the skip link, is a popstate too, and must not move the focus from where it led.
  if (parts && location.pathname + location.search !== address) open(new URL(location.href), { focus: true });
});

byId("sign-out").addEventListener("click", async () => {
  await session.signOut();
  sessionStorage.clear();
  location.assign("/"); // a new page: nothing of this one is left in it
});

start();
