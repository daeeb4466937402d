// The arithmetic of the posterior plot: pure functions of numbers, so that a slider asks nobody.
// Its oracle is omniopd/method/posterior.py (tests/widgets/test_posterior_arithmetic.py, to 1e-9).

// log Γ(x) for x > 0, by Lanczos' series.
export function logGamma(x) {
  const series = [
    0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313, -176.61502916214059,
    12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6, 1.5056327351493116e-7,
  ];
  if (x < 0.5) return Math.log(Math.PI / Math.sin(Math.PI * x)) - logGamma(1 - x);
  const z = x - 1;
  let sum = series[0];
  for (let i = 1; i < series.length; i += 1) sum += series[i] / (z + i);
  const t = z + 7.5;
  return 0.5 * Math.log(2 * Math.PI) + (z + 0.5) * Math.log(t) - t + Math.log(sum);
}

export function logBeta(a, b) {
  return logGamma(a) + logGamma(b) - logGamma(a + b);
}

// The Beta's densities at the places xs, all inside (0, 1).
export function betaDensities(xs, a, b) {
  const scale = logBeta(a, b);
  return xs.map((x) => Math.exp((a - 1) * Math.log(x) + (b - 1) * Math.log1p(-x) - scale));
}

// The regularised incomplete beta function, by its continued fraction (Lentz).
export function betaShare(x, a, b) {
  if (x <= 0) return 0;
  if (x >= 1) return 1;
  const front = Math.exp(a * Math.log(x) + b * Math.log1p(-x) - logBeta(a, b));
  return x < (a + 1) / (a + b + 2) ? (front * fraction(x, a, b)) / a : 1 - (front * fraction(1 - x, b, a)) / b;
}

function fraction(x, a, b) {
  const tiny = 1e-300;
  const away = (value) => (Math.abs(value) < tiny ? tiny : value);
  let c = 1;
  let d = 1 / away(1 - ((a + b) * x) / (a + 1));
  let found = d;
  for (let m = 1; m <= 2000; m += 1) {
    const even = (m * (b - m) * x) / ((a + 2 * m - 1) * (a + 2 * m));
    d = 1 / away(1 + even * d);
    c = away(1 + even / c);
    found *= d * c;
    const odd = (-(a + m) * (a + b + m) * x) / ((a + 2 * m) * (a + 2 * m + 1));
    d = 1 / away(1 + odd * d);
    c = away(1 + odd / c);
    found *= d * c;
    if (Math.abs(d * c - 1) < 1e-15) break;
  }
  return found;
}

// Where the Beta has `share` of its mass below; by halving.
export function betaQuantile(share, a, b) {
  let low = 0;
  let high = 1;
  for (let i = 0; i < 60; i += 1) {
    const middle = (low + high) / 2;
    if (betaShare(middle, a, b) < share) low = middle;
    else high = middle;
  }
  return (low + high) / 2;
}

// Student's t: the value with `share` (above a half) of the mass below.
export function studentQuantile(share, freedom) {
  const x = betaQuantile(2 * (1 - share), freedom / 2, 0.5);
  return Math.sqrt((freedom * (1 - x)) / x);
}

export function moments(values) {
  const mean = values.reduce((sum, v) => sum + v, 0) / values.length;
  const squares = values.reduce((sum, v) => sum + (v - mean) ** 2, 0);
  return { mean, deviation: values.length > 1 ? Math.sqrt(squares / (values.length - 1)) : 0 };
}

// One fork under a setting: `similarities` of all texts at hand, of which `samples` count.
export function posteriorOf(similarities, prior, concentration, samples, quantile) {
  const atHand = similarities.length;
  const n = Math.min(samples, atHand);
  const { mean, deviation } = moments(similarities);
  const total = n + concentration;
  const data = n / total;
  const agree = n * mean + concentration * prior;
  const disagree = total - agree;
  const smoothed = (share) => data * share + (1 - data) * prior;
  const ordered = [...similarities].sort((a, b) => a - b);
  const meanOf = (values) => values.reduce((sum, v) => sum + v, 0) / values.length;
  const margin = n < 2 ? 1 : (data * quantile * deviation) / Math.sqrt(n);
  const point = !(agree > 0 && disagree > 1e-12);
  return {
    samples: n,
    share: mean,
    prior,
    agree,
    disagree,
    mean: agree / total,
    dataShare: data,
    priorShare: concentration / total,
    nominal: point
      ? [agree / total, agree / total]
      : [betaQuantile(0.025, agree, disagree), betaQuantile(0.975, agree, disagree)],
    spread: n < 2 ? [0, 1] : [Math.max(0, smoothed(mean) - margin), Math.min(1, smoothed(mean) + margin)],
    sub: {
      deviation: data * deviation * Math.sqrt((1 - n / atHand) / n),
      low: smoothed(meanOf(ordered.slice(0, n))),
      high: smoothed(meanOf(ordered.slice(atHand - n))),
    },
  };
}

// All forks under one setting. `centring`: "none" weighs by π̂, "others" by k/N less the mean of other rollouts'
// forks, "these" by k/N less the mean of the forks shown.
export function posteriors(forks, setting, othersShare) {
  const quantiles = new Map();
  const found = forks.map(({ similarities, prior }) => {
    const n = Math.min(setting.samples, similarities.length);
    if (n > 1 && !quantiles.has(n)) quantiles.set(n, studentQuantile(0.975, n - 1));
    return posteriorOf(similarities, prior, setting.concentration, n, quantiles.get(n));
  });
  const shares = found.map((f) => f.share);
  const baseline =
    setting.centring === "others" ? othersShare ?? 0 : setting.centring === "these" ? moments(shares).mean : null;
  return found.map((f) => ({ ...f, weight: baseline === null ? f.mean : f.share - baseline, baseline }));
}
