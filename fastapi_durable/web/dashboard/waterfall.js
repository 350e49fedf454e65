// The timeline of a run as a waterfall: when each step was queued, ran, and ended; what it said, and what its child did.

import { forkButton } from "./actions.js";
import { attemptsOf, beginOf, saidBy } from "./attempts.js";
import { failure, h, json, link, status, when } from "./dom.js";
import { duration, exact, precise } from "./format.js";
import { named } from "./names.js";
import { inside } from "./parts.js";

export const TONE = { completed: "completed", failed: "failed", running: "running", pending: "suspended" };

// `page.opened` remembers by key what is open while the page is drawn again; `page.childOf(id)` reads a child's page.
export function waterfall(page, run, steps) {
  const end = (step) => step.finished_at ? Date.parse(step.finished_at) : Math.max(Date.now(), beginOf(step));
  const first = Math.min(...steps.map(beginOf));
  const last = Math.max(first + 1, ...steps.map(end));
  const { share, shortened } = scale(steps, first, last, end);
  const groups = new Map();
  for (const step of steps) if (step.parallel_group) groups.set(step.parallel_group, (groups.get(step.parallel_group) ?? 0) + 1);
  const before = new Map(steps.map((step) => [step.seq + 1, step]));
  return h("div", { class: "waterfall" },
    h("div", { class: "axis", "aria-hidden": "true" }, h("span"), h("span", {}, h("span", {}, exact(first)), h("span", {}, `${shortened ? "waiting is drawn shorter · " : ""}+ ${duration(last - first)}`)), h("span")),
    [...steps].sort((one, other) => beginOf(one) - beginOf(other) || one.seq - other.seq).map((step) => row(page, run, step, { begin: beginOf(step), end: end(step), share, grouped: groups.get(step.parallel_group) > 1, waited: waitedSince(step, before.get(step.seq)) })));
}

// What came from outside is recorded when it came. It was waited for since the call before it had its result.
const FROM_OUTSIDE = new Set(["signal", "event", "webhook", "breakpoint", "task", "update"]);

function waitedSince(step, before) {
  if (!step.finished_at || !before?.finished_at || step.parallel_group || !FROM_OUTSIDE.has(named(step).kind)) return null;
  const since = Date.parse(before.finished_at);
  return before.seq === step.seq - 1 && since < beginOf(step) ? since : null;
}

// Where on the axis a moment is, in percent. Work would be invisible beside days of waiting, so waiting takes no more room
// than half of what work takes.
function scale(steps, first, last, end) {
  const isWork = (step) => step.kind === "local" || step.kind === "remote" || (named(step).child && step.finished_at);
  const works = steps.filter(isWork).flatMap((step) => {
    const tries = attemptsOf(step).map((each) => [each.begin, each.end]);
    return [...tries, [tries.length ? Date.parse(step.started_at) : beginOf(step), end(step)]];
  });
  const moments = [...new Set([first, last, ...works.flat()])].sort((one, other) => one - other);
  const parts = moments.slice(1).map((to, index) => ({ from: moments[index], to, busy: works.some(([begin, until]) => begin <= moments[index] && until >= to) }));
  const sum = (busy) => parts.filter((part) => part.busy === busy).reduce((total, part) => total + part.to - part.from, 0);
  const [work, idle] = [sum(true), sum(false)];
  const shortened = work > 0 && idle > 2 * work;
  const pace = shortened ? work / 2 / idle : 1;
  const whole = work + idle * pace;
  const share = (moment) => parts.reduce((total, part) => total + Math.min(Math.max(moment - part.from, 0), part.to - part.from) * (part.busy ? 1 : pace), 0) / whole * 100;
  return { share, shortened };
}

export const legend = (shape) => h("div", { class: "legend" }, ["completed", "failed", "running"].map((name) => status(name)), h("span", { class: "status", "data-status": "suspended" }, "waiting"), shape === "graph" ? null : h("span", {}, "pale: queued, waiting, or between attempts"));

export const keyOf = (run, step) => `${run.id} ${step.seq}`;

