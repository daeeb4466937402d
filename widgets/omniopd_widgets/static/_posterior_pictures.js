// The posterior plot's pictures: one fork large, with everything said in words below, and all forks small.

import { clear, forkName, forkShort, h, line, number, on, percent, plural, quoted, shown, signed, svg, tableHead } from "./_common.js";
import { keepInSight } from "./_in_sight.js";
import { betaDensities } from "./_posterior.js";

const WIDE = { left: 142, right: 14, top: 8, width: 684, height: 150, lanes: 4, lane: 21 };
const SMALL = { width: 110, height: 34 };
const GLANCE = { width: 132, height: 50 };
const POINTS = 160;
const GRID = Array.from({ length: POINTS }, (_, i) => (i + 0.5) / POINTS);
const OF_FORK =
  "The agreement adds up similarities, so the Beta's width is not a real uncertainty. How sure the mean similarity is stands in the " +
  "interval from these texts (Student's t over the similarities; ticks are the texts).";
const OF_RUN =
  "A scan's texts agree with every token before this one; here each agrees or not, independent draws of the teacher's next " +
  "token. So the agreement is a count, the Beta's width means what it says, and the prior is the student's probability of this very token.";

// The densities of one fork; null stands for a Beta without spread (all mass in one point).
function densities(r) {
  const beta = (a, b) => (a > 0 && b > 1e-12 ? betaDensities(GRID, a, b) : null);
  const alpha = r.agree + r.disagree - r.samples;
  return {
    prior: beta(alpha * r.prior, alpha * (1 - r.prior)),
    evidence: betaDensities(GRID, r.samples * r.share + 1, r.samples * (1 - r.share) + 1),
    posterior: beta(r.agree, r.disagree),
  };
}

function curve(values, x, y, top, floor) {
  if (!values) return "";
  return line(values.map((value, i) => [x(GRID[i]), y + (floor - y) * (1 - Math.min(1, value / top))]));
}

export function makeDetail() {
  const { left, right, top, width, height, lanes, lane } = WIDE;
  const x = (value) => left + value * (width - left - right);
  const floor = top + height;
  const path = (kind) => svg("path", { class: `oopd-posterior-curve oopd-curve-${kind}` });
  const area = svg("path", { class: "oopd-area" });
  const curves = { ghost: path("ghost"), prior: path("prior"), evidence: path("evidence"), posterior: path("posterior") };
  const means = { ghost: svg("line", { class: "oopd-mean oopd-curve-ghost", y1: top, y2: floor }), posterior: svg("line", { class: "oopd-mean", y1: top, y2: floor + lanes * lane }) };
  const axis = svg("g", {}, svg("line", { class: "oopd-axis", x1: left, x2: x(1), y1: floor, y2: floor }));
  for (const tick of [0, 0.25, 0.5, 0.75, 1]) {
    axis.append(svg("text", { x: x(tick), y: floor + lanes * lane + 22, "text-anchor": "middle" }, String(tick)));
    axis.append(svg("line", { class: "oopd-grid", x1: x(tick), x2: x(tick), y1: top, y2: floor + lanes * lane + 8 }));
  }
  axis.append(svg("text", { x: left - 8, y: top + 12, "text-anchor": "end" }, "the paper's Beta"));
  axis.append(svg("text", { x: left - 8, y: top + 27, "text-anchor": "end" }, "densities"));
  const rows = ["95 % from these texts", "the paper's Beta, 95 %", "fewer texts", "shares in the trust"].map((label, i) => {
    const y = floor + 6 + i * lane;
    const text = svg("text", { x: left - 8, y: y + 12, "text-anchor": "end" }, label);
    const group = svg("g", {});
    axis.append(text);
    return { y, group };
  });
  const rug = svg("g", { class: "oopd-rug" });
  const total = floor + lanes * lane + 28;
  const picture = svg(
    "svg", { viewBox: `0 0 ${width} ${total}`, width, height: total, role: "img", class: "oopd-posterior-large" },
    axis, area, curves.ghost, curves.prior, curves.evidence, curves.posterior, rug, ...rows.map((row) => row.group), means.ghost, means.posterior,
  );
  const title = h("h3", {});
  const chunk = h("p", { class: "oopd-posterior-chunk" });
  const said = h("p", {});
  const key = h("p", { class: "oopd-bar oopd-posterior-key" }, ...[
    ["prior", "prior: the student's own confidence", "Beta(α π̄, α (1 − π̄))"], ["evidence", "evidence: the teacher's texts", "p^k (1 − p)^(N − k)"],
    ["posterior", "posterior: the trust is its mean", "π̂"], ["ghost", "before the last change", ""],
  ].map(([kind, text, title]) => h("span", { title: title || null }, sample(kind), ` ${text}`)));
  const note = h("p", { class: "oopd-quiet" });
  const element = h("div", { class: "oopd-posterior-detail" }, title, chunk, key, picture, said, note);

  function draw(fork, r, old) {
    title.textContent = `${nameOf(fork)}${fork.run ? ", its last token" : ""}: entropy ${number(fork.entropy, 2)} nats`;
    note.textContent = fork.run ? OF_RUN : OF_FORK;
    clear(chunk, "student wrote ", shown(fork.text.slice(0, 120)));
    const now = densities(r);
    const before = old ? densities(old) : null;
    const highest = Math.max(...[now.evidence, now.posterior, before?.posterior].filter(Boolean).flat());
    const peak = highest * 1.06;
    for (const kind of ["prior", "evidence", "posterior"]) curves[kind].setAttribute("d", curve(now[kind], x, top, peak, floor));
    curves.ghost.setAttribute("d", curve(before?.posterior, x, top, peak, floor));
    const d = curve(now.posterior, x, top, peak, floor);
    area.setAttribute("d", d && `${d}L${x(1)} ${floor}L${x(0)} ${floor}Z`);
    place(means.posterior, x(r.mean));
    place(means.ghost, old ? x(old.mean) : null);
    rug.replaceChildren(...fork.similarities.map((s) => svg("line", { x1: x(s), x2: x(s), y1: floor - 7, y2: floor })));
    const [spread, nominal, sub, share] = rows;
    spread.group.replaceChildren(span(r.spread, spread.y + 4, 8, "oopd-span-strong", x));
    nominal.group.replaceChildren(span(r.nominal, nominal.y + 6, 4, "oopd-span", x));
    const all = r.samples === fork.similarities.length;
    sub.group.replaceChildren(...(all
      ? [svg("text", { x: x(0) + 4, y: sub.y + 12 }, `all ${r.samples} texts count: nothing is left out`)]
      : [span([r.sub.low, r.sub.high], sub.y + 7, 2, "oopd-span", x), span([r.mean - r.sub.deviation, r.mean + r.sub.deviation], sub.y + 4, 8, "oopd-span-strong", x)]));
    share.group.replaceChildren(
      span([0, r.dataShare], share.y + 2, 13, "oopd-share-data", x), span([r.dataShare, 1], share.y + 2, 13, "oopd-share-prior", x),
      svg("text", { x: x(0) + 5, y: share.y + 12, class: "oopd-posterior-on" }, nameIfRoom("data", r.dataShare)),
      svg("text", { x: x(1) - 5, y: share.y + 12, class: "oopd-posterior-on", "text-anchor": "end" }, nameIfRoom("prior", r.priorShare)),
    );
    said.textContent =
      `trust ${number(r.mean)} = ${number(r.dataShare)} · ${number(r.share)} (agreement) + ${number(r.priorShare)} · ${number(r.prior)} (the student's own confidence)` +
      (old ? `; before: ${number(old.mean)}` : "") +
      (all ? "" : `; over all choices of ${r.samples} texts: ± ${number(r.sub.deviation)}, from ${number(r.sub.low)} to ${number(r.sub.high)}`) +
      (r.baseline === null ? "" : `; weight ${signed(r.weight)} = ${number(r.share)} − ${number(r.baseline)}`);
    picture.setAttribute("aria-label", said.textContent);
  }
  return { element, draw };
}

