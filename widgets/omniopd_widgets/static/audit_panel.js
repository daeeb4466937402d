// The audit panel: the student's chunk beside the teacher's texts at one fork. All numbers come from Python.
import {
  assign, button, clear, count, dollars, floats, forkName, forkShort, h, heat, later, missing, number, on, percent, plain,
  plural, quoted, redraw, scope, shown, tableHead, tokensAt, watch,
} from "./_common.js";
import { choice, optionsOf } from "./_inputs.js";
import { pencilled, runWords, tokensOf } from "./_pencil.js";
import { survivalChart } from "./_survival.js";

const KEYS = [
  ["n p", "next, previous fork"], ["↑ ↓", "text"], ["1 … 9", "text of this number, as drawn"], ["s", "next similarity"], ["d", "next similarity to compare with"],
  ["o", "next order"], ["Esc", "leave"],
];
const ORDERS = [["similar", "most similar first"], ["different", "most different first"], ["frequent", "most frequent first"], ["drawn", "as drawn"]];

function render({ model, el, signal }) {
  const { body, say } = scope({
    model, el, signal, label: "audit", name: "audit", help: KEYS,
    keys: {
      n: () => toFork(1), p: () => toFork(-1), ArrowDown: () => toRow(1), ArrowUp: () => toRow(-1),
      s: () => cycle("similarity"), d: () => cycle("compare"), o: () => assign(model, "order", following(ORDERS, model.get("order"))),
      ...Object.fromEntries([1, 2, 3, 4, 5, 6, 7, 8, 9].map((k) => [k, () => pickDraw(k - 1)])),
    },
  });
  const similarity = choice(model, "similarity", "compare by", [], signal);
  const order = choice(model, "order", "order", ORDERS, signal);
  const compare = choice(model, "compare", "against", [], signal);
  const which = h("select", { "aria-label": "fork" });
  on(which, "change", () => assign(model, "fork", Number(which.value)), { signal });
  const head = h("div", { class: "oopd-facts" });
  const table = h("table", { class: "oopd-texts" });
  const next = h("section");
  const matrix = h("section");
  const survival = h("section", { class: "oopd-wide" });
  const disagreement = h("section");
  body.append(
    h("div", { class: "oopd-bar" }, h("label", {}, "fork", which), similarity, order, compare),
    head, table, h("div", { class: "oopd-sections" }, survival, next, matrix, disagreement),
  );

  watch(model, ["names"], fillChoices, signal);
  watch(model, ["forks"], fillForks, signal);
  watch(model, ["fork", "forks"], showFork, signal);
  later(model, ["similarity"], () => { showNumbers(); say(`compared by ${plain(model.get("similarity"))}`); }, signal);
  later(model, ["order", "continuation"], showTexts, signal);
  later(model, ["compare"], showDisagreement, signal);
  later(model, ["matrix_of"], showMatrix, signal);

  function fork() {
    return model.get("forks")[model.get("fork")];
  }


  function fillChoices() {
    for (const place of [similarity, compare]) clear(place.lastChild, optionsOf(model.get("names").map(([name, about]) => [name, name, about])));
  }

  function fillForks() {
    const forks = model.get("forks");
    clear(which, forks.map((f, i) => h("option", { value: i }, `${f.row === null ? "" : `answer ${f.row}, `}${forkName(...f.nth, f)} ${option(f)}`)));
  }

  function showFork() {
    const f = fork();
    which.value = String(model.get("fork"));
    for (const place of [similarity, order, compare]) place.hidden = Boolean(f?.run);
    if (!f) {
      clear(head, h("p", { class: "oopd-quiet" }, "No fork of this answer was audited."));
      for (const place of [table, next, matrix, survival, disagreement]) clear(place);
      return;
    }
    if (f.run) return showRun(f);
    showNext(f);
    survivalChart(survival, f);
    showNumbers();
    say(`${forkName(...f.nth, f)}, ${plural(f.samples, "text")}, trust ${number(trust(f, model.get("similarity")), 3)}`);
  }

  // A run of a scan: how long its texts agree with the student, and what they have in the last place.
  function showRun(f) {
    const last = f.stop - 1;
    const facts = [
      ["tokens", tokensAt(f.start, f.stop)], ["agreed", `${count(f.stop - f.start - (f.said.length > 0))} of ${count(f.stop - f.start)}`], ["texts", count(f.samples)],
      [`at token ${last}: entropy`, `${number(f.entropy, 2)} nats`], ["student's own probability", number(f.prior, 3)], ["agree", `${f.agreeing} of ${f.samples}`], ["α", number(f.concentration, 2)], ["trust", number(f.posterior_mean, 3)],
    ];
    showFacts(f, facts);
    head.prepend(h("h3", {}, `The teacher ${runWords(f)}`), h("p", { class: "oopd-run" }, pencilled(f)));
    for (const place of [next, matrix, survival, disagreement]) clear(place);
    redraw(table, tableHead([`token ${last}`, "share", "texts", ""]), h("tbody", {}, tokensOf(f).map(([piece, times, own]) => h("tr", {},
      h("th", { scope: "row" }, piece === "" ? h("span", { class: "oopd-quiet" }, "end of turn") : shown(piece)),
      h("td", {}, bar(times / f.samples)), h("td", {}, `${times} of ${f.samples}`), h("td", { class: "oopd-quiet" }, own ? "← the student's" : "")))));
    say(`${forkName(...f.nth, f)}: ${runWords(f)}`);
  }

  function showNumbers() {
    if (!fork() || fork().run) return;
    showHead(fork());
    showTexts();
    showMatrix();
    showDisagreement();
  }

  function showHead(f) {
    const name = model.get("similarity");
    const k = softCount(f, name);
    const facts = [
      ["tokens", tokensAt(f.start, f.stop)], ["entropy", `${number(f.entropy, 2)} nats`],
      ["agreement", `${number(k / f.samples, 2)} (sum of ${f.samples})`, `k = ${number(k, 2)}`], ["own confidence", number(f.prior, 3), "the student's own, π̄: the geometric mean of its probabilities"],
      ["α", number(f.concentration, 2), "how many texts the student's own confidence counts as"], ["trust", number(trust(f, name), 3), "π̂ = (k + α π̄) / (N + α)"],
    ];
    if (name !== "recorded") facts.push(["recorded trust", number(f.posterior_mean, 3)]);
    showFacts(f, facts);
  }

  function showFacts(f, facts) {
    const loose = f.handover === "instruction" ? "was asked in a sentence to go on, so the estimate means something else" : "read the prefix as a text, in other tokens than the student wrote";
    const light = f.exact ? ["exact", "✓ Teacher continued the student's exact text"] : ["loose", `≈ not exact: the teacher ${loose}`];
    const spent = [f.served_model || null, f.input_tokens || f.output_tokens ? `${count(f.input_tokens)} + ${count(f.output_tokens)} tokens` : null, f.cost_usd ? dollars(f.cost_usd) : null, f.cached ? "from the cache" : null].filter(Boolean);
    clear(head,
      h("dl", { class: "oopd-numbers" }, facts.map(([label, value, title]) => h("div", { title }, h("dt", {}, label), h("dd", {}, value)))),
      h("p", { class: `oopd-handover oopd-${light[0]}` }, light[1], " · handover ", shown(f.handover || "not recorded"), spent.length ? [" · ", shown(spent.join(" · "))] : null),
      f.problem ? h("p", { class: "oopd-problem" }, shown(f.problem)) : null);
  }

  function sorted(f) {
    const values = f.similarities[model.get("similarity")] ?? [];
    const groups = f.groups.map((g, i) => ({ ...g, i, value: values[g.draws[0]] ?? null }));
    const by = { similar: (a, b) => less(b.value, a.value), different: (a, b) => less(a.value, b.value), frequent: (a, b) => b.draws.length - a.draws.length, drawn: () => 0 };
    return groups.sort((a, b) => by[model.get("order")](a, b) || a.draws[0] - b.draws[0]);
  }

  function showTexts() {
    const f = fork();
    for (const place of [similarity, compare, order]) place.lastChild.value = model.get(place.lastChild.name);
    if (!f || f.run) return;
    const rows = sorted(f).map(row);
    redraw(table,
      tableHead(["texts", "alike", "what follows the prefix"]),
      h("tbody", {},
        h("tr", { class: "oopd-student" }, h("th", { scope: "row" }, "student"), h("td", {}, ""), h("td", {}, shown(f.chunk), f.chunk === "" ? ending() : null)), rows));
  }

  function row(group) {
    const here = group.draws.includes(model.get("continuation"));
    const parts = group.parts.map(([kind, text]) => (kind === "gone" ? gone(text) : shown(text, { class: kind === "other" ? "oopd-differs" : "" }, kind === "other" ? "em" : "span")));
    const text = h("div", { class: "oopd-text" }, parts.length ? parts : ending());
    // Texts keep the numbers they were drawn with, here, in the matrix and in the rollout's own list.
    const numbers = group.draws.map((d) => d + 1);
    const name = `text ${numbers.join(", ")}`;
    const go = button(`${numbers.slice(0, 3).join(", ")}${numbers.length > 1 ? ` ×${numbers.length}` : ""}`, () => assign(model, "continuation", here ? -1 : group.draws[0]), { signal, title: name });
    go.setAttribute("aria-pressed", String(here));
    go.dataset.what = name;
    return h("tr", { class: here ? "oopd-here" : "" }, h("th", { scope: "row" }, go), h("td", {}, bar(group.value)), h("td", {}, text));
  }

  function showNext(f) {
    const total = f.next.reduce((sum, [, n]) => sum + n, 0);
    clear(next, h("h3", {}, "The teacher's next token"),
      total ? h("table", {}, h("tbody", {}, f.next.slice(0, 12).map(([piece, n]) => h("tr", {},
        h("th", { scope: "row" }, piece === "" ? h("span", { class: "oopd-quiet" }, "end of turn") : shown(piece), piece === f.own ? h("span", { class: "oopd-quiet" }, " ← student") : null),
        h("td", {}, bar(n / total)), h("td", {}, `${n} of ${total}`))))) : h("p", { class: "oopd-quiet" }, "no text is known as tokens"),
      f.next.length > 12 ? h("p", { class: "oopd-quiet" }, `and ${plural(f.next.length - 12, "other")}`) : null,
      f.own_probability === null ? null : h("p", { class: "oopd-quiet" }, `The student gave its own token ${percent(f.own_probability, 1)}${f.next.some(([piece]) => piece === f.own) ? "" : ", and no text begins with it"}.`));
  }

  function showMatrix() {
    const f = fork();
    if (!f || f.run) return;
    const n = f.samples;
    const ready = model.get("matrix_of") === `${model.get("fork")}/${model.get("similarity")}`;
    const values = ready ? floats(model.get("matrix")) : [];
    const pairs = [...values].filter((v, i) => Math.floor(i / n) < i % n && !Number.isNaN(v));
    const mean = pairs.length ? pairs.reduce((a, b) => a + b, 0) / pairs.length : NaN;
    const own = mean_(f.similarities[model.get("similarity")]);
    const grid = h("table", { class: "oopd-matrix", "aria-label": "similarity of each text with each" });
    const most = Math.min(n, 40);
    if (ready && n > 1) {
      grid.append(h("tr", {}, h("td"), Array.from({ length: most }, (_, j) => h("th", { scope: "col" }, j + 1))));
      for (let i = 0; i < most; i++)
        grid.append(h("tr", {}, h("th", { scope: "row" }, i + 1), Array.from({ length: most }, (_, j) => {
          const v = values[i * n + j];
          return h("td", { class: `oopd-h${Math.max(0, heat(v, 0, 1.0001))}`, title: `text ${i + 1} with ${j + 1}: ${number(v, 3)}` }, most <= 12 ? (v === 1 ? "1" : number(v, 1).replace(/^0/, "")) : h("span", { class: "oopd-sr" }, number(v, 2)));
        })));
    }
    const which = model.get("similarity") === "recorded" ? " (by characters: the recorded similarity may be a model's, which no view loads)" : "";
    clear(matrix, h("h3", {}, "The teacher with itself"),
      n < 2 ? h("p", { class: "oopd-quiet" }, "one text has nothing to agree with") : ready ? h("div", { class: "oopd-matrix-frame" }, grid) : h("p", { class: "oopd-quiet" }, "waiting for Python…"),
      n > 40 ? h("p", { class: "oopd-quiet" }, `the first 40 of ${n} texts`) : null,
      ready && n > 1 ? h("p", {}, `Its texts agree with each other by ${number(mean, 2)}${which}, with the student by ${number(own, 2)}. ${judged(mean, own)}`) : null);
  }

  function showDisagreement() {
    if (fork()?.run) return;
    const [a, b] = [model.get("similarity"), model.get("compare")];
    compare.lastChild.value = b;
    const rows = model.get("forks").flatMap((f, i) => (f.run ? [] : [{ i, f, a: trust(f, a), b: trust(f, b) }]))
      .filter((r) => !missing(r.a) && !missing(r.b)).sort((x, y) => Math.abs(y.a - y.b) - Math.abs(x.a - x.b));
    redraw(disagreement, h("h3", {}, "Where two similarities disagree most"),
      a === b ? h("p", { class: "oopd-quiet" }, "choose another one under “against”")
        : h("ol", { class: "oopd-disagreement" }, rows.slice(0, 12).map((r) => {
          const go = button([`${forkShort(...r.f.nth, r.f)} ${quoted(r.f.chunk.trimStart(), 14)} `, h("span", { class: "oopd-quiet" }, `trust ${number(r.a, 2)} / ${number(r.b, 2)} · apart ${number(Math.abs(r.a - r.b), 2)}`)], () => assign(model, "fork", r.i), { signal, title: forkName(...r.f.nth, r.f) });
          go.dataset.what = `fork ${r.i}`;
          if (r.i === model.get("fork")) go.setAttribute("aria-current", "true");
          return h("li", {}, go);
        })),
      a === b ? null : h("p", { class: "oopd-quiet" }, `trust by ${plain(a)} / by ${plain(b)}`));
  }

  // ---- what the user does ----
  function toFork(way) {
    const target = model.get("fork") + way;
    if (target < 0 || target >= model.get("forks").length) return say(`no ${way > 0 ? "later" : "earlier"} fork`);
    model.set("continuation", -1);
    assign(model, "fork", target);
  }

  function toRow(way) {
    if (!fork()?.groups) return;
    const rows = sorted(fork());
    const here = rows.findIndex((g) => g.draws.includes(model.get("continuation")));
    pickRow(here < 0 ? (way > 0 ? 0 : rows.length - 1) : (here + way + rows.length) % rows.length);
  }

  function pickRow(r) {
    pickDraw(sorted(fork())[r]?.draws[0]);
  }

  function pickDraw(draw) {
    const group = fork()?.groups && sorted(fork()).find((g) => g.draws.includes(draw));
    if (!group) return say("no such text");
    assign(model, "continuation", draw);
    // The student's row stays at the top, before what is scrolled.
    table.style.scrollPaddingTop = `${table.querySelector(".oopd-student").offsetHeight}px`;
    table.querySelector(".oopd-here")?.scrollIntoView({ block: "nearest" });
    say(`${plural(group.draws.length, "text")}, similarity ${number(group.value, 3)}: ${quoted(group.parts.filter(([kind]) => kind !== "gone").map(([, text]) => text).join(""), 160)}`);
  }

  function cycle(trait) {
    assign(model, trait, following(model.get("names"), model.get(trait)));
  }
}

