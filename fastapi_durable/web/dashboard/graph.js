// The workflow as a graph, from left to right; a row that is full continues in the next. Calls at the same time are lanes.

import { beginOf } from "./attempts.js";
import { h, link, unseen } from "./dom.js";
import { duration } from "./format.js";
import { flowOf } from "./flow.js";
import { named } from "./names.js";
import { TONE } from "./waterfall.js";

const WIDTH = 178, HEIGHT = 54, GAP = 34, LANE_GAP = 12, ROW_GAP = 30, MARGIN = 16;
const ALIKE = 4, MOST_LANES = 8, MOST_PARTS = 120;
const ICONS = { step: "▸", undo: "↶", child: "◇", sleep: "◷", timeout: "◷", signal: "✉", event: "✉", webhook: "✉", breakpoint: "‖", entity: "◎", task: "▹", value: "≔", note: "·", patch: "·" };

export function graph(run, steps, open) {
  const canvas = h("div", { class: "graph" });
  const flow = shortened(flowOf(run, steps));
  let drawn = 0;
  const draw = () => {
    const width = canvas.clientWidth - 2 * MARGIN;
    if (width > 0 && width !== drawn) {
      drawn = width;
      paint(canvas, run, flow, width, open);
    }
  };
  // At once where its nodes may have had the focus, else when its width is known.
  canvas.addEventListener("shown", draw);
  new ResizeObserver(draw).observe(canvas);
  return canvas;
}

// Long chains and wide fans of the same are told in one node.
function shortened(flow) {
  const parts = [];
  flow.sequence.forEach((part, index) => {
    if (part.lanes) {
      parts.push(fan(part));
      return;
    }
    if (isLimitOf(part, flow.sequence[index + 1])) return;
    const last = parts.at(-1);
    const alike = last?.steps && last.steps[0].name === part.step.name && last.steps[0].status === part.step.status;
    if (alike) last.steps.push(part.step);
    else parts.push({ steps: [part.step] });
  });
  return { sequence: parts.flatMap((part) => !part.steps || part.steps.length >= ALIKE ? [part] : part.steps.map((step) => ({ steps: [step] }))) };
}

// A wait with a timeout has a row for the timeout before its own, which adds nothing to the picture.
function isLimitOf(part, next) {
  const before = named(part.step);
  return before.kind === "timeout" && next?.step && named(next.step).label === before.label;
}

function fan(part) {
  const lanes = part.lanes.map(shortened);
  if (lanes.length <= MOST_LANES) return { lanes };
  const rest = part.lanes.slice(MOST_LANES - 1).flatMap(stepsOf);
  return { lanes: [...lanes.slice(0, MOST_LANES - 1), { sequence: [{ steps: rest, more: part.lanes.length - MOST_LANES + 1 }] }] };
}

const stepsOf = (flow) => flow.sequence.flatMap((part) => part.lanes ? part.lanes.flatMap(stepsOf) : [part.step]);

function size(part) {
  if (!part.lanes) return { width: WIDTH, height: HEIGHT };
  const sizes = part.lanes.map(sizeOfFlow);
  return {
    width: Math.max(...sizes.map((each) => each.width)) + 2 * GAP,
    height: sizes.reduce((sum, each) => sum + each.height, 0) + LANE_GAP * (sizes.length - 1),
  };
}

function sizeOfFlow(flow) {
  const sizes = flow.sequence.map(size);
  return { width: sizes.reduce((sum, each) => sum + each.width, 0) + GAP * (sizes.length - 1), height: Math.max(...sizes.map((each) => each.height)) };
}

