// Two students on one prompt: their answers side by side, and how each of them reads what either wrote. A token that
// one of them likes better, or is less sure at, is told by its colour and its underline.

import {
  assign, button, clear, count, floats, h, later, missing, number, on, percent, plain, plural, quoted, redraw, scope, shown,
  signed, tableHead, throttle, watch,
} from "./_common.js";
import { sortedTable } from "./_grid.js";
import { choice, numberBox } from "./_inputs.js";
import { tellVerdict } from "./_pencil.js";
import { makeStrip } from "./_strip.js";

const PAIR_SIDES = ["left", "right"];
const PAIR_KEYS = [
  ["n p", "the next token that moved, or the one before"], ["] [", "the next fork that vanished or appeared, the one before"],
  ["← →", "token"], ["s", "the other answer"], ["m", "colour by probability or by entropy"], ["a", "have both answer"],
];
const PAIR_METRICS = [["probability", "probability"], ["entropy", "entropy"]];
const PAIR_COLUMNS = [
  { key: "text", label: "token", show: (value) => quoted(value, 30) },
  { key: "token", label: "at", number: true },
  { key: "of", label: "answer", show: (value) => value },
  { key: "before", label: "left", number: true, show: (value) => chance(value), title: "its probability for the left student" },
  { key: "after", label: "right", number: true, show: (value) => chance(value), title: "its probability for the right student" },
  { key: "moved", label: "log-probability", number: true, show: (value) => nats(value), title: "right minus left, nats" },
  { key: "unsure", label: "entropy", number: true, show: (value) => nats(value), title: "right minus left, nats" },
  { key: "fork", label: "fork", show: (value) => value || "–" },
];
const PAIR_ROWS = 40;
const LEVELS = [1, 2, 4, Infinity]; // of |nats| over `least`: four tints
const SIGN = { kept: "◆", vanished: "−◆", appeared: "+◆" };

const chance = (logprob) => (missing(logprob) ? "–" : logprob < Math.log(0.0005) ? "< 0.1 %" : percent(Math.exp(logprob), Math.exp(logprob) < 0.1 ? 1 : 0));
const nats = (value) => (missing(value) ? "–" : signed(value).replace(/(\.\d\d)\d$/, "$1"));

