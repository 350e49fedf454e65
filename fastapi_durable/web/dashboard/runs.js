// The run list: facets and filters in the address, live while the first page is shown, keyset paging after it.

import { follow, get } from "./api.js";
import { bulk } from "./actions.js";
import { h, link, status } from "./dom.js";
import { STATUSES, ago, exact, lasted, reason } from "./format.js";

const PAGE = 50;
const FILTERS = ["status", "workflow", "tag", "attr", "namespace", "origin", "created_from", "created_until"];

export async function runs(parameters, page) {
  const chosen = {};
  for (const name of FILTERS) {
    const values = parameters.getAll(name).filter(Boolean);
    if (values.length) chosen[name] = name === "status" || name === "attr" ? values : values[0];
  }
  if (parameters.get("unattributed")) chosen.unattributed = "true";
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(chosen)) for (const each of [value].flat()) search.append(name, each);
  const change = (changes) => page.go({ page: "runs", ...chosen, ...changes });

  const rows = h("div");
  const chips = h("div", { class: "chips", role: "group", "aria-label": "Filter by status" });
  const foot = h("div", { class: "row" });
  let listed = [];
  let total = 0;
  let paged = false;

  const drawChips = (facets) => {
    const count = (test) => facets.filter(test).reduce((sum, each) => sum + each.count, 0);
    const wanted = new Set(chosen.status ?? []);
    const mine = (each) => chosen.unattributed ? each.origin === null : chosen.origin ? each.origin === chosen.origin : true;
    total = count((each) => mine(each) && (!wanted.size || wanted.has(each.status)));
    const origins = [...new Set(facets.map((each) => each.origin))].sort();
    chips.replaceChildren(
      chip("all", count(mine), !wanted.size, () => change({ status: null })),
      ...STATUSES.filter((name) => wanted.has(name) || count((each) => mine(each) && each.status === name)).map((name) =>
        chip(status(name), count((each) => mine(each) && each.status === name), wanted.has(name), () => {
          if (!wanted.delete(name)) wanted.add(name);
          change({ status: [...wanted] });
        })),
      ...(origins.length < 2 ? [] : origins.map((origin) => chip(origin ?? "no origin", count((each) => each.origin === origin),
        origin === null ? !!chosen.unattributed : chosen.origin === origin, () => change(
          origin === null ? { unattributed: chosen.unattributed ? null : "true", origin: null }
            : { origin: chosen.origin === origin ? null : origin, unattributed: null })))));
  };
  const drawFoot = (cursor) => foot.replaceChildren(
    h("span", { class: "muted" }, `${listed.length.toLocaleString()} of ${total.toLocaleString()}`),
    cursor ? h("button", { type: "button", onclick: async (event) => {
      event.target.disabled = true;
      paged = true;
      const more = await get(`runs?${search}&limit=${PAGE}&cursor=${cursor}`, { signal: page.signal });
      listed = [...listed, ...more.runs];
      draw(more.next_cursor);
    } }, "Show more") : "");
  const draw = (cursor) => {
    rows.replaceChildren(listed.length ? table(listed) : h("p", { class: "empty" }, Object.keys(chosen).length ? "No run matches these filters." : "No runs yet."));
    drawFoot(cursor);
  };

  const [first, facets] = await Promise.all([get(`runs?${search}&limit=${PAGE}`, page), get(`runs/facets?${search}`, page)]);
  listed = first.runs;
  drawChips(facets.facets);
  draw(first.next_cursor);
  follow(`runs/stream?${search}&limit=${PAGE}`, { runs: (state) => {
    drawChips(state.facets);
    if (paged) {
      const fresh = new Map(state.runs.map((run) => [run.id, run]));
      listed = listed.map((run) => fresh.get(run.id) ?? run);
      rows.replaceChildren(table(listed));
    } else if (!rows.contains(document.activeElement) || changed(listed, state.runs)) {
      listed = state.runs;
      get(`runs?${search}&limit=${PAGE}`, page).then((now) => { if (!paged) { listed = now.runs; draw(now.next_cursor); } }, () => {});
    }
  } }, page.signal);

  return [
    h("div", { class: "head" }, h("h1", {}, "Runs"), h("div", { class: "row" }, bulk(page, chosen, () => total))),
    filters(chosen, change), chips, h("section", { class: "card" }, rows), foot,
  ];
}

const changed = (before, after) => JSON.stringify(before.map((run) => run.id)) !== JSON.stringify(after.map((run) => run.id))
  || before.some((run, index) => run.updated_at !== after[index].updated_at);

const chip = (label, count, pressed, onclick) =>
  h("button", { type: "button", class: "chip", "aria-pressed": String(pressed), onclick }, label, ` ${count.toLocaleString()}`);

function filters(chosen, change) {
  const field = (name, label, placeholder) => h("label", {}, label, h("input", { name, placeholder, value: [chosen[name] ?? []].flat().join(", ") }));
  const since = h("select", { name: "since" }, [["", chosen.created_from ? `since ${exact(chosen.created_from)}` : "any time"], ["1", "last hour"], ["24", "last day"], ["168", "last week"], ["any", "any time"]]
    .filter(([value]) => value !== "any" || chosen.created_from).map(([value, text]) => h("option", { value }, text)));
  return h("form", { class: "filters", onsubmit: (event) => {
    event.preventDefault();
    const given = Object.fromEntries(new FormData(event.target));
    const created = given.since === "any" ? null : given.since ? new Date(Date.now() - given.since * 3_600_000).toISOString() : chosen.created_from;
    change({ workflow: given.workflow, tag: given.tag, namespace: given.namespace, created_from: created,
      attr: given.attr.split(",").map((each) => each.trim()).filter(Boolean) });
  } },
  field("workflow", "Workflow", "checkout"), field("tag", "Tag", "order:7"), field("attr", "Attribute", "total:gte:100"),
  field("namespace", "Namespace", "default"), h("label", {}, "Created", since),
  h("div", { class: "row" }, h("button", { class: "primary" }, "Filter"),
    Object.keys(chosen).length ? h("a", { href: "?page=runs", "data-link": true }, "clear") : null));
}

export function table(runs, { compact = false } = {}) {
  return h("table", {},
    h("thead", {}, h("tr", {}, ["Status", "Run", ...(compact ? [] : ["Workflow"]), "Created", ...(compact ? [] : ["Took"])].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, runs.map((run) => h("tr", {},
      h("td", {}, status(run.status)),
      h("td", {}, link({ run: run.id }, h("span", { class: "mono" }, run.id)), reason(run) ? h("div", { class: "muted" }, reason(run)) : null,
        compact ? h("div", { class: "muted" }, run.workflow) : null,
        compact || !run.tags.length ? null : h("div", { class: "row" }, run.tags.slice(0, 6).map((tag) => h("span", { class: "tag" }, tag)))),
      compact ? null : h("td", {}, run.workflow, h("span", { class: "muted" }, ` v${run.workflow_version}`)),
      h("td", { class: "num", title: exact(run.created_at) }, ago(run.created_at)),
      compact ? null : h("td", { class: "num" }, lasted(run))))));
}
