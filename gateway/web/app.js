// Start of the page: sign in, learn what the server can do, then show the view that the address names.

import { Api, Unreachable } from "./api.js";
import { byId, showError } from "./dom.js";
import { GenerateView } from "./generate.js";
import { Player } from "./player.js";
import { Session, SignInRefused } from "./session.js";

const HOME = "generate";
const TITLES = { generate: "Generate", voices: "Voices", history: "History" };

/** What is not needed to generate is fetched when it is first opened. */
const LATER = {
  voices: async () => (await import("./voices.js")).VoicesView,
  history: async () => (await import("./history.js")).HistoryView,
};

const session = new Session(showSignIn);
const api = new Api(session);
const player = new Player();
let parts = null; // that every view is made of
let views = null;
let current = null;
let address = null; // path and query that are shown

player.onError = (words) => showError(byId(`${current}-error`), words);

/** Sign in and open the view of the address. Repeated after a sign-in by hand. */
async function start() {
  try {
    await session.token();
    const catalog = await api.languages();
    const { user } = await api.me();
    if (!user) throw new Error("The access token was refused or has expired.");
    parts ??= { api, player, catalog, user: user.id };
    views ??= { generate: new GenerateView(parts) };
    showAccount(user);
    await open(new URL(location.href), { focus: false });
  } catch (error) {
    if (!(error instanceof SignInRefused)) showSignIn(error);
  }
}

/** Show the view of `url`. `focus` moves to its heading, as after the load of a page of its own. */
async function open(url, { focus }) {
  const name = url.pathname.slice(1) in TITLES ? url.pathname.slice(1) : HOME;
  views[current]?.hide?.();
  current = name;
  address = url.pathname + url.search;
  showOnly(`view-${name}`);
  document.title = `${TITLES[name]} – Utter`;
  for (const link of document.querySelectorAll("[data-view]")) {
    if (link.dataset.view === name) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (focus) {
    byId(`${name}-title`).focus({ preventScroll: true });
    scrollTo(0, 0);
  }
  try {
    views[name] ??= new (await LATER[name]())(parts);
  } catch (error) {
    showError(byId(`${name}-error`), new Unreachable(error).message);
    return;
  }
  if (current === name) await views[name].show(url.searchParams);
}

function showOnly(id) {
  for (const view of document.querySelectorAll(".view")) view.hidden = view.id !== id;
}

function showAccount(user) {
  const account = byId("account");
  account.hidden = false;
  account.textContent = session.automatic ? "Demo user" : "Signed in";
  account.title = `Signed in as ${user.id}`;
}

/** Nobody is signed in, or the server does not answer: say so, and what to do. */
function showSignIn(error) {
  byId("sign-in-address").textContent = `http://localhost:${location.port || 80}`;
  byId("sign-in-reason").textContent = error.message;
  showOnly("view-sign-in");
  document.title = "Sign in – Utter";
}

document.addEventListener("click", (event) => {
  const link = event.target.closest("a[data-link]");
  const plain = event.button === 0 && !event.ctrlKey && !event.metaKey && !event.shiftKey && !event.altKey;
  if (!link || !plain || !views) return;
  event.preventDefault();
  history.pushState(null, "", link.href);
  open(new URL(link.href), { focus: true });
});

addEventListener("popstate", () => {
  // A jump within the page, as of the skip link, is a popstate too, and must not move the focus from where it led.
  if (views && location.pathname + location.search !== address) open(new URL(location.href), { focus: true });
});

byId("sign-in-form").addEventListener("submit", (event) => {
  event.preventDefault();
  session.use(byId("sign-in-token").value.trim());
  byId("sign-in-token").value = "";
  start();
});

byId("sign-in-retry").addEventListener("click", () => {
  session.reset();
  start();
});

start();
