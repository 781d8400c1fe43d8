// The page of `looktwice serve`: what the user does, and what follows from it.

import { forgetFound, listenForClasses, showClasses } from "./classes.js";
import { chosenMethods, fillControls, readControls, showValues, startBoxes, writeControls } from "./controls.js";
import { paintScale } from "./draw.js";
import { offerExports, offerMethods } from "./export.js";
import { PREPARE, begin, breakOff, draw, isDone, receive, showWork, showWorks } from "./figures.js";
import { saveJson } from "./saving.js";
import { ask, attend, download } from "./server.js";
import { PREDICTED, formOf, page, shortened, shownClasses } from "./state.js";
import { $, complain, count, element, ended, percent, say, sentence, short, warn } from "./words.js";

let waiting;
function lookSoon() {
  drop();
  waiting = setTimeout(look, 300);
}

/** Gives up the request under way: the user wants something else. */
function drop() {
  clearTimeout(waiting);
  page.request?.abort();
  page.request = null;
}

/** Asks for what is chosen, and shows each part of the answer as it comes. */
async function look() {
  drop();
  if (!page.choice.file) return;
  if (!chosenMethods().length) {
    breakOff();
    busy(false);
    warn("Choose at least one method.");
    return;
  }
  const request = (page.request = new AbortController());
  const settings = { ...page.choice, ...readControls() };
  complain("");
  say("The network is looking …");
  busy(true);
  try {
    for await (const { event, content } of attend(formOf(settings), request.signal)) {
      const ready = await PREPARE[event](content);
      if (request !== page.request) return;
      SHOW[event](ready, settings);
    }
    if (request === page.request) sayDone();
  } catch (error) {
    if (request === page.request) fail(error, settings);
  } finally {
    if (request === page.request) busy(false);
  }
}

const SHOW = {
  waiting({ before }) {
    const pictures = before === 1 ? "1 picture is" : `${before} pictures are`;
    say(before ? `${pictures} before yours …` : "The network is looking …");
  },

  seen(ready, settings) {
    begin(settings, ready);
    document.body.classList.remove("empty");
    $("choices").hidden = $("view").hidden = false;
    Object.assign(page.choice, { target: page.shown.target, against: page.shown.against });
    showTitle();
    showClasses();
    const kept = settings.trajectory === 1 ? Number(settings.steps) : 0;
    $("step").max = kept; // first, because it bounds the value
    $("step").value = kept;
    $("scrubber").hidden = true; // until there are maps of several steps
    showValues();
    showWorks();
    offerMethods();
  },

  map(ready) {
    const work = receive(ready);
    if (work.stages.length > 1) $("scrubber").hidden = false;
    showWork(work);
  },
};

const BOXES = {
  objects: "White box: perhaps an object of this class. Its probability is in the list of boxes",
  contour: "White box: around a region of high attention",
  energy: "White box: holds most of the attention",
};

function showTitle() {
  const { answer } = page;
  const classes = shownClasses();
  const names = classes.map(({ name }) => name);
  $("class-name").title = names.join(" against ");
  $("class-name").textContent = names.length > 1 ? names.map(short).join(" against ") : names[0];
  const given = classes.map(({ index, probability }) => `Class ${index}, ${percent(probability)} probable`).join(" · ");
  $("class-note").textContent = `${given} · ${answer.model}`;
  $("box-says").textContent = BOXES[answer.box_rule.rule];
  $("doubts").replaceChildren(...answer.doubts.map((doubt) => element("li", {}, shortened(doubt))));
}

function sayDone() {
  const classes = shownClasses().map(({ name }) => `“${short(name)}”`);
  say(`${count(page.works.filter(isDone).length, "map")} of ${classes.join(" and ")}.`, { quiet: true });
}

/** A request failed. Everything goes back to what is on the page, and a button can repeat the request. */
function fail(error, settings) {
  breakOff();
  if (page.shown) setBack(page.shown);
  else page.choice.target = PREDICTED;
  complain(`${short(settings.file.name)}: ${ended(error.message)}`, () => {
    setBack(settings);
    look();
  });
}

/** The choices and controls get these settings. */
function setBack(settings) {
  const { file, target, against } = settings;
  page.choice = { file, target, against };
  writeControls(settings);
  if (page.answer) showClasses();
}

function busy(is) {
  $("works").setAttribute("aria-busy", is);
  document.body.classList.toggle("busy", is);
}

/** Looks at a new picture. */
function take(file) {
  complain("");
  if (file.size > page.limits.upload_bytes) {
    complain(`“${short(file.name)}” is larger than ${page.limits.upload_bytes / 1e6} MB. Scale it down first.`);
    return;
  }
  page.choice = { file, target: PREDICTED, against: null };
  look();
}

async function takeSample(name) {
  drop();
  const request = (page.request = new AbortController());
  try {
    const file = await download(`samples/${name}`, name);
    if (request === page.request) take(file);
  } catch (error) {
    if (request !== page.request) return;
    breakOff();
    busy(false);
    complain(`${name}: ${ended(error.message)}`, () => takeSample(name));
  }
}

function chooseClass(change) {
  page.choice = { ...page.choice, ...change };
  if (page.choice.against === page.choice.target) page.choice.against = null;
  showClasses();
  look();
}

function limitMethods(event) {
  if (chosenMethods().length > page.limits.methods) {
    event.target.checked = false;
    warn(`At most ${page.limits.methods} methods stand side by side.`);
  } else lookSoon();
}

function changeModel() {
  // The other network may have other classes.
  Object.assign(page.choice, { target: PREDICTED, against: null });
  forgetFound();
  showValues();
  look();
}

function listen() {
  $("settings").addEventListener("submit", (event) => event.preventDefault());
  $("file").addEventListener("change", () => {
    if ($("file").files.length) take($("file").files[0]);
    $("file").value = ""; // so that the same file can be chosen again
  });
  for (const button of document.querySelectorAll(".sample"))
    button.addEventListener("click", () => takeSample(button.dataset.file));
  for (const kind of ["dragover", "dragleave", "drop"])
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      $("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
    });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) take(event.clipboardData.files[0]);
  });
  document.addEventListener("input", showValues);
  for (const id of ["opacity", "step", "boxes"]) $(id).addEventListener("input", draw);
  for (const id of ["steps", "trace-weight", "threshold", "trajectory"]) $(id).addEventListener("change", lookSoon);
  for (const radio of document.querySelectorAll("input[name=view]")) radio.addEventListener("change", lookSoon);
  for (const radio of document.querySelectorAll("input[name=box]"))
    radio.addEventListener("change", () => {
      startBoxes();
      lookSoon();
    });
  $("methods").addEventListener("change", limitMethods);
  $("model").addEventListener("change", changeModel);
  listenForClasses(chooseClass);
  $("save-json").addEventListener("click", saveJson);
  offerExports();
}

async function start() {
  try {
    const [{ models, limits, box }, { methods }] = await Promise.all([ask("api/models"), ask("api/methods")]);
    Object.assign(page, { models, limits, methods });
    listen();
    fillControls(box);
    paintScale($("scale"));
  } catch (error) {
    complain(sentence(error.message), () => location.reload());
  }
}

start();