function row(page, run, step, { begin, end, share, grouped, waited }) {
  const key = keyOf(run, step);
  const tries = attemptsOf(step);
  // Between attempts it waits since the last one ended.
  const started = Math.max(begin, step.status === "pending" && tries.length ? tries.at(-1).end : Date.parse(step.started_at));
  const detail = h("div", { class: "step-detail", hidden: !page.opened.has(key) });
  const fill = () => detail.replaceChildren(...contents(page, run, step));
  if (page.opened.has(key)) fill();
  const { kind, label } = named(step, run);
  const said = saidBy(step).length;
  const notes = [kind === "step" || kind === label ? null : kind, step.status === "failed" ? "failed" : null, step.attempts > 1 ? `${step.attempts} attempts` : null, said ? `${said} ${said === 1 ? "event" : "events"}` : null];
  const button = h("button", {
    type: "button", class: "step", id: `step ${key}`, "aria-expanded": String(page.opened.has(key)), "data-status": TONE[step.status],
    onclick: () => {
      const open = detail.hidden;
      page.opened[open ? "add" : "delete"](key);
      if (open) fill();
      detail.hidden = !open;
      button.setAttribute("aria-expanded", String(open));
    },
  },
  h("span", { class: "name", title: label }, h("span", { class: "status", "data-status": TONE[step.status] }), ` ${label} `, h("small", {}, notes.filter(Boolean).join(" · "))),
  h("span", { class: "track", "aria-hidden": "true" },
    started > begin ? h("span", { class: "queued", left: share(begin), width: share(started) - share(begin) }) : null,
    waited ? h("span", { class: "queued", "data-status": "suspended", left: share(waited), width: share(begin) - share(waited) }) : null,
    tries.map((each) => h("span", { "data-status": "failed", left: share(each.begin), width: share(each.end) - share(each.begin) })),
    h("span", { class: step.finished_at ? "" : "open", left: share(started), width: share(end) - share(started) })),
  h("span", { class: "time" }, step.finished_at ? duration(end - (waited ?? (tries.length ? begin : started))) : step.status === "pending" ? "waits" : step.status));
  return h("div", { class: grouped ? "parallel" : "" }, button, detail);
}

function contents(page, run, step) {
  const tries = attemptsOf(step);
  const queued = step.enqueued_at ? Date.parse(step.started_at) - Date.parse(step.enqueued_at) : 0;
  const { child, label } = named(step);
  return [
    h("dl", { class: "facts" }, facts([
      ["Position", Number.isFinite(step.seq) ? `${step.seq} (${step.kind}, ${step.status})` : `waits for this ${step.kind}`],
      ["Started", `${precise(step.started_at)}${queued > 0 ? `, after ${duration(queued)} in the queue` : ""}`],
      ["Ended", step.finished_at && precise(step.finished_at)],
      ["Attempts", step.attempts > 1 || !step.finished_at ? step.attempts : null],
      ["Continues", !step.finished_at && step.wake_at && h("span", {}, when(step.wake_at), `, at ${exact(step.wake_at)}`)],
      ["Parallel group", step.parallel_group], ["Worker group", step.worker_group],
      ["Recorded as", step.name !== label && h("span", { class: "mono" }, step.name)],
      ["Step id", step.step_id && h("span", { class: "mono" }, step.step_id)],
      ["Child", child && link({ run: child }, child)],
    ])),
    child ? childsTimeline(page, child) : null,
    tries.length ? block("Earlier attempts", h("ol", { class: "tries" }, tries.map((each) => h("li", { value: each.number },
      h("span", { class: "muted" }, `${new Date(each.begin).toLocaleTimeString()}, ${duration(each.end - each.begin)} `), each.message)))) : null,
    step.error && (step.finished_at || !tries.length) ? failure(step.error) : null,
    saidBy(step).length ? inside(step) : null,
    step.input !== null ? block("Input", json(step.input, `input of ${label}`)) : null,
    step.output !== null ? block("Output", json(step.output, `output of ${label}`)) : null,
    h("div", { class: "row" }, forkButton(page, run, step)),
  ].filter(Boolean);
}

// The child's own steps, below the step that waits for it.
function childsTimeline(page, id) {
  const place = h("div", { class: "inline-child" }, h("span", { class: "muted" }, "Loading …"));
  page.childOf(id).then((found) => {
    const steps = found.timeline.filter((step) => step.seq >= 0);
    place.replaceChildren(
      h("div", { class: "row" }, status(found.status), h("span", { class: "muted" }, `${found.workflow} v${found.workflow_version}`),
        found.timeline_total > found.timeline.length ? h("span", { class: "muted" }, `the first ${found.timeline.length} of ${found.timeline_total} steps`) : null),
      steps.length ? waterfall(page, found, steps) : h("p", { class: "muted" }, "No steps yet."));
  }, (error) => place.replaceChildren(h("span", { class: "muted" }, error.status === 404 ? "This run was deleted, or is in another namespace." : error.message)));
  return place;
}

const block = (title, content) => h("div", {}, h("div", { class: "muted" }, title), content);

export const facts = (pairs) => pairs.filter(([, value]) => value !== null && value !== undefined && value !== "" && value !== false)
  .flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)]);
