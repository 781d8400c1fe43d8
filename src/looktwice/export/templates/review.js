"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const find = (id) => document.getElementById(id);
  // Okabe and Ito's colours, bright enough on photos; classes beyond the eighth begin again.
  const COLOURS = ["#ffb000", "#56d4f5", "#2fd79b", "#fff04d", "#5aa0ff", "#ff7a3d", "#ff8fd0", "#ffffff"];
  const order = Object.keys(data.classes);
  const colourOf = (key) => COLOURS[order.indexOf(String(key)) % COLOURS.length];
  const nameOf = (key) => data.classes[key];
  const count = (number, one, many = `${one}s`) => `${number.toLocaleString("en")} ${number === 1 ? one : many}`;

  function make(tag, classes, text) {
    const element = document.createElement(tag);
    if (classes) element.className = classes;
    if (text !== undefined) element.textContent = text;
    return element;
  }

  function shape(tag, attributes) {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
    return element;
  }

  // ---- an image with its boxes ----

  const marks = []; // [score, element] of everything that fades

  function stageOf(image, longest, named) {
    const ratio = image.width / image.height;
    const stage = make("span", "stage");
    stage.style.width = `min(100%, ${longest(ratio)})`;
    stage.style.aspectRatio = `${image.width} / ${image.height}`;
    if (image.picture === null) {
      stage.classList.add("gone");
      stage.style.width = "100%";
      stage.style.aspectRatio = "auto";
      stage.style.height = "100%";
      stage.style.minHeight = "90px";
      stage.textContent = image.reason;
      return stage;
    }
    const picture = make("img");
    picture.src = image.picture;
    picture.alt = "";
    picture.decoding = "async";
    const drawing = shape("svg", { "aria-hidden": "true" });
    stage.append(picture, drawing);
    for (const [key, x1, y1, x2, y2, score] of [...image.boxes].reverse()) { // the best box lies on top
      const group = shape("g", {});
      group.append(shape("rect", { class: "under" }), shape("rect", { class: "over", stroke: colourOf(key) }));
      const place = { x1: x1 / image.width, y1: y1 / image.height, x2: x2 / image.width, y2: y2 / image.height };
      for (const [side, share] of Object.entries(place)) group.style.setProperty(`--${side}`, `${100 * share}%`);
      drawing.append(group);
      const tag = make("span", "tag", named ? `${nameOf(key)} ${score.toFixed(2)}` : score.toFixed(2));
      tag.style.left = `${(100 * x1) / image.width}%`;
      tag.style.top = `min(${(100 * y1) / image.height}%, calc(100% - 1.5em))`;
      stage.append(tag);
      marks.push([score, group], [score, tag]);
    }
    return stage;
  }

  function classesOf(image) {
    return image.classes.map(([key, probability, given]) => {
      const scores = image.boxes.filter((box) => box[0] === key).map((box) => box[5]);
      const item = make("li");
      const swatch = make("span", "swatch");
      swatch.style.background = colourOf(key);
      const boxes = scores.length ? `${count(scores.length, "box", "boxes")}, best ${Math.max(...scores).toFixed(2)}` : "no box";
      const how = given ? "given" : `predicted, ${(100 * probability).toFixed(0)} %`;
      item.append(swatch, make("span", "", nameOf(key)), make("span", "how", ` (${how}): ${boxes}`));
      return item;
    });
  }

  async function copy(button, text) {
    try {
      await navigator.clipboard.writeText(text);
    } catch { // a page from a file may not use the clipboard directly
      const field = make("textarea");
      field.value = text;
      button.after(field);
      field.select();
      document.execCommand("copy");
      field.remove();
      button.focus();
    }
    const before = button.dataset.text ?? (button.dataset.text = button.textContent);
    button.textContent = "copied";
    setTimeout(() => { button.textContent = before; }, 1200);
  }

  // ---- the cards ----

  const cards = data.images.map((image, index) => {
    const card = make("li", "card");
    const open = make("button", "open");
    open.type = "button";
    open.setAttribute("aria-label", `Enlarge ${image.name}`);
    open.append(stageOf(image, (ratio) => `calc(var(--tall) * ${ratio})`, false));
    open.addEventListener("click", () => show(index));
    const text = make("div", "text");
    const name = make("div", "name");
    const button = make("button", "copy", "copy");
    button.type = "button";
    button.setAttribute("aria-label", `Copy the name ${image.name}`);
    button.addEventListener("click", () => copy(button, image.name));
    name.append(make("span", "", image.name), button);
    const classes = make("ul", "classes");
    classes.append(...classesOf(image));
    text.append(name, classes, make("div", "how", `doubt ${(1 - image.certainty).toFixed(2)}`));
    card.append(open, text);
    return card;
  });
  find("cards").append(...cards);

  // ---- filters ----

  const form = find("filters");
  const names = order.map((key) => [nameOf(key), key]).sort((a, b) => (a[0] < b[0] ? -1 : a[0] > b[0] ? 1 : a[1] - b[1]));
  for (const [name, key] of names) {
    const option = make("option", "", name);
    option.value = key;
    form.elements.class.append(option);
  }

  function fits(image) {
    const key = form.elements.class.value;
    const kind = form.elements.kind.value;
    const part = form.elements.name.value.trim().toLowerCase();
    const own = image.classes.filter((each) => (key === "" || String(each[0]) === key) && (kind === "" || each[2] === (kind === "given")));
    const boxed = kind === "" && image.boxes.some((box) => String(box[0]) === key);
    if ((key !== "" || kind !== "") && !own.length && !boxed) return false;
    if (form.elements.bare.checked && image.boxes.length) return false;
    return image.name.toLowerCase().includes(part);
  }

  function filter() {
    let shown = 0;
    data.images.forEach((image, index) => {
      const fit = fits(image);
      cards[index].hidden = !fit;
      shown += fit;
    });
    find("shown").textContent = `${shown.toLocaleString("en")} of ${count(data.images.length, "image")} shown`;
    find("none").hidden = shown > 0;
  }

  function fade() {
    const least = Number(form.elements.score.value);
    for (const [score, element] of marks) element.classList.toggle("faint", score < least);
    const scores = data.images.flatMap((image) => image.boxes.map((box) => box[5]));
    const kept = scores.filter((score) => score >= least).length;
    find("boxes").textContent = `${least.toFixed(2)}: ${kept.toLocaleString("en")} of ${scores.length.toLocaleString("en")} boxes`;
  }

  for (const kind of ["input", "change"]) { // some browsers send only one of them
    form.addEventListener(kind, (event) => (event.target.name === "score" ? fade() : filter()));
  }
  form.addEventListener("submit", (event) => event.preventDefault());
  form.addEventListener("reset", () => setTimeout(() => { filter(); fade(); }));

  // ---- one image, large ----

  const dialog = find("large");
  const fixed = marks.length; // marks after these belong to the large image
  let current = 0;

  function show(index) {
    current = index;
    const image = data.images[index];
    marks.length = fixed;
    find("large-name").textContent = image.name;
    find("large-frame").replaceChildren(stageOf(image, (ratio) => `calc(64vh * ${ratio})`, true));
    find("large-classes").replaceChildren(...classesOf(image));
    find("large-notes").replaceChildren(...image.notes.map((note) => make("li", "", note)));
    fade();
    if (!dialog.open) dialog.showModal();
  }

  function step(by) {
    const shown = data.images.map((_, index) => index).filter((index) => !cards[index].hidden);
    const place = shown.indexOf(current) + by;
    if (place >= 0 && place < shown.length) show(shown[place]);
  }

  const actions = {
    copy: (button) => copy(button, data.images[current].name),
    previous: () => step(-1),
    next: () => step(1),
    close: () => dialog.close(),
  };
  dialog.addEventListener("click", (event) => {
    const button = event.target.closest("[data-do]");
    if (button) actions[button.dataset.do](button);
    else if (event.target === dialog) dialog.close();
  });
  dialog.addEventListener("keydown", (event) => {
    if (event.key === "ArrowLeft") step(-1);
    if (event.key === "ArrowRight") step(1);
  });
  dialog.addEventListener("close", () => cards[current].querySelector(".open").focus());

  // ---- the summary ----

  const all = data.images.length === data.total;
  const which = all ? `All ${count(data.total, "image")}` : `${data.images.length.toLocaleString("en")} of ${count(data.total, "image")}`;
  const bare = data.without === 1 ? "1 image has" : `${data.without.toLocaleString("en")} images have`;
  find("summary").textContent = data.total === 0 ? "There is no image." : `${which}, those in most doubt first. ${bare} no box${all ? "" : " among all"}.`;
  find("about").textContent = Object.entries(data.about).map(([name, value]) => `${name}: ${value}`).join(" · ");
  find("none").textContent = data.total === 0 ? "The labelled data set is empty." : "No image fits these filters.";
  filter();
  fade();
})();
