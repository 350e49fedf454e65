// The start page: what happened lately as charts, how many runs stand where, what failed last, what waits.

import { follow, get, throttled } from "./api.js";
import { chart } from "./chart.js";
import { empty, h, link, status, unseen } from "./dom.js";
import { STATUSES, counted, duration } from "./format.js";
import { noRuns, table } from "./runs.js";

const BAD = ["failed", "dead", "blocked"];
const WINDOWS = { "1h": ["the last hour", 60], "6h": ["the last six hours", 72], "24h": ["the last day", 72], "7d": ["the last week", 84], "30d": ["the last month", 90] };
const LISTS_EVERY = 3_000, CHARTS_EVERY = 10_000;

export async function home(parameters, page) {
  const window = Object.hasOwn(WINDOWS, parameters.get("window")) ? parameters.get("window") : "1h";
  const charts = h("div", { class: "charts" });
  const warning = h("div");
  const content = h("div");
  const lists = () => Promise.all([
    get("runs/facets", page),
    get(`runs?limit=6&${BAD.map((each) => `status=${each}`).join("&")}`, page),
    get("runs?limit=6&status=suspended", page),
    get("runs?limit=8", page),
    get("workers", page),
  ]);
  let series = null;
  let seriesAt = 0;
  const drawCharts = async () => {
    if (document.activeElement?.closest(".chart") || Date.now() - seriesAt < CHARTS_EVERY) return;
    series = await get(`metrics/series?window=${window}&buckets=${WINDOWS[window][1]}`, page);
    seriesAt = Date.now();
    charts.replaceChildren(...drawn(series));
  };
  const draw = ([facets, failures, waits, latest, { workers }]) => {
    const count = (name) => facets.facets.filter((each) => each.status === name).reduce((sum, each) => sum + each.count, 0);
    // A worker for all namespaces is not shown to a user who sees one of them.
    warning.replaceChildren(workers.length || page.info.namespace ? "" : h("section", { class: "card waits warn", role: "status" },
      h("b", {}, "No worker is running."), " Runs wait until a worker drives them. Start one: ", h("code", {}, "fastapi-durable worker package.module:durable")));
    content.replaceChildren(
      h("div", { class: "tiles" }, STATUSES.map((name) => h("a", {
        class: count(name) ? "tile" : "tile none", href: `?page=runs&status=${name}`, "data-link": true,
      }, h("b", {}, counted(count(name), facets.capped.includes(name))), status(name)))),
      h("div", { class: "two" },
        section("Recent failures", failures.runs, { page: "runs", status: BAD }, empty("No run has failed.")),
        section("Waiting", waits.runs, { page: "runs", status: "suspended" }, empty("No run waits for a signal, an event, a child or a time."))),
      section("Latest runs", latest.runs, { page: "runs" }, noRuns()));
  };
  const [first] = await Promise.all([lists(), drawCharts()]);
  draw(first);
  const read = throttled(LISTS_EVERY, async () => {
    const [now] = await Promise.all([lists(), drawCharts()]);
    if (!content.contains(document.activeElement)) draw(now);
  }, page.signal);
  follow("runs/stream?limit=20", { runs: read }, page.signal);
  const choice = h("select", { "aria-label": "Time range", onchange: (event) => page.go({ window: event.target.value }) },
    Object.entries(WINDOWS).map(([name, [text]]) => h("option", { value: name, selected: name === window }, text)));
  return [h("div", { class: "head" }, h("h1", {}, "Overview"), choice), warning, charts, content];
}

function drawn({ points, bucket_seconds: width }) {
  const times = points.map((each) => each.start);
  const values = (name) => points.map((each) => each[name]);
  const sum = (name) => values(name).reduce((total, value) => total + value, 0);
  const about = points.some((each) => each.estimated) ? "about " : "";
  const ends = sum("completed") + sum("failed") + sum("cancelled");
  const worst = Math.max(0, ...values("p95_ms").filter((value) => value !== null));
  const number = (value) => Number.isInteger(value) ? value.toLocaleString() : value.toFixed(1);
  const each = `each bar is ${duration(width * 1000)}`;
  return [
    chart({ title: "Throughput", times, kind: "bars", say: number, empty: "No run ended in this time.",
      summary: `${about}${sum("started").toLocaleString()} started, ${ends.toLocaleString()} ended · ${each}`,
      series: [{ name: "completed", tone: "completed", values: values("completed") }, { name: "failed", tone: "failed", values: values("failed") }, { name: "cancelled", tone: "cancelled", values: values("cancelled") }] }),
    chart({ title: "Latency", times, kind: "lines", say: duration, empty: "No run completed in this time.",
      summary: worst ? `95 % of runs took at most ${duration(worst)}` : "from creation to completion",
      series: [{ name: "median", tone: "running", values: values("p50_ms") }, { name: "95 %", tone: "suspended", values: values("p95_ms") }] }),
    chart({ title: "Failures", times, kind: "bars", say: number, empty: "No run failed in this time.",
      summary: ends ? `${about}${sum("failed").toLocaleString()}, ${((sum("failed") / ends) * 100).toFixed(1)} % of ended runs` : "no run ended",
      series: [{ name: "failed or dead", tone: "failed", values: values("failed") }] }),
  ];
}

function section(title, runs, more, nothing) {
  const wide = title === "Latest runs";
  return h("section", { class: "card" },
    h("div", { class: "row spread" }, h("h2", {}, title), runs.length ? link(more, "all", unseen(` of ${title}`)) : null),
    runs.length ? table(runs, { compact: !wide }) : nothing);
}
