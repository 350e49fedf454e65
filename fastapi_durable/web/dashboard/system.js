// What drives runs, what they wait in, and what starts them: workers, queues and schedules.

import { get } from "./api.js";
import { schedule } from "./actions.js";
import { empty, h, link, unseen, when } from "./dom.js";
import { counted, duration } from "./format.js";

export async function system(_, page) {
  const [{ workers }, { queues }, { schedules }] = await Promise.all([get("workers", page), get("queues", page), get("schedules", page)]);
  const timer = setInterval(() => { if (!document.hidden && !document.querySelector("dialog[open]")) page.reload(); }, 5_000);
  page.signal.addEventListener("abort", () => clearInterval(timer));
  return [
    h("div", { class: "head" }, h("h1", {}, "System")),
    card("Workers", empty("No worker has reported within the last 30 seconds, so no run is driven. Start one:", "fastapi-durable worker package.module:durable"), ["Worker", "Load", "Workflows", "Started", "Last seen"], workers.map(workerRow)),
    card("Queues", empty("No queues. Declare one to limit how many runs are driven at a time:", "DurableOptions(queues=[Queue(...)])"), ["Queue", "Running", "Waiting", "May begin", "Last served"], queues.map(queueRow)),
    card("Schedules", empty("No schedules. Declare one to start runs at set times:", "DurableOptions(schedules=[Schedule(...)])"), ["Schedule", "When", "Last", "Next", ACTIONS], schedules.map((each) => scheduleRow(page, each))),
  ];
}

const ACTIONS = "Actions";

function card(title, nothing, columns, rows) {
  // On a phone there is no head: each cell says what it is.
  for (const row of rows) columns.forEach((name, index) => { if (index && name !== ACTIONS) row.children[index].setAttribute("data-label", name); });
  return h("section", { class: "card" }, h("h2", {}, title), !rows.length ? nothing
    : h("table", {}, h("thead", {}, h("tr", {}, columns.map((name) => h("th", { scope: "col" }, name === ACTIONS ? unseen(name) : name)))), h("tbody", {}, rows)));
}

const time = (moment) => h("td", { class: "num" }, moment ? when(moment) : "–");

function load(used, places, words = `${used} of ${places}`) {
  const share = Math.min(100, (used / Math.max(1, places)) * 100);
  return [h("span", { class: "load", "aria-hidden": "true", "data-full": share >= 100 }, h("span", { width: share })), words];
}

const workerRow = (each) => h("tr", {},
  h("td", {}, h("span", { class: "mono" }, each.host), h("div", { class: "below" }, [`process ${each.pid}`, `version ${each.version}`, each.namespace && `namespace ${each.namespace}`].filter(Boolean).join(" · "))),
  h("td", { class: "num" }, load(each.in_flight, each.concurrency)),
  h("td", {}, h("div", { class: "row" }, each.workflows.slice(0, 12).map((name) => h("span", { class: "tag" }, name)), each.workflows.length > 12 ? h("span", { class: "muted" }, `and ${each.workflows.length - 12} more`) : null)),
  time(each.started_at), time(each.beat_at));

const queueRow = (each) => h("tr", {},
  h("td", {}, h("span", { class: "mono" }, each.name), h("div", { class: "below" }, `namespace ${each.namespace}${each.worker_concurrency ? ` · up to ${each.worker_concurrency} on each worker` : ""}`)),
  h("td", { class: "num" }, each.concurrency === null ? `${each.running}, no limit` : load(each.running, each.concurrency)),
  h("td", { class: "num" }, counted(each.waiting, each.waiting_capped)),
  h("td", { class: "num" }, each.rate_limit === null ? "no limit" : [`${each.may_begin} more of ${each.rate_limit} in ${duration(each.rate_period_seconds * 1000)}`,
    each.begins_again_at ? h("div", { class: "below" }, h("span", {}, "next ", when(each.begins_again_at))) : null]),
  time(each.served_at));

const scheduleRow = (page, each) => h("tr", {},
  h("td", {}, h("span", { class: "mono" }, each.key), h("div", { class: "below" }, link({ page: "runs", workflow: each.workflow }, each.workflow))),
  h("td", {}, each.cron ? [each.cron, h("span", { class: "muted" }, ` ${each.timezone}`)] : `every ${duration(each.every_seconds * 1000)}`),
  h("td", { class: "num" }, each.last_run_id ? link({ run: each.last_run_id }, each.last_fire_at ? when(each.last_fire_at) : each.last_run_id) : "–",
    each.refusal ? h("div", { class: "below" }, `not started: ${each.refusal}`) : null),
  each.paused ? h("td", {}, h("span", { class: "status", "data-status": "blocked" }, "paused")) : time(each.next_fire_at),
  h("td", {}, h("div", { class: "row" }, schedule(page, each))));
