// What a recorded row is called. The engine's names carry the kind of the call before a colon: `signal:child:order-7`.

const NOTES = { now: "the time", uuid: "a random id", random: "a random number", sideEffect: "a side effect", searchAttributes: "attributes" };

// Returns { kind, label, child }: one word for the kind, what the call is about, and the id of the run it made, if any.
// A child is called after its workflow, if the run's page lists it.
export function named(step, run) {
  const found = plainly(step);
  const child = found.child && run?.children.find((each) => each.id === found.child);
  return child ? { ...found, label: child.workflow } : found;
}

function plainly(step) {
  const [prefix, rest] = split(step.name);
  if (prefix === "compensate") return { kind: "undo", label: rest };
  if (prefix === "spawn") return { kind: "child", label: rest, child: rest };
  if (prefix === "timeout") return { kind: "timeout", label: decoded(...split(rest), rest) };
  if (prefix === "patch") return { kind: "patch", label: rest };
  if (prefix === "event") return { kind: "value", label: rest };
  if (prefix === "signal") return awaited(rest);
  if (step.kind === "sleep") return { kind: "sleep", label: "sleep" };
  if (step.kind === "child") return { kind: "child", label: step.name, child: step.name };
  if (Object.hasOwn(NOTES, step.name)) return { kind: "note", label: NOTES[step.name] };
  return { kind: step.kind === "local" || step.kind === "remote" ? "step" : step.kind, label: step.name };
}

function awaited(token) {
  const [prefix, rest] = split(token);
  if (prefix === "child") return { kind: "child", label: rest, child: rest };
  if (prefix === "bp") return { kind: "breakpoint", label: "breakpoint" };
  if (prefix === "wh") return { kind: "webhook", label: "callback" };
  if (prefix === "entityreply") return { kind: "entity", label: "reply" };
  if (prefix === "task") return { kind: "task", label: rest };
  return { kind: prefix === "event" ? "event" : "signal", label: decoded(prefix, rest, token) };
}

// An event's token holds its name in Base64, so that a name may hold colons.
function decoded(prefix, rest, token) {
  if (prefix !== "event") return token;
  try {
    return new TextDecoder().decode(Uint8Array.from(atob(rest.split(":")[0]), (each) => each.charCodeAt(0)));
  } catch {
    return rest;
  }
}

function split(name) {
  const colon = name.indexOf(":");
  return colon < 0 ? ["", name] : [name.slice(0, colon), name.slice(colon + 1)];
}
