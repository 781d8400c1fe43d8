// The page of `looktwice serve`. The server keeps nothing, so every request sends the picture again.

const $ = (id) => document.getElementById(id);
const DEFAULT_METHODS = ["gradient", "global_feedback"];
const PREDICTED = "predicted";

const page = {
  limits: null,
  models: [],
  methods: [],
  file: null, // the picture that was asked about last
  shown: null, // the picture whose answer is on the page
  target: PREDICTED, // or the index of a class
  request: null, // the AbortController of the request under way
  answer: null,
  works: [], // {result, figure, stages: {map, boxes} for each step, maps: size and values for each step}
  picture: null,
};

// Talking to the server.

async function ask(path, options = {}) {
  let response;
  try {
    response = await fetch(path, options);
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer. Is looktwice still running?");
  }
  const answer = await response.json().catch(() => ({ error: `The server answered ${response.status}.` }));
  if (!response.ok) throw new Error(sentence(answer.error));
  return answer;
}

function form() {
  const fields = new FormData();
  fields.set("picture", page.file);
  fields.set("model", $("model").value);
  fields.set("class", page.target);
  fields.set("methods", chosenMethods().join(","));
  fields.set("steps", $("steps").value);
  fields.set("trace_weight", $("trace-weight").value);
  fields.set("box", boxRule().value);
  fields.set(boxRule().dataset.field, $("threshold").value);
  fields.set("trajectory", keepsSteps() ? 1 : 0);
  return fields;
}

const chosenMethods = () => [...document.querySelectorAll("#methods input:checked")].map((input) => input.value);
const boxRule = () => document.querySelector("input[name=box]:checked");
const keepsSteps = () => $("trajectory").checked && Number($("steps").value) <= page.limits.trajectory_steps;

let waiting;
function lookSoon() {
  clearTimeout(waiting);
  waiting = setTimeout(look, 300);
}

async function look() {
  clearTimeout(waiting);
  page.request?.abort();
  if (!page.file) return;
  if (!chosenMethods().length) {
    say("Choose at least one method.");
    return;
  }
  const request = (page.request = new AbortController());
  say("The network is looking …");
  busy(true);
  try {
    const answer = await ask("api/attend", { method: "POST", body: form(), signal: request.signal });
    const [picture, works] = await unpack(answer);
    if (request !== page.request) return;
    Object.assign(page, { answer, picture, works, shown: page.file });
    showAnswer();
  } catch (error) {
    if (request === page.request && error.name !== "AbortError") {
      complain(error.message);
      goBack();
    }
  } finally {
    if (request === page.request) busy(false);
  }
}

/** Back to the picture and class that are on the page, after a request that failed. */
function goBack() {
  page.file = page.shown;
  page.target = page.answer?.target.index ?? PREDICTED;
}

function take(file) {
  complain("");
  if (file.size > page.limits.upload_bytes) {
    complain(`“${file.name}” is larger than ${page.limits.upload_bytes / 1e6} MB. Scale it down first.`);
    return;
  }
  page.file = file;
  page.target = PREDICTED;
  look();
}

// Messages.

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");

function say(text) {
  $("status").textContent = text;
}

function complain(text) {
  $("problem").textContent = text;
  if (text) say("");
}

function busy(is) {
  $("works").setAttribute("aria-busy", is);
  document.body.classList.toggle("busy", is);
}

const title = (name) => page.methods.find((method) => method.name === name).title;
const percent = (share) => (share >= 0.001 ? `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %` : "< 0.1 %");
const plain = (number) => Number(number.toPrecision(3)).toString();
const count = (number, one) => `${number} ${one}${number === 1 ? "" : /[sx]$/.test(one) ? "es" : "s"}`;

function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

// The answer.

async function unpack(answer) {
  const picture = await image(answer.picture.preview);
  const works = await Promise.all(
    answer.methods.map(async (result) => {
      const stages = result.error ? [] : (result.trajectory ?? [result]);
      const maps = await Promise.all(stages.map(async (stage) => values(await image(stage.map))));
      return { result, maps, stages };
    }),
  );
  return [picture, works];
}

async function image(uri) {
  const loaded = new Image();
  loaded.src = uri;
  await loaded.decode();
  return loaded;
}

/** A gray picture → its size and values. */
function values(gray) {
  const [width, height] = [gray.naturalWidth, gray.naturalHeight];
  const canvas = new OffscreenCanvas(width, height);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(gray, 0, 0);
  const pixels = context.getImageData(0, 0, width, height).data;
  return { width, height, levels: pixels.filter((_, place) => place % 4 === 0) };
}

