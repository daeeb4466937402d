// The update ledger: what each fork does to the loss, largest share first; where all texts agree, or none; the fork map.
// The rows are Python's; this file shows them and assigns the settings (all of them free) and the selected fork.

import { assign, clear, count, forkName, forkShort, framed, h, later, notZero, number, on, percent, plain, plural, quoted, scope, shown, signed, throttle } from "./_common.js";
import { keepInSight } from "./_in_sight.js";
import { numberBox, optionsOf, traitSelect } from "./_inputs.js";
import { makeMap } from "./_fork_map.js";

const AT_FIRST = 100; // rows of the table, until all are asked for
const KINDS = { agree: "all agree", none: "none agrees", informs: "" };
const KEYS = [["n p", "next, previous fork by share (also ↓ ↑)"], ["Esc", "leave the view"]];

function render({ model, el, signal }) {
  const view = scope({
    model, el, signal, name: "ledger", help: KEYS, label: "What each fork does to the loss",
    keys: { n: () => step(1), p: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1) },
  });
  const controls = makeControls(model, signal);
  const summary = h("p", { class: "oopd-ledger-summary" });
  const note = h("p", { class: "oopd-quiet" });
  const ledger = makeTable({ select, signal });
  const map = makeMap({ select, signal });
  const savingsList = makeSavings({ select, signal });
  const empty = h("p", { class: "oopd-quiet" }, "No audits: ask the teacher about a fork first.");
  const filled = h(
    "div", {}, summary, note,
    h("div", { class: "oopd-ledger-columns" }, h("div", { class: "oopd-ledger-left" }, h("h3", {}, "Forks by their share of the update"), ledger.element),
      h("div", { class: "oopd-ledger-right" }, h("div", {}, h("h3", {}, "Fork map"), map.element), h("div", {}, h("h3", {}, "Where all texts agree, or none"), savingsList.element))),
  );
  view.body.append(controls.element, empty, filled);

  function draw() {
    const rows = model.get("rows");
    empty.hidden = rows.length > 0;
    filled.hidden = rows.length === 0;
    controls.update();
    if (rows.length === 0) return;
    const totals = model.get("totals");
    const several = ofSeveral(rows);
    const least = totals.at_least ? "at least " : "";
    summary.textContent =
      `Loss of ${several ? "these answers" : "this answer"}: forks ${least}${notZero(totals.chunk)} + anchor ${notZero(totals.anchor)} nats` +
      (totals.normaliser === 1 ? "" : `; the table shows each fork before averaging (over ${count(totals.normaliser)}: rollouts × length)`);
    clear(note, shown(model.get("note"), { class: "oopd-prose" }));
    ledger.rebuild(rows, totals, several);
    map.rebuild(rows, { entropy: model.get("split_entropy"), agreement: model.get("split_agreement"), several });
    savingsList.rebuild(rows, model.get("savings"), model.get("target"), model.get("target_menu"), several);
    mark();
  }

  function mark() {
    const at = chosen();
    ledger.mark(at);
    map.mark(at);
    const row = model.get("rows")[at];
    if (row) {
      view.say(
        `${name(row, ofSeveral(model.get("rows")))}: ${percent(row.share, 1)} of the update, ${row.label_mass > 0 ? `labels of weight ${number(row.label_mass, 2)}` : `weight ${signed(row.weight)}`}, NLL of the student's tokens ${number(row.nll)}` +
          (row.quadrant ? `, ${row.quadrant}` : "") + `; the student wrote ${quoted(row.text)}`,
      );
    }
  }

  function chosen() {
    return model.get("rows").findIndex((row) => row.start === model.get("selected") && row.row === model.get("selected_row"));
  }

  function select(row) {
    model.set("selected_row", row.row);
    model.set("selected", row.start);
    model.save_changes();
  }

  function step(by) {
    const rows = model.get("rows");
    if (rows.length === 0) return;
    select(rows[Math.min(rows.length - 1, Math.max(0, chosen() + by))]);
  }

  draw();
  later(model, ["rows", "totals", "savings", "note", "targets_on_offer", "target", "concentration", "anchor_weight", "anchor_on", "depth", "similarity", "split_entropy", "split_agreement"], framed(draw, signal), signal);
  later(model, ["selected", "selected_row"], framed(mark, signal), signal);
}

const ofSeveral = (rows) => new Set(rows.map((row) => row.row)).size > 1;
const name = (row, several) => `${several ? `answer ${row.row}, ` : ""}${forkName(...row.nth, row)}`;
const shortName = (row, several) => `${several ? `answer ${row.row}, ` : ""}${forkShort(...row.nth, row)}`;

// ---- settings, all free: they recompute from the records ---------------------------------------------------------------