const option = (f) => (f.run ? runWords(f) : quoted(f.chunk.trimStart(), 16));
const following = (options, value) => options[(options.findIndex(([v]) => v === value) + 1) % options.length][0];
const less = (a, b) => (a ?? -1) - (b ?? -1);
const mean_ = (values) => {
  const known = (values ?? []).filter((v) => !missing(v));
  return known.length ? known.reduce((a, b) => a + b, 0) / known.length : NaN;
};

function softCount(f, name) {
  const values = f.similarities[name] ?? [];
  return values.some(missing) ? NaN : values.reduce((a, b) => a + b, 0);
}

function trust(f, name) {
  if (name === "recorded") return f.posterior_mean;
  const total = f.samples + f.concentration;
  return total > 0 ? (softCount(f, name) + f.concentration * f.prior) / total : NaN;
}

function judged(mean, own) {
  if (missing(mean) || missing(own)) return "";
  if (own >= mean - 0.1) return "The student differs from it no more than it does from itself.";
  return mean < 0.5 ? "It has no settled way to go on here, and the student goes yet another." : "It knows how to go on, and the student goes another way.";
}

// A bar from 0 to 1 with its number.
function bar(value) {
  const full = h("span", { class: "oopd-bar-full" });
  full.style.width = `${missing(value) ? 0 : Math.round(100 * value)}%`;
  return h("span", { class: "oopd-bar-row" }, h("span", { class: "oopd-bar-track", "aria-hidden": "true" }, full), h("span", {}, missing(value) ? "–" : number(value, 2)));
}

// What the chunk has and the text lacks: shown by the style sheet, so that copying the text gives the text.
function gone(text) {
  const start = quoted(text, 24).slice(1, -1);
  return h("span", { class: "oopd-gone", "data-gone": start, title: `the student has here: ${text.slice(0, 400)}` });
}

const ending = () => h("span", { class: "oopd-ending", "data-sign": "nothing: the turn ends here" });

export default { render };
