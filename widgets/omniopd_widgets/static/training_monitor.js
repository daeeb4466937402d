// A run, watched. Everything shown comes from the model's traits; what the user does is an assignment to one of them.

import {
  assign, button, clear, count, dollars, floats, forkName, framed, h, later, missing, number, on, percent, plain,
  plural, quoted, redraw, scope, shown, svg, tableHead, watch,
} from "./_common.js";
import { nearest } from "./_axes.js";
import { chartGrid, lineChart, short } from "./_charts.js";
import { chartBar, ZOOM_KEYS } from "./_chart_bar.js";
import { stateBadge, sortedTable } from "./_grid.js";
import { beneath } from "./_beneath.js";
import answerView from "./rollout_view.js";
import textsView from "./audit_panel.js";

const KEYS = [
  ["← →", "the cursor a step back or on"],
  ["Home End", "first or last step"],
  ["[ ]", "previous or next recorded step"],
  ["Enter", "the recorded step nearest to the cursor"],
  ["n", "stay at the newest recorded step"],
  ["l", "logarithmic axes where all values are above 0"],
  ...ZOOM_KEYS,
];
const mark = (right) => (right === true ? "✓" : right === false ? "✗" : "");
const COLUMNS = [
  { key: "probe", label: "kind", show: (probe) => (probe ? "probe" : "batch"), title: "a probe is a held-out prompt that nothing is learnt from" },
  { key: "question", label: "question", text: true },
  { key: "answer", label: "answer", text: true },
  { key: "right", label: "right", show: mark, title: "as the task's grader says; empty where there is nothing to compare with" },
  { key: "tokens", label: "tokens", number: true, show: (n, row) => `${count(n)}${row.cut ? " ✂" : ""}`, title: "✂: cut off at the longest length" },
  { key: "forks", label: "audits", number: true, show: count },
  { key: "unanswered", label: "no answer", number: true, show: count, title: "forks that the teacher did not answer" },
  { key: "entropy", label: "peak entropy", number: true, show: (v) => number(v, 2), title: "nats" },
  { key: "trust", label: "mean trust", number: true, show: (v) => number(v, 2), title: "of a scan: the share of the teacher's tokens that are the student's own" },
];

