// Times, durations and states, as people say them.

export const STATUSES = ["pending", "running", "suspended", "blocked", "cancelling", "completed", "failed", "dead", "cancelled"];

export function duration(milliseconds) {
  const ms = Math.max(0, milliseconds);
  if (ms < 1000) return `${Math.round(ms)} ms`;
  if (ms < 60_000) return `${Number((ms / 1000).toFixed(ms < 10_000 ? 2 : 1))} s`;
  const minutes = Math.floor(ms / 60_000);
  const joined = (large, unit, small, smaller) => small ? `${large} ${unit} ${small} ${smaller}` : `${large} ${unit}`;
  if (minutes < 60) return joined(minutes, "min", Math.floor((ms % 60_000) / 1000), "s");
  const hours = Math.floor(minutes / 60);
  return hours < 48 ? joined(hours, "h", minutes % 60, "min") : joined(Math.floor(hours / 24), "d", hours % 24, "h");
}

export function ago(moment) {
  const ms = Date.now() - Date.parse(moment);
  return ms >= 0 ? `${coarse(ms)} ago` : `in ${coarse(-ms)}`;
}

function coarse(ms) {
  if (ms < 1000) return "a moment";
  if (ms < 60_000) return `${Math.round(ms / 1000)} s`;
  if (ms < 3_600_000) return `${Math.round(ms / 60_000)} min`;
  return ms < 172_800_000 ? `${Math.round(ms / 3_600_000)} h` : `${Math.round(ms / 86_400_000)} d`;
}

// In the reader's time zone, which it names.
export const exact = (moment) => new Date(moment).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "long" });

// To the millisecond, for moments that follow closely.
export const precise = (moment) => new Date(moment).toLocaleString(undefined, { year: "numeric", month: "short", day: "numeric", hour: "2-digit", minute: "2-digit", second: "2-digit", fractionalSecondDigits: 3, timeZoneName: "short" });

// A count that stopped is told with a plus.
export const counted = (count, capped = false) => `${count.toLocaleString()}${capped ? "+" : ""}`;

const ENDED = new Set(["completed", "failed", "cancelled", "dead"]);
export const ended = (run) => ENDED.has(run.status);

// What a run waits for, as words; none if it does not wait.
export function reason(run) {
  if (run.paused) return run.status === "suspended" ? "is paused until an operator resumes it" : "is paused: it stops at its next call";
  if (run.waiting?.kind === "singleton") return `waits for a slot of the singleton ${run.waiting.name}`;
  if (run.waiting) return `waits for ${run.waiting.kind === "breakpoint" ? "an operator at a breakpoint" : `${run.waiting.kind === "engine" ? "" : `${run.waiting.kind} `}${run.waiting.name}`}`;
  const isDue = run.status === "pending" || (run.status === "suspended" && run.wake_at && Date.parse(run.wake_at) <= Date.now());
  if (isDue) return run.queue ? `waits for a slot in queue ${run.queue}` : "waits for a worker";
  if (run.wake_at && (run.status === "suspended" || run.status === "blocked")) return `continues ${ago(run.wake_at)}`;
  return run.status === "blocked" ? "waits for code that fits its history" : "";
}
