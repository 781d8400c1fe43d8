// Words and small pieces of the page.

export const $ = (id) => document.getElementById(id);

/** A text with a full stop. */
export const ended = (text) => text + (/[.!?]$/.test(text) ? "" : ".");
export const sentence = (text) => ended(text.charAt(0).toUpperCase() + text.slice(1));
/** A name that is not too long for a line. */
export const short = (name) => (name.length > 60 ? `${name.slice(0, 48)}…${name.slice(-11)}` : name);
export const percent = (share) => (share >= 0.001 ? `${(100 * share).toFixed(share < 0.1 ? 1 : 0)} %` : "< 0.1 %");
export const plain = (number) => Number(number.toPrecision(3)).toString();
export const count = (number, one) => `${number} ${one}${number === 1 ? "" : /[sx]$/.test(one) ? "es" : "s"}`;

export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}

/** A message about what goes on. It stays in sight where one scrolls, unless it is `quiet`: a result, not a request. */
export function say(text, { quiet = false } = {}) {
  $("status").textContent = text;
  $("status").classList.toggle("quietly", quiet);
}

/** A message about what failed, with a button that tries it again. An empty text takes the message away. */
export function complain(text, again = null) {
  $("problem-text").textContent = text;
  $("problem").hidden = !text;
  $("again").hidden = !again;
  $("again").onclick = again;
  if (text) say("");
}

/** A message that something is not possible, in place of all others. */
export function warn(text) {
  complain("");
  say(text);
}