function showAnswer() {
  const { answer, works } = page;
  document.body.classList.remove("empty");
  $("choices").hidden = $("view").hidden = false;
  complain("");
  $("class-name").textContent = answer.target.name;
  $("class-note").textContent = `Class ${answer.target.index}, given ${percent(answer.target.probability)} by ${answer.model}`;
  showPredicted();
  showFound(page.found ?? []);
  const lastStep = Math.max(0, ...works.map((work) => work.stages.length - 1));
  $("scrubber").hidden = lastStep === 0;
  $("step").max = lastStep;
  $("step").value = lastStep;
  $("works").replaceChildren(...works.map(makeFigure));
  $("works").classList.toggle("single", works.length === 1);
  draw();
  const failed = works.filter((work) => work.result.error).length;
  say(`${count(works.length - failed, "map")} of “${answer.target.name}”.`);
}

/** A figure with its texts, not drawn yet. */
function makeFigure(work) {
  const figure = $("work").content.cloneNode(true).firstElementChild;
  const { result } = work;
  figure.querySelector("h3").textContent = title(result.name);
  if (result.error) {
    figure.classList.add("failed");
    figure.querySelector("canvas").remove();
    figure.querySelector(".source").textContent = sentence(result.error);
    for (const part of figure.querySelectorAll(".made, .notes, .plot, details, button")) part.remove();
    return figure;
  }
  figure.querySelector(".source").textContent = result.source;
  const made = [`${result.seconds.toFixed(2)} s`];
  if (result.options.trace_weight !== undefined) made.unshift(`λ ${plain(result.options.trace_weight)}`);
  if (result.options.steps !== undefined) made.unshift(count(result.options.steps, "step"));
  const { seen, gated, grids } = result.gated;
  const places = grids.map((sides) => sides.join("×")).join(", ");
  if (gated) made.push(`${gated} of ${seen} activations gated${places && `, at ${places}`}`);
  figure.querySelector(".made").textContent = made.join(" · ");
  figure.querySelector(".notes").replaceChildren(...result.notes.map((note) => element("li", {}, sentence(note))));
  figure.querySelector(".save-png").addEventListener("click", () => savePng(work));
  work.figure = figure;
  return figure;
}

function draw() {
  const last = Number($("step").max);
  const step = Number($("step").value);
  $("step").setAttribute("aria-valuetext", `step ${step} of ${last}`);
  for (const work of page.works.filter((each) => !each.result.error)) {
    // A method with fewer steps, or without any, shows its last map.
    const now = Math.min(step, work.stages.length - 1);
    const { boxes } = work.stages[now];
    const canvas = work.figure.querySelector("canvas");
    paint(canvas, work.maps[now], boxes);
    const what = `Where ${title(work.result.name)} sees ${page.answer.target.name}`;
    canvas.setAttribute("aria-label", `${what}: the map over the picture, ${count(boxes.length, "box")}`);
    work.figure.querySelector("summary").textContent = count(boxes.length, "box");
    work.figure.querySelector("ol").replaceChildren(...boxes.map(boxLine));
    work.figure.querySelector(".plot").replaceChildren(...plot(work.result.scores, work.stages.length > 1 ? now : null));
  }
  for (const output of document.querySelectorAll("output")) showValue(output);
}

function boxLine(box) {
  const [x1, y1, x2, y2] = [box.x1, box.y1, box.x2, box.y2].map(Math.round);
  return element("li", {}, `(${x1}, ${y1}) to (${x2}, ${y2}) px, ${percent(box.score)} of the map`);
}

// Drawing.

/** The colours of Turbo (A. Mikhailov, Apache-2.0) at every 15th of 256 levels; off by less than 6 in between. */
const STOPS = (
  "30123b 3f3e9c 4666dd 458cfd 2fb2f4 1ad4d0 22ebaa 52fa7a 8bff4b " +
  "b7f735 dbe236 f5c53a fea130 f9751d e84b0c ce2d04 a91601 7a0403"
)
  .split(" ")
  .map((hex) => [0, 2, 4].map((place) => parseInt(hex.slice(place, place + 2), 16)));
const TURBO = Array.from({ length: 256 }, (_, level) => {
  const below = Math.min(Math.floor(level / 15), STOPS.length - 2);
  return STOPS[below].map((value, channel) => value + (level / 15 - below) * (STOPS[below + 1][channel] - value));
});

