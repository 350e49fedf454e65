// One run: what it is, what it waits for, what happened when, and what can be done.

import { follow, get, runPath } from "./api.js";
import { runActions } from "./actions.js";
import { empty, failure, h, json, lasted, link, status, when } from "./dom.js";
import { keepingFocus } from "./focus.js";
import { ended, exact, reason } from "./format.js";
import { graph } from "./graph.js";
import { table } from "./runs.js";
import { facts, keyOf, legend, waterfall } from "./waterfall.js";

const STEPS = 250;
// Operator actions stands below every compensation.
const OPERATORS = -2_000_000_000;

export async function run(parameters, page) {
  const id = parameters.get("run");
  const view = { ...page, opened: new Set(), childOf: childReader(page), shape: parameters.get("view") === "graph" ? "graph" : "timeline", before: [] };
  const content = h("div", { tabindex: "-1" });
  const load = () => get(runPath(id, `?limit=${STEPS}${view.before.length ? `&after=${view.before.at(-1)}` : ""}`), page);
  let found = await load();
  const draw = () => keepingFocus(content, () => {
    content.replaceChildren(...sections(found, view, { draw, turn }));
    content.querySelector(".graph")?.dispatchEvent(new Event("shown"));
  });
  const read = async () => {
    found = await load();
    draw();
  };
  const turn = async (before) => {
    view.before = before;
    await read();
    content.querySelector("#timeline")?.scrollIntoView({ block: "start" });
  };
  draw();
  follow(runPath(id, "/stream"), {
    run: async (state) => {
      if (state.version === found.version) return;
      view.childOf = childReader(page);
      try { await read(); } catch { /* the stream goes on, and so does the next look */ }
    },
    deleted: () => page.notice("This run was deleted."),
  }, page.signal);
  return content;
}

function childReader(page) {
  const known = new Map();
  return (id) => {
    if (!known.has(id)) known.set(id, get(runPath(id, "?limit=100"), page));
    return known.get(id);
  };
}

function sections(found, view, { draw, turn }) {
  const forward = [...found.timeline.filter((step) => step.seq >= 0), ...unrecorded(found)];
  const undone = found.timeline.filter((step) => step.seq < 0 && step.seq > OPERATORS);
  const operated = found.timeline.filter((step) => step.seq <= OPERATORS).reverse();
  const rests = found.waiting || (found.wake_at && found.status !== "running" && !ended(found));
  const failed = undone.filter((step) => step.status === "failed").length;
  const done = undone.filter((step) => step.status === "completed").length;
  return [
    h("div", { class: "head" },
      h("div", {}, h("div", { class: "row" }, status(found.status), link({ page: "runs", workflow: found.workflow }, found.workflow), h("span", { class: "muted" }, `v${found.workflow_version} · ${ended(found) ? "took" : "for"} `, lasted(found))), h("h1", { tabindex: "-1", class: found.id.length > 60 ? "mono long" : "mono" }, found.id)),
      h("div", { class: "row" }, runActions(view, found))),
    rests ? h("section", { class: "card waits" }, waiting(found)) : null,
    found.status === "blocked" ? h("section", { class: "card waits" }, "Blocked: the code does not fit the recorded history, or the workflow's version is not deployed. Deploy code that fits, and the run continues.") : null,
    found.error && !(found.status === "cancelled" && found.error.code === "cancelled") ? h("section", { class: "card" }, failure(found.error)) : null,
    h("section", { class: "card", id: "timeline" }, h("h2", { class: "unseen" }, "Steps"),
      h("div", { class: "row spread" }, tabs(view, draw), pager(found, view, turn)),
      !forward.length ? empty(ended(found) ? "The run ended without a step." : `No steps yet. ${reason(found) && !rests ? `The run ${reason(found)}.` : "They appear here while a worker drives the run."}`)
        : view.shape === "graph" ? graph(found, forward, (step) => open(found, view, step, draw)) : waterfall(view, found, forward),
      forward.length ? legend(view.shape) : null),
    undone.length ? h("section", { class: "card" }, h("h2", {}, `Undoing: ${done} of ${undone.length} done${failed ? `, ${failed} failed` : ""}`), waterfall(view, found, undone)) : null,
    operated.length ? h("section", { class: "card" }, h("h2", {}, "Operator actions"), h("dl", { class: "facts" }, facts(operated.map(told)))) : null,
    found.children.length ? h("section", { class: "card" }, h("h2", {}, `Children (${found.children_total > found.children.length ? `the newest ${found.children.length} of ${found.children_total.toLocaleString()}` : found.children_total})`), table(found.children)) : null,
    h("div", { class: "two" },
      h("section", { class: "card" }, h("h2", {}, "Input"), json(found.input, "input of the run")),
      h("section", { class: "card" }, h("h2", {}, "Output"), found.status === "completed" ? json(found.output, "output of the run") : h("p", { class: "muted" }, ended(found) ? "None." : "None yet."))),
    h("section", { class: "card" }, h("h2", {}, "About"), about(found)),
  ].filter(Boolean);
}

