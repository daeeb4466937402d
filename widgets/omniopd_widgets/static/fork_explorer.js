// The forks of runs: filtered, sorted, counted, labelled by hand. Rows come a page at a time; what the user does is an
// assignment to a trait.

import {
  assign, button, clear, count, h, missing, number, on, plain, plural, quoted, redraw, scope, shown, tableHead, tokensAt, watch,
} from "./_common.js";
import { sortedTable } from "./_grid.js";
import { choice } from "./_inputs.js";
import { beneath } from "./_beneath.js";
import answerView from "./rollout_view.js";
import textsView from "./audit_panel.js";

const FORKS_PAGE = 100;
const FORK_KEYS = [
  ["/", "the expression"],
  ["n p", "the next fork, or the one before"],
  ["[ ]", "a page back or on"],
  ["1 2 3 4", "label the fork: real choice, only wording, teacher wrong, other"],
  ["0", "take its label back"],
  ["Escape", "leave the expression, or close the answer"],
];
const FORK_GROUPS = [["", "not grouped"], ["pair", "words that differ"], ["token", "token"], ["kind", "kind"], ["prompt", "prompt"], ["run", "run"], ["step", "step"], ["label", "label"]];
const two = (value) => number(value, 2);
const FORK_COLUMNS = [
  { key: "step", label: "step", number: true },
  { key: "run", label: "run", text: true },
  { key: "rollout", label: "answer", number: true, title: "its row in the step" },
  { key: "start", label: "tokens", number: true, show: (value, row) => tokensAt(row.start, row.stop) },
  { key: "kind", label: "kind", show: (value) => h("span", { class: "oopd-fork-kind", "data-kind": value }, value), title: "agreed: every text is the student's chunk; differs: none is" },
  { key: "entropy", label: "entropy", number: true, show: two, title: "the student's, in nats" },
  { key: "probability", label: "sure", number: true, show: two, title: "the student's probability of its own token" },
  { key: "agreement", label: "agreement", number: true, show: two, title: "mean similarity of chunk and texts" },
  { key: "posterior_mean", label: "trust", number: true, show: two, title: "π̂" },
  { key: "chunk", label: "the student wrote", text: true },
  { key: "teacher_text", label: "the teacher, most often", show: (value, row) => shown(row.texts ? value : row.problem) },
  { key: "label", label: "label", text: true },
];

