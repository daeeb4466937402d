// How long the teacher's texts go along with the chunk, token by token, and what each token is credited with.
import { clear, h, heat, line, linear, missing, number, percent, plain, plural, shown, svg } from "./_common.js";

// `fork`: pieces (or null), alive, credit, weights, samples, unknown_tokens, groups with the place of first difference.
export function survivalChart(place, fork) {
  const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [620, 150, 40, 44, 10, 26];
  const n = fork.alive.length;
  const title = h("h3", {}, "How long they agree");
  if (n === 0) return clear(place, title, h("p", { class: "oopd-quiet" }, "The record does not hold the texts' tokens, so agreement token by token is not known."));
  const known = fork.samples - fork.unknown_tokens;
  const x = linear([0, n], [LEFT, WIDTH - RIGHT]);
  const y = linear([0, 1], [HEIGHT - BOTTOM, TOP]);
  const most = Math.max(...fork.credit, 1e-9);
  const credit = linear([0, most], [HEIGHT - BOTTOM, TOP]);
  const steps = [[x(0), y(1)]];
  fork.alive.forEach((share, j) => steps.push([x(j), y(share)], [x(j + 1), y(share)]));
  const first = new Map();
  for (const group of fork.groups) if (!missing(group.first)) first.set(group.first, (first.get(group.first) ?? 0) + group.draws.length);
  const chart = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, class: "oopd-survival", role: "img", "aria-label": described(fork, known) });
  for (const [value, text] of [[0, "0"], [0.5, "½"], [1, "all"]])
    chart.append(svg("line", { x1: LEFT, x2: WIDTH - RIGHT, y1: y(value), y2: y(value), class: "oopd-grid" }), svg("text", { x: LEFT - 6, y: y(value) + 4, "text-anchor": "end" }, text));
  fork.credit.forEach((value, j) => chart.append(svg("rect", { x: x(j) + 1, width: Math.max(1, x(j + 1) - x(j) - 2), y: credit(value), height: Math.max(0, y(0) - credit(value)), class: "oopd-credit" })));
  chart.append(svg("text", { x: WIDTH - RIGHT + 5, y: TOP + 8 }, number(most, 1)), svg("text", { x: WIDTH - RIGHT + 5, y: TOP + 21 }, "credit"));
  chart.append(svg("path", { d: line(steps), class: "oopd-alive", fill: "none" }));
  for (const [j, m] of first) if (j < n) chart.append(svg("text", { x: x(j + 0.5), y: y(0) + 12, "text-anchor": "middle", class: "oopd-first-difference" }, `▾${m}`));
  chart.append(svg("text", { x: LEFT, y: HEIGHT - 2 }, "token 1"), svg("text", { x: WIDTH - RIGHT, y: HEIGHT - 2, "text-anchor": "end" }, `token ${n}`));

  const chunk = h("p", { class: "oopd-chunk-tokens" }, (fork.pieces ?? []).slice(0, 400).map((piece, j) =>
    shown(piece === "" ? "▫" : piece, { class: `oopd-h${Math.max(0, heat(fork.alive[j], 0, 1.0001))}`, title: `${plain(piece)}: ${percent(fork.alive[j])} still agree` })));
  const rows = fork.alive.map((share, j) => h("tr", {}, h("td", {}, j + 1), h("td", {}, fork.pieces ? shown(fork.pieces[j] ?? "") : "–"), h("td", {}, percent(share)),
    h("td", {}, first.get(j) ?? 0), h("td", {}, number(fork.credit[j], 2)), h("td", {}, fork.weights.length ? number(fork.weights[j], 3) : "–")));
  clear(place, title, chart, chunk,
    h("p", { class: "oopd-quiet" }, `Line: share of ${plural(known, "text")} that agree with the student through each token; ▾ first difference (texts); bars: how much of the later agreement starts at this token${fork.unknown_tokens ? `; ${plural(fork.unknown_tokens, "text")} not known as tokens` : ""}.`),
    h("details", {}, h("summary", {}, "numbers"), h("table", {}, h("tr", {}, ["token", "text", "agree", "differ here", "credit", "weight"].map((name) => h("th", { scope: "col" }, name))), rows)));
}

function described(fork, known) {
  const all = fork.alive.at(-1) ?? 0;
  return `of ${known} texts ${percent(fork.alive[0])} agree with the first token and ${percent(all)} with all ${fork.alive.length}`;
}
