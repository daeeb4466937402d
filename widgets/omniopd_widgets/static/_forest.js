// Differences as one forest: a row a run, its interval on an axis that all rows share, the verdict beside it.

import { clamp, h, linear, missing, number, plain, shown, svg, tableHead } from "./_common.js";
import { ticks } from "./_axes.js";

const FOREST_WIDTH = 260;
const NOT_WORSE = -3; // points: what "not worse" allows
const REACH = 20; // points: the axis goes no farther for the sake of a few, so that −3 and 0 stay apart; an arrow says "beyond"

// rows: [{run, ours, theirs, said, mean, low, high, problem}], points; `against` is whom they are compared with.
export function forest(rows, against) {
  const known = rows.filter((row) => !missing(row.mean));
  const few = 2 * known.filter((row) => Math.abs(row.mean) > REACH).length <= known.length;
  const ends = known.flatMap((row) => [row.low, row.mean, row.high]).filter((value) => !missing(value)).map((value) => (few ? clamp(value, -REACH, REACH) : value));
  const marks = ticks(Math.min(NOT_WORSE, ...ends), Math.max(-NOT_WORSE, ...ends), 4);
  const at = linear([marks[0], marks.at(-1)], [12, FOREST_WIDTH - 14]);
  const base = rows.find((row) => row.theirs)?.theirs ?? "–";
  const first = h("tr", {}, h("th", { scope: "row" }, shown(against)), h("td", { class: "oopd-number" }, base), h("td", { class: "oopd-forest-cell" }, picture(at)),
    h("td", { class: "oopd-quiet" }, "what the others are compared with"));
  const lines = rows.map((row) => {
    const shows = missing(row.low) ? "" : row.low > 0 ? "better" : row.high < 0 ? "worse" : "no";
    if (row.problem) return h("tr", {}, h("th", { scope: "row" }, shown(row.run)), h("td", { colspan: 3 }, shown(row.problem)));
    return h("tr", {}, h("th", { scope: "row" }, shown(row.run)), h("td", { class: "oopd-number" }, row.ours, row.theirs === base ? null : h("div", { class: "oopd-quiet" }, `beside ${row.theirs}`)),
      h("td", { class: "oopd-forest-cell" }, picture(at, row, shows, marks)), h("td", {}, h("span", { class: "oopd-verdict", "data-shown": shows }, plain(row.said).replaceAll("-", "−"))));
  });
  const axis = svg("svg", { class: "oopd-interval", viewBox: `0 0 ${FOREST_WIDTH} 16`, "aria-hidden": "true" },
    marks.map((mark) => svg("text", { x: at(mark), y: 12, "text-anchor": "middle" }, mark > 0 ? `+${mark}` : String(mark).replace("-", "−"))));
  const foot = h("tfoot", {}, h("tr", {}, h("td", { colspan: 2 }), h("td", { class: "oopd-forest-cell" }, axis), h("td", { class: "oopd-quiet" }, "points; dashed: not worse from here on")));
  return h("table", { class: "oopd-forest" }, tableHead(["run", "accuracy, %", "difference of the same problems", ""]), h("tbody", {}, first, lines), foot);
}

function picture(at, row = {}, shows = "", marks = []) {
  const said = missing(row.low) ? "no interval" : `interval from ${number(row.low, 1)} to ${number(row.high, 1)} points`;
  const place = (value) => at(clamp(value, marks[0], marks.at(-1)));
  const parts = [[0, "oopd-zero"], [NOT_WORSE, "oopd-margin"]].map(([x, name]) => svg("line", { class: name, x1: at(x), x2: at(x), y1: 0, y2: 26 }));
  if (!missing(row.low)) {
    const inside = [row.low, row.high].filter((x) => x === clamp(x, marks[0], marks.at(-1)));
    parts.push(svg("line", { class: "oopd-whisker", x1: place(row.low), x2: place(row.high), y1: 13, y2: 13 }),
      inside.map((x) => svg("line", { class: "oopd-whisker", x1: at(x), x2: at(x), y1: 9, y2: 17 })));
  }
  const beyond = missing(row.mean) ? 0 : Math.sign(row.mean - clamp(row.mean, marks[0], marks.at(-1)));
  if (beyond) parts.push(svg("path", { class: "oopd-interval-mean oopd-beyond", "data-shown": shows, d: `M${place(row.mean)} 8l${9 * beyond} 5l${-9 * beyond} 5z` }));
  else if (!missing(row.mean)) parts.push(svg("circle", { class: "oopd-interval-mean", "data-shown": shows, cx: at(row.mean), cy: 13, r: 4 }));
  return svg("svg", { class: "oopd-interval", viewBox: `0 0 ${FOREST_WIDTH} 26`, role: "img", "aria-label": said }, parts.flat());
}
