// Shows the page that the address names. Everything that can be linked to is in the query string, so that the dashboard
// works below any prefix without the server knowing its pages.

import { get } from "./api.js";
import { address, goOn, h } from "./dom.js";
import { keepingFocus } from "./focus.js";
import { home } from "./home.js";
import { run } from "./run.js";
import { runs } from "./runs.js";
import { system } from "./system.js";
import { workflows } from "./workflows.js";

const PAGES = { home, runs, run, workflows, system };
const main = document.getElementById("main");
let leaving = new AbortController();
let shown = 0;
let gone = null;
let info = null;
let before = null;

function notice(text, good = false) {
  const element = document.getElementById("notice");
  element.textContent = text ?? "";
  element.hidden = !text;
  element.classList.toggle("good", good);
  clearTimeout(gone);
  if (good) gone = setTimeout(() => { element.hidden = true; }, 10_000);
}

// Leaving is a form: it needs no script of ours to be safe from other sites.
function signedIn(user) {
  if (!user) return [];
  return [h("form", { method: "post", action: "logout", class: "row" }, h("span", { class: "muted", title: user.role === "operate" ? "may operate" : "may look" }, user.name), h("button", { class: "plain" }, "Sign out"))];
}

function go(parameters, { replace = false } = {}) {
  history[replace ? "replaceState" : "pushState"](null, "", address(parameters));
  return show();
}

// The heading of another page gets the focus: a screen reader reads it, and the next Tab is the page's first control.
// A filter that changes the address leaves the focus where it is.
function draw(place, content) {
  keepingFocus(main, () => {
    main.replaceChildren(...[content].flat());
    main.querySelector("h1").tabIndex = -1;
  });
  const heading = main.querySelector("h1");
  document.title = `${heading.textContent} · Durable runs`;
  if (before !== null && before !== place) heading.focus({ preventScroll: true });
  before = place;
}

async function show() {
  leaving.abort();
  leaving = new AbortController();
  const turn = ++shown;
  const parameters = new URLSearchParams(location.search);
  const name = parameters.has("run") ? "run" : Object.hasOwn(PAGES, parameters.get("page")) ? parameters.get("page") : "home";
  const place = `${name} ${parameters.get("run")}`;
  for (const each of document.querySelectorAll("[data-page]")) {
    if (each.dataset.page === (name === "run" ? "runs" : name)) each.setAttribute("aria-current", "page");
    else each.removeAttribute("aria-current");
  }
  notice(null);
  const late = setTimeout(() => main.setAttribute("aria-busy", "true"), 200);
  try {
    info ??= await get("console");
    document.getElementById("where").textContent = info.namespace ? `namespace ${info.namespace}` : "";
    document.getElementById("user").replaceChildren(...signedIn(info.user));
    const content = await PAGES[name](parameters, { info, signal: leaving.signal, go, notice, reload: show });
    if (turn !== shown) return;
    draw(place, content);
  } catch (error) {
    if (turn !== shown || error.name === "AbortError") return;
    draw(place, h("div", { class: "card empty" }, h("h1", {}, error.status === 404 ? "Not found" : "Something went wrong"), h("p", {}, error.message), h("button", { type: "button", onclick: () => error.status === 401 ? location.reload() : show() }, error.status === 401 ? "Reload" : "Try again")));
  } finally {
    clearTimeout(late);
    if (turn === shown) main.removeAttribute("aria-busy");
  }
}

document.addEventListener("click", (event) => {
  const anchor = event.target.closest("a[data-link]");
  if (!anchor || event.defaultPrevented || event.button || event.metaKey || event.ctrlKey || event.shiftKey) return;
  event.preventDefault();
  history.pushState(null, "", anchor.getAttribute("href"));
  scrollTo(0, 0);
  show();
});
document.getElementById("open").addEventListener("submit", (event) => {
  event.preventDefault();
  const input = event.target.elements.id;
  if (input.value.trim()) go({ run: input.value.trim() });
  input.value = "";
});
document.addEventListener("keydown", (event) => {
  if (event.key !== "/" || event.target.closest("input, textarea, select, dialog")) return;
  event.preventDefault();
  document.querySelector("#open input").focus();
});
setInterval(() => { if (!document.hidden) goOn(); }, 1_000);
addEventListener("popstate", () => show());
show();
