// The posterior plot: one fork large, all forks small, and the settings that change them.
// α, N and the centring are computed here from the similarities at hand; another similarity comes from Python.

import { assign, framed, h, later, number, scope, throttle } from "./_common.js";
import { posteriors } from "./_posterior.js";
import { makeControls } from "./_posterior_controls.js";
import { makeDetail, makeList, nameOf } from "./_posterior_pictures.js";

const SETTINGS = ["concentration", "samples", "centring"];
const KEYS = [
  ["n p", "next, previous fork (also ↓ ↑)"], ["+ -", "more, less α"], ["Enter", "in a priced field: ask the teacher"],
  ["Esc", "leave the view"],
];

function render({ model, el, signal }) {
  const view = scope({
    model, el, signal, name: "posterior", help: KEYS, label: "Posterior of each fork",
    keys: {
      n: () => step(1), p: () => step(-1), ArrowDown: () => step(1), ArrowUp: () => step(-1),
      "+": () => nudge(1), "-": () => nudge(-1),
    },
  });
  const send = throttle((name, value) => assign(model, name, value), 100, signal);
  const paint = framed(draw, signal);
  const controls = makeControls(model, view.root, { change, signal });
  const detail = makeDetail();
  const list = makeList({ select: (start) => assign(model, "selected", start), signal });
  const empty = h("p", { class: "oopd-quiet" }, "No audits: ask the teacher about a fork first.");
  const filled = h("div", { class: "oopd-posterior-filled" }, detail.element, list.element);
  view.body.append(controls.element, empty, filled);

  let forks = [];
  let setting = {};
  let current = [];
  let ghost = null;
  let held = false; // while a slider is dragged, the ghost stays what it was at the start of the drag

  function read() {
    setting = Object.fromEntries(SETTINGS.map((name) => [name, model.get(name)]));
    const similarities = model.get("similarities");
    forks = model.get("forks").map((fork, i) => ({ ...fork, similarities: similarities[i] ?? [] }));
    if (forks.some((fork) => fork.similarities.length === 0)) forks = [];
  }

  // A control was moved: on screen at once, in Python soon after.
  function change(name, value, dragging) {
    // Nothing new: sent again, it could undo what Python has set meanwhile.
    if (setting[name] === value) return void (held = held && dragging);
    const before = current;
    setting[name] = value;
    if (!held) ghost = before;
    held = dragging;
    compute();
    draw();
    send(name, value);
  }

  function compute() {
    current = posteriors(forks, setting, model.get("others_share"));
  }

  function fromModel() {
    if (held) return;
    const others = SETTINGS.every((name) => setting[name] === model.get(name));
    if (others) return;
    ghost = current;
    read();
    compute();
    controls.update(setting, forks);
    paint();
  }

  function afresh(keepGhost) {
    const before = current;
    read();
    ghost = keepGhost && before.length === forks.length ? before : null;
    compute();
    list.rebuild(forks);
    controls.update(setting, forks);
    paint();
  }

  function draw() {
    empty.hidden = forks.length > 0;
    filled.hidden = forks.length === 0;
    if (forks.length === 0) return;
    const chosen = Math.max(0, forks.findIndex((fork) => fork.start === model.get("selected")));
    const old = ghost && ghost.length === current.length ? ghost : null;
    controls.update(setting, forks);
    detail.draw(forks[chosen], current[chosen], old?.[chosen]);
    list.draw(current, old, chosen);
    const r = current[chosen];
    view.say(
      `${nameOf(forks[chosen])}: trust ${number(r.mean)}, the student's own confidence ${number(r.prior)}, ` +
        `agreement ${number(r.share)}, 95 % interval from these texts ${number(r.spread[0])} to ${number(r.spread[1])}.`,
    );
  }

  function step(by) {
    if (forks.length === 0) return;
    const at = forks.findIndex((fork) => fork.start === model.get("selected"));
    assign(model, "selected", forks[Math.min(forks.length - 1, Math.max(0, at + by))].start);
  }

  function nudge(by) {
    change("concentration", Math.max(0, Math.round((setting.concentration + by * 0.1) * 100) / 100), false);
  }

  afresh(false);
  later(model, SETTINGS, fromModel, signal);
  later(model, ["forks"], framed(() => afresh(false), signal), signal);
  later(model, ["similarities", "others_share"], framed(() => afresh(true), signal), signal);
  later(model, ["selected", "similarity", "similarity_names", "usage"], paint, signal);
}

export default { render };
