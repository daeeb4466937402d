// Small line charts in SVG: readable axes, a cursor that several charts share, lines told apart by dashes as well as by
// colour, values as text beside the picture. Knows numbers and labels; has no side effects.

import { clamp, clear, h, linear, missing, on, plain, svg } from "./_common.js";

const WIDTH = 380;
const HEIGHT = 170;
const LEFT = 46;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 22;
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "5 2", "1 2"];
const COLOURS = 6;

// A number for an axis or a legend: 12,300 as 12.3k, 0.000012 as 1.2e-5.
export function short(value) {
  if (missing(value)) return "–";
  const size = Math.abs(value);
  if (size >= 1e9) return `${trim(value / 1e9)}G`;
  if (size >= 1e6) return `${trim(value / 1e6)}M`;
  if (size >= 1e4) return `${trim(value / 1e3)}k`;
  if (size !== 0 && size < 1e-3) return value.toExponential(1);
  return String(Number(value.toPrecision(3)));
}

const trim = (value) => String(Number(value.toPrecision(3)));

// Round numbers from at most `low` to at least `high`, about `count` of them.
export function ticks(low, high, count = 4, whole = false) {
  if (!(high - low > 1e-12 * Math.max(Math.abs(low), Math.abs(high), 1e-300))) {
    const reach = whole ? 1 : Math.abs(low) * 0.1 || 0.5;
    low -= reach;
    high += reach;
  }
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  let step = [1, 2, 2.5, 5, 10].find((m) => m * power >= raw * (1 - 1e-9)) * power;
  if (whole) step = Math.max(1, Math.round(step));
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// The place of the value in an ascending list that is nearest to `x`; −1 in an empty one.
export function nearest(values, x) {
  let low = 0;
  let high = values.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (values[middle] <= x) low = middle;
    else high = middle;
  }
  return high < 0 ? -1 : Math.abs(values[low] - x) <= Math.abs(values[high] - x) ? low : high;
}

// The curves of a panel out of the one buffer that they travel in.
export function curvesOf(panel, numbers) {
  return panel.series.map(({ name, slot, start, count }) => ({
    name, slot, xs: numbers.subarray(start, start + count), ys: numbers.subarray(start + count, start + 2 * count),
  }));
}

