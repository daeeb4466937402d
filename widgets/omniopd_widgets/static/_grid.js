// A table whose columns sort, with a button in each row. Texts that somebody else wrote are shown as they are.

import { h, missing, on, redraw, shown } from "./_common.js";

// columns: [{key, label, text: the cell holds somebody else's text, words: record → what stands in its place, beside: record → elements behind it, number, show:
// value → string, title}]. Returns
// {element, draw(rows, sort, only), sign(sort), body}. `row(record)` gives {button: label, what, pressed, onClick, extra: [elements], kind: class} for the first cell;
// the button, by its `what`, keeps the focus where the rows are drawn anew, and so does an extra with a data-what.
// `sort` is {key, down}; a click on a head calls onSort(key).
export function sortedTable({ columns, label, signal, onSort, row }) {
  const head = h("tr", {}, h("th", { scope: "col" }, h("span", { class: "oopd-sr" }, "open")));
  const heads = new Map();
  for (const column of columns) {
    const act = h("button", { type: "button", class: "oopd-button oopd-sort", title: column.title }, column.label);
    on(act, "click", () => onSort(column.key), { signal });
    const cell = h("th", { scope: "col" }, act);
    heads.set(column.key, cell);
    head.append(cell);
  }
  const body = h("tbody", {});
  const table = h("table", { class: "oopd-grid-table" }, h("caption", { class: "oopd-sr" }, label), h("thead", {}, head), body);
  const element = h("div", { class: "oopd-scroll" }, table);

  // `only`: the keys of the columns to show besides the first (all of them where nothing is said).
  function draw(rows, sort, only) {
    sign(sort);
    const visible = columns.filter(({ key }, i) => i === 0 || !only || only.has(key));
    for (const column of columns) heads.get(column.key).hidden = !visible.includes(column);
    redraw(body, sorted(rows, sort).map((record) => line(record, visible)));
  }

  // Which column the rows are sorted by, where somebody else has sorted them.
  function sign(sort) {
    for (const [key, cell] of heads) {
      if (sort?.key === key) cell.setAttribute("aria-sort", sort.down ? "descending" : "ascending");
      else cell.removeAttribute("aria-sort");
    }
  }

  function line(record, visible) {
    const { button, what, pressed, onClick, extra = [], title, kind } = row(record);
    const open = h("button", { type: "button", class: "oopd-button", "aria-pressed": String(Boolean(pressed)), "data-what": what, title }, button);
    on(open, "click", () => onClick(), { signal });
    const cells = visible.map((column) => {
      const value = record[column.key];
      if (column.text) return h("td", { class: `oopd-column-${column.key}` }, shown(String(column.words?.(record) || (value ?? ""))), column.beside?.(record));
      return h("td", { class: column.number ? "oopd-number" : null }, column.show ? column.show(value, record) : missing(value) ? "–" : String(value));
    });
    return h("tr", { class: [pressed ? "oopd-chosen" : "", kind ?? ""].join(" ").trim() || null }, h("td", { class: "oopd-row-head" }, ...extra, open), ...cells);
  }

  return { element, draw, sign, body };
}

const SIGNS = { running: "▶", queued: "…", finished: "✓", failed: "✗", lost: "✗", interrupted: "‖", stopped: "■", unreadable: "!" };

// The state of a run, by its sign, its colour and its name.
export function stateBadge(state) {
  return h("span", { class: "oopd-state", "data-state": state, "data-sign": SIGNS[state] ?? "?" }, state);
}

// Rows in order; what is missing comes last either way.
export function sorted(rows, sort) {
  if (!sort?.key) return rows;
  const direction = sort.down ? -1 : 1;
  return [...rows].sort((a, b) => {
    const [x, y] = [a[sort.key], b[sort.key]];
    if (missing(x) || missing(y)) return missing(x) - missing(y);
    if (typeof x === "number" && typeof y === "number") return direction * (x - y);
    const [left, right] = [String(x), String(y)];
    return direction * (left < right ? -1 : left > right ? 1 : 0);
  });
}
