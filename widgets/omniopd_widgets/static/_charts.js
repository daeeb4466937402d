// Small line charts in SVG: readable axes, a cursor and a zoom that several charts share, lines told apart by dashes as
// well as by colour and hidden one by one, values as text beside the picture. Knows numbers and labels.

import { clamp, clear, h, linear, missing, on, plain, svg } from "./_common.js";
import { chartMenu } from "./_chart_menu.js";
import { highest, lowest, ticks, decades, nearest, within } from "./_axes.js";

const WIDTH = 380;
const HEIGHT = 170;
const LEFT = 46;
const RIGHT = 10;
const TOP = 8;
const BOTTOM = 22;
const DASHES = ["", "7 3", "2 3", "9 3 2 3", "5 2", "1 2"];
const COLOURS = 6;
const DRAG = 5; // pixels of the picture that a click may slip

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

// The curves of a panel out of the one buffer that they travel in: x values, y values, then the ends of their intervals;
// a mean of several steps brings what it is the mean of.
export function curvesOf(panel, numbers) {
  const columns = ({ start, count }, many) => Array.from({ length: many }, (_, i) => numbers.subarray(start + i * count, start + (i + 1) * count));
  return panel.series.map((series) => {
    const [xs, ys, low, high] = columns(series, series.band ? 4 : 2);
    const made = { name: series.name, slot: series.slot, xs, ys, band: series.band ? { low, high } : null, raw: null };
    if (series.raw) {
      const [rawXs, rawYs] = columns(series.raw, 2);
      made.raw = { xs: rawXs, ys: rawYs };
    }
    return made;
  });
}

