// The runs of a folder: searched, sorted, compared, opened. Everything shown comes from the model's traits; what the user
// does is an assignment to one of them.

import {
  assign, button, clear, count, dollars, floats, framed, h, missing, number, on, plain, plural, scope,
  shown, tableHead, watch,
} from "./_common.js";
import { chartBar, ZOOM_KEYS } from "./_chart_bar.js";
import { chartGrid } from "./_charts.js";
import { forest } from "./_forest.js";
import { sorted, sortedTable, stateBadge } from "./_grid.js";
import { choice, optionsOf } from "./_inputs.js";
import { byArm } from "./_run_groups.js";
import { isHidden, noteEditor, tagChips } from "./_run_notes.js";
import { beneath } from "./_beneath.js";
import pairView from "./checkpoint_pair.js";
import monitorView from "./training_monitor.js";

const MOST_COMPARED = 6;
const KEYS = [
  ["/", "search"],
  ["← →", "the cursor of the compared curves a step back or on"],
  ...ZOOM_KEYS,
  ["c", "compare no run"],
  ["t", "title, tags and a note of the run that is open, else of the first chosen"],
  ["g", "a row an arm, or a row a run"],
  ["Escape", "leave a field, or close what is open beneath"],
];
const points = (value) => (missing(value) ? "–" : `${(100 * value).toFixed(1)}`);
const risen = (value) => (missing(value) ? "–" : `${value >= 0 ? "+" : ""}${points(value)}`);
const between = (row, key, show) => (row.spread?.[key] ? h("span", { class: "oopd-quiet oopd-between" }, ` ${row.spread[key].map(show).join(" to ")}`) : null);
// What a window of 1280 shows comes first; the rest is chosen.
const COLUMNS = [
  { key: "id", label: "run", text: true },
  { key: "state", label: "state", show: (value, row) => (value ? stateBadge(value) : row.states) },
  { key: "best_accuracy", label: "accuracy %", number: true, show: (value, row) => [points(value), between(row, "best_accuracy", points)], title: "at the best temperature, after the last evaluated step" },
  { key: "gain", label: "gain", number: true, show: (value, row) => [risen(value), between(row, "gain", risen)], title: "points over the untrained student; compare two runs for intervals" },
  { key: "step", label: "step", number: true, show: (value, row) => (missing(value) ? "–" : `${count(value)} of ${count(row.steps)}`) },
  { key: "target", label: "target", text: true },
  { key: "seed", label: "seed", number: true },
  { key: "message", label: "message", text: true },
  { key: "arm", label: "arm", text: true, title: "the recipe's name, the same for all its seeds" },
  { key: "method", label: "method", text: true },
  { key: "control", label: "control", text: true },
  { key: "student", label: "student", text: true },
  { key: "teacher", label: "teacher", text: true },
  { key: "loss", label: "loss", number: true, show: (value) => number(value, 3), title: "of the last step" },
  { key: "accuracy_before", label: "before %", number: true, show: points, title: "of the untrained student, at its best temperature" },
  { key: "greedy", label: "greedy %", number: true, show: points, title: "at temperature 0, after the last evaluated step" },
  { key: "samples", label: "samples", number: true, show: count },
  { key: "teacher_tokens", label: "teacher tokens", number: true, show: count },
  { key: "cost_usd", label: "dollars", number: true, show: dollars },
  { key: "seconds", label: "seconds", number: true, show: (value) => number(value, 0) },
  { key: "tags", label: "tags", text: true },
  { key: "note", label: "note", text: true },
  { key: "title", label: "title", text: true },
  { key: "created", label: "started", text: true, title: "UTC" },
];
const PER_PAGE = 100;