function makeControls(model, signal) {
  const send = throttle((trait, value) => assign(model, trait, value), 100, signal);
  const numbers = {};
  const box = (trait, label, min, step) => {
    const write = (value) => send(trait, trait === "depth" ? Math.round(value) : value);
    return (numbers[trait] = numberBox({ min, max: 1e6, step, label, read: () => model.get(trait), write, signal }));
  };
  const choices = {};
  const choice = (trait, label, menu) => {
    const options = Object.entries(menu).map(([value, title]) => [value, value, title]);
    return (choices[trait] = traitSelect(model, trait, label, options, signal));
  };
  const priced = (...parts) => h(
    "span", { class: "oopd-ledger-control" }, ...parts, h("span", { class: "oopd-price", "data-kind": "free", title: "what using this costs" }, "free"),
  );
  const target = choice("target", "target", {});
  const element = h(
    "div", { class: "oopd-ledger-controls oopd-bar" },
    priced(h("label", {}, "target ", target)),
    priced(h("label", {}, "α ", box("concentration", "α, the strength of the prior (of the targets that use it)", 0, 0.1))),
    priced(h("label", {}, "β ", box("anchor_weight", "β, the weight of the anchor", 0, 0.01))),
    priced(h("label", {}, "anchor on ", choice("anchor_on", "which tokens are held near the start", { unaudited: "tokens of no chunk", all: "every token" }))),
    priced(h("label", {}, "tokens of labels ", box("depth", "offsets of a chunk that get labels (of the targets that have some)", 1, 1))),
    priced(h("label", {}, "texts compared by ", choice("similarity", "similarity of the teacher's texts with each other", model.get("similarity_menu")))),
    h("details", { class: "oopd-help" }, h("summary", {}, "fork map"),
      h("label", {}, "parted at ", box("split_entropy", "entropy that parts the map, in nats", 0, 0.1)), " nats and ",
      box("split_agreement", "agreement that parts the map", 0, 0.05)),
  );
  function update() {
    const menu = model.get("target_menu");
    const offered = model.get("targets_on_offer");
    if ([...target.options].map((option) => option.value).join() !== offered.join()) {
      clear(target, optionsOf(offered.map((value) => [value, value, menu[value]?.label])));
    }
    for (const [trait, select] of Object.entries(choices)) select.value = model.get(trait);
    for (const [trait, input] of Object.entries(numbers)) {
      if (document.activeElement !== input) input.value = String(Math.round(model.get(trait) * 1e4) / 1e4);
    }
    const uses = menu[model.get("target")]?.uses ?? [];
    for (const trait of ["depth", "concentration"]) numbers[trait].disabled = !uses.includes(trait);
  }
  return { element, update };
}

// ---- the table ---------------------------------------------------------------------------------------------------------

function makeTable({ select, signal }) {
  const body = h("tbody", {});
  const foot = h("tfoot", {});
  const heads = [["fork", ""], ["the student wrote", ""], ["share", "of the sizes of all parts"], ["weight", "mean per token"], ["× tokens", ""], ["× NLL", "mean −log π of the student's tokens"], ["= loss", "the chunk's term, in nats before averaging; labels included"], ["KL", "to the reference over the chunk, nats; by “anchor on” it counts or not"], ["kind of fork", ""]];
  const more = h("button", { type: "button", class: "oopd-button", hidden: true }, "");
  const element = h(
    "div", {},
    h("div", { class: "oopd-ledger-table" },
      h("table", { "aria-label": "forks by share" }, h("thead", {}, h("tr", {}, heads.map(([text, title]) => h("th", { scope: "col", title: title || null }, text)))), body, foot)),
    more,
  );
  let shownRows = [];
  let all = [];
  let everything = false;
  let last = null;
  let chosenRow = "";
  const heightOf = (part) => part.offsetHeight;
  const sight = keepInSight(element.firstChild, () => body.querySelector(".oopd-chosen"), () => [element.querySelector("thead"), foot].map(heightOf), signal);
  on(body, "click", (event) => {
    const row = event.target.closest("tr");
    if (row) select(all[Number(row.dataset.index)]);
  }, { signal });
  on(more, "click", () => showAll(), { signal });

  function showAll() {
    everything = true;
    rebuild(...last);
  }

  function rebuild(rows, totals, several) {
    last = [rows, totals, several];
    all = rows;
    const largest = Math.max(1e-12, ...rows.map((row) => row.share), totals.anchor_share);
    const visible = everything ? rows : rows.slice(0, AT_FIRST);
    shownRows = visible.map((row, i) => h(
      "tr", { "data-index": i },
      h("th", { scope: "row" }, h("button", { type: "button", class: "oopd-button", title: name(row, several) }, shortName(row, several))),
      h("td", { class: "oopd-ledger-text" }, wrote(row.text)),
      share(row.share, largest, row.chunk < 0),
      row.label_mass > 0
        ? [h("td", { class: "oopd-figure" }, number(row.label_mass, 2)), h("td", {}, "labels"), h("td", { class: "oopd-figure" }, `${row.unknown ? "≥ " : ""}${number(row.chunk / row.label_mass)}`)]
        : [h("td", { class: "oopd-figure" }, signed(row.weight)), h("td", { class: "oopd-figure" }, count(row.tokens)), h("td", { class: "oopd-figure" }, number(row.nll))],
      h("td", { class: "oopd-figure" }, `${row.unknown ? "≥ " : ""}${signed(row.chunk)}`),
      h("td", { class: "oopd-figure" }, row.anchor > 0 ? `× β = ${notZero(row.anchor)}` : `${notZero(row.kl)}, not counted`),
      h("td", {}, row.quadrant, KINDS[row.kind] ? h("span", { class: "oopd-ledger-kind" }, KINDS[row.kind]) : null),
    ));
    clear(body, shownRows);
    clear(foot, h(
      "tr", {},
      h("th", { scope: "row", colspan: 2 }, `anchor on ${plural(totals.anchored_tokens, "token")} beside the chunks`),
      share(totals.anchor_share, largest, false),
      h("td", { colspan: 4 }), h("td", { class: "oopd-figure" }, `× β = ${notZero(totals.anchor_beside)}`), h("td", {}),
    ));
    more.hidden = visible.length === rows.length;
    more.textContent = `show all ${count(rows.length)} forks`;
  }

  function mark(at) {
    if (at >= shownRows.length) showAll();
    shownRows.forEach((row, i) => {
      row.classList.toggle("oopd-chosen", i === at);
      row.querySelector("button").setAttribute("aria-current", i === at ? "true" : "false");
    });
    const row = at < 0 ? "" : `${all[at].row} ${all[at].start}`;
    if (row === chosenRow) return sight.stay();
    chosenRow = row;
    sight.reveal();
  }
  return { element, rebuild, mark };
}

