// What an operator may do. Every action asks first, says what it will do, and tells how it ended.

import { get, post, remove, runPath } from "./api.js";
import { h, unseen } from "./dom.js";
import { placeOf } from "./focus.js";
import { counted, ended } from "./format.js";

// Asks for confirmation and for values; resolves when the action is done or given up.
function ask({ title, text, fields = [], verb, danger = false, act }) {
  const dialog = document.getElementById("dialog");
  const message = h("p", { class: "error", role: "alert", hidden: true });
  const inputs = fields.map(({ name, label, kind = "text", value = "", required = false }) => {
    if (kind === "check") return h("label", { class: "check" }, h("input", { type: "checkbox", name }), label);
    const control = kind === "json" ? h("textarea", { name, spellcheck: "false", required }) : h("input", { name, required, autocomplete: "off" });
    control.value = value;
    return h("label", {}, label, control);
  });
  const main = document.getElementById("main");
  const [asked, back] = [location.href, placeOf(main)];
  const confirm = h("button", { class: danger ? "primary danger" : "primary" }, verb);
  const form = h("form", { onsubmit: async (event) => {
    event.preventDefault();
    confirm.disabled = true;
    try {
      const values = {};
      for (const { name, kind } of fields) {
        const control = form.elements[name];
        values[name] = kind === "check" ? control.checked : kind === "json" ? parsed(control.value) : control.value.trim();
      }
      await act(values);
      dialog.close();
    } catch (error) {
      message.hidden = false;
      message.textContent = error.message;
      confirm.disabled = false;
      if (!form.contains(document.activeElement)) confirm.focus();
    }
  } },
  h("h1", { id: "dialog-title" }, title), text ? h("p", { class: "muted" }, text) : null, inputs, message,
  h("div", { class: "row" }, h("button", { type: "button", onclick: () => dialog.close() }, "Not now"), confirm));
  dialog.replaceChildren(form);
  // The browser returns the focus to the button that opened the dialog, unless the page was drawn again meanwhile.
  dialog.onclose = () => {
    if (document.activeElement !== document.body && !dialog.contains(document.activeElement)) return;
    if (location.href === asked) back();
    else (main.querySelector("h1") ?? main).focus({ preventScroll: true });
  };
  dialog.showModal();
}

function parsed(text) {
  if (!text.trim()) return undefined;
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new Error(`This is not JSON: ${error.message}`);
  }
}

const pretty = (value) => JSON.stringify(value ?? null, null, 2);
// `of` tells buttons of one text apart; a button that takes another's place has the same `id`, and so gets its focus.
const button = (text, onclick, { danger = false, of, id } = {}) =>
  h("button", { type: "button", class: danger ? "danger" : null, id, onclick }, text, of ? unseen(` ${of}`) : null);

async function done(page, text) {
  await page.reload();
  page.notice(text, true);
}

// What was decided about a run is done to the run that was seen, and not to a later state of it.
async function asSeen(page, act) {
  try {
    await act();
  } catch (error) {
    if (error.status !== 412) throw error;
    await page.reload();
    page.notice("The run has changed since you opened it, so nothing was done. Check its current state, then try again.");
  }
}

// The same for what is said to whoever waits: the API does not know whom the dialog means.
async function stillWaits(run) {
  const now = await get(runPath(run.id, "?limit=1"));
  if (now.version !== run.version) throw Object.assign(new Error("The run has changed."), { status: 412 });
}

// The label of the breakpoint that is shown as the place where the run stands.
function labelOf(run) {
  const stands = run.timeline.find((step) => step.status === "pending" && step.name.startsWith("breakpoint:"));
  return stands ? { label: stands.name.slice("breakpoint:".length) } : undefined;
}