function render({ model, el, signal }) {
  let logarithmic = false;
  let sort = { key: "", down: true };

  const { root, body, say } = scope({
    model, el, signal, name: "monitor", help: KEYS, label: `Training monitor of ${plain(model.get("name"))}`,
    keys: {
      ArrowLeft: () => grid.step(-1), ArrowRight: () => grid.step(1),
      Home: () => grid.step(-Infinity), End: () => grid.step(Infinity),
      "[": () => moveStep(-1), "]": () => moveStep(1),
      Enter: () => grid.position() !== null && pick(grid.position()),
      n: () => assign(model, "newest", !model.get("newest")),
      l: () => { logarithmic = !logarithmic; logBox.checked = logarithmic; drawCharts(); },
      "+": () => grid.zoom(0.5), "-": () => grid.zoom(2), 0: () => grid.whole(),
    },
  });

  // ---- where the run stands ----------------------------------------------------------------------------------------
  const title = shown(model.get("name"), { class: "oopd-title" });
  const state = h("span", {});
  const words = h("span", {});
  const bar = h("div", {});
  const progress = h("div", { class: "oopd-progress", role: "progressbar", "aria-label": "steps done", "aria-valuemin": "0" }, bar);
  const spend = h("span", { class: "oopd-quiet" });
  const follow = button("", () => assign(model, "live", !model.get("live")), { signal });
  const logBox = h("input", { type: "checkbox" });
  on(logBox, "change", () => { logarithmic = logBox.checked; drawCharts(); }, { signal });
  const findings = h("ul", { class: "oopd-findings" });

  watch(model, ["status", "live"], () => {
    const s = model.get("status");
    clear(state, stateBadge(s.state || "unknown"));
    words.textContent = plain(s.words?.split(" · ").slice(1).join(" · ") ?? "");
    progress.setAttribute("aria-valuemax", s.steps || 0);
    progress.setAttribute("aria-valuenow", s.step || 0);
    bar.style.width = `${s.steps ? Math.min(100, (100 * s.step) / s.steps) : 0}%`;
    spend.textContent = `Teacher: ${count(s.read)} tokens read, ${count(s.written)} written, ${dollars(s.cost_usd)}; ${plural(s.unanswered, "fork")} without an answer`;
    follow.textContent = model.get("live") ? "Pause updates" : "Update again";
    follow.title = model.get("live") ? "The run itself goes on" : "The run may have been resumed";
  }, signal);
  watch(model, ["findings"], () => clear(findings, model.get("findings").map((text) => h("li", {}, plain(text)))), signal);

  // ---- curves ------------------------------------------------------------------------------------------------------
  const grid = chartGrid({ signal, onPick: (x) => pick(x), onCursor: (x) => x !== null && say(`step ${count(x)}`), onZoom: (...zoom) => tools.zoomed(...zoom) });
  const tools = chartBar({ model, signal, grid, say });
  const noCurves = h("p", { class: "oopd-quiet" }, "No step has been written yet.");
  function drawCharts() {
    const panels = model.get("panels");
    noCurves.hidden = panels.length > 0;
    tools.element.hidden = panels.length === 0;
    grid.draw(panels, floats(model.get("data")), { log: logarithmic, marks: model.get("recorded") });
  }
  const drawSoon = framed(drawCharts, signal);
  drawCharts();
  later(model, ["panels", "data", "recorded"], drawSoon, signal);

  // ---- failures ----------------------------------------------------------------------------------------------------
  const reasons = h("tbody", {});
  const failed = h("details", {}, h("summary", {}, "Forks without an answer, by reason"),
    h("table", {}, tableHead(["reason", "times", "last at step"]), reasons));
  watch(model, ["failures"], () => {
    const found = model.get("failures");
    failed.hidden = found.length === 0;
    clear(reasons, found.map((f) => h("tr", {}, h("td", {}, shown(f.reason)), h("td", { class: "oopd-number" }, count(f.count)), h("td", { class: "oopd-number" }, count(f.last)))));
  }, signal);

  // ---- the rollouts of a step --------------------------------------------------------------------------------------
  const range = h("input", { type: "range", min: 0, step: 1, "aria-label": "recorded step" });
  on(range, "input", () => assign(model, "step", model.get("recorded")[Number(range.value)]), { signal });
  const back = button("◀", () => moveStep(-1), { signal, title: "previous recorded step ([)" });
  const forth = button("▶", () => moveStep(1), { signal, title: "next recorded step (])" });
  const where = h("output", {});
  const newest = h("input", { type: "checkbox" });
  on(newest, "change", () => assign(model, "newest", newest.checked), { signal });
  const scrubber = h("div", { class: "oopd-bar oopd-scrubber" }, back, range, forth, where, h("label", {}, newest, "stay at the newest"));
  const rows = sortedTable({
    columns: COLUMNS, label: "rollouts of the step", signal,
    onSort: (key) => { sort = { key, down: sort.key === key ? !sort.down : true }; drawRows(); },
    row: (record) => ({
      button: "open", what: `open ${record.row}`, pressed: record.row === model.get("selected"), title: `rollout ${count(record.row)} with its audits, below`,
      onClick: () => assign(model, "selected", record.row === model.get("selected") ? -1 : record.row),
    }),
  });
  const more = h("p", { class: "oopd-quiet" });
  function drawRows() {
    rows.draw(model.get("rows"), sort);
    more.textContent = model.get("hidden_rows") ? `${count(model.get("hidden_rows"))} more rollouts are in the run's folder.` : "";
  }
  function drawScrubber() {
    const recorded = model.get("recorded");
    const place = recorded.indexOf(model.get("step"));
    scrubber.hidden = rows.element.hidden = recorded.length === 0;
    noRollouts.hidden = recorded.length > 0;
    range.max = Math.max(0, recorded.length - 1);
    range.value = place;
    range.disabled = recorded.length < 2;
    range.setAttribute("aria-valuetext", `step ${model.get("step")}`);
    back.disabled = place <= 0;
    forth.disabled = place >= recorded.length - 1;
    where.textContent = `step ${count(model.get("step"))}: ${place + 1} of ${recorded.length} recorded`;
    newest.checked = model.get("newest");
  }
  const noRollouts = h("p", { class: "oopd-quiet" }, "No rollout has been recorded yet.");
  watch(model, ["recorded", "step", "newest"], drawScrubber, signal);
  watch(model, ["rows", "selected", "hidden_rows"], drawRows, signal);

  function moveStep(by) {
    const recorded = model.get("recorded");
    const to = recorded[recorded.indexOf(model.get("step")) + by];
    if (to !== undefined) { assign(model, "step", to); say(`rollouts of step ${count(to)}`); }
  }
  function pick(x) {
    const recorded = model.get("recorded");
    if (recorded.length) { assign(model, "step", recorded[nearest(recorded, x)]); say(`rollouts of step ${count(model.get("step"))}`); }
  }

  // ---- one prompt through training ---------------------------------------------------------------------------------
  const chooser = h("select", { "aria-label": "prompt to follow" });
  on(chooser, "change", () => assign(model, "prompt", chooser.value), { signal });
  const asked = h("p", {});
  const strips = h("div", { class: "oopd-strips" });
  const same = h("div", { class: "oopd-charts oopd-same" });
  const sameWords = h("p", { class: "oopd-quiet" });
  const stripScale = h("p", { class: "oopd-quiet" });
  const history = h("section", { "aria-label": "one prompt through training" }, h("h3", {}, "One prompt through training"), h("div", { class: "oopd-bar" }, h("label", {}, "prompt", chooser)), asked, strips, stripScale, sameWords, same);
  watch(model, ["prompts", "prompt"], () => {
    const prompts = model.get("prompts");
    history.hidden = prompts.length === 0;
    clear(chooser, prompts.map((p) => h("option", { value: p.key, selected: p.key === model.get("prompt") }, `${p.probe ? "probe: " : ""}${quoted(p.label, 70)} (${plural(p.steps, "step")})`)));
  }, signal);
  watch(model, ["forks"], () => drawForks(), signal);

  function drawForks() {
    const forks = model.get("forks");
    const found = forks.strips ?? [];
    clear(asked, found.length ? [shown(forks.question), forks.expected ? h("span", { class: "oopd-quiet" }, " expected: ") : null, forks.expected ? shown(forks.expected) : null] : []);
    const longest = Math.max(1, ...found.map((s) => s.tokens));
    const highest = Math.max(0.5, ...found.flatMap((s) => s.profile));
    redraw(strips, found.flatMap((s) => strip(s, longest, highest)));
    stripScale.textContent = found.length ? `Bars: highest entropy of each stretch of the answer, up to ${short(highest)} nats. Boxes: ${found.some((s) => s.scan) ? "tokens from which a text of the scan parts, filled as far as the trust in the student's" : "audited chunks, filled as far as the trust in them"}.` : "";
    const several = forks.same ?? [];
    sameWords.textContent = found.length === 0 ? "" : several.length === 0
      ? "No fork came up after the same words at two recorded steps."
      : `Forks that came up after the same words at several steps, those that changed most${forks.more ? ` (${count(forks.more)} more are not drawn)` : ""}:`;
    const steps = found.map((s) => s.step);
    clear(same, several.map((fork) => multiple(fork, steps)));
  }

  // Entropy along the answer as bars; below, each audited chunk as a box that is filled as far as its trust.
  function strip(s, longest, highest) {
    const width = 600 * (s.tokens / longest);
    const bars = s.profile.map((v, i) => {
      const w = width / s.profile.length;
      return `M${(i * w).toFixed(2)} 24v${(-22 * Math.max(0, v) / highest).toFixed(2)}h${(w * 0.85).toFixed(2)}V24z`;
    });
    const picture = svg("svg", { class: "oopd-history-strip", viewBox: "0 0 600 36", preserveAspectRatio: "none", role: "img", "aria-label": stripWords(s) });
    picture.append(svg("path", { class: "oopd-bars", d: bars.join("") }), svg("line", { class: "oopd-extent", x1: 0, x2: width, y1: 24.5, y2: 24.5 }));
    for (const fork of s.forks) {
      const x = width * (fork.start / Math.max(1, s.tokens));
      const w = Math.max(2.5, width * ((fork.stop - fork.start) / Math.max(1, s.tokens)));
      const filled = 9 * Math.min(1, Math.max(0, fork.trust ?? 0));
      picture.append(svg("rect", { class: "oopd-trust", x, y: 35 - filled, width: w, height: filled }), svg("rect", { class: "oopd-history-fork", "vector-effect": "non-scaling-stroke", x, y: 26, width: w, height: 9 }));
    }
    const say1 = (event) => {
      const box = picture.getBoundingClientRect();
      const token = (((event.clientX - box.left) / (box.width || 1)) * 600 * s.tokens) / (width || 1);
      const fork = s.forks.length ? s.forks.reduce((a, b) => (Math.abs(a.start - token) <= Math.abs(b.start - token) ? a : b)) : null;
      say(fork ? `step ${s.step}, ${forkWords(fork)}` : stripWords(s));
    };
    on(picture, "pointermove", say1, { signal });
    const point = () => assign(model, "pointed", { step: s.step, row: s.row, count: (model.get("pointed").count ?? 0) + 1 });
    const open = button(`step ${s.step} ${mark(s.right)}`.trim(), point, { signal, title: `open this answer: ${quoted(s.answer, 300)}` });
    open.dataset.what = `step ${s.step}`;
    on(open, "focus", () => say(stripWords(s)), { signal });
    return [open, picture];
  }

  function multiple(fork, steps) {
    const chart = lineChart({ signal, onPoint: (x) => chart.cursor(x), onPick: (x) => x !== null && pick(x) });
    const curve = (name, key) => {
      const known = fork.points.filter((p) => !missing(p[key]));
      return { name, xs: known.map((p) => p.step), ys: known.map((p) => p[key]) };
    };
    chart.draw({ title: `${fork.points[0].run ? "Run to" : "Fork at"} token ${fork.start}`, unit: "nats; shares", x: "step" }, [curve("entropy", "entropy"), curve("trust", "trust"), curve("agreement", "share")], { range: [steps[0], steps.at(-1)], least: [0, 1] });
    const chunks = h("ul", {}, fork.points.map((p) => h("li", {}, `step ${p.step}: `, shown(p.chunk), ` ${forkNumbers(p)}`)));
    const context = h("summary", {}, "after ", shown(fork.before, { class: "oopd-before" }), h("b", {}, " ▸ "), shown(fork.points.at(-1).chunk));
    chart.element.append(h("details", {}, context, chunks));
    return chart.element;
  }

  clear(
    body,
    h("div", { class: "oopd-bar" }, title, state, words, follow, h("label", {}, logBox, "logarithmic")),
    progress, spend, findings, noCurves, tools.element, grid.element, failed,
    h("h3", {}, "Recorded steps"), noRollouts, scrubber, rows.element, more, history,
  );
  beneath({ model, el, signal, views: { RolloutView: answerView, AuditPanel: textsView } });
  root.dataset.ready = "true";
}

const forkNumbers = (fork) => `entropy ${number(fork.entropy, 2)} nats, trust ${number(fork.trust, 2)}, agreement ${missing(fork.share) ? "–" : percent(fork.share)}`;
const forkWords = (fork) => `${forkName(...fork.nth, { ...fork, start: fork.begin })} ${quoted(fork.chunk)}: ${forkNumbers(fork)}`;
const stripWords = (s) => `step ${s.step}: ${plural(s.tokens, "token")}${s.cut ? ", cut off" : ""}, ${plural(s.forks.length, "audit")}, peak entropy ${short(Math.max(0, ...s.profile))} nats`;

export default { render };
