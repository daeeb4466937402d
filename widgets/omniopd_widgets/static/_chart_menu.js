// What a chart can do besides being read: hide its lines, and go into a file with its title and its legend, in the
// colours of the screen. A menu a chart, so that the keyboard passes each in one step.

import { button, clear, h, on, plain, svg } from "./_common.js";

const LOOKS = ["fill", "fill-opacity", "font-family", "font-size", "font-weight", "opacity", "stroke", "stroke-dasharray", "stroke-linejoin", "stroke-width"];
const SCALE = 3; // pixels of a PNG per pixel of the drawing
const HEAD = 20;
const ROW = 16;

export function chartMenu({ signal, picture, hidden, toggle }) {
  const lines = h("div", { class: "oopd-chart-lines" });
  const save = (act, what) => button(what, (event) => act(title, fileOf(title, picture), event.currentTarget), { signal, title: `save this chart as ${what}` });
  const large = button("large", () => {
    const isLarge = picture.closest("figure").classList.toggle("oopd-chart-large");
    large.setAttribute("aria-pressed", String(isLarge));
  }, { signal, title: "this chart over the whole width" });
  const element = h("details", { class: "oopd-chart-menu" }, h("summary", { title: "lines, download" }, "⋯"), lines, h("div", { class: "oopd-bar" }, save(saveSvg, "SVG"), save(savePng, "PNG"), large));
  let title = "";

  function draw(heading, names) {
    title = heading;
    element.firstChild.setAttribute("aria-label", `lines and download of ${plain(title)}`);
    const boxes = names.map((name) => {
      const box = h("input", { type: "checkbox", checked: !hidden.has(name), "data-what": name });
      on(box, "change", () => toggle(name), { signal });
      return h("label", {}, box, plain(name));
    });
    const held = lines.contains(document.activeElement) ? document.activeElement.dataset.what : null;
    clear(lines, boxes);
    if (held !== null) [...lines.querySelectorAll("input")].find((box) => box.dataset.what === held)?.focus();
  }
  return { element, draw };
}

// The drawing, its title above and its legend below, as one SVG that needs no style sheet.
function fileOf(title, picture) {
  const [, , across, height] = picture.getAttribute("viewBox").split(" ").map(Number);
  const figure = picture.closest("figure");
  const heading = figure.querySelector("figcaption span");
  const entries = [...figure.querySelectorAll(".oopd-chart-legend li:not(.oopd-off)")];
  const ruler = document.createElement("canvas").getContext("2d");
  ruler.font = getComputedStyle(heading).font;
  const longest = (texts) => Math.max(0, ...texts.map((words) => ruler.measureText(words).width));
  const width = Math.ceil(Math.max(across, 8 + longest([heading.textContent]), 84 + longest(entries.map((entry) => entry.textContent))));
  const whole = svg("svg", { xmlns: picture.namespaceURI, width, height: HEAD + height + ROW * entries.length, viewBox: `0 0 ${width} ${HEAD + height + ROW * entries.length}` });
  const ground = getComputedStyle(picture.closest(".oopd-view")).backgroundColor;
  whole.append(svg("rect", { width: "100%", height: "100%", fill: ground }));
  const text = (words, x, y) => looking(svg("text", { x, y }, words), heading);
  whole.append(text(heading.textContent, 4, 14));
  whole.append(svg("g", { transform: `translate(0 ${HEAD})` }, [...picture.children].map(painted)));
  entries.forEach((entry, index) => {
    const at = HEAD + height + ROW * index;
    const [name, value] = [".oopd-name", ".oopd-value"].map((part) => entry.querySelector(part).textContent);
    whole.append(svg("g", { transform: `translate(46 ${at})` }, painted(entry.querySelector("line"))), text(`${name}  ${value}`, 76, at + 9));
  });
  return whole;
}

// A copy that looks as the element does now; nothing for what is hidden.
function painted(element) {
  if (element.getAttribute("visibility") === "hidden") return null;
  const copy = element.cloneNode(true);
  copy.removeAttribute("class");
  return looking(copy, element);
}

// Looks are written into the file: no style sheet goes with it. The words of a page have a colour, those of a drawing a fill.
function looking(copy, like) {
  const style = getComputedStyle(like);
  for (const name of LOOKS) copy.style.setProperty(name, style.getPropertyValue(name));
  if (!(like instanceof SVGElement)) copy.style.setProperty("fill", style.color);
  return copy;
}

const named = (title, kind) => `${plain(title).replace(/[^\w]+/g, "-").replace(/^-|-$/g, "").toLowerCase() || "chart"}.${kind}`;
const blobOf = (drawing) => new Blob([new XMLSerializer().serializeToString(drawing)], { type: "image/svg+xml" });

function handOver(name, blob) {
  const address = URL.createObjectURL(blob);
  const link = h("a", {});
  link.setAttribute("href", address); // of what was drawn just now: nothing is asked for
  link.setAttribute("download", name);
  link.click();
  setTimeout(() => URL.revokeObjectURL(address), 60_000);
}

function saveSvg(title, drawing) {
  handOver(named(title, "svg"), blobOf(drawing));
}

function savePng(title, drawing, pressed) {
  const refused = () => {
    pressed.disabled = true;
    pressed.title = pressed.textContent = "no PNG here: take the SVG";
  };
  const [width, height] = ["width", "height"].map((name) => SCALE * drawing.getAttribute(name));
  const address = URL.createObjectURL(blobOf(drawing));
  const image = h("img", { width, height });
  on(image, "load", () => {
    const canvas = h("canvas", { width, height });
    canvas.getContext("2d").drawImage(image, 0, 0, width, height);
    canvas.toBlob((blob) => (blob ? handOver(named(title, "png"), blob) : refused()), "image/png");
    URL.revokeObjectURL(address);
  }, { once: true });
  on(image, "error", refused, { once: true });
  image.setAttribute("src", address);
}