// One chart. `onPoint(x)` hears where the pointer is (null: nowhere), `onPick(x)` of a click, `onZoom([low, high])` of a
// stretch that the pointer was dragged over. Returns {element, draw(panel, curves, options),
// cursor(x)}; `options`: log, marks (x values marked below), range of x ([low, high]), least (values that the y axis
// holds in any case).
export function lineChart({ signal, onPoint, onPick, onZoom }) {
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", class: "oopd-plot" });
  const caption = h("span", {});
  const legend = h("ul", { class: "oopd-chart-legend" });
  const hidden = new Set();
  const toggle = (name) => { hidden.delete(name) || hidden.add(name); draw(...last); };
  const menu = chartMenu({ signal, picture, hidden, toggle });
  const element = h("figure", { class: "oopd-chart" }, h("figcaption", {}, caption, menu.element), picture, legend);
  let state = null;
  let last = null; // what was drawn
  let pointed = null; // where the cursor is

  const pixel = (event) => {
    const box = picture.getBoundingClientRect();
    return clamp(((event.clientX - box.left) / (box.width || 1)) * WIDTH, LEFT, WIDTH - RIGHT);
  };
  const at = (event) => (state.all.length ? state.all[nearest(state.all, state.across.invert(pixel(event)))] : null);
  let from = null; // where a drag began
  let dragged = false;
  const selection = svg("rect", { class: "oopd-selection", y: TOP, height: HEIGHT - TOP - BOTTOM, visibility: "hidden" });
  const end = () => { from = null; selection.setAttribute("visibility", "hidden"); };
  on(picture, "pointerdown", (event) => {
    dragged = false;
    if (!state || !onZoom || event.button !== 0) return;
    from = pixel(event);
    picture.setPointerCapture(event.pointerId); // a drag may end outside
  }, { signal });
  on(picture, "pointermove", (event) => {
    if (!state) return;
    onPoint?.(at(event));
    if (from === null) return;
    const to = pixel(event);
    dragged = dragged || Math.abs(to - from) > DRAG;
    selection.setAttribute("x", Math.min(from, to));
    selection.setAttribute("width", Math.abs(to - from));
    selection.setAttribute("visibility", dragged ? "visible" : "hidden");
  }, { signal });
  on(picture, "pointerup", (event) => {
    const ends = dragged && from !== null ? [from, pixel(event)].sort((a, b) => a - b).map(state.across.invert) : null;
    end();
    if (ends) onZoom(ends);
  }, { signal });
  on(picture, "pointercancel", end, { signal });
  on(picture, "pointerleave", () => from === null && onPoint?.(null), { signal });
  on(picture, "click", (event) => {
    const x = state && !dragged ? at(event) : null;
    if (x !== null) onPick?.(x);
  }, { signal });

  function draw(panel, given, options = {}) {
    last = [panel, given, options];
    const curves = given.map((curve, index) => ({ ...curve, look: curve.slot ?? index })).filter((curve) => !hidden.has(curve.name));
    const every = [...new Set(curves.flatMap((curve) => [...curve.xs]))].sort((a, b) => a - b);
    const [left, right] = options.range ?? [every[0] ?? 0, every.at(-1) ?? 1];
    const all = every.filter((x) => x >= left && x <= right);
    const drawn = [...curves.flatMap((curve) => [...curve.ys, ...(curve.band?.low ?? []), ...(curve.raw?.ys ?? [])]), ...(options.least ?? [])];
    const log = Boolean(options.log) && drawn.every((y) => y > 0);
    const [shape, back] = log ? [Math.log10, (y) => 10 ** y] : [(y) => y, (y) => y];
    const part = (xs, ys) => within({ xs, ys }, [left, right], shape, back);
    const parts = curves.map((curve) => ({
      line: part(curve.xs, curve.ys), raw: curve.raw && part(curve.raw.xs, curve.raw.ys),
      low: curve.band && part(curve.xs, curve.band.low), high: curve.band && part(curve.xs, curve.band.high),
    }));
    const values = [...parts.flatMap(({ line, raw, low, high }) => [line, raw, low, high].flatMap((p) => p?.ys ?? [])), ...(options.least ?? [])];
    const isStep = panel.x === "step";
    // Steps are labelled inside the data; the axis ends where the data end.
    const xTicks = ticks(left, right, 4, isStep).filter((x) => x >= left - 1e-9 && x <= right + 1e-9);
    const [low, high] = values.length ? [lowest(values), highest(values)] : [log ? 0.1 : 0, 1];
    // From 0 where that wastes less than half of the picture, and where nothing varies.
    const yTicks = log ? decades(low, high) : ticks(low > 0 && (low < high / 2 || low === high) ? 0 : low, high);
    const ends = [shape(yTicks[0]), shape(yTicks.at(-1))];
    const across = linear(right > left ? [left, right] : [left - 1, left + 1], [LEFT, WIDTH - RIGHT]);
    const up = linear(ends, [HEIGHT - BOTTOM, TOP]);
    const y = (value) => up(shape(value));
    const points = (p) => p.xs.map((x, i) => `${across(x).toFixed(1)} ${y(p.ys[i]).toFixed(1)}`);

    const shapes = [];
    for (const tick of yTicks) {
      shapes.push(svg("line", { class: "oopd-chart-grid", x1: LEFT, x2: WIDTH - RIGHT, y1: y(tick), y2: y(tick) }));
      shapes.push(svg("text", { x: LEFT - 5, y: y(tick) + 4, "text-anchor": "end" }, short(tick)));
    }
    for (const tick of xTicks) {
      shapes.push(svg("line", { class: "oopd-chart-grid", x1: across(tick), x2: across(tick), y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 3 }));
      shapes.push(svg("text", { x: across(tick), y: HEIGHT - BOTTOM + 15, "text-anchor": "middle" }, short(tick)));
    }
    for (const mark of options.marks ?? []) {
      if (mark >= left && mark <= right) shapes.push(svg("path", { class: "oopd-mark", d: `M${across(mark).toFixed(1)} ${HEIGHT - BOTTOM}l-3 5h6z` }));
    }
    parts.forEach(({ low: lower, high: upper }, index) => {
      if (lower?.xs.length) shapes.push(svg("path", { class: `oopd-band oopd-s${curves[index].look % COLOURS}`, d: `M${[...points(lower), ...points(upper).reverse()].join("L")}Z` }));
    });
    curves.forEach((curve, index) => {
      const { line, raw } = parts[index];
      const colour = `oopd-s${curve.look % COLOURS}`;
      if (raw?.xs.length) shapes.push(svg("path", { class: `oopd-curve oopd-raw ${colour}`, d: `M${points(raw).join("L")}` }));
      if (line.xs.length) shapes.push(svg("path", { class: `oopd-curve ${colour}`, d: `M${points(line).join("L")}`, "stroke-dasharray": dash(curve) }));
      if (line.whole > 24) return;
      for (let i = 0; i < curve.xs.length; i++) {
        if (curve.xs[i] >= left && curve.xs[i] <= right) shapes.push(svg("circle", { class: `oopd-dot ${colour}`, cx: across(curve.xs[i]).toFixed(1), cy: y(curve.ys[i]).toFixed(1), r: 2 }));
      }
    });
    const cursorLine = svg("line", { class: "oopd-cursor", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
    const dots = curves.map((curve) => svg("circle", { class: `oopd-dot oopd-s${curve.look % COLOURS}`, r: 3.5, visibility: "hidden" }));
    clear(picture, [...shapes, cursorLine, ...dots, selection]);
    const mean = curves.some((curve) => curve.raw) ? `, mean of ${panel.smoothing} steps` : "";
    const interval = curves.some((curve) => curve.band) ? ", with 95 % intervals" : "";
    clear(caption, h("b", {}, panel.title), ` ${panel.unit}${log ? ", logarithmic" : ""}${mean}${interval}`, isStep || panel.title.endsWith(`by ${panel.x}`) ? null : `, by ${panel.x}`);

    const entries = given.map((curve, index) => {
      const look = curve.slot ?? index;
      const off = hidden.has(curve.name);
      const value = h("span", { class: "oopd-value" });
      const stroke = svg("line", { class: `oopd-curve oopd-s${look % COLOURS}`, x1: 1, x2: 23, y1: 5, y2: 5, "stroke-dasharray": dash({ look }) });
      const item = h("li", { class: off ? "oopd-off" : "", title: off ? "show this line" : "hide this line" }, svg("svg", { viewBox: "0 0 24 10", width: 24, height: 10, "aria-hidden": "true" }, stroke));
      on(item, "click", () => toggle(curve.name), { signal });
      item.append(h("span", { class: "oopd-name" }, plain(curve.name)), value);
      return { item, value, name: curve.name };
    });
    clear(legend, entries.map(({ item }) => item));
    menu.draw(panel.title, given.map((curve) => curve.name));
    const numbers = entries.filter(({ name }) => !hidden.has(name));
    state = { isStep, across, y, all, left, right, curves, cursorLine, dots, numbers };
    const newest = curves.map((curve) => `${plain(curve.name)} ${short(curve.ys.at(-1))}`).join(", ");
    const where = all.length ? ` at ${panel.x} ${short(every.at(-1))}` : "";
    picture.setAttribute("aria-label", `${panel.title} (${panel.unit}) by ${panel.x}: ${newest}${where}`);
    cursor(pointed);
  }

  // The shared cursor: each curve's value at the point of its own that is nearest to x; without x, its last along steps,
  // its highest along anything else.
  function cursor(x) {
    pointed = x;
    if (!state) return;
    const visible = x !== null && state.all.length > 0 && x >= state.left && x <= state.right;
    state.cursorLine.setAttribute("visibility", visible ? "visible" : "hidden");
    if (visible) for (const name of ["x1", "x2"]) state.cursorLine.setAttribute(name, state.across(x));
    state.curves.forEach((curve, index) => {
      const place = x !== null ? nearest(curve.xs, x) : state.isStep ? curve.xs.length - 1 : curve.ys.indexOf(highest([...curve.ys]));
      const value = place < 0 ? null : curve.ys[place];
      const ends = curve.band && place >= 0 ? ` [${short(curve.band.low[place])}, ${short(curve.band.high[place])}]` : "";
      const where = x === null && !state.isStep && place >= 0 ? ` at ${short(curve.xs[place])}` : "";
      state.numbers[index].value.textContent = short(value) + ends + where;
      const dot = state.dots[index];
      const seen = visible && place >= 0 && curve.xs[place] >= state.left && curve.xs[place] <= state.right;
      dot.setAttribute("visibility", seen ? "visible" : "hidden");
      if (seen) {
        dot.setAttribute("cx", state.across(curve.xs[place]));
        dot.setAttribute("cy", state.y(value));
      }
    });
  }

  return { element, draw, cursor, xs: () => state?.all ?? [] };
}

// Past the sixth curve colours come again, with other dashes.
const dash = ({ look }) => DASHES[(look + Math.floor(look / COLOURS)) % DASHES.length];

// A grid of charts that share one cursor and one zoom along their steps; a chart stays that of its title. `onZoom` hears
// what is shown of what ([low, high] of "step"; null: all). Returns {element, draw(panels, numbers, options), step(by),
// zoom(by), whole()}.
export function chartGrid({ signal, onCursor, onPick, onZoom }) {
  const element = h("div", { class: "oopd-charts" });
  const charts = new Map();
  let drawn = [[], null, {}];
  let position = null;
  let shared = null; // the stretch of steps that is shown, null: all
  const own = new Map(); // of the charts along something else

  const along = (kind) => drawn[0].filter((panel) => panel.x === kind).map((panel) => charts.get(panel.title));

  function move(x) {
    position = x;
    for (const chart of along("step")) chart.cursor(x);
    onCursor?.(x);
  }

  function narrow({ title, x }, ends) {
    if (x !== "step") own.set(title, ends);
    else {
      const all = range();
      const [low, high] = [Math.max(all[0], Math.floor(ends[0])), Math.min(all[1], Math.ceil(ends[1]))];
      if (high <= low) return;
      shared = low <= all[0] && high >= all[1] ? null : [low, high];
      ends = shared;
    }
    draw(...drawn);
    onZoom?.(ends, x);
  }

  function chartOf(panel) {
    if (!charts.has(panel.title)) {
      const chart = lineChart({
        signal,
        onPoint: (x) => (panel.x === "step" ? move(x) : chart.cursor(x)),
        onPick: (x) => panel.x === "step" && onPick?.(x),
        onZoom: (ends) => narrow(panel, ends),
      });
      charts.set(panel.title, chart);
    }
    return charts.get(panel.title);
  }

  function draw(panels, numbers, options = {}) {
    drawn = [panels, numbers, options];
    const all = range();
    if (shared && all && (shared[0] >= all[1] || shared[1] <= all[0])) {
      shared = null; // of other runs
      onZoom?.(null);
    }
    for (const panel of panels) {
      chartOf(panel).draw(panel, curvesOf(panel, numbers), panel.x === "step" ? { ...options, range: shared ?? all } : { log: options.log, range: own.get(panel.title) });
    }
    clear(element, panels.map((panel) => charts.get(panel.title).element));
    if (position !== null) move(position);
  }

  // All steps that any of the charts has.
  function range() {
    const [panels, numbers] = drawn;
    const ends = panels.filter((panel) => panel.x === "step").flatMap((panel) => curvesOf(panel, numbers).flatMap(({ xs }) => [xs[0], xs.at(-1)]));
    return ends.length ? [lowest(ends), highest(ends)] : undefined;
  }

  // The cursor `by` steps on, from the last one where it is nowhere.
  function step(by) {
    const places = [...new Set(along("step").flatMap((chart) => chart.xs()))].sort((a, b) => a - b);
    const from = position === null ? places.length : nearest(places, position);
    if (places.length) move(places[clamp(from + by, 0, places.length - 1)]);
  }

  // `by` times the steps that are shown, around the cursor; all of them where that would be more.
  function zoom(by) {
    const all = range();
    if (!all) return;
    const [left, right] = shared ?? all;
    const middle = position === null || position < left || position > right ? (left + right) / 2 : position;
    narrow({ x: "step" }, [middle - (middle - left) * by, middle + (right - middle) * by].map((x) => clamp(x, ...all)));
  }

  function whole() {
    shared = null;
    own.clear();
    draw(...drawn);
    onZoom?.(null);
  }

  return { element, draw, step, zoom, whole, position: () => position };
}
