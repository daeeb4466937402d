// The fork map: how unsure the student is against how much the teacher agrees with itself. Upper right are real
// choices; lower right, where the teacher too goes on in many ways, are interchangeable wordings.

import { clear, forkName, h, linear, missing, number, on, plural, svg } from "./_common.js";

const SIZE = { width: 420, height: 316, left: 46, right: 14, top: 28, bottom: 36 };
const QUADRANTS = [
  ["real choice", "real choices", "end", 0], ["interchangeable wordings", "interchangeable wordings", "end", 1],
  ["settled", "settled", "start", 0],
  ["student sure, teacher split", "student sure, teacher split", "start", 1],
];

export function makeMap({ select, signal }) {
  const { width, height, left, right, top, bottom } = SIZE;
  const frame = svg("g", {});
  const points = svg("g", {});
  const ring = svg("circle", { class: "oopd-map-ring", r: 11, visibility: "hidden" });
  const picture = svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img" }, frame, ring, points);
  const counts = h("p", { class: "oopd-map-counts" });
  const key = h("p", { class: "oopd-quiet" }, "○ informs  □ all texts agree with the student  △ none does; larger: more of the update. Click a fork to select it; the table reaches all by keyboard.");
  const element = h("div", { class: "oopd-map" }, picture, counts, key);
  let rows = [];
  let places = [];
  on(points, "click", (event) => {
    const mark = event.target.closest("[data-index]");
    if (mark) select(rows[Number(mark.dataset.index)]);
  }, { signal });

  function rebuild(given, { entropy, agreement, several }) {
    rows = given;
    const known = rows.filter((row) => !missing(row.agreement));
    const high = 1.05 * Math.max(1, 1.3 * entropy, ...rows.map((row) => row.entropy));
    const x = linear([0, high], [left, width - right]);
    const y = linear([0, 1], [height - bottom, top]);
    const largest = Math.max(1e-12, ...rows.map((row) => row.share));
    const ticks = [0, 0.25, 0.5, 0.75, 1];
    const step = high > 4 ? 1 : high > 2 ? 0.5 : 0.25;
    const along = Array.from({ length: Math.floor(high / step) + 1 }, (_, i) => i * step);
    clear(
      frame,
      svg("rect", { class: "oopd-map-choice", x: x(entropy), y: y(1), width: x(high) - x(entropy), height: Math.max(0, y(agreement) - y(1)) }),
      svg("path", { class: "oopd-axis", fill: "none", d: `M${left} ${top}V${height - bottom}H${width - right}` }),
      svg("path", { class: "oopd-map-split", d: `M${x(entropy)} ${top}V${height - bottom}M${left} ${y(agreement)}H${width - right}` }),
      ticks.map((tick) => svg("text", { x: left - 6, y: y(tick) + 4, "text-anchor": "end" }, String(tick))),
      along.map((tick) => svg("text", { x: x(tick), y: height - bottom + 15, "text-anchor": "middle" }, number(tick, step < 1 ? 2 : 0))),
      svg("text", { x: (left + width - right) / 2, y: height - 4, "text-anchor": "middle" }, "the student's entropy at the fork (nats)"),
      svg("text", { x: 12, y: (top + height - bottom) / 2, "text-anchor": "middle", transform: `rotate(-90 12 ${(top + height - bottom) / 2})` }, "the teacher agrees with itself"),
      QUADRANTS.map(([, label, anchor, low]) => svg("text", { class: "oopd-map-label", x: anchor === "end" ? width - right - 4 : left + 4, y: low ? height - bottom - 6 : top - 12, "text-anchor": anchor }, label)),
    );
    places = rows.map((row) => (missing(row.agreement) ? null : [x(row.entropy), y(row.agreement)]));
    clear(points, rows.map((row, i) => places[i] && mark(row, i, places[i], 3 + 5 * Math.sqrt(row.share / largest), several)));
    const found = QUADRANTS.map(([quadrant, label]) => `${label}: ${known.filter((row) => row.quadrant === quadrant).length}`);
    counts.textContent = found.join(" · ") + (known.length < rows.length ? ` · ${plural(rows.length - known.length, "fork")} with one text only: not placed` : "");
    picture.setAttribute("aria-label", `Map of ${plural(known.length, "fork")}. ${counts.textContent}`);
  }

  function mark(row, i, [x, y], r, several) {
    const attributes = { class: `oopd-map-point oopd-map-${row.kind}`, "data-index": i };
    const shape =
      row.kind === "agree" ? svg("rect", { ...attributes, x: x - r * 0.9, y: y - r * 0.9, width: 1.8 * r, height: 1.8 * r })
      : row.kind === "none" ? svg("path", { ...attributes, d: `M${x} ${y - 1.2 * r}L${x + 1.1 * r} ${y + 0.8 * r}H${x - 1.1 * r}Z` })
      : svg("circle", { ...attributes, cx: x, cy: y, r });
    shape.append(svg("title", {}, `${several ? `answer ${row.row}, ` : ""}${forkName(...row.nth, row)}: entropy ${number(row.entropy, 2)}, agreement ${number(row.agreement, 2)}, ${row.quadrant}`));
    return shape;
  }

  function select_(at) {
    const place = places[at];
    ring.setAttribute("visibility", place ? "visible" : "hidden");
    if (place) {
      ring.setAttribute("cx", place[0]);
      ring.setAttribute("cy", place[1]);
    }
  }
  return { element, rebuild, mark: select_ };
}