function render({ model, el, signal }) {
  const frozen = Boolean(model.get("frozen"));
  let sides = []; // of each answer: pieces, before and after (log-probabilities), unsure (entropies of both), fork by token
  let sort = { key: "moved", down: true };
  let drawn = [0, -1]; // the token that bears the mark

  const press = (action) => {
    model.set("pressed", { action, count: model.get("pressed").count + 1 });
    model.save_changes();
  };
  const { body, say, help } = scope({
    model, el, signal, name: "pair", help: PAIR_KEYS, label: "two students on one prompt",
    keys: {
      n: () => go(1, moves), p: () => go(-1, moves), "]": () => go(1, turns), "[": () => go(-1, turns),
      ArrowRight: () => go(1, () => true), ArrowLeft: () => go(-1, () => true),
      s: cross,
      m: () => assign(model, "metric", model.get("metric") === "entropy" ? "probability" : "entropy"),
      a: () => !frozen && press("answer"),
    },
  });

  // ---- the question
  const list = h("select", { "aria-label": "problem", class: "oopd-pair-problems" });
  const own = h("input", { type: "text", placeholder: "or a prompt of your own", "aria-label": "a prompt of your own", class: "oopd-pair-own", autocomplete: "off", spellcheck: "false" });
  on(list, "change", () => assign(model, "problem_index", list.selectedIndex), { signal });
  on(own, "change", () => assign(model, "own_text", own.value), { signal });
  const refused = h("span", { class: "oopd-pair-refused", role: "alert" });
  const box = (trait, label, title, max, step) => {
    const write = (value) => { refused.textContent = ""; assign(model, trait, step === 1 ? Math.round(value) : value); };
    const input = numberBox({ min: 0, max, step, title, label, read: () => model.get(trait), write, refused: (said) => (refused.textContent = plain(said)), signal });
    watch(model, [trait], () => (input.value = String(model.get(trait))), signal);
    return h("label", { title }, label, input);
  };
  const answer = button("Answer both", () => press("answer"), { signal, title: "both answer this prompt with the same draws (a)" });
  const cancel = button("✕ cancel", () => press("cancel"), { signal, title: "end what is going on; what is shown stays" });
  const working = h("span", { class: "oopd-pair-busy", role: "status" });
  const stale = h("p", { class: "oopd-pair-stale", role: "status" });
  const question = h("p", { class: "oopd-pair-question" });
  const controls = h("div", { class: "oopd-bar" }, list, own, box("seed", "seed", "which answers: the same seed draws them again", 1e9, 1),
    box("temperature", "temperature", "T of the draws", 2, 0.1), answer, cancel, working, refused);
  controls.hidden = frozen;

  // ---- the answers
  const parting = h("p", { class: "oopd-pair-parting" });
  const metric = choice(model, "metric", "colour by", PAIR_METRICS, signal);
  const legend = h("span", { class: "oopd-pair-legend" });
  const places = PAIR_SIDES.map((side, at) => {
    const strip = makeStrip({
      signal, classOf: (i) => classOf(at, i), numberOf: () => null, teacherOf: () => ({}), finish: () => model.get("answers")[at]?.finish,
      chosen: () => (model.get("side") === side ? model.get("selected") : -1),
    });
    const name = h("h3", {});
    const verdict = h("p", { class: "oopd-verdict" });
    const counts = h("p", { class: "oopd-quiet oopd-pair-counts" });
    const pointed = (event) => strip.tokenOf(event.target);
    on(strip.element, "click", (event) => pointed(event) >= 0 && document.getSelection().isCollapsed && choose(side, pointed(event)), { signal });
    on(strip.element, "pointerover", (event) => pointed(event) >= 0 && say(sentence(at, pointed(event))), { signal });
    watch(model, [side], () => clear(name, h("span", { class: "oopd-pair-side" }, side), " ", shown(model.get(side))), signal);
    return { strip, verdict, counts, element: h("section", { "aria-label": `the ${side} answer` }, name, verdict, counts, strip.element) };
  });
  const token = h("div", { class: "oopd-pair-token" });
  const rows = sortedTable({
    columns: PAIR_COLUMNS, label: "tokens that moved", signal,
    onSort: (key) => { sort = { key, down: sort.key === key ? !sort.down : true }; drawRows(); },
    row: (record) => ({
      button: "show", what: `${record.side} ${record.token}`, pressed: record.side === model.get("side") && record.token === model.get("selected"),
      onClick: () => choose(record.side, record.token), title: "in its answer, above",
    }),
  });
  const none = h("span", { class: "oopd-quiet oopd-pair-counted" });
  const answers = h("div", {}, question, parting, h("div", { class: "oopd-bar" }, metric, legend),
    h("div", { class: "oopd-pair-sides" }, places.map(({ element }) => element)),
    h("div", { class: "oopd-pair-below" }, token, h("div", {}, h("h3", {}, "Tokens that moved ", none), rows.element)));
  body.append(controls, stale, answers);
  help.append(h("p", { class: "oopd-quiet" }, "A fork: a student hesitates, by 0.5 nats of entropy or more. It has vanished where the right one has less than half of that, and appeared where the left one has."));

  // ---- from the model to the page
  watch(model, ["problems", "problem_index"], () => {
    if (list.length !== model.get("problems").length) list.replaceChildren(...model.get("problems").map((text, i) => h("option", {}, plain(`${i + 1}  ${text.slice(0, 90)}`))));
    list.selectedIndex = model.get("problem_index");
  }, signal);
  watch(model, ["own_text"], () => document.activeElement !== own && (own.value = model.get("own_text")), signal);
  watch(model, ["busy", "answers"], () => {
    const busy = model.get("busy");
    working.textContent = plain(busy);
    cancel.hidden = busy === "";
    answer.disabled = busy !== "";
    answers.hidden = model.get("answers").length === 0;
  }, signal);
  watch(model, ["stale"], () => { stale.textContent = plain(model.get("stale")); stale.hidden = model.get("stale") === ""; }, signal);
  watch(model, ["asked"], () => clear(question, shown(model.get("asked"))), signal);
  watch(model, ["answers", "numbers"], throttle(load, 20, signal), signal);
  later(model, ["metric", "least"], () => { sides.forEach((_, at) => places[at].strip.repaint()); tellLegend(); drawRows(); }, signal);
  watch(model, ["selected", "side"], throttle(showToken, 20, signal), signal);

  function load() {
    const numbers = floats(model.get("numbers"));
    const given = model.get("answers");
    if (numbers.length !== 4 * given.reduce((n, one) => n + one.pieces.length, 0)) return; // the other half is on its way
    let from = 0;
    sides = given.map((one) => {
      const take = () => numbers.subarray(from, (from += one.pieces.length));
      const [before, after, first, second] = [take(), take(), take(), take()];
      const forks = new Map(["kept", "vanished", "appeared"].flatMap((kind) => one[kind].map((i) => [i, kind])));
      return { pieces: one.pieces, before, after, first, second, forks };
    });
    sides.forEach((side, at) => {
      places[at].strip.load(side.pieces, model.get("side") === PAIR_SIDES[at] ? model.get("selected") : 0);
      tellVerdict(places[at].verdict, given[at].right, given[at].expected);
      const of = (kind) => [...side.forks.values()].filter((one) => one === kind).length;
      const moved = side.pieces.filter((_, i) => moves(at, i)).length;
      places[at].counts.textContent = side.before.every(Number.isNaN) || side.after.every(Number.isNaN) ? `${plural(side.pieces.length, "token")}, read by one student only`
        : `${plural(side.pieces.length, "token")}, ${count(moved)} moved · forks: ${of("vanished")} vanished, ${of("appeared")} appeared, ${of("kept")} kept`;
    });
    const at = model.get("parted");
    const piece = (n) => (at < sides[n].pieces.length ? quoted(sides[n].pieces[at] || "■", 30) : "nothing more");
    if (sides.length) parting.textContent = at < 0 ? "Both write the same answer." : at === 0 ? `They part at the first token: ${piece(0)} beside ${piece(1)}.` : `The same ${plural(at, "token")}, then ${piece(0)} beside ${piece(1)}.`;
    tellLegend();
    drawRows();
    showToken();
  }

  function values(at, i, by = model.get("metric")) {
    return by === "entropy" ? sides[at].second[i] - sides[at].first[i] : sides[at].after[i] - sides[at].before[i];
  }

  function moves(at, i) {
    return Math.abs(values(at, i)) >= model.get("least");
  }

  function turns(at, i) {
    return ["vanished", "appeared"].includes(sides[at].forks.get(i));
  }

  function classOf(at, i) {
    const value = values(at, i);
    let classes = "oopd-t";
    if (moves(at, i)) classes += ` oopd-moved oopd-${value > 0 ? "more" : "less"}${1 + LEVELS.findIndex((end) => Math.abs(value) / Math.max(model.get("least"), 1e-9) <= 2 * end)}`;
    const fork = sides[at].forks.get(i);
    if (fork) classes += ` oopd-pair-fork oopd-pair-${fork}`;
    if (i === model.get("parted")) classes += " oopd-pair-part";
    if (model.get("side") === PAIR_SIDES[at] && model.get("selected") === i) classes += " oopd-on oopd-on-first oopd-on-last";
    return classes;
  }

  function tellLegend() {
    const what = model.get("metric") === "entropy" ? ["the right one is surer", "is less sure"] : ["the right one finds it less likely", "more likely"];
    clear(legend, h("span", { class: "oopd-t oopd-moved oopd-less3" }, what[0]), h("span", { class: "oopd-t oopd-moved oopd-more3" }, what[1]),
      h("span", {}, `by ${number(model.get("least"), 2)} nats or more`), h("span", {}, `fork: ${SIGN.vanished} vanished ${SIGN.appeared} appeared ${SIGN.kept} kept · ┃ they part`));
  }

  // What moved, in both answers; of what they share only once.
  function drawRows() {
    const from = model.get("parted") < 0 ? Infinity : model.get("parted");
    const found = sides.flatMap((side, at) => side.pieces.map((text, i) => ({
      side: PAIR_SIDES[at], of: i < from ? "both" : PAIR_SIDES[at], token: i, text: text || "■", before: side.before[i], after: side.after[i],
      moved: values(at, i, "probability"), unsure: values(at, i, "entropy"), fork: side.forks.get(i) ?? "",
    })).filter((row) => (at === 0 || row.token >= from) && moves(at, row.token)));
    const size = (row) => (typeof row[sort.key] === "number" && ["moved", "unsure"].includes(sort.key) ? Math.abs(row[sort.key]) : row[sort.key]);
    const order = [...found].sort((a, b) => (size(a) < size(b) ? -1 : size(a) > size(b) ? 1 : 0) * (sort.down ? -1 : 1));
    rows.draw(order.slice(0, PAIR_ROWS), null);
    rows.sign(sort);
    rows.element.hidden = found.length === 0;
    none.textContent = found.length === 0 ? ": none by as much" : found.length > PAIR_ROWS ? `${count(found.length)}, of which ${PAIR_ROWS} are listed` : plural(found.length, "token");
  }

  function showToken() {
    const [at, i] = [PAIR_SIDES.indexOf(model.get("side")), model.get("selected")];
    if (sides[drawn[0]]) places[drawn[0]].strip.refresh(drawn[1]);
    drawn = [at, i];
    const side = sides[at];
    token.hidden = !side || i < 0 || i >= side.pieces.length;
    if (token.hidden) return;
    places[at].strip.refresh(i);
    places[at].strip.reveal();
    say(sentence(at, i));
    const line = (name, who, logprob, entropy) => h("tr", {}, h("th", { scope: "row" }, name, " ", who ? shown(who) : null),
      [chance(logprob), number(logprob, 2).replace("-", "−"), number(entropy, 2)].map((text) => h("td", { class: "oopd-number" }, text)));
    const moved = h("tr", {}, h("th", { scope: "row" }, "moved"), [`× ${missing(values(at, i, "probability")) ? "–" : Number(Math.exp(values(at, i, "probability")).toPrecision(2))}`, nats(values(at, i, "probability")), nats(values(at, i, "entropy"))].map((text) => h("td", { class: "oopd-number" }, text)));
    redraw(token, h("table", {}, h("caption", {}, `Token ${count(i)} of the ${PAIR_SIDES[at]} answer, ${quoted(side.pieces[i] || "■", 30)}${turnOf(at, i)}`),
      tableHead(["", "probability", "log-probability", "entropy, nats"]),
      h("tbody", {}, line("left", model.get("left"), side.before[i], side.first[i]), line("right", model.get("right"), side.after[i], side.second[i]), moved)));
    drawRows();
  }

  function turnOf(at, i) {
    return { kept: " · a fork for both", vanished: " · a fork that vanished", appeared: " · a fork that appeared" }[sides[at].forks.get(i)] ?? "";
  }

  function sentence(at, i) {
    const side = sides[at];
    return `token ${count(i)} of the ${PAIR_SIDES[at]} answer, ${quoted(side.pieces[i] || "■")}: probability ${chance(side.before[i])} for the left student, ${chance(side.after[i])} for the right one; entropy ${number(side.first[i], 2)}, ${number(side.second[i], 2)}${turnOf(at, i)}`;
  }

  // ---- what the user does
  function choose(side, i) {
    if (i < 0) return;
    model.set("side", side);
    model.set("selected", i);
    model.save_changes();
  }

  function cross() {
    const at = 1 - PAIR_SIDES.indexOf(model.get("side"));
    if (sides[at]) choose(PAIR_SIDES[at], Math.min(model.get("selected"), sides[at].pieces.length - 1));
  }

  function go(way, wanted) {
    const at = PAIR_SIDES.indexOf(model.get("side"));
    if (!sides[at]) return;
    let i = model.get("selected") + way;
    while (i >= 0 && i < sides[at].pieces.length && !wanted(at, i)) i += way;
    if (i >= 0 && i < sides[at].pieces.length) choose(PAIR_SIDES[at], i);
    else say(`no ${way > 0 ? "later" : "earlier"} one in this answer`);
  }
}

export default { render };
