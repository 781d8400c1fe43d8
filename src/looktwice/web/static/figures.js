// The figures of an answer: the picture itself, and a map for each method and class.

import { coloured, image, paint, paintGates, plot, small } from "./draw.js";
import { savePng } from "./saving.js";
import { page, shownClasses, title } from "./state.js";
import { $, count, element, percent, plain, sentence } from "./words.js";

const MINI = 88; // height of the small pictures that stay on a narrow screen, in pixels

// A work is one method's map of one class: {name, target: its class, row: of the answer, stages: {map, boxes, gates,
// open} after each step, with the pictures as canvases, figure}. Until its row is there it has `old`: the stage that
// was on the page before, or null. If its row never comes it has an `error`.

/** Events with their pictures decoded. After that they can be shown at once. */
export const PREPARE = {
  waiting: (place) => place,

  seen: async (seen) => ({ seen, picture: await image(seen.picture.preview) }),

  async map(row) {
    const stages = row.error ? [] : (row.trajectory ?? [row]);
    const drawn = stages.map(async ({ map, boxes, gates, open }) => ({
      map: await coloured(map),
      boxes,
      gates: gates && (await coloured(gates, { veil: false })),
      open,
    }));
    return { row, stages: await Promise.all(drawn) };
  },
};

/** An answer has begun: its works take the place of those on the page. */
export function begin(settings, { seen, picture }) {
  const before = isLike(settings, seen) ? page.works : [];
  const [target, against] = [seen.target.index, seen.against?.index ?? null];
  Object.assign(page, { answer: { ...seen, methods: [] }, picture, shown: { ...settings, target, against } });
  page.works = settings.methods.split(",").flatMap((name) => shownClasses().map((each) => newWork(before, name, each)));
}

/** Whether the maps on the page are of the same input, so that they can stay until the new ones are there. */
function isLike(settings, seen) {
  const { shown, answer } = page;
  return shown?.file === settings.file && answer.model === seen.model && `${answer.window}` === `${seen.window}`;
}

function newWork(before, name, target) {
  const like = before.find((work) => work.name === name && work.target.index === target.index);
  return { name, target, row: null, stages: [], figure: null, old: like?.stages.at(-1) ?? like?.old ?? null, error: null };
}

/** Takes a row of the answer. Gives the work that it belongs to. */
export function receive({ row, stages }) {
  const work = page.works.find((each) => each.name === row.name && each.target.index === row.class);
  page.answer.methods.push(row);
  return Object.assign(work, { row, stages, error: row.error ?? null });
}

/** Works whose rows never come. */
export function breakOff() {
  for (const work of page.works.filter(isPending)) {
    work.error = "This map was not finished.";
    work.old = null;
    showWork(work);
  }
}

export const isDone = (work) => work.row !== null && work.error === null;
export const isPending = (work) => work.row === null && work.error === null;

export function showWorks() {
  const against = page.answer.against !== null;
  $("works").classList.toggle("against", against);
  $("works").classList.toggle("wide", page.answer.picture.width > 3 * page.answer.picture.height);
  $("works").style.setProperty("--rows", page.works.length / shownClasses().length);
  $("works").replaceChildren(original());
  for (const work of page.works) showWork(work);
}

function original() {
  const { answer, picture } = page;
  const canvas = element("canvas", { role: "img", "aria-label": "The picture" });
  paint(canvas, { picture, answer });
  const [left, top, right, bottom] = answer.window;
  const cut = (right - left) * (bottom - top) < 0.99 * answer.picture.width * answer.picture.height;
  const seen = cut ? "The network sees the bright part only." : "The network sees the whole picture.";
  const words = [element("h3", {}, "Picture"), element("p", { class: "source" }, seen)];
  return element("figure", { class: "work original" }, canvas, element("figcaption", {}, ...words));
}

/** The figure of a work, as far as it is known. It takes the place of the work's figure before. */
export function showWork(work) {
  const figure = $("work").content.cloneNode(true).firstElementChild;
  const of = page.answer.against ? [element("span", { title: work.target.name }, work.target.name)] : [];
  figure.querySelector("h3").replaceChildren(title(work.name), ...of);
  figure.classList.toggle("pending", isPending(work));
  if (work.figure?.isConnected) work.figure.replaceWith(figure);
  else $("works").append(figure);
  work.figure = figure;
  if (isDone(work)) tell(figure, work);
  else {
    for (const part of figure.querySelectorAll(".made, .notes, .inside, details, button")) part.remove();
    figure.querySelector(".source").textContent = work.error ? sentence(work.error) : "The network is looking …";
    figure.classList.toggle("failed", work.error !== null);
  }
  drawWork(work);
  drawMini();
}