function tabs(view, draw) {
  const tab = (shape, label) => h("button", { type: "button", class: "tab", id: `tab-${shape}`, "aria-pressed": String(view.shape === shape), onclick: () => {
    view.shape = shape;
    const search = new URLSearchParams(location.search);
    if (shape === "graph") search.set("view", shape);
    else search.delete("view");
    history.replaceState(null, "", `?${search}`);
    draw();
  } }, label);
  return h("div", { class: "tabs", role: "group", "aria-label": "View" }, tab("timeline", "Timeline"), tab("graph", "Graph"));
}

// A long timeline is shown stretch by stretch.
function pager(found, view, turn) {
  if (found.timeline_total <= STEPS) return null;
  const shown = found.timeline.length;
  const from = view.before.length * STEPS;
  return h("div", { class: "row" },
    h("span", { class: "muted" }, `steps ${(from + 1).toLocaleString()} to ${(from + shown).toLocaleString()} of ${found.timeline_total.toLocaleString()}`),
    h("button", { type: "button", id: "earlier", disabled: !view.before.length, onclick: () => turn(view.before.slice(0, -1)) }, "Earlier"),
    h("button", { type: "button", id: "later", disabled: from + shown >= found.timeline_total, onclick: () => turn([...view.before, found.timeline.at(-1).seq]) }, "Later"));
}

// From the graph to the step's row in the timeline.
function open(found, view, step, draw) {
  view.opened.add(keyOf(found, step));
  document.getElementById("tab-timeline").click();
  draw();
  const row = document.getElementById(`step ${keyOf(found, step)}`);
  row?.scrollIntoView({ block: "center" });
  row?.focus({ preventScroll: true });
}

function about(found) {
  const made = /^(.*)~(retry|fork)~/s.exec(found.id)?.[1];
  const attributes = Object.entries(found.search_attributes);
  const spaced = (list) => list.length ? h("span", { class: "row" }, list) : null;
  return h("dl", { class: "facts" }, facts([
    ["Created", h("span", {}, `${exact(found.created_at)} (`, when(found.created_at), ")")],
    ["Changed", exact(found.updated_at)],
    ["Expires", found.expires_at && exact(found.expires_at)],
    ["Parent", found.parent_run_id && link({ run: found.parent_run_id }, found.parent_run_id)],
    ["Made from", made && link({ run: made }, made)],
    ["Dead letter of", /^dlq(@[0-9]+)?:/.test(found.id) && link({ run: found.id.replace(/^[^:]*:/, "") }, found.id.replace(/^[^:]*:/, ""))],
    [found.dead_letters.length > 1 ? "Dead letters" : "Dead letter", spaced(found.dead_letters.map((id) => link({ run: id }, id)))],
    ["Namespace", found.namespace], ["Origin", found.origin], ["Queue", found.queue], ["Fairness key", found.fairness_key], ["Priority", found.priority],
    ["Crashes since progress", found.recovery_attempts],
    ["Tags", spaced(found.tags.map((tag) => link({ page: "runs", tag }, h("span", { class: "tag" }, tag))))],
    ["Attributes", spaced(attributes.map(([key, value]) => link({ page: "runs", attr: `${key}:eq:${value}` }, h("span", { class: "tag" }, `${key} = ${value}`))))],
  ]));
}

function told(trace) {
  const { status: before, run_id: made } = trace.output ?? {};
  return [trace.name.replace(/^operator:/, "").replaceAll("_", " "), h("span", {}, `${exact(trace.started_at)} (`, when(trace.started_at), ")",
    before ? h("span", { class: "muted" }, `; it was ${before}`) : null, made ? ["; as ", link({ run: made }, made)] : null)];
}

// What the run waits for has no row of its own until it has come.
function unrecorded(found) {
  if (!found.waiting || found.waiting.kind === "singleton" || found.timeline.some((step) => step.seq >= 0 && !step.finished_at) || found.timeline.length < found.timeline_total) return [];
  return [{ seq: Infinity, name: found.waiting.name, kind: found.waiting.kind, status: "pending", step_id: "", attempts: 1, events: [],
    input: null, output: null, error: null, started_at: found.waiting.since, finished_at: null, wake_at: found.wake_at, parallel_group: null }];
}

function waiting(found) {
  const { waiting: what } = found;
  const since = () => h("span", { class: "muted" }, ` since ${exact(what.since)} (`, when(what.since), ")");
  if (what?.kind === "pause") return h("span", {}, "Is paused until an operator resumes it", since());
  if (what?.kind === "singleton") return h("span", {}, "Waits for a slot of the singleton ", link({ page: "runs", workflow: found.workflow, tag: `singleton:${what.name}` }, what.name), since());
  if (!what) return h("span", {}, "Continues by itself ", h("b", {}, when(found.wake_at)), h("span", { class: "muted" }, `, at ${exact(found.wake_at)}`));
  const words = what.name === "breakpoint" && what.kind === "breakpoint" ? "" : what.kind === "child" ? link({ run: what.name }, what.name) : h("span", { class: "mono" }, what.name);
  return h("span", {}, `Waits for ${{ signal: "the signal", event: "the event", child: "the child", webhook: "the callback", breakpoint: "an operator at a breakpoint", engine: "" }[what.kind]} `, words, since(),
    found.wake_at ? h("span", { class: "muted" }, "; times out ", when(found.wake_at)) : null);
}
