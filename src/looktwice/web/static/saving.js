// Saving what is on the page.

import { page, shortened } from "./state.js";
import { $, element } from "./words.js";

const MARGIN = 14;
const RED = "#b3261e";

export const stem = () => page.shown.file.name.replace(/\.[^.]*$/, "") || "picture";

/** Lets the browser save a blob under a name. */
export function save(blob, name) {
  const link = element("a", { href: URL.createObjectURL(blob), download: name });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 10_000);
}

export function savePng(work) {
  const name = `${stem()}.${work.target.index}.${work.name}.png`;
  withDoubts(work.figure.querySelector("canvas"), work.row.doubts.map(shortened)).toBlob((blob) => save(blob, name));
}

/** The drawing. Doubts about it stand below it in red, because a saved picture goes where this page does not. */
function withDoubts(drawing, doubts) {
  if (!doubts.length) return drawing;
  const sheet = element("canvas");
  const size = Math.max(15, Math.round(drawing.width / 36));
  const context = sheet.getContext("2d");
  const font = `600 ${size}px system-ui, sans-serif`;
  context.font = font;
  const lines = doubts.flatMap((doubt) => wrapped(context, doubt, drawing.width - 2 * MARGIN));
  sheet.width = drawing.width;
  sheet.height = drawing.height + Math.ceil(lines.length * size * 1.35) + 2 * MARGIN;
  context.fillStyle = "white";
  context.fillRect(0, 0, sheet.width, sheet.height);
  context.drawImage(drawing, 0, 0);
  Object.assign(context, { font, fillStyle: RED, textBaseline: "top" });
  lines.forEach((line, place) => context.fillText(line, MARGIN, drawing.height + MARGIN + place * size * 1.35));
  return sheet;
}

/** A text as lines that are not wider than so many pixels. */
function wrapped(context, text, width) {
  const lines = [""];
  for (const word of text.split(" ")) {
    const longer = `${lines.at(-1)} ${word}`.trim();
    if (context.measureText(longer).width <= width || !lines.at(-1)) lines[lines.length - 1] = longer;
    else lines.push(word);
  }
  return lines;
}

export function saveJson() {
  const { preview, ...picture } = page.answer.picture;
  const record = { ...page.answer, picture: { name: page.shown.file.name, ...picture } };
  save(new Blob([JSON.stringify(record, null, 2)], { type: "application/json" }), `${stem()}.${record.target.index}.json`);
}
