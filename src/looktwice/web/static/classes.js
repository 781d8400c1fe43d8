// The classes: the most probable ones, those that a search finds, and a second one to compare with.

import { ask } from "./server.js";
import { page } from "./state.js";
import { $, complain, count, element, percent, say, sentence, short, warn } from "./words.js";

let onChoice; // called with {target} or {against} when the user chooses

export function listenForClasses(listener) {
  onChoice = listener;
  $("query").addEventListener("input", searchSoon);
  $("query").addEventListener("keydown", async (event) => {
    if (event.key !== "Enter") return;
    await search();
    $("found").querySelector("button")?.focus();
  });
  $("against").addEventListener("change", () => {
    const { value } = $("against");
    onChoice({ against: value === "" ? null : Number(value) });
  });
}

/** The lists of classes, with the chosen ones marked. */
export function showClasses() {
  for (const [list, rows] of [["predicted", page.answer.predicted], ["found", page.found]])
    keepFocus($(list), rows.map(classButton));
  showAgainst();
}

function classButton({ index, name, probability }) {
  const button = element("button", { type: "button", class: "class", "aria-pressed": index === page.choice.target });
  button.append(element("span", { title: name }, name));
  if (probability !== undefined) button.append(element("span", { class: "probability" }, percent(probability)));
  button.addEventListener("click", () => onChoice({ target: index }));
  return button;
}

/** New buttons in place of the old ones. If an old one had the focus, the new one in its place gets it. */
function keepFocus(list, buttons) {
  const place = [...list.children].indexOf(document.activeElement);
  list.replaceChildren(...buttons);
  buttons[place]?.focus({ preventScroll: true });
}

/** A second class can be one that is probable, one that was found, or the one that is chosen already. */
function showAgainst() {
  const { predicted, against } = page.answer;
  const options = new Map([...predicted, ...page.found, ...(against ? [against] : [])].map((row) => [row.index, row.name]));
  options.delete(page.choice.target);
  const rows = [...options].map(([index, name]) => element("option", { value: index }, short(name)));
  $("against").replaceChildren(element("option", { value: "" }, "no other class"), ...rows);
  $("against").value = page.choice.against ?? "";
}

export function forgetFound() {
  $("query").value = "";
  page.found = [];
}

let typing;
function searchSoon() {
  clearTimeout(typing);
  typing = setTimeout(search, 200);
}

async function search() {
  clearTimeout(typing);
  const query = $("query").value.trim();
  try {
    const { classes } = query
      ? await ask(`api/classes?${new URLSearchParams({ model: $("model").value, query })}`)
      : { classes: [] };
    if (query !== $("query").value.trim()) return; // the user typed on meanwhile
    page.found = classes;
    showClasses();
    if (classes.length) say(`${count(classes.length, "class")} found.`, { quiet: true });
    else if (query) warn(`No class is named like “${query}”.`);
  } catch (error) {
    complain(sentence(error.message), search);
  }
}