/** The picture, the map in colour over it, the boxes over both. What the network does not see is dimmed. */
function paint(canvas, map, boxes) {
  const { picture, answer } = page;
  canvas.width = picture.naturalWidth;
  canvas.height = picture.naturalHeight;
  const context = canvas.getContext("2d");
  const [across, down] = [canvas.width / answer.picture.width, canvas.height / answer.picture.height];
  const [left, top, right, bottom] = answer.window;
  const place = [left * across, top * down, (right - left) * across, (bottom - top) * down];
  context.drawImage(picture, 0, 0);
  context.fillStyle = "rgb(0 0 0 / .45)";
  context.beginPath();
  context.rect(0, 0, canvas.width, canvas.height);
  context.rect(...place);
  context.fill("evenodd");
  context.drawImage(coloured(map, Number($("opacity").value) / 100), ...place);
  if ($("boxes").checked) for (const box of boxes) outline(context, box, across, down);
}

/** A map in colour: the hotter, the less transparent, on the same curve as in the command line's pictures. */
function coloured(map, opacity) {
  const canvas = new OffscreenCanvas(map.width, map.height);
  const pixels = new ImageData(map.width, map.height);
  map.levels.forEach((level, place) => {
    pixels.data.set([...TURBO[level], 255 * opacity * (level / 255) ** 0.75], 4 * place);
  });
  canvas.getContext("2d").putImageData(pixels, 0, 0);
  return canvas;
}

function outline(context, box, across, down) {
  const line = Math.max(2, Math.max(context.canvas.width, context.canvas.height) / 200);
  const half = line / 2;
  const place = [box.x1 * across + half, box.y1 * down + half, (box.x2 - box.x1) * across - line, (box.y2 - box.y1) * down - line];
  for (const [colour, width] of [["rgb(0 0 0 / .8)", line + 2], ["white", line]]) {
    context.strokeStyle = colour;
    context.lineWidth = width;
    context.strokeRect(...place);
  }
}

/** A plot of the class score over the steps: a list with one SVG, or none if there are no steps. */
function plot(scores, now) {
  if (scores.length < 2) return [];
  const [width, height, left, right, top, bottom] = [340, 86, 44, 12, 8, 22];
  const [low, high] = [Math.min(...scores), Math.max(...scores)];
  const x = (step) => left + ((width - left - right) * step) / (scores.length - 1);
  const y = (score) => top + (height - top - bottom) * (high > low ? (high - score) / (high - low) : 0.5);
  const floor = height - bottom + 4;
  const text = (words, at) => svg("text", at, words);
  const points = scores.map((score, step) => `${x(step)},${y(score)}`).join(" ");
  const drawing = svg("svg", { viewBox: `0 0 ${width} ${height}`, role: "img" });
  drawing.append(
    svg("title", {}, `Class score: ${plain(scores[0])} at the start, ${plain(scores.at(-1))} after the last step`),
    svg("line", { class: "axis", x1: left, x2: width - right, y1: floor, y2: floor }),
    text(plain(high), { x: left - 10, y: y(high) + 4, "text-anchor": "end" }),
    ...(high > low ? [text(plain(low), { x: left - 10, y: y(low) + 4, "text-anchor": "end" })] : []),
    text("score at the start", { x: left - 4, y: height - 4 }),
    text(`after ${count(scores.length - 1, "step")}`, { x: width - right + 4, y: height - 4, "text-anchor": "end" }),
    svg("polyline", { class: "rise", points }),
    ...scores.map((score, step) =>
      svg("circle", { class: step === now ? "stop now" : "stop", cx: x(step), cy: y(score), r: step === now ? 4.5 : 2.5 }),
    ),
  );
  return [drawing];
}

function svg(tag, attributes, text = "") {
  const made = document.createElementNS("http://www.w3.org/2000/svg", tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.textContent = text;
  return made;
}

// Classes.

function classButton({ index, name, probability }) {
  const button = element("button", { type: "button", class: "class", "aria-pressed": index === page.answer?.target.index });
  button.append(element("span", {}, name));
  if (probability !== undefined) button.append(element("span", { class: "probability" }, percent(probability)));
  button.addEventListener("click", () => choose(index));
  return button;
}

function choose(index) {
  page.target = index;
  for (const [list, rows] of [[$("predicted"), page.answer.predicted], [$("found"), page.found ?? []]])
    [...list.querySelectorAll("button")].forEach((button, place) => button.setAttribute("aria-pressed", rows[place].index === index));
  look();
}

function showPredicted() {
  keepFocus($("predicted"), page.answer.predicted.map(classButton));
}

function showFound(classes) {
  page.found = classes;
  keepFocus($("found"), classes.map(classButton));
}

/** New buttons in place of the old ones. If an old one had the focus, the new one in its place gets it. */
function keepFocus(list, buttons) {
  const place = [...list.children].indexOf(document.activeElement);
  list.replaceChildren(...buttons);
  buttons[place]?.focus({ preventScroll: true });
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
    showFound(classes);
    if (query) say(classes.length ? `${count(classes.length, "class")} found.` : `No class is named like “${query}”.`);
  } catch (error) {
    complain(error.message);
  }
}

