// What the page knows.

import { short } from "./words.js";

export const PREDICTED = "predicted";

export const page = {
  limits: null,
  models: [],
  methods: [],
  // What the user chose besides the controls: the picture's file, the index of the class or PREDICTED, and the index
  // of a second class or null.
  choice: { file: null, target: PREDICTED, against: null },
  request: null, // the AbortController of the request under way
  shown: null, // the settings whose answer is on the page
  answer: null, // the parts of the answer that are there, without the pictures' events
  picture: null,
  works: [], // a figure for each method and class, see figures.js
  found: [], // the classes found by a search
};

export const title = (name) => page.methods.find((method) => method.name === name).title;

/** The classes on the page: one, or two that are compared. */
export const shownClasses = () => [page.answer.target, page.answer.against].filter(Boolean);

/** A text about classes, with their names cut where they are very long. */
export const shortened = (text) =>
  [...page.answer.predicted, ...shownClasses()].reduce((said, { name }) => said.replaceAll(name, short(name)), text);

/** Settings as the form of a request. */
export function formOf(settings) {
  const fields = new FormData();
  const { boxField, threshold, against, target, ...others } = settings;
  for (const [name, value] of Object.entries(others)) fields.set(name === "file" ? "picture" : name, value);
  fields.set("class", target);
  if (against !== null) fields.set("against", against);
  fields.set(boxField, threshold);
  return fields;
}

/** The request whose answer is on the page, for who wants to send it elsewhere too; null if there is none yet. */
export function shownRequest() {
  return page.shown && { form: formOf(page.shown), answer: page.answer, name: page.shown.file.name };
}
