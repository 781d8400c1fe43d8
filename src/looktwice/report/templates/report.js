"use strict";
const large = document.querySelector("#large");
const one = (selector) => large.querySelector(selector);
const made = (name, text = "") => Object.assign(document.createElement(name), { textContent: text });
let opened = null; // what the large view shows: the gallery and the card

// Corners are in per cent of the picture.
const box = (corners, layer) => {
  const rect = document.createElementNS("http://www.w3.org/2000/svg", "rect");
  rect.setAttribute("class", layer);
  ["--x1", "--y1", "--x2", "--y2"].forEach((name, place) => rect.style.setProperty(name, `${corners[place]}%`));
  return rect;
};

const boxGroup = ([x1, y1, x2, y2, right, judged], width, height) => {
  const corners = [(100 * x1) / width, (100 * y1) / height, (100 * x2) / width, (100 * y2) / height];
  const group = document.createElementNS("http://www.w3.org/2000/svg", "g");
  const kind = right === null ? "unknown" : right ? "right" : "wrong";
  group.setAttribute("class", judged ? kind : `${kind} other`);
  group.append(...["under", "over"].map((layer) => box(corners, layer)));
  return group;
};

const verdictOf = (view) => (view.hit === null ? "" : view.hit ? "hit" : "miss");
const shownNumbers = (view) => view.numbers.map(([title, number]) => `${title} ${number.toFixed(1)} %`);
const told = (view) => {
  if (view.hit === null) return shownNumbers(view).join(" · ");
  return [`IoU ${view.value.toFixed(2)}${view.drawn ? "" : ", box not kept"}`, ...shownNumbers(view)].join(" · ");
};

function setUp(gallery) {
  const found = JSON.parse(gallery.querySelector("script").textContent).cards;
  const form = gallery.querySelector("form");
  const list = gallery.querySelector(".cards");
  const items = [...list.children];
  const chosen = (name) => form.elements[name]?.value ?? "";
  const viewOf = (item) => found[item.dataset.card][chosen("method")];

  const draw = (item, view) => {
    // The judged boxes come last, so that they lie on top.
    const boxes = [...view.boxes].sort((first, other) => first[5] - other[5]);
    const { width, height } = item.dataset;
    item.querySelector(".found").replaceChildren(...boxes.map((each) => boxGroup(each, width, height)));
    const map = item.querySelector(".stage.map");
    map.hidden = view.map === null;
    item.querySelector(".no-map")?.toggleAttribute("hidden", view.map !== null);
    if (view.map !== null) map.querySelector(".heat").src = view.map;
    const [picture, under] = item.querySelectorAll(".picture");
    if (under && view.map !== null) under.src = picture.src;
    const verdict = item.querySelector(".verdict");
    verdict.textContent = verdictOf(view);
    verdict.className = `verdict ${verdictOf(view)}`;
    item.querySelector(".iou").textContent = told(view);
  };

  const keys = {
    // What has no number comes last.
    gain: (item) => -(item.dataset.gain ?? -Infinity),
    loss: (item) => +(item.dataset.gain ?? Infinity),
    best: (item) => -(viewOf(item).value ?? -Infinity),
    worst: (item) => viewOf(item).value ?? Infinity,
    "": (item) => +item.dataset.card,
  };

  const update = () => {
    const wanted = chosen("class").trim().toLowerCase();
    const key = keys[chosen("order")];
    let shown = 0;
    for (const item of items) {
      const view = viewOf(item);
      draw(item, view);
      item.hidden = !(
        item.dataset.class.includes(wanted) &&
        ["", verdictOf(view)].includes(chosen("result")) &&
        (!form.elements.disagree?.checked || item.dataset.disagree === "1")
      );
      shown += !item.hidden;
    }
    const order = [...items].sort((first, other) => key(first) - key(other) || first.dataset.card - other.dataset.card);
    // Leaving a field also comes here, while a card is being pressed. A card that moves then is not clicked.
    if (order.some((item, place) => list.children[place] !== item)) list.append(...order);
    gallery.querySelector("output").textContent = `${shown} of ${items.length} shown`;
    gallery.querySelector(".empty").hidden = shown > 0;
  };

  for (const name of ["input", "change"]) form.addEventListener(name, update); // some browsers send only one of them
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(update));
  list.addEventListener("click", (event) => {
    const button = event.target.closest(".open");
    if (button) openLarge({ found, form, list, update }, button.closest("li"));
  });
  update();
}