function render({ model, el, signal }) {
  const { root, body, say } = scope({
    model, el, signal, name: "browser", help: KEYS, label: `Runs in ${plain(model.get("folder"))}`,
    keys: {
      "/": () => search.focus(),
      ArrowLeft: () => grid.step(-1), ArrowRight: () => grid.step(1),
      "+": () => grid.zoom(0.5), "-": () => grid.zoom(2), 0: () => grid.whole(),
      c: () => assign(model, "chosen", []),
      t: () => assign(model, "edited", model.get("opened") || (model.get("chosen")[0] ?? "")),
      g: () => assign(model, "by_arm", !model.get("by_arm")),
      Escape: () => {
        if (root.contains(document.activeElement) && document.activeElement !== root) root.focus();
        else assign(model, model.get("edited") ? "edited" : "opened", "");
      },
    },
  });

  // ---- the table ---------------------------------------------------------------------------------------------------
  const search = h("input", { type: "text", "aria-label": "search runs", placeholder: "search, or state:failed", autocomplete: "off", spellcheck: "false" });
  on(search, "input", () => assign(model, "query", search.value), { signal });
  const found = h("span", { class: "oopd-quiet" });
  const look = button("", () => assign(model, "live", !model.get("live")), { signal });
  const none = h("p", {});
  let first = 0; // of the rows that match
  const back = button("‹", () => turn(-PER_PAGE), { signal, title: "a page back" });
  const ahead = button("›", () => turn(PER_PAGE), { signal, title: "a page on" });
  const page = h("span", { class: "oopd-quiet" });
  function turn(by) {
    first = Math.max(0, first + by);
    drawRows();
  }
  const unfolded = new Set(); // arms whose runs are listed
  const columnsHere = COLUMNS.map((column) => (column.key === "id" ? { ...column, words: (row) => row.title, beside: (row) => [row.title ? h("div", { class: "oopd-quiet" }, plain(row.id)) : null, ...tagChips(model, row, signal)] } : column));
  const rows = sortedTable({
    columns: columnsHere, label: "runs", signal,
    onSort: (key) => {
      const again = model.get("sort") === key;
      assign(model, "descending", again ? !model.get("descending") : true);
      assign(model, "sort", key);
    },
    row: (record) => (record.members ? armRow(record) : runRow(record)),
  });

  function armRow(record) {
    const chosen = model.get("chosen");
    const members = record.members.filter(({ readable }) => readable).map(({ id }) => id);
    const all = members.length > 0 && members.every((id) => chosen.includes(id));
    const box = h("input", { type: "checkbox", "aria-label": `compare the runs of ${plain(record.id)}`, title: "compare its runs", "data-what": `compare ${record.key}` });
    box.checked = all;
    box.disabled = !all && new Set([...chosen, ...members]).size > MOST_COMPARED;
    on(box, "change", () => assign(model, "chosen", box.checked ? [...new Set([...chosen, ...members])] : chosen.filter((id) => !members.includes(id))), { signal });
    const open = unfolded.has(record.key);
    return {
      button: `${open ? "▾" : "▸"} ${count(record.members.length)} runs`, what: record.key, extra: [box], kind: "oopd-arm", title: "list its runs; numbers are means over them",
      onClick: () => {
        if (open) unfolded.delete(record.key);
        else unfolded.add(record.key);
        drawRows();
      },
    };
  }

  function runRow(record) {
    const box = h("input", { type: "checkbox", "aria-label": `compare ${plain(record.id)}` });
    const chosen = model.get("chosen");
    box.checked = chosen.includes(record.id);
    box.disabled = !record.readable || (!box.checked && chosen.length >= MOST_COMPARED);
    box.title = box.checked && chosen[0] === record.id ? "compared; the others are compared with this one" : "compare";
    box.dataset.what = `compare ${record.id}`;
    const write = button("✎", () => assign(model, "edited", record.id === model.get("edited") ? "" : record.id), { signal, title: "title, tags and a note" });
    write.dataset.what = `write ${record.id}`;
    on(box, "change", () => assign(model, "chosen", box.checked ? [...chosen, record.id] : chosen.filter((id) => id !== record.id)), { signal });
    return {
      button: "open", what: `open ${record.id}`, pressed: record.id === model.get("opened"), extra: [box, write], kind: record.under ? "oopd-of-arm" : "", title: "watch it and its rollouts, below",
      onClick: () => assign(model, "opened", record.id === model.get("opened") ? "" : record.id),
    };
  }

  function drawRows() {
    const all = model.get("rows");
    const query = model.get("query");
    if (search.value !== query) search.value = query;
    const order = { key: model.get("sort"), down: model.get("descending") };
    const listable = /\bhidden\b/i.test(query) ? all : all.filter((row) => !isHidden(row));
    const hits = listable.filter(matcher(query));
    const matching = sorted(model.get("by_arm") ? byArm(hits) : hits, order);
    first = Math.min(first, PER_PAGE * Math.floor(Math.max(0, matching.length - 1) / PER_PAGE));
    const listed = matching.slice(first, first + PER_PAGE).flatMap((row) => (unfolded.has(row.key) ? [row, ...sorted(row.members, order).map((one) => ({ ...one, under: true }))] : [row]));
    rows.draw(listed, null, new Set(model.get("columns")));
    rows.sign(order);
    for (const part of [back, page, ahead]) part.hidden = matching.length <= PER_PAGE;
    page.textContent = `${count(first + 1)}–${count(Math.min(first + PER_PAGE, matching.length))}`;
    back.disabled = first === 0;
    ahead.disabled = first + PER_PAGE >= matching.length;
    rows.element.hidden = matching.length === 0;
    none.hidden = matching.length > 0;
    clear(none, all.length === 0 ? "No run in this folder yet." : listable.length === 0 ? "All runs here are hidden: search for tags:hidden." : ["No run matches ", shown(query), `: ${plural(all.length, "run")} in the folder.`]);
    const hidden = model.get("hidden_rows");
    found.textContent = `${count(hits.length)} of ${plural(all.length + hidden, "run")}${hidden ? `, the newest ${count(all.length)} are searched` : ""}${listable.length < all.length ? `, ${count(all.length - listable.length)} hidden (tags:hidden)` : ""}${model.get("unread") ? `, results of ${count(model.get("unread"))} are being read …` : ""}`;
  }
  watch(model, ["rows", "query", "sort", "descending", "chosen", "opened", "hidden_rows", "columns", "unread", "by_arm"], drawRows, signal);
  const arms = h("input", { type: "checkbox" });
  on(arms, "change", () => assign(model, "by_arm", arms.checked), { signal });
  watch(model, ["by_arm"], () => (arms.checked = model.get("by_arm")), signal);
  const boxes = COLUMNS.slice(1).map((column) => {
    const box = h("input", { type: "checkbox", "data-what": column.key });
    on(box, "change", () => {
      const chosen = model.get("columns").filter((key) => key !== column.key);
      assign(model, "columns", COLUMNS.map((c) => c.key).filter((key) => chosen.includes(key) || (box.checked && key === column.key)));
    }, { signal });
    watch(model, ["columns"], () => (box.checked = model.get("columns").includes(column.key)), signal);
    return h("label", {}, box, column.label);
  });
  const columns = h("details", { class: "oopd-help oopd-columns" }, h("summary", {}, "Columns"), h("div", { class: "oopd-bar" }, boxes));
  let told = "";
  watch(model, ["query", "rows"], () => found.textContent !== told && say((told = found.textContent)), signal);
  watch(model, ["live"], () => {
    look.textContent = model.get("live") ? "Pause updates" : "Update again";
    look.title = "at the folder, every two seconds; the runs themselves go on";
  }, signal);

  // ---- the comparison ----------------------------------------------------------------------------------------------
  const grid = chartGrid({ signal, onCursor: (x) => x !== null && say(`step ${count(x)}`), onZoom: (...zoom) => tools.zoomed(...zoom) });
  const tools = chartBar({ model, signal, grid, say });
  const problems = h("ul", { class: "oopd-problems" });
  const at = choice(model, "at", "accuracy at", [], signal);
  const verdicts = h("div", { class: "oopd-wide" });
  const students = pairBar();
  const changed = h("div", { class: "oopd-wide" });
  const hint = h("p", { class: "oopd-quiet" });
  const comparison = h("section", { "aria-label": "comparison" }, h("h3", {}, "Comparison"), hint, students.element, problems, h("div", { class: "oopd-bar oopd-browser-at" }, at), verdicts, tools.element, grid.element, changed);
  function drawComparison() {
    const found = model.get("comparison");
    const names = found.names ?? [];
    comparison.hidden = model.get("chosen").length === 0;
    const enough = names.length > 1;
    hint.textContent = enough ? `The first chosen, ${plain(names[0])}, is what the others are compared with.` : "Choose a second run to compare.";
    clear(problems, (found.problems ?? []).map((text) => h("li", {}, shown(text))));
    for (const part of [at, verdicts, tools.element, grid.element, changed]) part.hidden = !enough;
    students.draw(found.students ?? []);
    if (!enough) return model.get("chosen").length === 1 && say(hint.textContent);
    drawForest(found);
    grid.draw(found.panels, floats(model.get("data")));
    clear(changed, settings(names, found.differences));
  }
  // Texts and numbers come as two traits: drawn once both are here.
  const drawSoon = framed(drawComparison, signal);
  watch(model, ["comparison", "data", "chosen", "at"], drawSoon, signal);

  // Every run against the first, at one temperature at a time.
  function drawForest({ names, accuracies }) {
    const places = [...new Set(accuracies.flatMap((found) => found.rows.map((row) => row.at)))];
    const where = places.includes(model.get("at")) ? model.get("at") : places[0];
    clear(at.lastChild, optionsOf(places.map((name) => [name, name])));
    at.lastChild.value = where ?? "";
    at.hidden = places.length < 2;
    clear(verdicts, forest(accuracies.map(({ run, problem, rows }) => ({
      run, problem: problem || (rows.some((row) => row.at === where) ? "" : `not measured at ${where}`), ...rows.find((row) => row.at === where),
    })), names[0]));
  }

  // One prompt, two students of the runs that are chosen: of one run alone, before and after.
  function pairBar() {
    const lists = ["left", "right"].map((side) => h("select", { "aria-label": `the ${side} student` }));
    const act = button("On one prompt", () => assign(model, "pair", lists.map((list) => list.value)), { signal, title: "both answer one prompt, below: every token that moved between them" });
    const close = button("✕", () => assign(model, "pair", []), { signal, title: "close the pair" });
    watch(model, ["pair"], () => (close.hidden = model.get("pair").length === 0), signal);
    const element = h("div", { class: "oopd-bar oopd-browser-pair" }, lists[0], "beside", lists[1], act, close);
    let drawn = "";
    function draw(students) {
      element.hidden = students.every(({ which }) => which === "untrained"); // there is nothing to tell apart
      const runs = [...new Set(students.map(({ run }) => run))];
      const trained = (run) => students.findLast((one) => one.run === run).id;
      const first = runs.length > 1 ? [trained(runs[0]), trained(runs[1])] : students.length ? [students[0].id, trained(runs[0])] : [];
      const same = drawn === (drawn = runs.join("\n"));
      lists.forEach((list, i) => {
        const before = same ? list.value : "";
        clear(list, optionsOf(students.map(({ id, run, which }) => [id, `${run}, ${which}`])));
        list.value = students.some(({ id }) => id === before) && before ? before : first[i] ?? "";
      });
    }
    return { element, draw };
  }

  clear(
    body,
    h("div", { class: "oopd-bar oopd-search" }, h("b", {}, "Runs in ", shown(model.get("folder"))), search, h("label", { title: "runs that differ in nothing but their seed as one row (g)" }, arms, "by arm"), found, back, page, ahead, look),
    none, columns, noteEditor(model, signal), rows.element, comparison,
  );
  beneath({ model, el, signal, views: { CheckpointPair: pairView, TrainingMonitor: monitorView } });
}

// All words of a query, anywhere in a row; `column:word` in one column.
function matcher(query) {
  const words = query.toLowerCase().split(/\s+/).filter(Boolean);
  const columns = new Set(COLUMNS.map((column) => column.key));
  return (row) => words.every((word) => {
    const [, column, rest] = /^(\w+):(.+)$/.exec(word) ?? [];
    if (columns.has(column)) return String(row[column] ?? "").toLowerCase().includes(rest);
    return COLUMNS.some(({ key }) => String(row[key] ?? "").toLowerCase().includes(word));
  });
}

function settings(names, differences) {
  if (!differences.length) return [h("p", {}, "The recipes, versions and commits are the same.")];
  const lines = differences.map((d) => h("tr", { class: "oopd-changed" }, h("th", { scope: "row" }, shown(d.key)), d.values.map((value) => h("td", {}, shown(value)))));
  return [h("table", {}, h("caption", {}, "Settings that differ"), tableHead(["setting", ...names.map((name) => shown(name))]), h("tbody", {}, lines))];
}

export default { render };
