// The whole answer in one row of pixels: the strongest value of each column, the forks, the chunks, and what is in sight.
import { framed, h, missing, on } from "./_common.js";
import { parts, placeOf } from "./_pencil.js";

// `data()` gives {length, levels (Int8Array, −1…15), forks, selected, window}; `jump(token)` goes there.
export function makeMinimap({ signal, data, jump }) {
  const canvas = h("canvas", { class: "oopd-minimap", "aria-hidden": "true" });
  const draw = framed(() => paint(canvas, data()), signal);
  const size = new ResizeObserver(draw);
  size.observe(canvas);
  signal?.addEventListener("abort", () => size.disconnect(), { once: true });
  const schemes = [matchMedia("(prefers-color-scheme: dark)"), matchMedia("(forced-colors: active)")];
  for (const scheme of schemes) on(scheme, "change", draw, { signal });
  const theme = new MutationObserver(draw); // themes are attributes of the page
  const names = ["data-jp-theme-name", "data-jp-theme-light", "data-vscode-theme-kind", "theme", "style", "class"];
  for (const place of [document.documentElement, document.body]) theme.observe(place, { attributes: true, attributeFilter: names });
  signal?.addEventListener("abort", () => theme.disconnect(), { once: true });

  const go = (event) => {
    const box = canvas.getBoundingClientRect();
    const length = data().length;
    if (box.width > 0 && length > 0) jump(Math.min(length - 1, Math.max(0, Math.floor((length * (event.clientX - box.left)) / box.width))));
  };
  on(canvas, "pointerdown", (event) => {
    canvas.setPointerCapture(event.pointerId);
    go(event);
  }, { signal });
  on(canvas, "pointermove", (event) => event.buttons === 1 && go(event), { signal });
  return { element: canvas, draw };
}

function paint(canvas, { length, levels, forks, selected, window: seen }) {
  const scale = globalThis.devicePixelRatio || 1;
  const width = Math.round(canvas.clientWidth * scale);
  const height = Math.round(canvas.clientHeight * scale);
  if (width === 0 || height === 0) return; // hidden outputs are measured again when they come back
  if (canvas.width !== width) canvas.width = width;
  if (canvas.height !== height) canvas.height = height;
  const context = canvas.getContext("2d");
  context.clearRect(0, 0, width, height);
  if (length === 0) return;
  const colours = getComputedStyle(canvas);
  const x = (token) => (width * token) / length;
  const body = height - 8 * scale;
  const top = 7 * scale;

  context.fillStyle = colours.color;
  for (let column = 0; column < width; column++) {
    const from = Math.floor((column * length) / width);
    const to = Math.max(from + 1, Math.floor(((column + 1) * length) / width));
    let most = -1;
    for (let i = from; i < to; i++) most = Math.max(most, levels[i]);
    if (most > 0) context.fillRect(column, top + body - (body * most) / 15, 1, (body * most) / 15);
  }
  const line = Math.max(1, Math.round(scale));
  context.fillStyle = context.strokeStyle = colours.caretColor;
  for (const fork of forks) {
    if (!parts(fork)) continue; // a run to which the teacher has nothing to add
    const left = Math.min(width - 4 * scale, Math.max(4 * scale, x(placeOf(fork) + 0.5))); // whole, at both ends too
    context.beginPath(); // a triangle that points at the fork; filled where there is an answer
    context.moveTo(left - 3.5 * scale, line);
    context.lineTo(left + 3.5 * scale, line);
    context.lineTo(left, 6 * scale);
    context.closePath();
    context.lineWidth = line;
    if (fork.texts.length) context.fill();
    else context.stroke();
    if (fork.texts.length && !fork.run) context.fillRect(x(fork.start), height - 2 * line, Math.max(2, x(fork.stop) - x(fork.start)), 2 * line);
  }
  context.lineWidth = line;
  context.strokeRect(x(seen[0]) + line / 2, top, Math.max(4 * scale, x(seen[1]) - x(seen[0])) - line, height - top - line / 2);
  if (!missing(selected) && selected >= 0) context.fillRect(Math.min(width - 2 * line, Math.max(0, x(selected + 0.5) - line)), 0, 2 * line, height);
}
