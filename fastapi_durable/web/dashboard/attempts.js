// The attempts of a step that failed before the last one, out of its events.

const PREFIX = "durable:attempt:";
const isAttempt = (event) => typeof event?.subId === "string" && event.subId.startsWith(PREFIX);

// [{ number, begin, end, message }], the earliest first.
export const attemptsOf = (step) => step.events.filter(isAttempt).map((event) => ({
  number: Number(event.subId.slice(PREFIX.length)), begin: event.at - (event.data?.durationMs ?? 0), end: event.at, message: event.message,
}));

// What the step said itself.
export const saidBy = (step) => step.events.filter((event) => !isAttempt(event));

// When it began to wait for its turn, or was first tried.
export const beginOf = (step) => Math.min(Date.parse(step.enqueued_at ?? step.started_at), ...attemptsOf(step).map((each) => each.begin));
