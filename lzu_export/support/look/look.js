"use strict";
/* What a page does besides being read. Without this script all of it is there, one below another. */

const all = (selector, root = document) => [...root.querySelectorAll(selector)];

function make(tag, values = {}, ...children) {
  const element = Object.assign(document.createElement(tag), values);
  element.append(...children);
  return element;
}

/* Tables: a header sorts the rows of each body; a table that is too wide says so. */
function sortTable(table, column, header) {
  const rising = header.getAttribute("aria-sort") !== "ascending";
  all("th[aria-sort]", table).forEach((each) => each.removeAttribute("aria-sort"));
  header.setAttribute("aria-sort", rising ? "ascending" : "descending");
  const value = (row) => (row.cells[column]?.dataset.value ?? row.cells[column]?.textContent ?? "").trim();
  const number = (text) => parseFloat(text.replace("\u2212", "-"));
  const compare = (a, b) => {
    const [x, y] = [value(a), value(b)];
    const [p, q] = [number(x), number(y)];
    if (Number.isNaN(p) || Number.isNaN(q)) return Number.isNaN(p) - Number.isNaN(q) || (rising ? 1 : -1) * x.localeCompare(y);
    return (rising ? 1 : -1) * (p - q);
  };
  for (const body of table.tBodies) body.append(...[...body.rows].sort(compare));
}
for (const table of all("table.sortable")) {
  const last = table.tHead.rows[table.tHead.rows.length - 1];
  [...last.cells].forEach((header, column) => {
    const button = make("button", { type: "button" }, ...header.childNodes);
    button.addEventListener("click", () => sortTable(table, column, header));
    header.append(button);
  });
}
for (const box of all(".scroll")) {
  const hint = make("p", { className: "hint", textContent: "Scroll the table sideways for more \u2192" });
  box.before(hint);
  const look = () => hint.classList.toggle("more", box.scrollWidth - box.clientWidth - box.scrollLeft > 4);
  box.addEventListener("scroll", look, { passive: true });
  new ResizeObserver(look).observe(box);
}

/* Lines: a button copies them; where a browser forbids it, they are selected. */
for (const block of all("pre.lines")) {
  const button = make("button", { type: "button", className: "copy", textContent: "Copy" });
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(block.textContent);
      button.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(block);
      button.textContent = "Selected";
    }
  });
  block.after(button);
}

/* Choices: a row or mark is shown if each of its values is chosen. */
const choices = document.querySelector("form.choices[data-filter]");
function filter() {
  const boxes = all("input[type=checkbox]", choices);
  const whole = boxes.every((each) => each.checked);
  for (const name of new Set(boxes.map((each) => each.name))) {
    const chosen = new Set(boxes.filter((each) => each.name === name && each.checked).map((each) => each.value));
    for (const each of all(`[data-${name}]`)) {
      const hidden = !chosen.has(each.dataset[name]);
      each.classList.toggle(`without-${name}`, hidden);
      const off = [...each.classList].some((known) => known.startsWith("without-"));
      each.toggleAttribute("hidden", off);
    }
  }
  for (const each of all("[data-whole]")) each.toggleAttribute("hidden", !whole);
}
if (choices) {
  choices.hidden = false;
  choices.addEventListener("change", filter);
}

/* Alternatives: one of several figures at a time. */
for (const group of all("[data-alternatives]")) {
  const figures = all(":scope > [data-name]", group);
  if (figures.length < 2) continue;
  const set = make("fieldset", {}, make("legend", { textContent: group.dataset.alternatives }));
  const show = (chosen) => figures.forEach((each) => each.classList.toggle("screen-hidden", each !== chosen));
  figures.forEach((figure, i) => {
    const input = make("input", { type: "radio", name: `of-${group.dataset.alternatives}`, checked: i === 0 });
    input.addEventListener("change", () => show(figure));
    set.append(make("label", {}, input, make("span", { textContent: figure.dataset.name })));
  });
  group.prepend(make("form", { className: "choices" }, set));
  show(figures[0]);
}

/* Marks of figures: their numbers at the pointer. */
const tip = make("div", { className: "tip", hidden: true });
tip.setAttribute("aria-hidden", "true");
document.body.append(tip);
document.addEventListener("pointerover", (event) => {
  const mark = event.target.closest?.("[data-tip]");
  tip.hidden = !mark;
  if (!mark) return;
  tip.textContent = mark.dataset.tip;
  const [box, own] = [mark.getBoundingClientRect(), tip.getBoundingClientRect()];
  const left = Math.min(Math.max(8, box.left + box.width / 2 - own.width / 2), innerWidth - own.width - 8);
  const above = box.top - own.height - 8;
  tip.style.left = `${left}px`;
  tip.style.top = `${above > 4 ? above : box.bottom + 8}px`;
});
addEventListener("scroll", () => { tip.hidden = true; }, { passive: true });

