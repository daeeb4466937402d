// The rollout view: an answer token by token. Colours say one metric; forks, chunks and anchors are told by form.
import {
  assign, button, clear, count, flags, floats, h, heat, later, missing, number, on, percent, plural,
  quoted, redraw, scope, shown, throttle, restored, watch,
} from "./_common.js";
import { copyText } from "./_copy.js";
import { choice } from "./_inputs.js";
import { forkButtons, forkDetail } from "./_fork_list.js";
import { keepInSight } from "./_in_sight.js";
import { legendOf, METRICS, metricValues, ofUnits, said, upperEnd } from "./_metrics.js";
import { makeMinimap } from "./_minimap.js";
import { ghostOf, parts, pencilAt, pencilSummary, pencilWords, placeOf, tellVerdict } from "./_pencil.js";
import { makeSearch } from "./_search.js";
import { makeStrip, unitsOf } from "./_strip.js";

const KEYS = [
  ["← →", "token (or word, sentence, line)"], ["↑ ↓", "line"], ["n p", "next, previous fork or difference"],
  ["] [", "next, previous audited chunk"], ["Enter", "ask the teacher here, where one is connected"], ["1 … 9", "continuation"], ["0", "no continuation"],
  ["/", "search"], ["m", "next metric"], ["g", "next granularity"], ["c", "copy the prefix before the token"],
  ["Home End", "first, last token"], ["Esc", "close, then leave"],
];
const GRANULARITIES = ["token", "word", "sentence", "line"];

