// Schedules and workers: what starts runs, and what drives them.

import { get } from "./api.js";
import { schedule } from "./actions.js";
import { h, link } from "./dom.js";
import { ago, duration, exact } from "./format.js";

function load(worker) {
  const share = Math.min(100, (worker.in_flight / Math.max(1, worker.concurrency)) * 100);
  return [h("span", { class: "load", "aria-hidden": "true" }, h("span", { width: share })), `${worker.in_flight} of ${worker.concurrency}`];
}

export async function system(_, page) {
  const [{ schedules }, { workers }] = await Promise.all([get("schedules", page), get("workers", page)]);
  const timer = setInterval(() => { if (!document.hidden && !document.querySelector("dialog[open]")) page.reload(); }, 10_000);
  page.signal.addEventListener("abort", () => clearInterval(timer));
  const cells = (names) => h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, name))));
  const time = (moment) => h("td", { class: "num", title: moment && exact(moment) }, moment ? ago(moment) : "–");
  return [
    h("div", { class: "head" }, h("h1", {}, "System")),
    h("section", { class: "card" }, h("h2", {}, "Schedules"), !schedules.length ? h("p", { class: "empty" }, "No schedules are declared.") : h("table", {},
      cells(["Schedule", "Workflow", "When", "Last", "Next", ""]),
      h("tbody", {}, schedules.map((each) => h("tr", {},
        h("td", { class: "mono" }, each.key), h("td", {}, each.workflow),
        h("td", {}, each.cron ? `${each.cron} (${each.timezone})` : `every ${duration(each.every_seconds * 1000)}`),
        h("td", { class: "num" }, each.last_run_id ? link({ run: each.last_run_id }, each.last_fire_at ? ago(each.last_fire_at) : each.last_run_id) : "–"),
        each.paused ? h("td", { class: "num" }, "paused") : time(each.next_fire_at),
        h("td", {}, h("div", { class: "row" }, schedule(page, each)))))))),
    h("section", { class: "card" }, h("h2", {}, "Workers"), !workers.length ? h("p", { class: "empty" }, "No worker has said lately that it lives.") : h("table", {},
      cells(["Worker", "Load", "Workflows", "Started", "Last seen"]),
      h("tbody", {}, workers.map((each) => h("tr", {},
        h("td", {}, h("span", { class: "mono" }, each.host), h("div", { class: "muted" }, `process ${each.pid}, version ${each.version}${each.namespace ? `, namespace ${each.namespace}` : ""}`)),
        h("td", { class: "num" }, load(each)),
        h("td", {}, h("div", { class: "row" }, each.workflows.slice(0, 12).map((name) => h("span", { class: "tag" }, name)), each.workflows.length > 12 ? h("span", { class: "muted" }, `and ${each.workflows.length - 12} more`) : null)),
        time(each.started_at), time(each.beat_at)))))),
  ];
}