export function runActions(page, run) {
  const may = (action) => page.info.actions.includes(action);
  const retriable = ["failed", "dead", "blocked"].includes(run.status);
  return [
    run.waiting?.kind === "breakpoint" && may("continue") ? button("Continue", () => ask({
      title: "Continue past the breakpoint?", verb: "Continue",
      act: () => asSeen(page, async () => { await post(runPath(run.id, "/continue"), labelOf(run), run.version); await done(page, "The run continues."); }) })) : null,
    run.waiting?.kind === "event" && may("publish") ? button("Publish event", () => publish(page, run.waiting.name, run)) : null,
    run.waiting?.kind === "signal" && may("signal") ? button("Send signal", () => signal(page, run.waiting.name, run)) : null,
    !ended(run) && may("update") ? button("Send update", () => ask({
      title: "Send an update", text: "ctx.on_update(name) of this run receives the value. The workflow's validator may refuse it.", verb: "Send",
      fields: [{ name: "name", label: "Name", required: true }, { name: "value", label: "Value (JSON)", kind: "json" }],
      act: async ({ name, value }) => {
        const result = await post(runPath(run.id, `/updates/${encodeURIComponent(name)}`), { value: value ?? null });
        if (!result.accepted) throw new Error(result.reason);
        await done(page, result.received ? "The run has received the update." : "The update is kept until the run waits for it.");
      } })) : null,
    retriable && may("retry") ? button("Retry", () => ask({
      title: "Retry this run?", text: "The run continues from where it failed. Finished steps are not repeated.", verb: "Retry",
      act: () => asSeen(page, async () => { await post(runPath(run.id, "/retry"), undefined, run.version); await done(page, "The run is retried."); }) })) : null,
    ended(run) && may("retry") ? button("Retry with other input", () => ask({
      title: "Run again with other input", text: "This starts a new run of the same version. The current run stays as it is.", verb: "Start",
      fields: [{ name: "input", label: "Input (JSON)", kind: "json", value: pretty(run.input) }],
      act: async ({ input }) => page.go({ run: (await post(runPath(run.id, "/retry-with-input"), { input })).run_id }) })) : null,
    !ended(run) && run.status !== "cancelling" && may("pause") ? (run.paused ? button("Resume", () => ask({
      title: "Resume this run?", text: "It continues with what came meanwhile.", verb: "Resume",
      act: () => asSeen(page, async () => { await post(runPath(run.id, "/resume"), undefined, run.version); await done(page, "The run continues."); }) }), { id: "hold" }) : button("Pause", () => ask({
      title: "Pause this run?", text: "It stops at its next call. Signals and results of its children are kept; its children continue, and its deadline stays.", verb: "Pause",
      act: async () => { await post(runPath(run.id, "/pause")); await done(page, "The run is paused."); } }), { id: "hold" })) : null,
    !ended(run) && may("cancel") ? button("Cancel", () => ask({
      title: "Cancel this run?", text: "Its children are cancelled too. This cannot be undone.", verb: "Cancel the run", danger: true,
      fields: [{ name: "compensate", label: "Undo its finished steps first", kind: "check" }],
      act: async ({ compensate }) => {
        const result = await post(runPath(run.id, "/cancel"), { compensate });
        await done(page, result.status === "cancelling" ? "Its finished steps are being undone. Then it is cancelled." : `The run is ${result.status}.`);
      } }), { danger: true }) : null,
    may("delete") ? button("Delete", () => ask({
      title: "Delete this run?", text: "The run, its history and all its children are deleted. This cannot be undone.", verb: "Delete the run", danger: true,
      fields: ended(run) ? [] : [{ name: "force", label: "Cancel it first (it is alive)", kind: "check" }],
      act: async ({ force }) => {
        const result = await remove(runPath(run.id, force ? "?force=true" : ""));
        await page.go({ page: "runs" });
        page.notice(`${result.deleted} ${result.deleted === 1 ? "run was" : "runs were"} deleted.`, true);
      } }), { danger: true }) : null,
  ];
}

export function forkButton(page, run, step) {
  if (!page.info.actions.includes("fork") || step.seq < 0 || step.seq >= 1_000_000) return null;
  return button("Fork from here", () => ask({
    title: `Fork before ${step.name}?`, text: "This starts a new run with a copy of the history before this step. The new run executes the step and all later ones itself.", verb: "Fork",
    act: async () => page.go({ run: (await post(runPath(run.id, "/fork"), { from_step: step.seq })).run_id }) }), { of: step.name });
}

export function signal(page, token = "", run = null) {
  ask({
    title: "Send a signal", text: "The run that waits for this token receives the signal. If no run waits, it is kept for the next one.", verb: "Send",
    fields: [{ name: "token", label: "Token", value: token, required: true }, { name: "payload", label: "Payload (JSON)", kind: "json" }],
    act: ({ token: name, payload }) => asSeen(page, async () => {
      if (run) await stillWaits(run);
      const result = await post("signals", { token: name, payload: payload ?? null });
      await done(page, result.received ? "A run has received the signal." : "No run waits for it yet. The signal is kept.");
    }) });
}

