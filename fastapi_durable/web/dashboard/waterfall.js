// The timeline of a run as a waterfall: when each step was queued, ran, and ended.

import { forkButton } from "./actions.js";
import { failure, h, json, link, status } from "./dom.js";
import { ago, duration, exact } from "./format.js";

const TONE = { completed: "completed", failed: "failed", running: "running", pending: "suspended" };

export function waterfall(page, run, steps, opened) {
  const now = Date.now();
  const begin = (step) => Date.parse(step.enqueued_at ?? step.started_at);
  const end = (step) => step.finished_at ? Date.parse(step.finished_at) : Math.max(now, begin(step));
  const undoing = steps.every((step) => step.seq < 0);
  const first = Math.min(...(undoing ? [] : [Date.parse(run.created_at)]), ...steps.map(begin));
  const last = Math.max(first + 1, ...steps.map(end));
  const share = (moment) => ((moment - first) / (last - first)) * 100;
  const groups = new Map();
  for (const step of steps) if (step.parallel_group) groups.set(step.parallel_group, (groups.get(step.parallel_group) ?? 0) + 1);
  return h("div", {},
    h("div", { class: "axis", "aria-hidden": "true" }, h("span"), h("span", {}, h("span", {}, exact(first)), h("span", {}, `+ ${duration(last - first)}`)), h("span")),
    steps.map((step) => row(page, run, step, { begin: begin(step), end: end(step), share, opened, grouped: groups.get(step.parallel_group) > 1 })),
    h("div", { class: "legend" }, ["completed", "failed", "running"].map((name) => status(name)), h("span", { class: "status", "data-status": "suspended" }, "waiting"), h("span", {}, "pale: queued")));
}

function row(page, run, step, { begin, end, share, opened, grouped }) {
  const started = Math.max(begin, Date.parse(step.started_at));
  const detail = h("div", { class: "step-detail", hidden: !opened.has(step.seq) });
  if (opened.has(step.seq)) detail.append(...contents(page, run, step));
  const button = h("button", {
    type: "button", class: "step", "aria-expanded": String(opened.has(step.seq)), "data-status": TONE[step.status],
    onclick: () => {
      const open = detail.hidden;
      opened[open ? "add" : "delete"](step.seq);
      if (open) detail.replaceChildren(...contents(page, run, step));
      detail.hidden = !open;
      button.setAttribute("aria-expanded", String(open));
    },
  },
  h("span", { class: "name", title: step.name }, status(""), ` ${step.name} `,
    h("small", {}, [step.kind === "local" ? null : step.kind, step.attempts > 1 ? `${step.attempts} attempts` : null, step.events.length ? `${step.events.length} events` : null].filter(Boolean).join(" · "))),
  h("span", { class: "track", "aria-hidden": "true" },
    started > begin ? h("span", { class: "queued", left: share(begin), width: share(started) - share(begin) }) : null,
    h("span", { class: step.finished_at ? "" : "open", left: share(started), width: share(end) - share(started) })),
  h("span", { class: "time" }, step.finished_at ? duration(end - started) : step.status === "pending" ? "waits" : step.status));
  button.querySelector(".status").setAttribute("data-status", TONE[step.status]);
  return h("div", { class: grouped ? "parallel" : "" }, button, detail);
}

function contents(page, run, step) {
  const queued = step.enqueued_at ? Date.parse(step.started_at) - Date.parse(step.enqueued_at) : 0;
  const child = step.step_id && run.children.find((each) => each.id === step.input?.runId || each.id === step.name.replace(/^child:/, ""));
  return [
    h("dl", { class: "facts" }, facts([
      ["Position", Number.isFinite(step.seq) ? `${step.seq} (${step.kind}, ${step.status})` : `waits for this ${step.kind}`],
      ["Started", `${exact(step.started_at)}${queued > 0 ? `, after ${duration(queued)} in the queue` : ""}`],
      ["Ended", step.finished_at && exact(step.finished_at)],
      ["Attempts", step.attempts],
      ["Goes on", !step.finished_at && step.wake_at && `${ago(step.wake_at)}, at ${exact(step.wake_at)}`],
      ["Parallel group", step.parallel_group], ["Worker group", step.worker_group],
      ["Step id", step.step_id && h("span", { class: "mono" }, step.step_id)],
      ["Child", child && link({ run: child.id }, child.id)],
    ])),
    step.error ? failure(step.error) : null,
    step.input !== null ? block("Input", json(step.input)) : null,
    step.output !== null ? block("Output", json(step.output)) : null,
    step.events.length ? block("Events", h("ol", { class: "log" }, step.events.slice(-200).map(event))) : null,
    h("div", { class: "row" }, forkButton(page, run, step)),
  ].filter(Boolean);
}

function event(entry) {
  if (typeof entry !== "object" || entry === null) return h("li", {}, String(entry));
  const at = entry.at ?? entry.ts ?? entry.time;
  return h("li", {}, at ? h("span", { class: "muted" }, `${new Date(at).toLocaleTimeString()} `) : null,
    entry.level && entry.level !== "info" ? h("b", {}, `${entry.level} `) : null, entry.message ?? JSON.stringify(entry),
    entry.data === undefined || entry.data === null ? null : h("span", { class: "mono muted" }, ` ${JSON.stringify(entry.data)}`));
}

const block = (title, content) => h("div", {}, h("div", { class: "muted" }, title), content);

export const facts = (pairs) => pairs.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false)
  .flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]);
