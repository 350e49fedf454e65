// The shape of a run, read from its own history: what came after what, and what ran at the same time.
//
// A flow is { sequence: [part, ...] }; a part is { step } or { lanes: [flow, ...] }. Rows that overlap in time ran side by
// side. Calls of a branch (a task of the body) have a key such as `2.0`: the first call of the third branch.

import { beginOf } from "./attempts.js";

const FIRST_BRANCH = 1_000_000;

export function flowOf(run, steps) {
  return assembled(steps.filter((step) => step.seq >= 0).map((step) => ({
    step, begin: beginOf(step), end: step.finished_at ? Date.parse(step.finished_at) : Infinity,
    path: step.seq >= FIRST_BRANCH && Number.isFinite(step.seq) ? branchOf(run, step) : [],
  })));
}

function branchOf(run, step) {
  const key = step.step_id.startsWith(`${run.id}:`) ? step.step_id.slice(run.id.length + 1) : "";
  return /^\d+(\.\d+)+$/.test(key) ? key.split(".").slice(0, -1) : [];
}

function assembled(rows) {
  const units = [];
  const branches = new Map();
  for (const row of rows) {
    if (!row.path.length) {
      units.push({ begin: row.begin, end: row.end, seq: row.step.seq, group: row.step.parallel_group, parts: [{ step: row.step }] });
      continue;
    }
    const [number, ...path] = row.path;
    if (!branches.has(number)) branches.set(number, []);
    branches.get(number).push({ ...row, path });
  }
  for (const inside of branches.values()) {
    units.push({
      begin: Math.min(...inside.map((row) => row.begin)), end: Math.max(...inside.map((row) => row.end)),
      seq: Math.min(...inside.map((row) => row.step.seq)), branch: true, parts: assembled(inside).sequence,
    });
  }
  units.sort((one, other) => one.begin - other.begin || one.seq - other.seq);
  return { sequence: stages(units).flatMap(merged) };
}

// Units that overlap belong to one stage, and the next stage begins when all of them have ended.
function stages(units) {
  const found = [];
  let end = -Infinity;
  for (const unit of units) {
    const stage = found.at(-1);
    const together = stage && (unit.begin < end || (unit.begin === end && stage.some((each) => (unit.branch && each.branch) || (unit.group && each.group === unit.group))));
    if (together) stage.push(unit);
    else found.push([unit]);
    end = together ? Math.max(end, unit.end) : unit.end;
  }
  return found;
}

// Within a stage, what came after something of the stage continues in its lane.
function merged(stage) {
  const lanes = [];
  for (const unit of stage) {
    const before = unit.branch || unit.group ? null : lanes.filter((lane) => !lane.branch && !lane.group && lane.end <= unit.begin).sort((one, other) => other.end - one.end)[0];
    if (before) {
      before.parts.push(...unit.parts);
      before.end = unit.end;
    } else lanes.push({ ...unit, parts: [...unit.parts] });
  }
  if (lanes.length === 1) return lanes[0].parts;
  return [{ lanes: lanes.map((lane) => ({ sequence: lane.parts })) }];
}