// The large view of a card.

const row = (cells, kind) => {
  const line = made("tr");
  line.append(...cells.map((text, place) => made(place === 0 ? "th" : kind, text)));
  return line;
};

function openLarge(gallery, item) {
  opened = { gallery, item };
  const methods = gallery.form.elements.method;
  one("#large-method").replaceChildren(...[...methods.options].map((option) => option.cloneNode(true)));
  showLarge();
  if (!large.open) large.showModal();
  one("[data-do=next]").focus();
}

function showLarge() {
  const { gallery, item } = opened;
  const items = [...gallery.list.children].filter((other) => !other.hidden || other === item);
  one("#large-method").value = gallery.form.elements.method.value;
  one("#large-name").textContent = item.querySelector("article").getAttribute("aria-label");
  one("#large-place").textContent = `${items.indexOf(item) + 1} of ${items.length}`;
  const stages = [...item.querySelectorAll(".stage")].filter((stage) => !stage.hidden);
  one("#large-frame").replaceChildren(...stages.map((stage) => stage.cloneNode(true)));
  one("#large-frame").style.setProperty("--ratio", item.querySelector(".open").style.getPropertyValue("--ratio"));
  const views = gallery.found[item.dataset.card];
  const judged = Object.values(views).some((view) => view.hit !== null);
  const titles = [...new Set(Object.values(views).flatMap((view) => view.numbers.map(([title]) => title)))];
  one("thead").replaceChildren(row(["method", ...(judged ? ["result", "overlap (IoU)"] : []), ...titles], "th"));
  one("tbody").replaceChildren(
    ...[...one("#large-method").options].map((option) => {
      const view = views[option.value];
      const known = new Map(view.numbers);
      const numbers = titles.map((title) => (known.has(title) ? `${known.get(title).toFixed(1)} %` : "–"));
      return row([option.text, ...(judged ? [verdictOf(view), view.value.toFixed(2)] : []), ...numbers], "td");
    })
  );
}

function go(step) {
  const items = [...opened.gallery.list.children].filter((item) => !item.hidden || item === opened.item);
  opened.item = items[(items.indexOf(opened.item) + step + items.length) % items.length];
  showLarge();
}

one("#large-method").addEventListener("change", (event) => {
  opened.gallery.form.elements.method.value = event.target.value;
  opened.gallery.update();
  showLarge();
});
large.addEventListener("click", (event) => {
  const action = event.target.closest("[data-do]")?.dataset.do;
  if (action === "close" || event.target === large) large.close();
  else if (action) go(action === "next" ? 1 : -1);
});
large.addEventListener("keydown", (event) => {
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (!step || event.target.matches("select")) return;
  event.preventDefault();
  go(step);
});
large.addEventListener("close", () => {
  const item = opened.item.hidden ? [...opened.gallery.list.children].find((other) => !other.hidden) : opened.item;
  item?.querySelector(".open").focus();
});

// What a measure means stands beside its name.
document.addEventListener("click", (event) => {
  const button = event.target.closest(".explain");
  if (!button) return;
  const meaning = document.getElementById(button.getAttribute("popovertarget"));
  const place = button.getBoundingClientRect();
  const width = Math.min(340, innerWidth - 24);
  meaning.style.left = `${Math.max(12, Math.min(place.left, innerWidth - width - 12))}px`;
  meaning.style.top = place.bottom + 130 > innerHeight ? "auto" : `${place.bottom + 6}px`;
  meaning.style.bottom = place.bottom + 130 > innerHeight ? `${innerHeight - place.top + 6}px` : "auto";
});
for (const button of document.querySelectorAll(".explain")) {
  button.title = document.getElementById(button.getAttribute("popovertarget")).textContent;
}

// A table that is wider than its box says so.
const widths = new ResizeObserver((entries) => {
  for (const { target } of entries) target.nextElementSibling.hidden = target.scrollWidth <= target.clientWidth + 1;
});
for (const scroll of document.querySelectorAll(".table > .scroll")) widths.observe(scroll);

addEventListener("beforeprint", () => {
  for (const details of document.querySelectorAll(".glossary")) details.open = true;
});
for (const gallery of document.querySelectorAll(".gallery")) setUp(gallery);
