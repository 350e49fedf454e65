// What a step said while it ran: parts of it (sub-processes) as bars of their own, and lines.

import { saidBy } from "./attempts.js";
import { h } from "./dom.js";
import { duration } from "./format.js";

const MOST = 200;
const TONES = { ok: "completed", failed: "failed", skipped: "cancelled" };

export function inside(step) {
  const parts = new Map();
  const lines = [];
  for (const entry of saidBy(step)) {
    const id = entry?.subId ?? (entry?.status ? `${entry.name} ${entry.at}` : null);
    if (id === null || typeof entry !== "object") {
      lines.push(entry);
      continue;
    }
    if (!parts.has(id)) parts.set(id, { name: entry.name ?? id, group: entry.group, entries: [] });
    parts.get(id).entries.push(entry);
  }
  return h("div", {},
    parts.size ? [h("div", { class: "muted" }, told([...parts.values()])), h("div", { class: "parts" }, [...parts.values()].slice(0, MOST).map((part) => bar(step, part)))] : null,
    parts.size > MOST ? h("div", { class: "muted" }, `and ${parts.size - MOST} more`) : null,
    lines.length ? [h("div", { class: "muted" }, lines.length > MOST ? `Log, the last ${MOST} of ${lines.length} lines` : "Log"), h("ol", { class: "log" }, lines.slice(-MOST).map(line))] : null);
}

function told(parts) {
  const ends = parts.map((part) => part.entries.at(-1).status ?? "going on");
  const counts = ["ok", "failed", "skipped", "going on"].map((name) => [name, ends.filter((each) => each === name).length]).filter(([, count]) => count);
  return `Parts: ${counts.map(([name, count]) => `${count} ${name}`).join(", ")}`;
}

function bar(step, { name, group, entries }) {
  const first = Date.parse(step.started_at);
  const last = Math.max(first + 1, step.finished_at ? Date.parse(step.finished_at) : Date.now(), entries.at(-1).at);
  const share = (moment) => Math.min(100, Math.max(0, ((moment - first) / (last - first)) * 100));
  const end = entries.at(-1);
  const lasted = end.data?.durationMs ?? (end.status ? end.at - entries[0].at : last - entries[0].at);
  const phases = entries.filter((entry) => entry.phase && entry.phase !== "started");
  const words = [group, ...phases.map((entry) => entry.phase), end.status && end.message !== name ? end.message : null].filter(Boolean).join(" · ");
  return h("div", { class: "part", "data-status": TONES[end.status] ?? "running", title: words },
    h("span", { class: "name" }, name, words ? h("small", {}, ` ${words}`) : null),
    h("span", { class: "track", "aria-hidden": "true" },
      h("span", { class: end.status ? "" : "open", left: share(end.status ? end.at - lasted : entries[0].at), width: share(first + lasted) }),
      phases.map((entry) => h("i", { left: share(entry.at) }))),
    h("span", { class: "time" }, end.status ? `${end.status}, ${duration(lasted)}` : "going on"));
}

function line(entry) {
  if (typeof entry !== "object" || entry === null) return h("li", {}, String(entry));
  const at = entry.at ?? entry.ts ?? entry.time;
  return h("li", {}, at ? h("span", { class: "muted" }, `${new Date(at).toLocaleTimeString()} `) : null,
    entry.level && entry.level !== "info" ? h("b", { "data-level": entry.level }, `${entry.level} `) : null, entry.message ?? JSON.stringify(entry),
    entry.data === undefined || entry.data === null ? null : h("span", { class: "mono muted" }, ` ${JSON.stringify(entry.data)}`));
}
