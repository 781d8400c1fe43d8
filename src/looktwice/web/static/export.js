// Saving the boxes on the page as a labelled data set. The server writes it; the network does not look again.

import { isDone, isPending, shownBoxes } from "./figures.js";
import { save, stem } from "./saving.js";
import { fileOf } from "./server.js";
import { page, title } from "./state.js";
import { $, complain, count, element, ended, say, short, warn } from "./words.js";

const USUAL = "global_feedback";

const PATIENCE = 1000; // ms after which a server that does not answer is busy with something else

const FORMS = [
  ["coco", "COCO", "json"],
  ["yolo", "YOLO", "zip"],
];

/** A button for each form, and the method whose boxes it saves: two methods would find the same objects twice. */
export function offerExports() {
  const buttons = FORMS.map(([form, name, suffix]) => {
    const button = element("button", { type: "button", id: `save-${form}` }, `Save as ${name}`);
    button.addEventListener("click", () => exportBoxes(form, suffix));
    return button;
  });
  const choice = element("label", { class: "quiet" }, "boxes of ", element("select", { id: "save-method" }));
  $("saving").replaceChildren(...buttons, choice);
}

/** The methods on the page can be chosen. The choice before stays if it is still there. */
export function offerMethods() {
  const names = [...new Set(page.works.map(({ name }) => name))];
  const before = $("save-method").value;
  $("save-method").replaceChildren(...names.map((name) => element("option", { value: name }, title(name))));
  $("save-method").value = [before, USUAL, ...names].find((name) => names.includes(name));
}

async function exportBoxes(form, suffix) {
  const method = $("save-method").value;
  const all = page.works.filter((work) => work.name === method);
  const works = all.filter(isDone);
  if (all.some(isPending)) {
    warn(`${title(method)} is not finished. Save its boxes when all its maps are there.`);
    return;
  }
  if (!works.length) {
    warn(`${title(method)} has no map, so there are no boxes to save.`);
    return;
  }
  const boxes = works.flatMap((work) =>
    shownBoxes(work).map(({ x1, y1, x2, y2, score }) => ({ class: work.target.index, x1, y1, x2, y2, score })),
  );
  const classes = works.map(({ target: { index, probability } }) => ({ index, probability }));
  const lists = { classes: JSON.stringify(classes), boxes: JSON.stringify(boxes) };
  const fields = new FormData();
  for (const [field, value] of Object.entries({ picture: page.shown.file, form, model: page.answer.model, ...lists }))
    fields.set(field, value);
  const file = `${stem()}.${form}.${suffix}`;
  complain("");
  say("Saving the boxes …");
  const busy = setTimeout(() => say("The boxes wait until the server is free …"), PATIENCE);
  try {
    save(await fileOf("api/export", fields), file);
    say(`${count(boxes.length, "box")} of ${title(method)} saved: ${short(file)}.${without(all)}`);
  } catch (error) {
    complain(`Not saved: ${ended(error.message)}`, () => exportBoxes(form, suffix));
  } finally {
    clearTimeout(busy);
  }
}

/** Says which class is not in the file, because its map failed. */
function without(works) {
  const [missing, there] = [works.filter((work) => !isDone(work)), works.filter(isDone)];
  if (!missing.length) return "";
  return ` Only the boxes of “${short(there[0].target.name)}”: there is no map of “${short(missing[0].target.name)}”.`;
}
