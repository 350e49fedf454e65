// The run list: facets and filters in the address, live while the first page is shown, keyset paging after it.

import { follow, get } from "./api.js";
import { bulk } from "./actions.js";
import { empty, h, lasted, link, status, when } from "./dom.js";
import { keepingFocus } from "./focus.js";
import { STATUSES, counted, ended, exact, reason } from "./format.js";

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
  const list = h("div", { tabindex: "-1" }, h("section", { class: "card" }, rows), foot);
  let listed = [];
  let total = 0;
  let more = false;
  let paged = false;
  let reading = false;
  let cursor = null;

  const drawChips = ({ facets, capped }) => {
    const count = (test) => facets.filter(test).reduce((sum, each) => sum + each.count, 0);
    const wanted = new Set(chosen.status ?? []);
    const mine = (each) => chosen.unattributed ? each.origin === null : chosen.origin ? each.origin === chosen.origin : true;
    total = count((each) => mine(each) && (!wanted.size || wanted.has(each.status)));
    more = capped.some((name) => !wanted.size || wanted.has(name));
    const origins = [...new Set(facets.map((each) => each.origin))].sort();
    keepingFocus(chips, () => chips.replaceChildren(
      chip("all", counted(count(mine), capped.length > 0), !wanted.size, () => change({ status: null })),
      ...STATUSES.filter((name) => wanted.has(name) || count((each) => mine(each) && each.status === name)).map((name) =>
        chip(status(name), counted(count((each) => mine(each) && each.status === name), capped.includes(name)), wanted.has(name), () => {
          if (!wanted.delete(name)) wanted.add(name);
          change({ status: [...wanted] });
        })),
      ...(origins.length < 2 ? [] : origins.map((origin) => chip(origin ?? "no origin", counted(count((each) => each.origin === origin), capped.length > 0),
        origin === null ? !!chosen.unattributed : chosen.origin === origin, () => change(
          origin === null ? { unattributed: chosen.unattributed ? null : "true", origin: null }
            : { origin: chosen.origin === origin ? null : origin, unattributed: null }))))));
  };
  const read = (cursor) => get(`runs?${search}&limit=${PAGE}${cursor ? `&cursor=${cursor}` : ""}`, page);
  const goOn = async () => {
    if (reading) return;
    reading = true;
    try {
      if (!paged) {
        // The list may have moved on since it was read: continue after what is shown from now on.
        const now = await read();
        [listed, cursor, paged] = [now.runs, now.next_cursor, true];
      }
      if (cursor) {
        const next = await read(cursor);
        [listed, cursor] = [[...listed, ...next.runs], next.next_cursor];
      }
      draw();
    } catch (error) {
      page.notice(error.message);
    } finally {
      reading = false;
    }
  };
  const draw = () => keepingFocus(list, () => {
    rows.replaceChildren(listed.length ? table(listed) : Object.keys(chosen).length ? empty("No run matches these filters.") : noRuns());
    foot.replaceChildren(
      h("span", { class: "muted" }, `${listed.length.toLocaleString()} of ${counted(Math.max(total, listed.length), more)}`),
      (paged ? cursor : listed.length >= PAGE) ? h("button", { type: "button", onclick: goOn }, "Show more") : "");
  });

  // By the server's clock: a browser's may be wrong.
  const newest = () => new Date((listed.length ? Date.parse(listed[0].created_at) : Date.now()) + 1).toISOString();
  const [first, facets] = await Promise.all([read(), get(`runs/facets?${search}`, page)]);
  listed = first.runs;
  drawChips(facets);
  draw();
  follow(`runs/stream?${search}&limit=${PAGE}`, { runs: (state) => {
    drawChips(state);
    if (paged) {
      const fresh = new Map(state.runs.map((run) => [run.id, run]));
      listed = listed.map((run) => fresh.get(run.id) ?? run);
    } else listed = state.runs;
    draw();
  } }, page.signal);

  return [
    h("div", { class: "head" }, h("h1", {}, "Runs"), h("div", { class: "row" }, bulk(page, chosen, () => [total, more], newest))),
    filters(chosen, change), chips, list,
  ];
}

export const noRuns = () => empty(["No runs yet. ", link({ page: "workflows" }, "Start a workflow"), ", or call this in the application:"], "await service.start(workflow, input)");

const chip = (label, count, pressed, onclick) =>
  h("button", { type: "button", class: "chip", "aria-pressed": String(pressed), onclick }, label, h("span", {}, count));

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
  field("workflow", "Workflow", "any"), field("tag", "Tag", "any"), field("attr", "Attribute", "such as total:gte:100"),
  field("namespace", "Namespace", "any"), h("label", {}, "Created", since),
  h("div", { class: "row" }, h("button", { class: "primary" }, "Filter"),
    Object.keys(chosen).length ? h("a", { href: "?page=runs", "data-link": true }, "clear") : null));
}

export function table(runs, { compact = false } = {}) {
  return h("table", { class: "runs" },
    h("thead", {}, h("tr", {}, ["Status", "Run", ...(compact ? [] : ["Workflow"]), "Created", ...(compact ? [] : ["Took"])].map((name) => h("th", { scope: "col" }, name)))),
    h("tbody", {}, runs.map((run) => h("tr", {},
      h("td", { class: "state" }, status(run.status)),
      h("td", {}, link({ run: run.id }, h("span", { class: "mono", title: run.id }, run.id)), below([
        [compact ? run.workflow : "", reason(run)].filter(Boolean).join(" · "),
        ...(compact ? [] : run.tags.slice(0, 6).map((tag) => h("span", { class: "tag" }, tag)))])),
      compact ? null : h("td", {}, run.workflow, h("span", { class: "muted" }, ` v${run.workflow_version}`)),
      h("td", { class: "num" }, when(run.created_at)),
      compact ? null : h("td", { class: `num ${ended(run) ? "took" : "lasts"}` }, lasted(run))))));
}

function below(parts) {
  const told = parts.filter(Boolean);
  return told.length ? h("div", { class: "below" }, told.map((part) => h("span", {}, part))) : null;
}
