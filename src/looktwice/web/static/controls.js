// The controls: what they offer, what is chosen in them, and how they get back to what is on the page.

import { page } from "./state.js";
import { $, element } from "./words.js";

const DEFAULT_METHODS = ["gradient", "global_feedback"];

const chosen = (name) => document.querySelector(`input[name=${name}]:checked`);
const choose = (name, value) => (document.querySelector(`input[name=${name}][value=${value}]`).checked = true);
export const chosenMethods = () => [...document.querySelectorAll("#methods input:checked")].map((input) => input.value);

/** What is chosen, by the names of the form's fields. */
export function readControls() {
  const box = chosen("box");
  const [steps, keeps] = [$("steps").value, $("trajectory").checked && !$("trajectory").disabled];
  return {
    model: $("model").value,
    methods: chosenMethods().join(","),
    view: chosen("view").value,
    steps,
    trace_weight: $("trace-weight").value,
    trajectory: keeps ? 1 : 0,
    box: box.value,
    boxField: box.dataset.field,
    threshold: $("threshold").value,
  };
}

/** Sets the controls to settings that were read before. */
export function writeControls(settings) {
  const methods = settings.methods.split(",");
  $("model").value = settings.model;
  for (const input of document.querySelectorAll("#methods input")) input.checked = methods.includes(input.value);
  choose("view", settings.view);
  $("steps").value = settings.steps;
  $("trace-weight").value = settings.trace_weight;
  $("trajectory").checked = settings.trajectory === 1;
  choose("box", settings.box);
  nameThreshold();
  $("threshold").value = settings.threshold;
  showValues();
}

/** Writes the numbers beside the sliders, and what follows from them. */
export function showValues() {
  const words = { opacity: (input) => `${input.value} %`, step: (input) => `${input.value} of ${input.max}` };
  for (const output of document.querySelectorAll("output")) {
    const input = $(output.htmlFor.value);
    output.textContent = words[input.id]?.(input) ?? input.value;
  }
  $("step").setAttribute("aria-valuetext", `step ${$("step").value} of ${$("step").max}`);
  $("trajectory").disabled = Number($("steps").value) > page.limits.trajectory_steps;
  $("weights").textContent = `Weights: ${page.models.find(({ name }) => name === $("model").value).weights}`;
}

const nameThreshold = () => ($("threshold-says").textContent = chosen("box").dataset.says);

/** The slider gets the name and the usual value of the rule of boxes that is chosen. */
export function startBoxes() {
  $("threshold").value = chosen("box").dataset.start;
  nameThreshold();
  showValues();
}

export function fillControls(defaultBox) {
  const limits = page.limits;
  $("limits").textContent = `JPEG, PNG, WebP, AVIF, HEIC and others, up to ${limits.upload_bytes / 1e6} MB and ${limits.pixels / 1e6} megapixels`;
  $("model").replaceChildren(...page.models.map(({ name }) => element("option", { value: name }, name)));
  const others = page.methods.filter((method) => !method.in_paper).map(methodRow);
  $("methods").replaceChildren(
    ...page.methods.filter((method) => method.in_paper).map(methodRow),
    element("details", {}, element("summary", {}, "More methods"), ...others),
  );
  choose("box", defaultBox);
  startBoxes();
}

function methodRow({ name, title, summary }) {
  const input = element("input", { type: "checkbox", value: name });
  input.checked = DEFAULT_METHODS.includes(name);
  return element("label", { class: "check" }, input, title, element("small", {}, summary));
}
