// Charts over time, drawn as SVG. The value under the pointer, or under the arrow keys, is told beside the title.

import { h } from "./dom.js";

const HEIGHT = 150, LEFT = 52, BOTTOM = 20, TOP = 8;
const svg = (tag, attributes, ...children) => {
  const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children);
  return element;
};

// series: [{ name, tone, values }], one value a bucket, null where there is none; kind: "bars" (stacked) or "lines".
export function chart({ title, times, series, kind, say, summary, empty }) {
  const told = h("span", { class: "told", role: "status" }, summary);
  const canvas = h("div", { class: "chart" });
  const nothing = series.every((each) => each.values.every((value) => !value));
  let chosen = null;
  const tell = (index) => {
    chosen = index;
    told.textContent = index === null ? summary
      : `${moment(times[index], times)}: ${series.map((each) => `${each.name} ${each.values[index] === null ? "–" : say(each.values[index])}`).join(", ")}`;
    const marker = canvas.querySelector(".marker");
    if (!marker) return;
    marker.toggleAttribute("hidden", index === null);
    if (index !== null) marker.setAttribute("transform", `translate(${LEFT + (index + 0.5) * step()} 0)`);
  };
  const step = () => Math.max(1, canvas.clientWidth - LEFT) / times.length;
  const nearest = (event) => {
    const index = Math.floor((event.clientX - canvas.getBoundingClientRect().left - LEFT) / step());
    tell(index >= 0 && index < times.length ? index : null);
  };
  const draw = () => {
    if (canvas.clientWidth) canvas.replaceChildren(picture({ title, times, series, kind, say, summary, width: canvas.clientWidth, step: step(), nothing, empty }));
    if (chosen !== null) tell(chosen);
  };
  canvas.addEventListener("pointermove", nearest);
  canvas.addEventListener("pointerleave", () => tell(null));
  canvas.addEventListener("keydown", (event) => {
    const moves = { ArrowLeft: -1, ArrowRight: 1 };
    if (event.key === "Escape") tell(null);
    if (!(event.key in moves)) return;
    event.preventDefault();
    tell(Math.min(times.length - 1, Math.max(0, (chosen ?? (moves[event.key] > 0 ? -1 : times.length)) + moves[event.key])));
  });
  new ResizeObserver(draw).observe(canvas);
  return h("section", { class: "card" },
    h("div", { class: "chart-head" }, h("h2", {}, title), told),
    canvas,
    h("div", { class: "legend" }, series.map((each) => h("span", { class: "key", "data-tone": each.tone }, each.name))));
}

function picture({ title, times, series, kind, say, summary, width, step, nothing, empty }) {
  const high = HEIGHT - BOTTOM - TOP;
  const tops = times.map((_, index) => kind === "bars" ? series.reduce((sum, each) => sum + (each.values[index] ?? 0), 0)
    : Math.max(0, ...series.map((each) => each.values[index] ?? 0)));
  const most = nice(Math.max(...tops), kind === "bars");
  const level = (value) => TOP + high * (1 - value / most);
  const found = svg("svg", { width, height: HEIGHT, viewBox: `0 0 ${width} ${HEIGHT}`, role: "img", tabindex: 0, "aria-label": `${title}. ${summary}. Arrow keys read single values.` });
  const half = kind === "bars" && most % 2 ? [] : [0.5];
  for (const share of nothing ? [0] : [0, ...half, 1]) {
    found.append(svg("line", { class: "grid", x1: LEFT, x2: width, y1: level(most * share), y2: level(most * share) }));
    if (!nothing || share === 0) found.append(svg("text", { class: "tick", x: LEFT - 8, y: level(most * share) + 4, "text-anchor": "end" }, nothing ? "0" : say(most * share)));
  }
  const labels = Math.max(2, Math.min(6, Math.floor((width - LEFT) / 90)));
  for (let label = 0; label < labels; label += 1) {
    const index = Math.round((label * (times.length - 1)) / (labels - 1));
    const anchor = label === 0 ? "start" : label === labels - 1 ? "end" : "middle";
    found.append(svg("text", { class: "tick", x: label === labels - 1 ? width : label === 0 ? LEFT : LEFT + (index + 0.5) * step, y: HEIGHT - 4, "text-anchor": anchor }, moment(times[index], times)));
  }
  if (nothing) {
    found.append(svg("text", { class: "tick", x: LEFT + (width - LEFT) / 2, y: TOP + high / 2, "text-anchor": "middle" }, empty));
    return found;
  }
  const thick = Math.max(1, Math.min(24, step * 0.72));
  if (kind === "bars") {
    const base = times.map(() => 0);
    for (const each of series) each.values.forEach((value, index) => {
      if (!value) return;
      const tall = Math.max(1, (high * value) / most);
      base[index] += tall;
      found.append(svg("rect", { "data-tone": each.tone, x: LEFT + (index + 0.5) * step - thick / 2, y: TOP + high - base[index], width: thick, height: tall }));
    });
  } else {
    for (const each of series) found.append(svg("path", { class: "line", "data-tone": each.tone, d: path(each.values, (index) => LEFT + (index + 0.5) * step, level) }));
  }
  found.append(svg("line", { class: "marker", hidden: "", x1: 0, x2: 0, y1: TOP, y2: TOP + high }));
  return found;
}

// A line that breaks where there is no value; a value alone is a dot.
function path(values, left, level) {
  let text = "";
  values.forEach((value, index) => {
    if (value === null) return;
    const joined = index > 0 && values[index - 1] !== null;
    text += `${joined ? "L" : "M"}${left(index).toFixed(1)} ${level(value).toFixed(1)}`;
    if (!joined && (values[index + 1] ?? null) === null) text += "m-2 0a2 2 0 1 0 4 0a2 2 0 1 0 -4 0";
  });
  return text;
}

// The next round number, so that the ticks can be read.
function nice(value, whole) {
  if (!(value > 0)) return 1;
  const power = 10 ** Math.max(Math.floor(Math.log10(value)), whole ? 0 : -9);
  return [1, 2, 4, 5, 8, 10].map((each) => each * power).find((each) => each >= value);
}

function moment(time, times) {
  const date = new Date(time);
  const span = Date.parse(times.at(-1)) - Date.parse(times[0]);
  return span > 36 * 3_600_000 ? date.toLocaleString(undefined, { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" })
    : date.toLocaleTimeString(undefined, { hour: "2-digit", minute: "2-digit" });
}
