// Builds elements. Text always becomes text, so nothing that a run holds can become markup.

import { ago, duration, ended, exact } from "./format.js";

export function h(tag, properties, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(properties ?? {})) {
    if (value === undefined || value === null || value === false) continue;
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (name === "value") element.value = value;
    else if (name === "left" || name === "width") element.style[name] = `${value}%`;
    else element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

// Of all that a screen reader lists without its surroundings, each names what it belongs to.
export const unseen = (text) => h("span", { class: "unseen" }, text);

export const link = (parameters, ...children) => h("a", { href: address(parameters), "data-link": true }, children);

export function address(parameters) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const each of [value].flat()) if (each !== undefined && each !== null && each !== "") search.append(name, each);
  }
  return `?${search}`;
}

// Times that continue while the page is looked at: see `goOn`.
export const when = (moment) => h("time", { datetime: moment, title: exact(moment), "data-goes-on": "ago" }, ago(moment));
export const lasted = (run) => ended(run) ? duration(Date.parse(run.updated_at) - Date.parse(run.created_at))
  : h("time", { datetime: run.created_at, "data-goes-on": "since" }, since(run.created_at));
const since = (moment) => duration(Math.floor((Date.now() - Date.parse(moment)) / 1000) * 1000);

export function goOn() {
  for (const each of document.querySelectorAll("time[data-goes-on]")) {
    const text = each.dataset.goesOn === "ago" ? ago(each.dateTime) : since(each.dateTime);
    if (each.textContent !== text) each.textContent = text;
  }
}

export const status = (name) => h("span", { class: "status", "data-status": name }, name);

// Of an empty page: what will stand here, and the code or command that brings it here.
export const empty = (text, code) => h("div", { class: "empty" }, h("p", {}, text), code ? h("code", {}, code) : null);

// `name` is what a screen reader calls the value.
export function json(value, name) {
  const text = JSON.stringify(value, null, 2) ?? "null";
  const shown = text.length > 200_000 ? `${text.slice(0, 200_000)}\n… (${text.length} characters in all)` : text;
  const copy = h("button", { type: "button", onclick: () => {
    navigator.clipboard?.writeText(text).then(() => { copy.textContent = "copied"; }, () => { copy.textContent = "no access"; });
  } }, "copy", unseen(` ${name}`));
  return h("div", { class: "json" }, h("pre", { tabindex: "0", role: "group", "aria-label": name }, shown), copy);
}

export function failure(error) {
  if (!error) return null;
  return h("div", { class: "error" },
    h("b", {}, error.type ?? "Error"), error.code && error.code !== error.type ? h("span", { class: "tag" }, error.code) : null,
    h("div", {}, error.message),
    error.stack ? h("details", {}, h("summary", {}, "stack"), h("pre", { tabindex: "0", role: "group", "aria-label": "stack" }, error.stack)) : null,
    error.cause ? h("div", {}, h("span", { class: "muted" }, "caused by"), failure(error.cause)) : null);
}
