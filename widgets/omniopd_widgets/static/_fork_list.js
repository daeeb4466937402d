// The forks of a rollout as an ordered list of buttons, and the one fork that is selected: its numbers, the student's chunk
// and one of the teacher's texts.
import { assign, button, clear, forkName, h, missing, number, redraw, quoted, shown } from "./_common.js";
import { inked, runDetail } from "./_pencil.js";

// `go(k)` is called where fork k's button is pressed.
export function forkButtons(forks, go, signal) {
  return forks.map((fork, k) => {
    const trust = missing(fork.posterior_mean) ? (fork.problem ? "no answer" : "not asked") : `trust ${number(fork.posterior_mean, 2)}`;
    const label = fork.run ? [h("b", {}, k + 1), ...ofRun(fork)]
      : [h("b", {}, k + 1), ` ${quoted(fork.chunk.trimStart(), 14)} `, h("span", { class: "oopd-quiet" }, trust)];
    const open = button(label, () => go(k), { signal, title: `${forkName(k, forks.length, fork)}, entropy ${number(fork.entropy, 2)} nats${fork.problem ? `: ${fork.problem.slice(0, 200)}` : ""}` });
    open.dataset.what = `fork ${fork.start}`;
    return h("li", {}, open);
  });
}

// A run in few letters: how long it agrees, and what it ends with.
function ofRun(run) {
  const together = run.stop - run.start - (run.said.length > 0);
  const agrees = h("span", { class: "oopd-quiet" }, together ? ` ${together} agree` : "");
  return run.said.length ? [agrees, ` ${inked(run.own, run.said[0][0])} → ${inked(run.said[0][0], run.own)}`] : [agrees];
}

export function forkDetail(place, forks, model, signal) {
  const fork = forks[model.get("fork")];
  if (!fork) return clear(place);
  if (fork.run) return runDetail(place, fork, model.get("fork"), forks.length);
  const chosen = model.get("continuation");
  const pickers = fork.texts.slice(0, 99).map((_, j) => {
    const pick = button(String(j + 1), () => assign(model, "continuation", j === model.get("continuation") ? -1 : j), { signal, title: `continuation ${j + 1}` });
    pick.setAttribute("aria-pressed", String(j === chosen));
    pick.dataset.what = `text ${j}`;
    return pick;
  });
  const lanes = h("dl", { class: "oopd-lanes" }, h("dt", {}, "student"), h("dd", {}, shown(fork.chunk)));
  if (chosen >= 0 && chosen < fork.texts.length) {
    const same = sharedStart(fork.chunk, fork.texts[chosen]);
    lanes.append(h("dt", {}, `teacher ${chosen + 1} of ${fork.texts.length} (alike ${number(fork.similarities[chosen], 2)})`),
      h("dd", {}, shown(fork.texts[chosen].slice(0, same)), shown(fork.texts[chosen].slice(same), { class: "oopd-other" }, "em")));
  }
  return redraw(place,
    h("p", {}, facts(fork, model.get("fork"), forks.length).join(" · ")),
    fork.problem ? h("p", { class: "oopd-problem" }, shown(fork.problem)) : null,
    pickers.length ? h("div", { class: "oopd-bar oopd-pickers" }, h("span", {}, "continuation"), pickers)
      : fork.problem ? null : h("p", { class: "oopd-quiet" }, "not asked yet"),
    lanes);
}

function facts(fork, k, many) {
  const found = [forkName(k, many, fork), `entropy ${number(fork.entropy, 2)} nats`];
  if (!missing(fork.posterior_mean)) {
    const texts = fork.texts.length;
    found.push(`student's own confidence ${number(fork.prior, 3)}`, `agreement ${number(fork.soft_count / texts, 2)} (sum ${number(fork.soft_count, 2)} of ${texts})`, `trust ${number(fork.posterior_mean, 3)}`);
  }
  if (!fork.exact) found.push("the teacher did not continue the student's very tokens");
  return found;
}

// How many UTF-16 units two texts share at their beginning, never half a pair.
function sharedStart(a, b) {
  let i = 0;
  while (i < a.length && i < b.length && a[i] === b[i]) i++;
  return i > 0 && /[\ud800-\udbff]/.test(a[i - 1]) ? i - 1 : i;
}
