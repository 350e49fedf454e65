// The start page: how many runs stand where, what failed last, what waits.

import { follow, get } from "./api.js";
import { h, link, status } from "./dom.js";
import { STATUSES } from "./format.js";
import { table } from "./runs.js";

const BAD = ["failed", "dead", "blocked"];

export async function home(_, { signal }) {
  const load = async () => Promise.all([
    get("runs/facets", { signal }),
    get(`runs?limit=8&${BAD.map((each) => `status=${each}`).join("&")}`, { signal }),
    get("runs?limit=8&status=suspended", { signal }),
    get("runs?limit=8", { signal }),
  ]);
  const content = h("div");
  const draw = ([facets, failures, waiting, latest]) => {
    const count = (name) => facets.facets.filter((each) => each.status === name).reduce((sum, each) => sum + each.count, 0);
    content.replaceChildren(
      h("div", { class: "head" }, h("h1", {}, "Overview"), h("span", { class: "muted" }, `${facets.total.toLocaleString()} runs`)),
      h("div", { class: "tiles" }, STATUSES.map((name) => h("a", {
        class: count(name) ? "tile" : "tile none", href: `?page=runs&status=${name}`, "data-link": true,
      }, h("b", {}, count(name).toLocaleString()), status(name)))),
      h("div", { class: "two" },
        section("Recent failures", failures.runs, { page: "runs", status: BAD }, "Nothing has failed."),
        section("Waiting", waiting.runs, { page: "runs", status: "suspended" }, "No run waits for anything.")),
      section("Latest runs", latest.runs, { page: "runs" }, "No runs yet. Start one from Workflows, or from the application."));
  };
  draw(await load());
  let reading = false;
  follow("runs/stream?limit=20", { runs: async () => {
    if (reading) return;
    reading = true;
    try { draw(await load()); } catch { /* the stream will say when there is something to read */ } finally { reading = false; }
  } }, signal);
  return content;
}

function section(title, runs, more, empty) {
  const wide = title === "Latest runs";
  return h("section", { class: "card" },
    h("div", { class: "row" }, h("h2", {}, title), runs.length ? link(more, "all") : null),
    runs.length ? table(runs, { compact: !wide }) : h("p", { class: "empty" }, empty));
}