function paint(canvas, run, flow, width, open) {
  const nodes = [];
  const lines = [];
  const place = (part, left, middle) => {
    const { width: wide, height: high } = size(part);
    if (!part.lanes) {
      nodes.push(node(run, part, left, middle - HEIGHT / 2, open));
      return { left, right: left + wide };
    }
    let top = middle - high / 2;
    for (const lane of part.lanes) {
      const { width: long, height: tall } = sizeOfFlow(lane);
      const begin = left + GAP;
      const level = top + tall / 2;
      const end = left + wide - GAP;
      lines.push(curve(left, middle, begin, level), begin + long < end ? `M${begin + long} ${level}H${end}` : "", curve(end, level, left + wide, middle));
      chain(lane.sequence, begin, level);
      top += tall + LANE_GAP;
    }
    nodes.push(dot(left, middle), dot(left + wide, middle));
    return { left, right: left + wide };
  };
  const chain = (parts, left, middle) => {
    let from = null;
    for (const part of parts) {
      if (from !== null) lines.push(curve(from, middle, from + GAP, middle));
      from = place(part, left, middle).right;
      left = from + GAP;
    }
  };

  const parts = [{ edge: "start" }, ...flow.sequence.slice(0, MOST_PARTS), flow.sequence.length > MOST_PARTS ? { edge: `and ${flow.sequence.length - MOST_PARTS} more` } : { edge: run.status }];
  const sizes = parts.map((part) => part.edge ? { width: part.edge === "start" ? 14 : 104, height: 26 } : size(part));
  const rows = [[]];
  let used = 0;
  parts.forEach((part, index) => {
    if (used && used + GAP + sizes[index].width > width) {
      rows.push([]);
      used = 0;
    }
    used += (used ? GAP : 0) + sizes[index].width;
    rows.at(-1).push(index);
  });
  let top = 4;
  let widest = 0;
  let last = null;
  for (const row of rows) {
    const tall = Math.max(...row.map((index) => sizes[index].height));
    const middle = top + tall / 2;
    let left = 0;
    if (last) {
      const between = top - ROW_GAP / 2;
      lines.push(`M${last.right} ${last.middle}h8V${between}H-8V${middle}H0`);
    }
    row.forEach((index, position) => {
      if (position) lines.push(curve(left - GAP, middle, left, middle));
      const part = parts[index];
      if (part.edge === "start") nodes.push(dot(left + 7, middle, "start"));
      else if (part.edge) nodes.push(end(run, part.edge, left, middle));
      else place(part, left, middle);
      left += sizes[index].width + GAP;
    });
    last = { right: left - GAP, middle };
    widest = Math.max(widest, left - GAP);
    top += tall + ROW_GAP;
  }
  const svg = document.createElementNS("http://www.w3.org/2000/svg", "svg");
  const high = top - ROW_GAP + 4;
  for (const [name, value] of Object.entries({ viewBox: `-12 0 ${widest + 24} ${high}`, width: widest + 24, height: high, "aria-hidden": "true" })) svg.setAttribute(name, value);
  const path = document.createElementNS("http://www.w3.org/2000/svg", "path");
  path.setAttribute("d", lines.join(""));
  svg.append(path);
  const paper = h("div", { class: "paper" }, svg, nodes);
  paper.style.width = `${widest + 12}px`;
  paper.style.height = `${high}px`;
  canvas.replaceChildren(paper);
}

function curve(left, from, right, to) {
  const half = (right - left) / 2;
  return from === to ? `M${left} ${from}H${right}` : `M${left} ${from}C${left + half} ${from} ${right - half} ${to} ${right} ${to}`;
}

function at(element, left, top) {
  element.style.left = `${left}px`;
  element.style.top = `${top}px`;
  return element;
}

const dot = (left, middle, kind = "") => at(h("span", { class: `dot ${kind}`, "aria-hidden": "true" }), left, middle);

const end = (run, text, left, middle) => at(h("span", { class: "end", "data-status": run.status }, text), left, middle);

function node(run, part, left, top, open) {
  const [step] = part.steps;
  const { kind, label, child } = named(step, run);
  const failed = part.steps.filter((each) => each.status === "failed").length;
  const tone = TONE[failed ? "failed" : (part.steps.find((each) => each.status !== "completed") ?? step).status];
  const begin = Math.min(...part.steps.map(beginOf));
  const ends = part.steps.map((each) => each.finished_at ? Date.parse(each.finished_at) : null);
  const words = [
    part.steps.length > 1 || kind !== "step" ? kind : null,
    ends.includes(null) ? (step.status === "pending" ? "waits" : step.status) : duration(Math.max(...ends) - begin),
    part.steps.length === 1 && step.attempts > 1 ? `${step.attempts} attempts` : null,
    failed ? (part.steps.length > 1 ? `${failed} failed` : "failed") : null,
  ].filter(Boolean).join(" · ");
  const text = part.more ? `${part.more} more` : part.steps.length > 1 ? `${label} × ${part.steps.length}` : label;
  return at(h("div", { class: "node", "data-status": tone },
    h("button", { type: "button", title: `${child ?? label}\n${words}`, onclick: () => open(step) },
      h("b", {}, h("i", { "aria-hidden": "true" }, ICONS[kind] ?? "▸"), text), h("small", {}, words)),
    child && part.steps.length === 1 ? link({ run: child }, "open", unseen(` ${child}`)) : null), left, top);
}
