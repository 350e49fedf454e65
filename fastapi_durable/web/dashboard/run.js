// One run: what it is, what it waits for, what happened when, and what can be done.

import { follow, get, runPath } from "./api.js";
import { runActions } from "./actions.js";
import { failure, h, json, link, status } from "./dom.js";
import { ago, ended, exact, lasted } from "./format.js";
import { table } from "./runs.js";
import { facts, waterfall } from "./waterfall.js";

const STEPS = 500;

export async function run(parameters, page) {
  const id = parameters.get("run");
  const opened = new Set();
  let limit = STEPS;
  const content = h("div");
  const load = () => get(runPath(id, `?limit=${limit}`), page);
  const draw = (found) => content.replaceChildren(...sections(found, page, opened, async () => {
    limit = 2000;
    draw(await load());
  }));
  const found = await load();
  draw(found);
  let version = found.version;
  follow(runPath(id, "/stream"), {
    run: async (state) => {
      if (state.version === version && !found.children_total) return;
      try {
        const now = await load();
        version = state.version;
        const focused = document.activeElement?.closest(".step") ? [...content.querySelectorAll(".step")].indexOf(document.activeElement) : -1;
        draw(now);
        if (focused >= 0) content.querySelectorAll(".step")[focused]?.focus();
      } catch { /* the stream goes on, and so does the next look */ }
    },
    deleted: () => page.notice("This run was deleted."),
  }, page.signal);
  return content;
}

function sections(found, page, opened, more) {
  const forward = [...found.timeline.filter((step) => step.seq >= 0), ...unrecorded(found)];
  const undone = found.timeline.filter((step) => step.seq < 0);
  const origin = found.id.includes("~retry~") ? found.id.slice(0, found.id.lastIndexOf("~retry~")) : found.id.includes("~fork~") ? found.id.slice(0, found.id.lastIndexOf("~fork~")) : null;
  const failed = undone.filter((step) => step.status === "failed").length;
  const done = undone.filter((step) => step.status === "completed").length;
  const attributes = Object.entries(found.search_attributes);
  return [
    h("div", { class: "head" },
      h("div", {}, h("div", { class: "row" }, status(found.status), h("span", { class: "muted" }, `${found.workflow} v${found.workflow_version}`)), h("h1", { class: "mono" }, found.id)),
      h("div", { class: "row" }, runActions(page, found))),
    found.waiting || (found.wake_at && found.status !== "running") ? h("section", { class: "card waits" }, waiting(found)) : null,
    found.status === "blocked" ? h("section", { class: "card waits" }, "Blocked: the code does not fit the recorded history, or the workflow's version is not deployed. Deploy code that fits, and the run goes on.") : null,
    found.error ? h("section", { class: "card" }, failure(found.error)) : null,
    h("section", { class: "card" }, h("h2", {}, "Timeline"),
      forward.length ? waterfall(page, found, forward, opened) : h("p", { class: "empty" }, "Nothing has happened yet."),
      found.timeline_total > found.timeline.length ? h("div", { class: "row" }, h("span", { class: "muted" }, `the first ${found.timeline.length} of ${found.timeline_total} steps`), h("button", { type: "button", onclick: more }, "Show more")) : null),
    undone.length ? h("section", { class: "card" }, h("h2", {}, `Undoing: ${done} of ${undone.length} done${failed ? `, ${failed} failed` : ""}`), waterfall(page, found, undone, opened)) : null,
    found.children.length ? h("section", { class: "card" }, h("h2", {}, `Children (${found.children_total})`), table(found.children)) : null,
    h("div", { class: "two" },
      h("section", { class: "card" }, h("h2", {}, "Input"), json(found.input)),
      h("section", { class: "card" }, h("h2", {}, "Output"), found.status === "completed" ? json(found.output) : h("p", { class: "muted" }, ended(found) ? "None." : "None yet."))),
    h("section", { class: "card" }, h("h2", {}, "About"), h("dl", { class: "facts" }, facts([
      ["Created", `${exact(found.created_at)} (${ago(found.created_at)})`],
      ["Changed", exact(found.updated_at)], ["Took", lasted(found)],
      ["Ends at the latest", found.expires_at && exact(found.expires_at)],
      ["Parent", found.parent_run_id && link({ run: found.parent_run_id }, found.parent_run_id)],
      ["Made from", origin && link({ run: origin }, origin)],
      ["Namespace", found.namespace], ["Origin", found.origin], ["Priority", found.priority],
      ["Crashes since progress", found.recovery_attempts],
      ["Tags", found.tags.length ? found.tags.map((tag) => [link({ page: "runs", tag }, h("span", { class: "tag" }, tag)), " "]).flat() : null],
      ["Attributes", attributes.length ? attributes.map(([key, value]) => [link({ page: "runs", attr: `${key}:eq:${value}` }, h("span", { class: "tag" }, `${key} = ${value}`)), " "]).flat() : null],
    ].map(([name, value]) => [name, Array.isArray(value) ? h("span", {}, value) : value])))),
  ].filter(Boolean);
}

// What the run waits for has no row of its own until it has come.
function unrecorded(found) {
  if (!found.waiting || found.timeline.some((step) => step.seq >= 0 && !step.finished_at)) return [];
  return [{ seq: Infinity, name: found.waiting.name, kind: found.waiting.kind, status: "pending", step_id: "", attempts: 1, events: [],
    input: null, output: null, error: null, started_at: found.waiting.since, finished_at: null, wake_at: found.wake_at }];
}

function waiting(found) {
  const { waiting: what } = found;
  if (!what) return h("span", {}, "Goes on by itself ", h("b", {}, ago(found.wake_at)), h("span", { class: "muted" }, `, at ${exact(found.wake_at)}`));
  const named = what.kind === "child" ? link({ run: what.name }, what.name) : what.kind === "breakpoint" ? "" : h("span", { class: "mono" }, what.name);
  return h("span", {}, `Waits for ${{ signal: "the signal", event: "the event", child: "the child", webhook: "the callback", breakpoint: "an operator at a breakpoint" }[what.kind]} `, named,
    h("span", { class: "muted" }, ` since ${exact(what.since)} (${ago(what.since)})`),
    found.wake_at ? h("span", { class: "muted" }, `; gives up ${ago(found.wake_at)}`) : null);
}