export function publish(page, event = "", run = null) {
  ask({
    title: "Publish an event", verb: "Publish",
    fields: [{ name: "name", label: "Name", value: event, required: true }, { name: "payload", label: "Payload (JSON)", kind: "json" }],
    act: ({ name, payload }) => asSeen(page, async () => {
      if (run) await stillWaits(run);
      const result = await post("events", { name, payload: payload ?? null });
      await done(page, `Received by ${result.receivers.length === 1 ? "one run" : `${result.receivers.length} runs`}${result.buffered ? ", kept for the next run" : ""}.`);
    }) });
}

export function schedule(page, each) {
  if (!page.info.actions.includes("schedule")) return null;
  const path = `schedules/${encodeURIComponent(each.key)}`;
  const [verb, label] = each.paused ? ["resume", "Resume"] : ["pause", "Pause"];
  return [
    button("Run now", () => ask({ title: `Start a run of ${each.key} now?`, text: "The schedule still fires at its next window.", verb: "Start",
      act: async () => page.go({ run: (await post(`${path}/trigger`)).run_id }) }), { of: each.key }),
    button(label, () => ask({ title: `${label} ${each.key}?`, verb: label,
      text: each.paused ? "The schedule fires again from its next window on." : "The schedule starts no runs until you resume it.",
      act: async () => { await post(`${path}/${verb}`); await done(page, `The schedule is ${verb}d.`); } }), { of: each.key, id: `hold ${each.key}` }),
  ];
}

export function start(page, workflow) {
  ask({
    title: `Start ${workflow.name}`, verb: "Start",
    fields: [
      ...(workflow.takes_input ? [{ name: "input", label: "Input (JSON)", kind: "json", value: pretty(example(workflow.input_schema)) }] : []),
      { name: "run_id", label: "Run id (empty: a random id)" },
      { name: "delay", label: "Begin after, such as 5 min (empty: now)" },
    ],
    act: async ({ input, run_id: id, delay }) => {
      const body = { version: workflow.version, ...(workflow.takes_input ? { input } : {}), ...(id ? { run_id: id } : {}), ...(delay ? { delay } : {}) };
      await page.go({ run: (await post(`workflows/${encodeURIComponent(workflow.name)}/runs`, body)).run_id });
    } });
}

// The shape of an input, to be filled in.
function example(schema, root = schema, depth = 0) {
  if (!schema || depth > 6) return null;
  if (schema.$ref) return example(root.$defs?.[schema.$ref.split("/").pop()], root, depth + 1);
  if (schema.default !== undefined) return schema.default;
  if (schema.enum) return schema.enum[0];
  const type = schema.type ?? schema.anyOf?.[0]?.type;
  if (type === "object") return Object.fromEntries(Object.entries(schema.properties ?? {}).map(([name, each]) => [name, example(each, root, depth + 1)]));
  if (type === "array") return schema.items ? [example(schema.items, root, depth + 1)] : [];
  return { string: "", integer: schema.minimum ?? 0, number: schema.minimum ?? 0, boolean: false }[type] ?? null;
}

export function bulk(page, chosen, total, until) {
  // Those that the dialog counts, and not what is created while it is open.
  const selected = () => ({ ...chosen, ...(chosen.unattributed ? { unattributed: true } : {}), created_until: chosen.created_until ?? until() });
  const verbs = [["retry", "Retry all", "retry"], ["cancel", "Cancel all", "cancel"], ["delete", "Delete all", "delete"]];
  if (!page.info.actions.includes("bulk")) return null;
  const open = (verb, label, filter) => ask({
    title: total()[0] === 1 ? `${label}: one run is selected` : `${label}: ${counted(...total())} runs are selected`,
    text: `${{ retry: "Failed, dead and blocked runs continue from where they failed.", cancel: "All live runs are cancelled.", delete: "All ended runs are deleted. This cannot be undone." }[verb]} One call changes up to 500 runs.`,
    verb: label, danger: verb !== "retry",
    act: async () => {
      const result = await post(`bulk/${verb}`, { filter });
      const words = [`${result.applied} of ${counted(result.matched, result.matched_capped)} done`];
      if (result.failed) words.push(`${result.failed} refused (${result.failures[0].reason})`);
      if (result.remaining) words.push(`${result.remaining} are left: repeat the action`);
      await done(page, `${words.join(", ")}.`);
    } });
  return verbs.map(([verb, label]) => button(label, () => open(verb, label, selected()), { danger: verb !== "retry" }));
}