// A chunk that begins with line breaks would show an empty line in so low a cell.
function wrote(text) {
  const breaks = text.length - text.replace(/^\n+/, "").length;
  return [breaks ? h("span", { class: "oopd-quiet", title: plural(breaks, "line break") }, "⏎".repeat(Math.min(3, breaks))) : null, shown(text.slice(breaks))];
}

function share(value, largest, down) {
  const cell = h("td", { class: "oopd-ledger-share", title: down ? "pushes the student's own tokens down" : null });
  const bar = h("span", { class: `oopd-ledger-bar ${down ? "oopd-down" : ""}`, "aria-hidden": "true" });
  bar.style.width = `${(64 * value) / largest}px`;
  cell.append(bar, h("span", { class: "oopd-figure" }, `${down ? "↓ " : ""}${percent(value, 1)}`));
  return cell;
}

// ---- where all texts agree, or none -------------------------------------------------------------------------------------------

function makeSavings({ select, signal }) {
  const element = h("div", { class: "oopd-ledger-savings" });
  let rows = [];
  on(element, "click", (event) => {
    const button = event.target.closest("button[data-index]");
    if (button) select(rows[Number(button.dataset.index)]);
  }, { signal });

  function rebuild(given, savings, target, menu, several) {
    rows = given;
    if (rows.some((row) => row.run)) {
      const agreed = rows.filter((row) => row.kind === "agree").length;
      return clear(element, h("p", { class: "oopd-quiet" }, `A scan asks on only where teacher and student part, so that no question is wasted: ${agreed} of ${plural(rows.length, "run")} end in agreement.`));
    }
    const parts = [];
    for (const [kind, means] of [["agree", "every text goes on as the student did; two texts would have said so"], ["none", noneMeans(target, menu)]]) {
      const found = rows.map((row, i) => [row, i]).filter(([row]) => row.kind === kind);
      parts.push(h("p", {}, h("strong", {}, `${KINDS[kind]}: ${found.length} of ${rows.length}. `), found.length ? means : ""));
      if (found.length) {
        parts.push(h("p", { class: "oopd-bar" }, found.slice(0, 40).map(([row, i]) => h("button", { type: "button", class: "oopd-button", "data-index": i, title: name(row, several) }, shortName(row, several)))));
      }
    }
    for (const saving of savings) {
      parts.push(h("p", {}, `${saving.setting} ${saving.now} → ${saving.smaller} would save `, h("span", { class: "oopd-price oopd-saving" }, plain(saving.price)), `; ${plain(saving.loses)}.`));
    }
    if (savings.length === 0) parts.push(h("p", { class: "oopd-quiet" }, "Fewer forks or samples would lose more than they save."));
    clear(element, parts);
  }
  return { element, rebuild };
}

function noneMeans(target, menu) {
  return menu[target]?.labelled
    ? `no text is near the student's; under ${plain(target)} these teach most`
    : "no text is near the student's; the weight says so, and not which words would have been better";
}

export default { render };