// Saving.

const stem = () => page.shown.name.replace(/\.[^.]*$/, "") || "picture";

function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

function savePng(work) {
  const name = `${stem()}.${page.answer.target.index}.${work.result.name}.png`;
  work.figure.querySelector("canvas").toBlob((blob) => save(blob, name));
}

function saveJson() {
  const { preview, ...picture } = page.answer.picture;
  const record = { ...page.answer, picture: { name: page.shown.name, ...picture } };
  save(new Blob([JSON.stringify(record, null, 2)], { type: "application/json" }), `${stem()}.${record.target.index}.json`);
}

// Settings.

function showValue(output) {
  const input = $(output.htmlFor.value);
  const words = { opacity: `${input.value} %`, step: `${input.value} of ${input.max}` };
  output.textContent = words[input.id] ?? input.value;
}

// The slider gets the name and the usual value of the rule that is chosen.
function startBoxes() {
  $("threshold").value = boxRule().dataset.start;
  $("threshold-says").textContent = boxRule().dataset.says;
  showValue(document.querySelector("output[for=threshold]"));
}

function showModels() {
  $("model").replaceChildren(...page.models.map(({ name }) => element("option", { value: name }, name)));
  showWeights();
}

function showWeights() {
  $("weights").textContent = `Weights: ${page.models.find(({ name }) => name === $("model").value).weights}`;
}

function showMethods() {
  const row = ({ name, title, summary }) => {
    const input = element("input", { type: "checkbox", value: name });
    input.checked = DEFAULT_METHODS.includes(name);
    return element("label", { class: "check" }, input, title, element("small", {}, summary));
  };
  const others = page.methods.filter((method) => !method.in_paper).map(row);
  $("methods").replaceChildren(
    ...page.methods.filter((method) => method.in_paper).map(row),
    element("details", {}, element("summary", {}, "More methods"), ...others),
  );
}

function limitMethods(event) {
  if (chosenMethods().length > page.limits.methods) {
    event.target.checked = false;
    say(`At most ${page.limits.methods} methods stand side by side.`);
  } else lookSoon();
}

function listen() {
  $("settings").addEventListener("submit", (event) => event.preventDefault());
  $("file").addEventListener("change", () => {
    if ($("file").files.length) take($("file").files[0]);
    $("file").value = ""; // so that the same file can be chosen again
  });
  for (const kind of ["dragover", "dragleave", "drop"])
    document.addEventListener(kind, (event) => {
      event.preventDefault();
      $("drop").classList.toggle("over", kind === "dragover");
      if (kind === "drop" && event.dataTransfer.files.length) take(event.dataTransfer.files[0]);
    });
  document.addEventListener("paste", (event) => {
    if (event.clipboardData.files.length) take(event.clipboardData.files[0]);
  });
  document.addEventListener("input", (event) => {
    for (const output of document.querySelectorAll("output")) if (output.htmlFor.value === event.target.id) showValue(output);
  });
  for (const id of ["opacity", "step", "boxes"]) $(id).addEventListener("input", draw);
  for (const id of ["steps", "trace-weight", "threshold", "trajectory"]) $(id).addEventListener("change", lookSoon);
  for (const radio of document.querySelectorAll("input[name=box]"))
    radio.addEventListener("change", () => {
      startBoxes();
      lookSoon();
    });
  $("methods").addEventListener("change", limitMethods);
  $("model").addEventListener("change", () => {
    page.target = PREDICTED; // the other network may have other classes
    $("query").value = "";
    showFound([]);
    showWeights();
    look();
  });
  $("query").addEventListener("input", searchSoon);
  $("query").addEventListener("keydown", async (event) => {
    if (event.key !== "Enter") return;
    await search();
    $("found").querySelector("button")?.focus();
  });
  $("save-json").addEventListener("click", saveJson);
}

async function start() {
  try {
    const [{ models, limits, box }, { methods }] = await Promise.all([ask("api/models"), ask("api/methods")]);
    Object.assign(page, { models, limits, methods });
    document.querySelector(`input[name=box][value=${box}]`).checked = true;
  } catch (error) {
    complain(error.message);
    return;
  }
  $("limits").textContent = `JPEG, PNG, WebP and others, up to ${page.limits.upload_bytes / 1e6} MB and ${page.limits.pixels / 1e6} megapixels`;
  showModels();
  showMethods();
  startBoxes();
  listen();
}

start();
