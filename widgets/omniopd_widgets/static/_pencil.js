// The teacher's pencil in the student's answer: what a scan agrees with, and what it would have written where not.
// A run is a fork with `run`: its texts agree with the student in all tokens but perhaps the last (`said`, `agreeing`).
import { clear, forkName, h, number, plain, plural, quoted, redraw, shown } from "./_common.js";

// The token that a fork is about.
export const placeOf = (fork) => (fork.run ? fork.stop - 1 : fork.start);
export const parts = (fork) => !fork.run || fork.said.length > 0;

// A token inside a line of text, as a string: white space as signs, "■" for the end of the turn. A space before a word is
// left out, unless it is all that tells the token from `beside`.
export function inked(piece, beside = "") {
  const text = quoted(piece, 24).slice(1, -1);
  if (piece === "") return "■";
  return piece.trim() === "" || piece.trim() === beside.trim() ? text.replaceAll(" ", "␣") : text.trimStart();
}

const tokenNamed = (piece) => (piece === "" ? "the end of the turn" : quoted(piece, 40));

// What the pencil says at token i of a run: its class, and the teacher's token where it would have written another.
export function pencilAt(run, i) {
  if (i < run.stop - 1 || run.said.length === 0) return { kind: "oopd-agreed" };
  const [piece, times] = run.said[0];
  return {
    kind: times > run.agreeing ? "oopd-parted" : "oopd-doubted", teacher: inked(piece, run.own),
    times: run.samples > 1 ? ` ×${times}` : null,
  };
}

// The text that most of a fork's texts are, where it is not the student's own chunk.
export function ghostOf(fork) {
  const times = new Map();
  for (const text of fork.texts) times.set(text, (times.get(text) ?? 0) + 1);
  const [most, count] = [...times].reduce((best, found) => (found[1] > best[1] ? found : best), ["", 0]);
  return count === 0 || most === fork.chunk ? {} : { teacher: inked(most), times: ` ×${count}` };
}

// The same in words.
export function pencilWords(run, i) {
  const of = (n) => (run.samples > 1 ? ` (${n} of ${run.samples})` : "");
  if (i < run.stop - 1 || run.said.length === 0) return `the teacher agrees${of(run.samples)}`;
  const others = run.said.map(([piece, times]) => tokenNamed(piece) + of(times)).join(", ");
  return `the teacher would have written ${others}${run.agreeing ? `, and ${run.agreeing} of ${run.samples} agree` : ""}`;
}

// How far they went together, and then “9” for “8”.
export const runWords = (run) => plain(run.words);

// How much of the answer the scan has looked at, and how much of that the teacher would have written itself.
export function pencilSummary(place, forks, length) {
  const runs = forks.filter((fork) => fork.run);
  place.hidden = runs.length === 0;
  if (runs.length === 0) return;
  const tokens = runs.reduce((sum, run) => sum + run.stop - run.start, 0);
  const parting = runs.filter(parts).length;
  const draws = Math.max(...runs.map((run) => run.samples));
  const seen = tokens < length ? `${tokens} of ${plural(length, "token")} were looked at` : `all ${plural(length, "token")} were looked at`;
  clear(place, `The teacher's pencil: ${seen}${draws > 1 ? `, ${draws} texts each` : ""}; `, h("span", { class: "oopd-agreed" }, "it agrees"),
    parting ? [`, but at ${plural(parting, "place")} (n, p) it would have written another token: `, h("span", { class: "oopd-parted", "data-teacher": "its own" }, "struck out")] : " everywhere",
    parting && draws > 1 ? [", or ", h("span", { class: "oopd-doubted", "data-teacher": "its own ×1" }, "dotted"), " where most texts agree"] : null, ".");
}

// Whether the answer is right; nothing where nobody graded it.
export function tellVerdict(place, right, expected) {
  place.hidden = right === null;
  place.classList.toggle("oopd-wrong", right === false);
  clear(place, right ? "✓ right" : ["✗ wrong, expected ", shown(expected)]);
}

// A run's text with the pencil in it.
export function pencilled(run) {
  const { kind, teacher, times } = pencilAt(run, run.stop - 1);
  const last = shown(inked(run.own), { class: kind, "data-teacher": teacher, "data-times": times });
  return h("span", { class: "oopd-pencilled" }, shown(run.agreed, { class: "oopd-agreed" }), last);
}

// The teacher's tokens at a run's last place, the student's among them: [piece, how often, whether it is the student's].
export function tokensOf(run) {
  const own = [[run.own, run.agreeing, true]];
  return [...own, ...run.said.map(([piece, times]) => [piece, times, false])].sort((a, b) => b[1] - a[1]);
}

export function runDetail(place, run, k, many) {
  const facts = [
    forkName(k, many, run), runWords(run),
    `at token ${run.stop - 1}: entropy ${number(run.entropy, 2)} nats, the student's own probability ${number(run.prior, 3)}`,
  ];
  return redraw(place, h("p", {}, facts.join(" · ")), h("p", {}, pencilled(run)));
}
