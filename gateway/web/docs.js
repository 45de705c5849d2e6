// The API page: reads the gateway's own description of itself, and lets people try it.

import { OperationView } from "./docs-operation.js";
import { byId, element, showError } from "./dom.js";
import { Session, SignInRefused } from "./session.js";

const DOCUMENT = "/api/openapi.json";

const session = new Session(() => {});

/** The headers of the caller; none where nobody can be signed in, which is an answer worth seeing too. */
async function authorization() {
  try {
    const token = await session.token();
    byId("account").textContent = session.automatic ? "Demo user" : "Signed in";
    return { authorization: `Bearer ${token}` };
  } catch (error) {
    if (!(error instanceof SignInRefused)) throw error;
    byId("account").textContent = "Not signed in";
    return {};
  }
}

async function start() {
  try {
    const response = await fetch(DOCUMENT);
    if (!response.ok) throw new Error(`${DOCUMENT} answered ${response.status}.`);
    show(await response.json());
  } catch (error) {
    const words = error instanceof TypeError ? "The server cannot be reached." : error.message;
    showError(byId("error"), `${words} Load this page again in a moment.`);
    return;
  }
  await authorization().catch(() => {});
  // The operation that the address names was not there when the browser looked for it.
  const named = document.getElementById(location.hash.slice(1));
  if (named?.matches("details")) {
    named.open = true;
    named.scrollIntoView();
  }
}

function show(described) {
  byId("about").textContent = described.info.description.replaceAll("`", "");
  byId("version").textContent = `, version ${described.info.version}`;
  const groups = new Map(described.tags.map(({ name }) => [name, []]));
  for (const [path, methods] of Object.entries(described.paths)) {
    for (const [method, operation] of Object.entries(methods)) {
      const view = new OperationView(described, method, path, operation, authorization);
      groups.get(operation.tags[0]).push(view.element());
    }
  }
  const sections = [...groups].map(([name, views]) =>
    element("section", { class: "docs-group" }, element("h2", {}, name), ...views),
  );
  byId("operations").replaceChildren(...sections);
}

byId("sign-in").addEventListener("submit", (event) => {
  event.preventDefault();
  const token = byId("token").value.trim();
  byId("token").value = "";
  if (token) session.use(token);
  else session.reset();
  authorization().catch((error) => showError(byId("error"), error.message));
});

start();
