// The HTTP API, below the page's own address.

export class Problem extends Error {
  constructor(status, problem) {
    const errors = (problem.errors ?? []).map((each) => `${each.where}: ${each.message}`).join("; ");
    super(errors ? `${problem.detail} (${errors})` : problem.detail);
    this.status = status;
  }
}

async function call(method, path, { body, signal, version } = {}) {
  const response = await fetch(`api/${path}`, {
    method, signal, credentials: "same-origin", redirect: "error",
    headers: { ...(body === undefined ? {} : { "Content-Type": "application/json" }), ...(version ? { "If-Match": version } : {}) },
    body: body === undefined ? undefined : JSON.stringify(body),
  });
  if (response.ok) return response.json();
  const problem = await response.json().catch(() => ({}));
  if (response.status === 401) throw new Problem(401, { detail: "You are signed out. Sign in to the application, then reload." });
  const detail = typeof problem.detail === "string" ? problem.detail : `The server answered ${response.status}.`;
  throw new Problem(response.status, { ...problem, detail });
}

export const get = (path, options) => call("GET", path, options);
// With a version, only if the run is still the one that has it.
export const post = (path, body, version) => call("POST", path, { body, version });
export const remove = (path) => call("DELETE", path);
export const runPath = (id, rest = "") => `runs/${encodeURIComponent(id)}${rest}`;

// Calls `read` at once, but not again before `pause` milliseconds have passed; what comes meanwhile is one call then.
export function throttled(pause, read, signal) {
  let timer = null;
  let again = false;
  const run = async () => {
    timer = setTimeout(() => { timer = null; if (again) { again = false; run(); } }, pause);
    try { await read(); } catch { /* the stream will say when there is something to read */ }
  };
  signal.addEventListener("abort", () => clearTimeout(timer));
  return () => { if (timer === null) run(); else again = true; };
}

const RETRY_AFTER = 5_000;

// Follows a stream while the page can be seen. The browser reconnects by itself and says what it saw last, unless it was
// answered with anything but a stream: then it gives up, and the next try is ours.
export function follow(path, handlers, signal) {
  let source = null;
  let retry = null;
  const live = document.getElementById("live");
  const say = (on) => { live.toggleAttribute("data-on", on); live.textContent = on ? "live" : "paused"; };
  const open = () => {
    const opened = source = new EventSource(`api/${path}`);
    source.onopen = () => say(true);
    source.onerror = () => {
      if (opened !== source || opened.readyState !== EventSource.CLOSED) return;
      close();
      say(false);
      retry = setTimeout(look, RETRY_AFTER);
    };
    for (const [event, handle] of Object.entries(handlers)) source.addEventListener(event, (message) => handle(JSON.parse(message.data)));
  };
  const close = () => { source?.close(); source = null; clearTimeout(retry); };
  const look = () => { if (document.hidden) { close(); say(false); } else if (!source) open(); };
  look();
  document.addEventListener("visibilitychange", look, { signal });
  signal.addEventListener("abort", () => { close(); live.textContent = ""; live.removeAttribute("data-on"); });
}
