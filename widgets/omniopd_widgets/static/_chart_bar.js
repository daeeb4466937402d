// Above a grid of charts: over how many steps its curves are smoothed, and the way back from a zoom.

import { assign, button, h, later, on } from "./_common.js";
import { short } from "./_charts.js";
import { optionsOf } from "./_inputs.js";

const WIDTHS = [1, 3, 5, 10, 25, 50, 100];

export const ZOOM_KEYS = [
  ["+ -", "fewer or more steps, around the cursor"],
  ["0", "all steps"],
];

export function chartBar({ model, signal, grid, say }) {
  const smooth = h("select", { title: "each curve beside the mean of so many steps around each one" }, optionsOf(WIDTHS.map((n) => [String(n), n === 1 ? "each step" : `mean of ${n} steps`])));
  const show = () => (smooth.value = String(model.get("smoothing")));
  on(smooth, "change", () => assign(model, "smoothing", Number(smooth.value)), { signal });
  later(model, ["smoothing"], show, signal);
  show();
  const where = h("span", { class: "oopd-quiet" });
  const back = button("all steps", () => grid.whole(), { signal, title: "out of the zoom (0)" });
  const hint = "Drag over a chart to zoom in.";
  const element = h("div", { class: "oopd-bar oopd-chart-bar" }, model.get("frozen") ? null : h("label", {}, "curves", smooth), back, where);
  zoomed(null);

  function zoomed(ends, of) {
    const words = ends ? `shown: ${of} ${short(ends[0])} to ${short(ends[1])}` : "";
    back.disabled = ends === null;
    where.textContent = words || hint;
    if (words) say(words);
  }
  return { element, zoomed };
}