function render({ model, el, signal }) {
  // Everything below is derived from the model's traits; nothing is kept that a second view of the model would lack.
  let data = {}; // the record: pieces and arrays
  let units, values, grouped, levels, high; // what the metric and the granularity make of it
  let chunkOf = new Int32Array(0); // the fork whose chunk holds a token, −1 for none
  let startOf = new Map(); // the fork that starts at a token
  let drawn = { from: -1, to: -1 };

  const { root, body, help, say } = scope({
    model, el, signal, label: "rollout", name: "rollout", help: KEYS,
    keys: {
      ArrowRight: () => step(1), ArrowLeft: () => step(-1), ArrowDown: () => stepLine(1), ArrowUp: () => stepLine(-1),
      n: () => toFork(1, parts), p: () => toFork(-1, parts),
      "]": () => toFork(1, answered), "[": () => toFork(-1, answered),
      Home: () => select(0), End: () => select(data.length - 1),
      Enter: open, "/": () => search.field.focus(), m: () => cycle("metric", Object.keys(METRICS)), g: () => cycle("granularity", GRANULARITIES),
      c: copyPrefix, Escape: leave, 0: () => assign(model, "continuation", -1),
      ...Object.fromEntries([1, 2, 3, 4, 5, 6, 7, 8, 9].map((k) => [k, () => pick(k - 1)])),
    },
  });
  const strip = makeStrip({ signal, classOf, numberOf: (i) => (startOf.has(i) ? startOf.get(i) + 1 : null), teacherOf, finish: () => model.get("finish"), chosen: () => model.get("selected") });
  const minimap = makeMinimap({
    signal, jump: select,
    data: () => ({ length: data.length, levels, forks: data.forks, selected: model.get("selected"), window: strip.window() }),
  });
  const metric = choice(model, "metric", "colour", Object.entries(METRICS).map(([name, m]) => [name, m.label]), signal);
  const granularity = choice(model, "granularity", "by", GRANULARITIES.map((g) => [g, g]), signal);
  const scale = choice(model, "scale", "scale", [["percentile", "of this answer"], ["fixed", "fixed"]], signal);
  const legend = h("span", { class: "oopd-legend" });
  const search = makeSearch({
    signal, say, go: select, pieces: () => data.pieces, selected: () => model.get("selected"), mark: (tokens) => tokens.forEach(strip.refresh),
  });
  const prompt = h("details", { class: "oopd-prompt" });
  const verdict = h("p", { class: "oopd-verdict", role: "status" });
  const pencil = h("p", { class: "oopd-pencil" });
  const list = h("ol", { class: "oopd-forks", "aria-label": "forks" });
  const inList = keepInSight(list, () => list.children[model.get("fork")], () => [2, 2], signal);
  const detail = h("div", { class: "oopd-fork-detail" });
  const tip = h("div", { class: "oopd-tip", role: "tooltip", hidden: true });
  const marks = h("p", { class: "oopd-marks oopd-quiet" },
    h("span", { class: "oopd-t oopd-fork", "data-fork": "1" }, "fork"), " ", h("span", { class: "oopd-t oopd-chunk oopd-first oopd-last" }, "audited chunk"), " ",
    h("span", { class: "oopd-t oopd-anchored" }, "held near the start"), " ", h("span", { class: "oopd-t oopd-negative" }, "pushed down"));
  body.append(
    h("div", { class: "oopd-bar" }, metric, granularity, scale, legend, h("label", {}, search.field), search.told,
      button("copy prefix", copyPrefix, { signal, title: "the text before the selected token (c)" })),
    prompt, verdict, pencil, minimap.element, strip.element, list, detail, tip,
  );
  help.append(marks);

  // ---- from the model to the page ----
  watch(model, ["height"], () => (strip.element.style.maxHeight = `${Math.max(60, model.get("height"))}px`), signal);
  watch(model, ["pieces"], load, signal);
  later(model, ["forks", "entropy", "logprob", "kl", "anchored", "anchor_weight"], throttle(refreshForks, 30, signal), signal);
  later(model, ["metric", "granularity", "scale"], recolour, signal);
  watch(model, ["selected"], showSelected, signal);
  watch(model, ["fork", "continuation", "forks"], showFork, signal);
  watch(model, ["fork"], inList.reveal, signal);
  watch(model, ["prompt"], showPrompt, signal);
  watch(model, ["right", "expected"], () => tellVerdict(verdict, model.get("right"), model.get("expected")), signal);

  function load() {
    read();
    derive();
    strip.load(data.pieces, model.get("selected"));
    listForks();
    minimap.draw();
  }

  function read() {
    const pieces = model.get("pieces");
    data = {
      pieces, length: pieces.length, forks: model.get("forks"), anchorWeight: model.get("anchor_weight"),
      entropy: padded(floats(model.get("entropy")), pieces.length), logprob: padded(floats(model.get("logprob")), pieces.length),
      kl: floats(model.get("kl")), anchored: flags(model.get("anchored")),
    };
    chunkOf = new Int32Array(data.length).fill(-1);
    startOf = new Map();
    data.forks.forEach((fork, k) => {
      if (!fork.run) startOf.set(fork.start, k);
      if (answered(fork)) chunkOf.fill(k, fork.start, fork.stop);
    });
  }

  function derive() {
    const name = model.get("metric");
    units = unitsOf(data.pieces, model.get("granularity"));
    values = metricValues(name, data);
    grouped = ofUnits(values, units, METRICS[name].reduce);
    high = upperEnd(name, grouped, model.get("scale"));
    levels = new Int8Array(data.length);
    for (let i = 0; i < data.length; i++) {
      const size = Math.abs(grouped[i]);
      levels[i] = size >= METRICS[name].floor ? heat(size, 0, high) : Number.isNaN(size) ? -1 : 0;
    }
    clear(legend, legendOf(name, grouped, high, model.get("scale")));
    for (const select of [metric, granularity, scale]) select.lastChild.value = model.get(select.lastChild.name);
  }

  function recolour() {
    derive();
    strip.repaint();
    minimap.draw();
    mark();
    say(`coloured by ${METRICS[model.get("metric")].label}, by ${model.get("granularity")}`);
  }

  function refreshForks() {
    read();
    derive();
    strip.repaint();
    listForks();
    showFork();
    minimap.draw();
    if (model.get("selected") >= 0) say(sentence(model.get("selected"))); // it may have been said before all had come
  }

  function classOf(i) {
    let classes = levels[i] > 0 ? `oopd-t oopd-h${levels[i]}` : "oopd-t";
    if (startOf.has(i)) classes += " oopd-fork";
    const chunk = chunkOf[i];
    if (chunk >= 0 && data.forks[chunk].run) classes += ` ${pencilAt(data.forks[chunk], i).kind}`;
    else if (chunk >= 0) {
      classes += " oopd-chunk";
      if (data.forks[chunk].start === i) classes += " oopd-first";
      if (data.forks[chunk].stop === i + 1) classes += " oopd-last";
    }
    if (data.anchored[i]) classes += " oopd-anchored";
    if (grouped[i] < 0) classes += " oopd-negative";
    if (search.has(i)) classes += " oopd-found";
    if (i >= drawn.from && i < drawn.to) classes += ` oopd-on${i === drawn.from ? " oopd-on-first" : ""}${i === drawn.to - 1 ? " oopd-on-last" : ""}`;
    return classes;
  }

  // What the teacher would have written at a token, where a scan says so; behind a chunk what most texts have in its place.
  function teacherOf(i) {
    const fork = data.forks[chunkOf[i]];
    if (fork?.run) return i === placeOf(fork) ? pencilAt(fork, i) : {};
    return fork && i === fork.stop - 1 ? ghostOf(fork) : {};
  }

  function mark() {
    const i = model.get("selected");
    const old = drawn;
    drawn = i >= 0 && i < data.length ? { from: units.starts[units.unit[i]], to: units.starts[units.unit[i] + 1] } : { from: -1, to: -1 };
    for (let j = old.from; j >= 0 && j < old.to; j++) strip.refresh(j);
    for (let j = drawn.from; j >= 0 && j < drawn.to; j++) strip.refresh(j);
  }

  function showSelected() {
    const i = model.get("selected");
    mark();
    if (i >= 0 && i < data.length) {
      strip.reveal();
      say(sentence(i));
    }
    minimap.draw();
  }

  function showPrompt() {
    const messages = model.get("prompt");
    prompt.hidden = messages.length === 0;
    clear(prompt, h("summary", {}, "Prompt"), messages.map((m) => h("p", {}, h("strong", {}, shown(m.role)), " ", shown(m.content))));
  }

  function listForks() {
    list.hidden = data.forks.length === 0;
    pencilSummary(pencil, data.forks, data.length);
    redraw(list, forkButtons(data.forks, (k) => { toForkNumber(k); if (!data.forks[k].run) open(); }, signal));
    inList.stay();
  }

  function showFork() {
    const k = model.get("fork");
    [...list.children].forEach((item, j) => (j === k ? item.firstChild.setAttribute("aria-current", "true") : item.firstChild.removeAttribute("aria-current")));
    forkDetail(detail, data.forks, model, signal);
  }

  // ---- what the user does ----
  function select(i) {
    if (data.length === 0) return;
    const token = Math.min(data.length - 1, Math.max(0, i));
    const inside = data.forks.findLastIndex((f) => f.start <= token && token < f.stop);
    choose(token, inside);
  }

  function choose(token, fork) {
    if (fork !== model.get("fork")) model.set("continuation", -1);
    model.set("fork", fork);
    model.set("selected", token);
    model.save_changes();
  }

  function toForkNumber(k) {
    choose(placeOf(data.forks[k]), k);
  }

  function toFork(way, wanted) {
    const here = model.get("selected");
    const places = data.forks.map((fork, k) => k).filter((k) => wanted(data.forks[k]) && way * (placeOf(data.forks[k]) - here) > 0);
    if (places.length) toForkNumber(way > 0 ? places[0] : places.at(-1));
    else say(`no ${way > 0 ? "later" : "earlier"} ${wanted === answered ? "audited chunk" : "fork"}`);
  }

  function step(way) {
    const i = model.get("selected");
    const unit = i < 0 ? 0 : units.unit[i] + way;
    if (unit >= 0 && unit < units.starts.length - 1) select(units.starts[unit]);
  }

  function stepLine(way) {
    const here = strip.at(model.get("selected"))?.getBoundingClientRect();
    if (!here) return select(0);
    let best = -1;
    let top = null;
    for (let i = model.get("selected") + way; i >= 0 && i < data.length; i += way) {
      const box = strip.at(i).getClientRects()[0];
      if (!box || (box.width === 0 && box.height === 0) || Math.abs(box.top - here.top) < here.height / 2) continue;
      top ??= box.top;
      if (Math.abs(box.top - top) >= here.height / 2) break;
      best = i;
      if (way > 0 ? box.right > here.left : box.left <= here.left) break;
    }
    return best >= 0 ? select(best) : undefined;
  }

  function open() {
    const fork = data.forks[model.get("fork")];
    model.set("opened", -1); // sent again, should Python not have set it back yet
    assign(model, "opened", fork && !fork.run ? fork.start : model.get("selected"));
  }

  function pick(c) {
    const fork = data.forks[model.get("fork")];
    if (fork?.run) return say(sentence(model.get("selected")));
    if (fork && c < fork.texts.length) assign(model, "continuation", c);
    else say(fork ? `fork ${model.get("fork") + 1} has ${plural(fork.texts.length, "continuation")}` : "no fork is selected");
    if (fork && c < fork.texts.length) say(`continuation ${c + 1} of ${fork.texts.length}, similarity ${number(fork.similarities[c], 2)}: ${quoted(fork.texts[c], 120)}`);
  }

  function cycle(name, options) {
    assign(model, name, options[(options.indexOf(model.get(name)) + 1) % options.length]);
  }

  async function copyPrefix() {
    const i = Math.max(0, model.get("selected"));
    const text = restored(data.pieces.slice(0, i).join(""));
    const done = await copyText(text);
    say(done ? `copied the ${plural(i, "token")} before this one, ${plural(text.length, "character")}` : "the browser did not allow copying");
  }

  function leave() {
    tip.hidden = true;
    if (document.activeElement === search.field) {
      root.focus();
      search.clear();
    } else if (help.open) help.open = false;
    else document.activeElement?.blur();
  }

  on(strip.element, "click", (event) => {
    const i = strip.tokenOf(event.target);
    if (i < 0 || !document.getSelection().isCollapsed) return; // a selection is for copying
    select(i);
    if (startOf.has(i)) open();
  }, { signal });
  on(strip.element, "pointerover", (event) => hover(strip.tokenOf(event.target)), { signal });
  on(strip.element, "pointerleave", () => hover(-1), { signal });
  on(strip.element, "scroll", () => { tip.hidden = true; minimap.draw(); }, { signal, passive: true });

  // ---- in words ----
  function hover(i) {
    tip.hidden = i < 0;
    if (i < 0) return;
    clear(tip, h("b", {}, `token ${count(i)} of ${count(data.length)} `), h("span", {}, quoted(data.pieces[i], 40)),
      facts(i).map(([name, value]) => h("div", {}, h("span", { class: "oopd-quiet" }, `${name} `), value)));
    const at = strip.at(i).getClientRects()[0] ?? strip.at(i).getBoundingClientRect();
    const frame = root.getBoundingClientRect();
    tip.style.left = `${Math.max(0, Math.min(at.left - frame.left, frame.width - tip.offsetWidth - 4))}px`;
    const below = at.bottom - frame.top + 6;
    tip.style.top = `${below}px`;
    say(sentence(i));
  }

  function facts(i) {
    const rows = [["entropy of this choice", said("entropy", data.entropy[i])]];
    const p = Math.exp(data.logprob[i]);
    rows.push(["log-probability", missing(data.logprob[i]) ? "unknown" : `${number(data.logprob[i], 3)} (probability ${percent(p, p < 0.1 ? 1 : 0)})`]);
    if (i < data.kl.length && !missing(data.kl[i])) rows.push(["KL to the reference", `${number(data.kl[i], 4)} nats`]);
    if (model.get("metric") === "share" && !missing(values[i])) rows.push(["share of the loss", said("share", values[i])]);
    rows.push(["", part(i)]);
    return rows;
  }

  function part(i) {
    const k = chunkOf[i];
    if (data.forks[k]?.run) return pencilWords(data.forks[k], i);
    const where = k >= 0 ? `audited in fork ${k + 1} (trust ${number(data.forks[k].posterior_mean, 3)})` : startOf.has(i) ? `fork ${startOf.get(i) + 1}, without an answer` : "";
    const held = data.anchored[i] ? "held near the start" : "";
    return [where, held].filter(Boolean).join(", ") || (data.anchored.length ? "neither audited nor held near the start" : "not audited");
  }

  function sentence(i) {
    const fork = startOf.has(i) ? `, fork ${startOf.get(i) + 1} of ${data.forks.length}` : "";
    const name = model.get("metric");
    const shownMetric = name === "entropy" || name === "logprob" ? "" : `, ${METRICS[name].label} ${said(name, values[i])}`;
    const odds = missing(data.logprob[i]) ? "" : `, log-probability ${number(data.logprob[i], 2)}`;
    return `token ${count(i)} of ${count(data.length)}, ${quoted(data.pieces[i])}, entropy ${said("entropy", data.entropy[i])}${odds}${shownMetric}${fork}, ${part(i)}`;
  }
}

const answered = (fork) => fork.texts.length > 0;

function padded(array, length) {
  if (array.length === length) return array;
  const whole = new Float32Array(length).fill(NaN);
  whole.set(array.subarray(0, length));
  return whole;
}

export default { render };