// A run's numbers are its last token's; its name is the whole run's.
export const nameOf = (fork) => forkName(...fork.nth, { ...fork, start: fork.first });

// A narrow part holds no name.
const nameIfRoom = (name, share) => (share > 0.13 ? `${name} ${percent(share)}` : "");

function place(mark, at) {
  mark.setAttribute("visibility", at === null ? "hidden" : "visible");
  if (at !== null) for (const name of ["x1", "x2"]) mark.setAttribute(name, at.toFixed(1));
}

function span([low, high], y, height, kind, x) {
  return svg("rect", { class: kind, x: x(low).toFixed(1), y, width: Math.max(1.5, x(high) - x(low)).toFixed(1), height });
}

function sample(kind) {
  return svg("svg", { width: 26, height: 10, "aria-hidden": "true" }, svg("path", { class: `oopd-posterior-curve oopd-curve-${kind}`, d: "M1 5L25 5" }));
}


// One fork at a glance: what the student believed, what the texts say, what comes of both. `alpha` weighs the first.
export function atAGlance({ prior, agreement, count, trust }, alpha) {
  const { width, height } = GLANCE;
  const agree = agreement * count + alpha * prior;
  const found = densities({ agree, disagree: count + alpha - agree, samples: count, share: agreement, prior });
  const top = 1.06 * Math.max(...Object.values(found).filter(Boolean).flat());
  const x = (value) => 1 + value * (width - 2);
  const floor = height - 11;
  const path = (kind) => svg("path", { class: `oopd-posterior-curve oopd-curve-${kind}`, d: curve(found[kind], x, 1, top, floor) });
  const words = `prior: the student's own confidence ${number(prior, 2)}; evidence: ${plural(count, "text")} of the teacher, agreement ${number(agreement, 2)}; posterior: trust ${number(trust, 2)}`;
  const label = (at, text, anchor) => svg("text", { x: at, y: height - 1, "text-anchor": anchor }, text);
  return h("span", { class: "oopd-effect-picture", title: `${words} (dotted, dashed, solid)` },
    svg("svg", { viewBox: `0 0 ${width} ${height}`, width, height, role: "img", "aria-label": words },
      svg("line", { class: "oopd-axis", x1: x(0), x2: x(1), y1: floor, y2: floor }), path("prior"), path("evidence"), path("posterior"),
      svg("line", { class: "oopd-mean", x1: x(trust), x2: x(trust), y1: 1, y2: floor }), label(x(0), "0", "start"), label(x(0.5), "trust", "middle"), label(x(1), "1", "end")));
}


