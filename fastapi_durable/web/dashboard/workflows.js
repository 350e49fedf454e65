// What can be started, with the schema of its input.

import { get } from "./api.js";
import { publish, signal, start } from "./actions.js";
import { empty, h, json, link, unseen } from "./dom.js";

// A screen reader lists links and buttons without their cards, so each says whose it is.
function named(element, name) {
  element.setAttribute("aria-label", name);
  return element;
}

export async function workflows(_, page) {
  const listed = (await get("workflows", page)).workflows;
  const may = (action) => page.info.actions.includes(action);
  return [
    h("div", { class: "head" }, h("h1", {}, "Workflows"), h("div", { class: "row" },
      may("signal") ? h("button", { type: "button", onclick: () => signal(page) }, "Send a signal") : null,
      may("publish") ? h("button", { type: "button", onclick: () => publish(page) }, "Publish an event") : null)),
    listed.length ? null : h("section", { class: "card" }, empty("No workflows. Register one with the module:", "DurableModule.for_root(..., workflows=[...])")),
    ...listed.map((each) => h("section", { class: "card workflow" },
      h("div", { class: "head" },
        h("div", {}, h("div", { class: "row" }, h("h2", {}, each.name, h("span", { class: "muted" }, ` v${each.version}${each.newest ? "" : " (older)"}`)), each.tags.map((tag) => h("span", { class: "tag" }, tag))),
          each.description ? h("div", { class: "muted" }, each.description.split("\n")[0]) : null),
        h("div", { class: "row" }, named(link({ page: "runs", workflow: each.name }, "Runs"), `Runs of ${each.name}`),
          may("start") ? named(h("button", { type: "button", class: "primary", onclick: () => start(page, each) }, "Start"), `Start ${each.name}`) : null)),
      each.input_schema ? h("details", {}, h("summary", {}, "input schema", unseen(` of ${each.name}`)), json(each.input_schema, `input schema of ${each.name}`))
        : h("div", { class: "muted" }, each.takes_input ? "takes an input without a schema" : "takes no input"))),
  ].filter(Boolean);
}