// One chart. `onPoint(x)` hears where the pointer is (null: nowhere), `onPick(x)` of a click. Returns
// {element, draw(panel, curves, options), cursor(x)}; `options`: log, marks (x values marked below),
// range of x ([low, high]), least (values that the y axis holds in any case).
export function lineChart({ signal, onPoint, onPick }) {
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "oopd-plot" });
  const caption = h("figcaption", {});
  const legend = h("ul", { class: "oopd-chart-legend" });
  const element = h("figure", { class: "oopd-chart" }, caption, picture, legend);
  let state = null;

  const at = (event) => {
    const box = picture.getBoundingClientRect();
    const pixel = ((event.clientX - box.left) / (box.width || 1)) * WIDTH;
    const x = state.across.invert(clamp(pixel, LEFT, WIDTH - RIGHT));
    return state.all.length ? state.all[nearest(state.all, x)] : null;
  };
  on(picture, "pointermove", (event) => state && onPoint?.(at(event)), { signal });
  on(picture, "pointerleave", () => onPoint?.(null), { signal });
  on(picture, "click", (event) => state && onPick?.(at(event)), { signal });

  function draw(panel, curves, options = {}) {
    const all = [...new Set(curves.flatMap((curve) => [...curve.xs]))].sort((a, b) => a - b);
    const values = [...curves.flatMap((curve) => [...curve.ys]), ...(options.least ?? [])];
    const log = Boolean(options.log) && values.every((y) => y > 0);
    const shape = log ? Math.log10 : (y) => y;
    const isStep = panel.x === "step";
    const [left, right] = options.range ?? [all[0] ?? 0, all.at(-1) ?? 1];
    // Steps are labelled inside the data; the axis ends where the data end.
    const xTicks = ticks(left, right, 4, isStep).filter((x) => x >= left - 1e-9 && x <= right + 1e-9);
    const [low, high] = [lowest(values), highest(values)];
    // From 0 where that wastes less than half of the picture, and where nothing varies.
    const yTicks = log ? decades(low, high) : ticks(low > 0 && (low < high / 2 || low === high) ? 0 : low, high);
    const ends = [shape(yTicks[0]), shape(yTicks.at(-1))];
    const across = linear(right > left ? [left, right] : [left - 1, left + 1], [LEFT, WIDTH - RIGHT]);
    const up = linear(ends, [HEIGHT - BOTTOM, TOP]);
    const y = (value) => up(shape(value));

    const parts = [];
    for (const tick of yTicks) {
      parts.push(svg("line", { class: "oopd-chart-grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(tick), y2: y(tick) }));
      parts.push(svg("text", { x: LEFT - 5, y: y(tick) + 4, "text-anchor": "end" }, short(tick)));
    }
    for (const tick of xTicks) {
      parts.push(svg("line", { class: "oopd-chart-grid", x1: across(tick), x2: across(tick), y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 3 }));
      parts.push(svg("text", { x: across(tick), y: HEIGHT - BOTTOM + 15, "text-anchor": "middle" }, short(tick)));
    }
    for (const mark of options.marks ?? []) {
      if (mark >= left && mark <= right) parts.push(svg("path", { class: "oopd-mark", d: `M${across(mark).toFixed(1)} ${HEIGHT - BOTTOM}l-3 5h6z` }));
    }
    const look = (index) => curves[index].slot ?? index;
    // Past the sixth curve colours come again, with other dashes.
    const dash = (index) => DASHES[(look(index) + Math.floor(look(index) / COLOURS)) % DASHES.length];
    curves.forEach((curve, index) => {
      const line = [];
      for (let i = 0; i < curve.xs.length; i++) line.push(`${across(curve.xs[i]).toFixed(1)} ${y(curve.ys[i]).toFixed(1)}`);
      parts.push(svg("path", { class: `oopd-curve oopd-s${look(index) % COLOURS}`, d: `M${line.join("L")}`, "stroke-dasharray": dash(index) }));
      if (curve.xs.length <= 24) {
        for (const point of line) {
          const [px, py] = point.split(" ");
          parts.push(svg("circle", { class: `oopd-dot oopd-s${look(index) % COLOURS}`, cx: px, cy: py, r: 2 }));
        }
      }
    });
    const cursorLine = svg("line", { class: "oopd-cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    const dots = curves.map((_, index) => svg("circle", { class: `oopd-dot oopd-s${look(index) % COLOURS}`, r: 3.5, visibility: "hidden" }));
    parts.push(cursorLine, ...dots);
    clear(picture, parts);
    clear(caption, h("b", {}, panel.title), ` ${panel.unit}${log ? ", logarithmic" : ""}`, isStep ? null : `, by ${panel.x}`);

    const numbers = curves.map((curve, index) => {
      const value = h("span", { class: "oopd-value" });
      const stroke = svg("line", { class: `oopd-curve oopd-s${look(index) % COLOURS}`, x1: 1, x2: 23, y1: 5, y2: 5, "stroke-dasharray": dash(index) });
      const item = h("li", {}, svg("svg", { viewBox: "0 0 24 10", width: 24, height: 10, "aria-hidden": "true" }, stroke));
      item.append(h("span", { class: "oopd-name" }, plain(curve.name)), value);
      return { item, value };
    });
    clear(legend, numbers.map(({ item }) => item));
    state = { across, y, all, curves, cursorLine, dots, numbers };
    const last = curves.map((curve) => `${plain(curve.name)} ${short(curve.ys.at(-1))}`).join(", ");
    const where = all.length ? ` at ${panel.x} ${short(all.at(-1))}` : "";
    picture.setAttribute("aria-label", `${panel.title} (${panel.unit}) by ${panel.x}: ${last}${where}`);
    cursor(null);
  }

  // The shared cursor: each curve's value at the point of its own that is nearest to x; without x, its last.
  function cursor(x) {
    if (!state) return;
    const visible = x !== null && state.all.length > 0;
    state.cursorLine.setAttribute("visibility", visible ? "visible" : "hidden");
    if (visible) for (const name of ["x1", "x2"]) state.cursorLine.setAttribute(name, state.across(x));
    state.curves.forEach((curve, index) => {
      const place = visible ? nearest(curve.xs, x) : curve.xs.length - 1;
      const value = place < 0 ? null : curve.ys[place];
      state.numbers[index].value.textContent = short(value);
      const dot = state.dots[index];
      dot.setAttribute("visibility", visible && place >= 0 ? "visible" : "hidden");
      if (visible && place >= 0) {
        dot.setAttribute("cx", state.across(curve.xs[place]));
        dot.setAttribute("cy", state.y(value));
      }
    });
  }

  return { element, draw, cursor, xs: () => state?.all ?? [] };
}

// A grid of charts that share one cursor along their steps. Returns {element, draw(panels, numbers, options), step(by)}.
export function chartGrid({ signal, onCursor, onPick }) {
  const element = h("div", { class: "oopd-charts" });
  const charts = [];
  let kinds = [];
  let position = null;

  function move(x) {
    position = x;
    charts.forEach((chart, index) => kinds[index] === "step" && chart.cursor(x));
    onCursor?.(x);
  }

  function draw(panels, numbers, options = {}) {
    kinds = panels.map((panel) => panel.x);
    while (charts.length < panels.length) {
      const index = charts.length;
      const chart = lineChart({
        signal,
        onPoint: (x) => (kinds[index] === "step" ? move(x) : charts[index].cursor(x)),
        onPick: (x) => kinds[index] === "step" && onPick?.(x),
      });
      charts.push(chart);
    }
    const curves = panels.map((panel) => curvesOf(panel, numbers));
    const steps = panels.flatMap((panel, index) => (panel.x === "step" ? curves[index].flatMap((curve) => [curve.xs[0], curve.xs.at(-1)]) : []));
    const range = steps.length ? [lowest(steps), highest(steps)] : undefined;
    panels.forEach((panel, index) => charts[index].draw(panel, curves[index], panel.x === "step" ? { ...options, range } : { log: options.log }));
    clear(element, charts.slice(0, panels.length).map((chart) => chart.element));
    if (position !== null) move(position);
  }

  // The cursor `by` steps on, from the last one where it is nowhere.
  function step(by) {
    const places = steps();
    const from = position === null ? places.length : nearest(places, position);
    if (places.length) move(places[clamp(from + by, 0, places.length - 1)]);
  }

  const steps = () => [...new Set(charts.filter((_, i) => kinds[i] === "step").flatMap((chart) => chart.xs()))].sort((a, b) => a - b);
  return { element, draw, step, position: () => position };
}

function lowest(values) {
  return values.reduce((a, b) => Math.min(a, b), Infinity);
}

function highest(values) {
  return values.reduce((a, b) => Math.max(a, b), -Infinity);
}

function decades(low, high) {
  const first = Math.floor(Math.log10(low));
  const last = Math.max(first + 1, Math.ceil(Math.log10(high)));
  return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
}