// ---- all forks, small ------------------------------------------------------------------------------------------------

export function makeList({ select, signal }) {
  const body = h("tbody", {});
  const heads = ["fork", "the paper's Beta", "trust", "before", "agreement", "own confidence", "95 % from these texts", "weight"];
  const element = h(
    "div", { class: "oopd-posterior-list" },
    h("table", { "aria-label": "all forks" }, tableHead(heads), body),
  );
  const x = (value) => value * SMALL.width;
  let rows = [];
  let chosenRow = -1;
  const sight = keepInSight(element, () => rows[chosenRow]?.row, () => [element.querySelector("thead").offsetHeight, 0], signal);
  on(body, "click", (event) => {
    const row = event.target.closest("tr");
    if (row) select(Number(row.dataset.start));
  }, { signal });

  function rebuild(forks) {
    rows = forks.map((fork) => {
      const name = h("button", { type: "button", class: "oopd-button", title: quoted(fork.text) }, forkShort(...fork.nth, { ...fork, start: fork.first }));
      const prior = svg("path", { class: "oopd-posterior-curve oopd-curve-prior" });
      const old = svg("path", { class: "oopd-posterior-curve oopd-curve-ghost" });
      const area = svg("path", { class: "oopd-area" });
      const now = svg("path", { class: "oopd-posterior-curve oopd-curve-posterior" });
      const mean = svg("line", { class: "oopd-mean", y1: 0, y2: SMALL.height });
      const spread = svg("rect", { class: "oopd-span-strong", y: SMALL.height - 4, height: 4 });
      const picture = svg("svg", { width: SMALL.width, height: SMALL.height, viewBox: `0 0 ${SMALL.width} ${SMALL.height}`, "aria-hidden": "true" }, area, prior, old, now, spread, mean);
      const cells = ["mean", "before", "share", "prior", "spread"].map(() => h("td", { class: "oopd-figure" }));
      const bar = svg("rect", { y: 3, height: 8 });
      const weight = svg("svg", { width: 42, height: 14, "aria-hidden": "true" }, svg("line", { class: "oopd-axis", x1: 21, x2: 21, y1: 0, y2: 14 }), bar);
      const value = h("span", { class: "oopd-figure" });
      const row = h("tr", { "data-start": fork.start }, h("th", { scope: "row" }, name), h("td", {}, picture), cells, h("td", { class: "oopd-weight" }, weight, value));
      return { row, name, prior, old, area, now, mean, spread, cells, bar, value };
    });
    clear(body, rows.map((row) => row.row));
    chosenRow = -1;
  }

  function draw(current, old, chosen) {
    rows.forEach((parts, i) => {
      const r = current[i];
      const found = densities(r);
      const before = old ? densities(old[i]).posterior : null;
      const top = Math.max(...[found.posterior, before, found.posterior ? null : found.evidence].filter(Boolean).flat()) * 1.06;
      const d = curve(found.posterior, x, 1, top, SMALL.height - 4);
      parts.now.setAttribute("d", d);
      parts.area.setAttribute("d", d && `${d}L${SMALL.width} ${SMALL.height - 4}L0 ${SMALL.height - 4}Z`);
      parts.prior.setAttribute("d", curve(found.prior, x, 1, top, SMALL.height - 4));
      parts.old.setAttribute("d", curve(before, x, 1, top, SMALL.height - 4));
      place(parts.mean, x(r.mean));
      parts.spread.setAttribute("x", x(r.spread[0]).toFixed(1));
      parts.spread.setAttribute("width", Math.max(1.5, x(r.spread[1] - r.spread[0])).toFixed(1));
      const texts = [number(r.mean), old ? number(old[i].mean) : "–", number(r.share), number(r.prior), `${number(r.spread[0], 2)} – ${number(r.spread[1], 2)}`];
      texts.forEach((text, j) => (parts.cells[j].textContent = text));
      const long = 20 * Math.min(1, Math.abs(r.weight));
      parts.bar.setAttribute("class", r.weight < 0 ? "oopd-weight-down" : "oopd-weight-up");
      parts.bar.setAttribute("x", (r.weight < 0 ? 21 - long : 21).toFixed(1));
      parts.bar.setAttribute("width", Math.max(0.5, long).toFixed(1));
      parts.value.textContent = signed(r.weight);
      parts.name.setAttribute("aria-current", i === chosen ? "true" : "false");
      parts.row.classList.toggle("oopd-chosen", i === chosen);
    });
    if (chosen === chosenRow) return;
    chosenRow = chosen;
    sight.reveal();
  }
  return { element, rebuild, draw };
}
