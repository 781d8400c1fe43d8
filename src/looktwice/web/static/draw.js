// Drawing: maps in colour, boxes, gates, the legend and the plot of the class score.

import { count, element, plain } from "./words.js";

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
// The hotter, the less transparent, on the same curve as in the command line's pictures.
const VEIL = TURBO.map((_, level) => 255 * (level / 255) ** 0.75);
const OPAQUE = TURBO.map(() => 255);

export async function image(uri) {
  const loaded = new Image();
  loaded.src = uri;
  await loaded.decode();
  return loaded;
}

/** A gray picture's data URI → the same in colour, on a canvas. Without `veil` low values are not transparent. */
export async function coloured(uri, { veil = true } = {}) {
  const gray = await image(uri);
  const canvas = new OffscreenCanvas(gray.naturalWidth, gray.naturalHeight);
  const context = canvas.getContext("2d", { willReadFrequently: true });
  context.drawImage(gray, 0, 0);
  const pixels = context.getImageData(0, 0, canvas.width, canvas.height);
  const alpha = veil ? VEIL : OPAQUE;
  for (let place = 0; place < pixels.data.length; place += 4) {
    const level = pixels.data[place];
    const colour = TURBO[level];
    for (let channel = 0; channel < 3; channel++) pixels.data[place + channel] = colour[channel];
    pixels.data[place + 3] = alpha[level];
  }
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** The picture, the map over it, the boxes over both. What the network does not see is dimmed. */
export function paint(canvas, { picture, answer, map = null, boxes = [], opacity = 1 }) {
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
  context.globalAlpha = opacity;
  if (map) context.drawImage(map, ...place);
  context.globalAlpha = 1;
  for (const box of boxes) outline(context, box, across, down);
}

/** A box, light with dark edges, all inside the picture: the rule and the numbers are those of figures/frames.py. */
function outline(context, box, across, down) {
  const { width, height } = context.canvas;
  const room = Math.max(1, Math.round(Math.min(Math.max(width, height), 1024, 17 * Math.min(width, height)) / 170));
  const edge = Math.max(1, Math.round(room / 3));
  const [x1, x2] = between(box.x1 * across, box.x2 * across, edge, width - edge);
  const [y1, y2] = between(box.y1 * down, box.y2 * down, edge, height - edge);
  const line = Math.min(room, Math.max(1, Math.min(x2 - x1, y2 - y1) / 5));
  for (const [colour, wide] of [["black", line + 2 * edge], ["white", line]]) {
    context.strokeStyle = colour;
    context.lineWidth = wide;
    context.strokeRect(x1 + line / 2, y1 + line / 2, x2 - x1 - line, y2 - y1 - line);
  }
}

/** Two ends, moved between two bounds, at least a pixel apart. */
function between(low, high, least, most) {
  const start = Math.min(Math.max(low, least), most - 1);
  return [start, Math.max(Math.min(high, most), start + 1)];
}

/** Where gates are open, in the proportions of the part that the network sees. */
export function paintGates(canvas, gates, [left, top, right, bottom]) {
  const scale = 240 / Math.max(right - left, bottom - top);
  canvas.width = Math.max(1, Math.round((right - left) * scale));
  canvas.height = Math.max(1, Math.round((bottom - top) * scale));
  canvas.getContext("2d").drawImage(gates, 0, 0, canvas.width, canvas.height);
}

/** The scale of colours, from low to high. */
export function paintScale(canvas) {
  [canvas.width, canvas.height] = [TURBO.length, 1];
  const context = canvas.getContext("2d");
  TURBO.forEach((colour, level) => {
    context.fillStyle = `rgb(${colour.map(Math.round).join(" ")})`;
    context.fillRect(level, 0, 1, 1);
  });
}

/** A small copy of a canvas, so many pixels high. */
export function small(canvas, height) {
  const copy = element("canvas");
  copy.height = height;
  copy.width = Math.max(1, Math.round((canvas.width * height) / canvas.height));
  copy.getContext("2d").drawImage(canvas, 0, 0, copy.width, copy.height);
  return copy;
}

/** A plot of the class score over the steps: a list with one SVG, or none if there are no steps. */
export function plot(scores, now) {
  if (scores.length < 2) return [];
  const [width, height, left, right, top, bottom] = [240, 96, 44, 12, 8, 22];
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
