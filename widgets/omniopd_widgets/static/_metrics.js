// What a token of a rollout can be coloured by: one array of numbers per metric, and how it is said.
import { h, missing, number, percent } from "./_common.js";

// 0 … high is the fixed scale, in which two answers can be compared; `whole`: no value is larger, so that it is the only
// one. `reduce` is the value of several tokens together.
export const METRICS = {
  entropy: { label: "entropy", unit: "nats", high: 2, floor: 0.1, reduce: Math.max },
  logprob: { label: "surprise (−log-probability)", unit: "nats", high: 5, floor: 0.1, reduce: Math.max },
  kl: { label: "KL to the reference", unit: "nats", high: 1, floor: 0.02, reduce: Math.max },
  trust: { label: "trust in the chunk", unit: "", high: 1, whole: true, floor: 0, reduce: Math.max },
  share: { label: "share of the loss", unit: "", high: 0.1, floor: 0.0005, reduce: (a, b) => a + b },
};

export function metricValues(name, { length, entropy, logprob, kl, anchored, forks, anchorWeight }) {
  if (name === "entropy") return entropy;
  if (name === "logprob") return logprob.map((value) => -value);
  if (name === "kl") return kl.length ? kl : new Float32Array(length).fill(NaN);
  const values = new Float32Array(length).fill(NaN);
  if (name === "trust") {
    for (const fork of forks) {
      if (missing(fork.posterior_mean)) continue;
      values.fill(fork.posterior_mean, fork.start, fork.stop);
      // Each token of a run has its own: all texts agree with it but perhaps the last one.
      const trust = (i) => (fork.samples + fork.concentration * Math.exp(logprob[i])) / (fork.samples + fork.concentration);
      if (fork.run) for (let i = fork.start; i < fork.stop - 1; i++) values[i] = trust(i);
    }
    return values;
  }
  // weight × −log-probability on the chunks, β × KL on the anchored tokens, of the sum of their sizes
  let total = 0;
  const add = (i, value) => {
    if (Number.isNaN(value) || i >= length) return;
    values[i] = (Number.isNaN(values[i]) ? 0 : values[i]) + value;
  };
  for (const fork of forks) fork.weights.forEach((weight, j) => missing(weight) || add(fork.start + j, -weight * logprob[fork.start + j]));
  if (!missing(anchorWeight)) for (let i = 0; i < kl.length; i++) if (anchored[i]) add(i, anchorWeight * kl[i]);
  for (const value of values) if (!Number.isNaN(value)) total += Math.abs(value);
  return total > 0 ? values.map((value) => value / total) : values;
}

// One value per token: that of its unit, so that a word, a sentence or a line has one colour.
export function ofUnits(values, { unit, starts }, reduce) {
  if (starts.length === values.length + 1) return values;
  const together = new Float32Array(starts.length - 1).fill(NaN);
  for (let i = 0; i < values.length; i++) {
    if (Number.isNaN(values[i])) continue;
    const u = unit[i];
    together[u] = Number.isNaN(together[u]) ? values[i] : reduce(together[u], values[i]);
  }
  return values.map((_, i) => together[unit[i]]);
}

// The upper end of the colours: fixed, or the 99th percentile of this answer's sizes (of fewer than 100 the highest).
export function upperEnd(name, values, scale) {
  if (scale === "fixed" || METRICS[name].whole) return METRICS[name].high;
  const sizes = sizesOf(values);
  return sizes[Math.ceil(0.99 * (sizes.length - 1))] || METRICS[name].high;
}

const sizesOf = (values) => values.filter((value) => !Number.isNaN(value)).map(Math.abs).sort();

export function said(name, value) {
  if (missing(value)) return "unknown";
  if (name === "share") return percent(value, 1);
  return `${number(value, name === "trust" ? 3 : 2)}${METRICS[name].unit ? ` ${METRICS[name].unit}` : ""}`;
}

// The colours from 0 to `high`, where that comes from and what lies beyond, or that nothing is known.
export function legendOf(name, values, high, scale) {
  if (values.every(Number.isNaN)) return h("strong", {}, `${METRICS[name].label}: not recorded for this answer`);
  const ramp = Array.from({ length: 16 }, (_, k) => h("span", { class: `oopd-h${k}` }));
  const highest = sizesOf(values).at(-1);
  const end = highest > high * 1.001 ? `${said(name, high)} and more, up to ${said(name, highest)}` : said(name, high);
  const from = scale === "fixed" || METRICS[name].whole ? "" : ", from this answer";
  return [h("span", {}, "0"), h("span", { class: "oopd-ramp", "aria-hidden": "true" }, ramp), h("span", {}, end + from)];
}