/* Pictures: a click enlarges one. */
const dialog = make("dialog");
document.body.append(dialog);
dialog.setAttribute("aria-label", "Enlarged picture");
dialog.addEventListener("click", () => dialog.close());
for (const image of all("figure img:not(.still)")) {
  const button = make("button", { type: "button", className: "enlarge", title: "Enlarge" });
  image.replaceWith(button);
  button.append(image);
  button.addEventListener("click", () => {
    const close = make("button", { type: "button", textContent: "Close" });
    dialog.replaceChildren(
      make("img", { src: image.src, alt: image.alt }),
      make("p", {}, make("span", { textContent: image.alt }), close),
    );
    dialog.showModal();
  });
}

/* Viewer: one frame at a time, and two of its pictures under a slider. */
for (const viewer of all("[data-viewer]")) {
  const frames = all("[data-frame]", viewer);
  const form = make("form", { className: "choices" });
  const chosen = make("fieldset", {}, make("legend", { textContent: "frame" }));
  const [left, right] = [make("select"), make("select")];
  const [under, over] = [make("img", { className: "still" }), make("img", { className: "still" })];
  const stage = make("div", { className: "compare" }, under, over);
  const slider = make("input", { type: "range", className: "slide", min: 0, max: 100, value: 50 });
  slider.setAttribute("aria-label", "Place of the divide between the two pictures");
  const pictures = (frame) => all("figure", frame);
  let current = frames[0];
  const update = () => {
    for (const [select, image] of [[left, under], [right, over]]) {
      const picture = pictures(current)[Math.max(select.selectedIndex, 0)]?.querySelector("img");
      if (picture) Object.assign(image, { src: picture.src, alt: picture.alt });
    }
    stage.style.setProperty("--at", `${slider.value}%`);
  };
  const show = (frame) => {
    current = frame;
    frames.forEach((each) => each.classList.toggle("screen-hidden", each !== frame));
    for (const [select, start] of [[left, 1], [right, pictures(frame).length - 1]]) {
      const before = select.selectedIndex;
      select.replaceChildren(...pictures(frame).map((each) => make("option", { textContent: each.dataset.of })));
      select.selectedIndex = before >= 0 && before < select.options.length ? before : Math.min(start, select.options.length - 1);
    }
    update();
  };
  frames.forEach((frame, i) => {
    const input = make("input", { type: "radio", name: "frame", checked: i === 0 });
    input.addEventListener("change", () => show(frame));
    chosen.append(make("label", {}, input, make("span", { textContent: frame.dataset.frame })));
  });
  left.setAttribute("aria-label", "Picture on the left");
  right.setAttribute("aria-label", "Picture on the right");
  const pair = make("fieldset", {}, make("legend", { textContent: "compare" }), left, right);
  for (const select of [left, right]) select.addEventListener("change", update);
  slider.addEventListener("input", update);
  const drag = (event) => {
    if (event.type === "pointermove" && !(event.buttons & 1)) return;
    const box = stage.getBoundingClientRect();
    slider.value = (100 * (event.clientX - box.left)) / box.width;
    update();
  };
  for (const kind of ["pointerdown", "pointermove"]) stage.addEventListener(kind, drag);
  form.append(chosen, pair);
  viewer.prepend(form, make("div", { className: "screen-only" }, stage, slider));
  if (frames.length) show(frames[0]);
}

/* Contents: where the reader is. */
const places = all("nav a[href^='#']");
const seen = new IntersectionObserver((entries) => {
  for (const entry of entries.filter((each) => each.isIntersecting)) {
    for (const link of places) {
      link.toggleAttribute("aria-current", link.hash === `#${entry.target.id}`);
    }
  }
}, { rootMargin: "-10% 0px -80% 0px" });
for (const section of all("main section[id]")) seen.observe(section);

/* Print: all that is folded is opened. */
let folded = [];
addEventListener("beforeprint", () => {
  folded = all("details:not([open])");
  folded.forEach((each) => { each.open = true; });
});
addEventListener("afterprint", () => folded.forEach((each) => { each.open = false; }));
