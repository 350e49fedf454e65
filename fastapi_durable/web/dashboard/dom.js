// Builds elements. Text always becomes text, so nothing that a run holds can become markup.

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

export const link = (parameters, ...children) => h("a", { href: address(parameters), "data-link": true }, children);

export function address(parameters) {
  const search = new URLSearchParams();
  for (const [name, value] of Object.entries(parameters)) {
    for (const each of [value].flat()) if (each !== undefined && each !== null && each !== "") search.append(name, each);
  }
  return `?${search}`;
}

export const status = (name) => h("span", { class: "status", "data-status": name }, name);

export function json(value) {
  const text = JSON.stringify(value, null, 2) ?? "null";
  const shown = text.length > 200_000 ? `${text.slice(0, 200_000)}\n… (${text.length} characters in all)` : text;
  const copy = h("button", { type: "button", onclick: () => {
    navigator.clipboard?.writeText(text).then(() => { copy.textContent = "copied"; }, () => { copy.textContent = "no access"; });
  } }, "copy");
  return h("div", { class: "json" }, h("pre", { tabindex: "0" }, shown), copy);
}

export function failure(error) {
  if (!error) return null;
  return h("div", { class: "error" },
    h("b", {}, error.type ?? "Error"), error.code && error.code !== error.type ? h("span", { class: "tag" }, error.code) : null,
    h("div", {}, error.message),
    error.stack ? h("details", {}, h("summary", {}, "stack"), h("pre", { tabindex: "0" }, error.stack)) : null,
    error.cause ? h("div", {}, h("span", { class: "muted" }, "caused by"), failure(error.cause)) : null);
}