function tell(figure, work) {
  const { row } = work;
  figure.querySelector(".source").textContent = row.source;
  const made = [`${row.seconds.toFixed(2)} s`];
  if (row.options.trace_weight !== undefined) made.unshift(`λ ${plain(row.options.trace_weight)}`);
  if (row.options.steps !== undefined) made.unshift(count(row.options.steps, "step"));
  const { seen, gated, grids } = row.gated;
  const places = grids.map((sides) => sides.join("×")).join(", ");
  if (gated) made.push(`${gated} of ${seen} activations gated${places && `, at ${places}`}`);
  figure.querySelector(".made").textContent = made.join(" · ");
  figure.querySelector(".notes").replaceChildren(...row.notes.map((note) => element("li", {}, sentence(note))));
  if (row.scores.length < 2) figure.querySelector(".inside").remove();
  else if (!row.gates) figure.querySelector(".gates").remove();
  figure.querySelector(".save-png").addEventListener("click", () => savePng(work));
}

/** Draws all maps again, at the step and with the opacity that are chosen. */
export function draw() {
  for (const work of page.works) drawWork(work);
  drawMini();
}

/** The step that the scrubber is at: of a work with fewer steps, or without any, the last. */
function stepOf(work) {
  const step = $("scrubber").hidden ? Infinity : Number($("step").value);
  return Math.min(step, work.stages.length - 1);
}

/** The boxes that a finished work shows now. */
export const shownBoxes = (work) => work.stages[stepOf(work)].boxes;

function drawWork(work) {
  const canvas = work.figure.querySelector("canvas");
  const now = stepOf(work);
  const stage = work.stages[now] ?? work.old;
  const boxes = $("boxes").checked ? (stage?.boxes ?? []) : [];
  const opacity = Number($("opacity").value) / 100;
  paint(canvas, { picture: page.picture, answer: page.answer, map: stage?.map, boxes, opacity });
  const what = `Where ${title(work.name)} sees ${work.target.name}`;
  if (!isDone(work)) {
    canvas.setAttribute("aria-label", `${what}: ${work.error ? "no map" : "not known yet"}`);
    return;
  }
  canvas.setAttribute("aria-label", `${what}: the map over the picture, ${count(stage.boxes.length, "box")}`);
  work.figure.querySelector("summary").textContent = count(stage.boxes.length, "box");
  work.figure.querySelector("ol").replaceChildren(...stage.boxes.map(boxLine));
  drawInside(work, stage, now);
}

/** What the feedback changes from step to step: the gates that are open, and the class score. */
function drawInside(work, stage, now) {
  const { row, figure } = work;
  const [drawing, gates] = [figure.querySelector(".plot"), figure.querySelector(".gates")];
  drawing?.replaceChildren(...plot(row.scores, work.stages.length > 1 ? now : null));
  if (!gates) return;
  const words = `${percent(stage.open)} of the gates are open`;
  const canvas = gates.querySelector("canvas");
  paintGates(canvas, stage.gates, page.answer.window);
  canvas.setAttribute("aria-label", `Where the gates are open. ${words}.`);
  gates.querySelector("p").textContent = `${words}, most of them at red places`;
}

/** On a narrow screen small copies of the pictures stay in sight above the controls. */
function drawMini() {
  const [first, ...maps] = $("works").querySelectorAll(".work > canvas");
  const canvases = [first, ...maps.slice(page.answer.against ? -2 : -3)];
  $("mini").replaceChildren(...canvases.map((canvas) => small(canvas, MINI)));
}

// What the number of a box means, by the rule that drew it.
const MEANINGS = {
  objects: (score) => `right with a probability of ${score}`,
  contour: (score) => `${score} of the map`,
  energy: (score) => `${score} of the map`,
};

function boxLine(box) {
  const [x1, y1, x2, y2] = [box.x1, box.y1, box.x2, box.y2].map(Math.round);
  const meaning = MEANINGS[page.answer.box_rule.rule](percent(box.score));
  return element("li", {}, `(${x1}, ${y1}) to (${x2}, ${y2}) px, ${meaning}`);
}