function render({ model, el, signal }) {
  const { root, body, say } = scope({
    model, el, signal, name: "fork-explorer", help: FORK_KEYS, label: "Forks of runs",
    keys: {
      "/": () => question.focus(),
      n: () => go(1), p: () => go(-1), ArrowDown: () => go(1), ArrowUp: () => go(-1),
      "[": () => turn(-1), "]": () => turn(1),
      0: () => judge(""), 1: () => judge(0), 2: () => judge(1), 3: () => judge(2), 4: () => judge(3),
      Escape: () => (root.contains(document.activeElement) && document.activeElement !== root ? root.focus() : assign(model, "selected", "")),
    },
  });

  // ---- the question ------------------------------------------------------------------------------------------------
  const question = h("input", {
    type: "text", class: "oopd-forks-where", "aria-label": "keep forks that this holds for", autocomplete: "off", spellcheck: "false",
    placeholder: 'entropy > 1 and agreement < .3 and kind == "differs"',
  });
  on(question, "change", () => assign(model, "where", question.value), { signal });
  on(question, "keydown", (event) => event.key === "Enter" && assign(model, "where", question.value), { signal });
  const mistake = h("p", { class: "oopd-problem", role: "alert", hidden: true });
  const found = h("span", { class: "oopd-quiet" });
  const all = button("all", () => assign(model, "where", ""), { signal, title: "no filter" });
  watch(model, ["where"], () => (question.value = model.get("where")), signal);
  watch(model, ["mistake"], () => {
    mistake.hidden = model.get("mistake") === "";
    clear(mistake, shown(model.get("mistake")));
    if (!mistake.hidden) say(model.get("mistake"));
  }, signal);
  const counted = () => {
    const [matching, total] = [model.get("matching"), model.get("total")];
    return `${count(matching)} of ${plural(total, "fork")} of ${plural(model.get("runs"), "run")}${model.get("reading") ? ", more are being read …" : ""}`;
  };
  watch(model, ["matching", "total", "runs", "reading"], () => (found.textContent = counted()), signal);

  // ---- the table ---------------------------------------------------------------------------------------------------
  const rows = sortedTable({
    columns: FORK_COLUMNS, label: "forks", signal,
    onSort: (key) => {
      const again = model.get("sort") === key;
      assign(model, "descending", again ? !model.get("descending") : true);
      assign(model, "sort", key);
    },
    row: (record) => ({
      button: "open", what: record.id, pressed: record.id === model.get("selected"), title: "its answer, below",
      onClick: () => assign(model, "selected", record.id === model.get("selected") ? "" : record.id),
    }),
  });
  const back = button("‹", () => turn(-1), { signal, title: "a page back" });
  const ahead = button("›", () => turn(1), { signal, title: "a page on" });
  const place = h("span", { class: "oopd-quiet" });
  const draw = () => {
    // Sorted in Python, over all rows: here the order stays.
    const said = model.get("rows").some((row) => row.label !== "");
    const spare = new Set([...(model.get("runs") > 1 ? [] : ["run"]), ...(said ? [] : ["label"])]);
    rows.draw(model.get("rows"), null, new Set(FORK_COLUMNS.map(({ key }) => key).filter((key) => !spare.has(key))));
    rows.sign({ key: model.get("sort"), down: model.get("descending") });
    const [first, matching] = [model.get("first"), model.get("matching")];
    back.disabled = first <= 0;
    ahead.disabled = first + FORKS_PAGE >= matching;
    place.textContent = matching ? `${count(first + 1)}–${count(Math.min(first + FORKS_PAGE, matching))}` : "none matches";
  };
  watch(model, ["rows", "sort", "descending", "matching", "runs"], draw, signal);
  function turn(by) {
    const next = model.get("first") + by * FORKS_PAGE;
    if (next >= 0 && next < model.get("matching")) assign(model, "first", next);
  }
  function go(by) {
    const list = model.get("rows");
    const at = list.findIndex((row) => row.id === model.get("selected"));
    const next = list[at < 0 ? (by > 0 ? 0 : list.length - 1) : at + by];
    if (next) assign(model, "selected", next.id);
    else if (list.length) turn(by);
  }

  // ---- words that differ, groups -------------------------------------------------------------------------------------
  const narrow = (parts) => {
    const before = model.get("where").trim();
    assign(model, "where", before ? `(${before}) and ${parts}` : parts);
  };
  const constant = (value) => (typeof value === "string" ? JSON.stringify(value) : String(value));
  const by = choice(model, "by", "count by", FORK_GROUPS, signal);
  watch(model, ["by"], () => (by.querySelector("select").value = model.get("by")), signal);
  const pairs = h("div", { class: "oopd-forks-pairs" });
  watch(model, ["pairs"], () => {
    redraw(pairs, model.get("pairs").map((pair) => {
      const act = h("button", { type: "button", class: "oopd-button", "data-what": `${pair.wrote}\n${pair.writes}`, title: "keep these forks" },
        shown(pair.wrote || "∅"), " → ", shown(pair.writes || "∅"), h("span", { class: "oopd-quiet" }, ` ${count(pair.forks)}`));
      on(act, "click", () => narrow(`wrote == ${constant(pair.wrote)} and writes == ${constant(pair.writes)}`), { signal });
      return act;
    }));
  }, signal);
  const groups = h("div", { class: "oopd-scroll oopd-forks-groups" });
  watch(model, ["groups"], () => {
    const list = model.get("groups");
    groups.hidden = list.length === 0;
    if (groups.hidden) return;
    const names = Object.keys(list[0]).slice(0, Object.keys(list[0]).indexOf("forks"));
    const lines = list.map((group) => {
      const act = h("button", { type: "button", class: "oopd-button", "data-what": names.map((name) => group[name]).join("\n"), title: "keep these forks" },
        names.map((name, i) => [i ? " → " : "", shown(String(group[name] === "" ? "∅" : group[name]))]).flat());
      on(act, "click", () => narrow(names.map((name) => `${name} == ${constant(group[name])}`).join(" and ")), { signal });
      return h("tr", {}, h("td", {}, act), [group.forks, group.prompts].map((n) => h("td", { class: "oopd-number" }, count(n))),
        [group.entropy, group.agreement, group.posterior_mean].map((n) => h("td", { class: "oopd-number" }, two(n))));
    });
    redraw(groups, h("table", { class: "oopd-grid-table" }, tableHead([names.join(" → "), "forks", "prompts", "entropy", "agreement", "trust"]), h("tbody", {}, lines)));
  }, signal);

  // ---- labels by hand ------------------------------------------------------------------------------------------------
  const marks = h("div", { class: "oopd-bar" });
  const note = h("input", { type: "text", "aria-label": "a note on the selected fork", placeholder: "why (a note)", autocomplete: "off" });
  const give = (label, why) => assign(model, "labelled", { fork: model.get("selected"), label, note: why });
  on(note, "change", () => give(model.get("judgement"), note.value), { signal });
  const labels = model.get("labels").map((label, i) => button(`${i + 1} ${label}`, () => judge(model.get("judgement") === label ? "" : i), { signal }));
  clear(marks, h("b", {}, "This fork is"), labels, note);
  watch(model, ["selected", "judgement", "note"], () => {
    marks.hidden = model.get("selected") === "";
    labels.forEach((act, i) => act.setAttribute("aria-pressed", String(model.get("judgement") === model.get("labels")[i])));
    note.value = plain(model.get("note"));
  }, signal);
  function judge(which) {
    if (model.get("selected") === "") return say("select a fork first (n, or click open)");
    const label = which === "" ? "" : model.get("labels")[which];
    give(label, label ? note.value : "");
    return say(label ? `labelled: ${label}` : "no label");
  }
  const judged = h("details", { class: "oopd-help", hidden: true });
  watch(model, ["agreement"], () => {
    const list = model.get("agreement");
    judged.hidden = list.length === 0;
    if (judged.hidden) return;
    const names = model.get("labels");
    const lines = list.map((row) => h("tr", {}, h("th", { scope: "row" }, row.similarity), names.map((name) => h("td", { class: "oopd-number" }, two(row[name]))),
      h("td", { class: "oopd-number" }, missing(row.ranks) ? "–" : `${two(row.ranks)} of ${plural(row.pairs, "pair")}`)));
    clear(judged, h("summary", {}, "Do similarities see what people see?"),
      h("p", {}, "Mean similarity of the forks with each label; and how often a fork of only wording has the higher one beside a real choice (.5 is chance)."),
      h("table", {}, tableHead(["similarity", ...names, "wording above choice"]), h("tbody", {}, lines)));
  }, signal);
  watch(model, ["selected"], () => {
    draw();
    const row = model.get("rows").find((record) => record.id === model.get("selected"));
    if (row) say(`step ${row.step}, answer ${row.rollout}, tokens ${tokensAt(row.start, row.stop)}: the student wrote ${quoted(row.chunk)}, the teacher most often ${quoted(row.teacher_text || row.problem)}`);
    rows.body.querySelector("tr.oopd-chosen")?.scrollIntoView({ block: "nearest" });
  }, signal);

  clear(
    body,
    h("div", { class: "oopd-bar" }, h("label", { class: "oopd-forks-question" }, h("b", {}, "Forks where"), question), all, by),
    mistake,
    h("div", { class: "oopd-bar" }, found, back, place, ahead),
    rows.element, marks,
    h("h3", {}, "Where they differ: the student's word → the teacher's most frequent one"), pairs, groups, judged,
  );
  beneath({ model, el, signal, views: { RolloutView: answerView, AuditPanel: textsView } });
}

export default { render };
