// The numbers of an axis, and which points of a curve lie on it. Knows numbers alone.

// Round numbers from at most `low` to at least `high`, about `count` of them.
export function ticks(low, high, count = 4, whole = false) {
  if (!(high - low > 1e-12 * Math.max(Math.abs(low), Math.abs(high), 1e-300))) {
    const reach = whole ? 1 : Math.abs(low) * 0.1 || 0.5;
    low -= reach;
    high += reach;
  }
  const raw = (high - low) / count;
  const power = 10 ** Math.floor(Math.log10(raw));
  let step = [1, 2, 2.5, 5, 10].find((m) => m * power >= raw * (1 - 1e-9)) * power;
  if (whole) step = Math.max(1, Math.round(step));
  const first = Math.floor(low / step + 1e-9);
  const last = Math.ceil(high / step - 1e-9);
  return Array.from({ length: last - first + 1 }, (_, i) => Number(((first + i) * step).toPrecision(12)));
}

// The place of the value in an ascending list that is nearest to `x`; −1 in an empty one.
export function nearest(values, x) {
  let low = 0;
  let high = values.length - 1;
  while (high - low > 1) {
    const middle = (low + high) >> 1;
    if (values[middle] <= x) low = middle;
    else high = middle;
  }
  return high < 0 ? -1 : Math.abs(values[low] - x) <= Math.abs(values[high] - x) ? low : high;
}

// The part of a curve between two ends, joined to them by straight lines in the given shape of the values (such as their
// logarithms): {xs, ys, whole: how many of the curve's own points are among them}.
export function within({ xs, ys }, [left, right], shape = (y) => y, back = (y) => y) {
  const made = { xs: [], ys: [], whole: 0 };
  const put = (x, y) => (made.xs.push(x), made.ys.push(y));
  const join = (i, x) => {
    const share = (x - xs[i]) / (xs[i + 1] - xs[i]);
    put(x, back(shape(ys[i]) + share * (shape(ys[i + 1]) - shape(ys[i]))));
  };
  for (let i = 0; i < xs.length; i++) {
    if (xs[i] >= left && xs[i] <= right) {
      put(xs[i], ys[i]);
      made.whole++;
    }
    if (i + 1 < xs.length && xs[i] < left && xs[i + 1] > left) join(i, left);
    if (i + 1 < xs.length && xs[i] < right && xs[i + 1] > right) join(i, right);
  }
  return made;
}

export function lowest(values) {
  return values.reduce((a, b) => Math.min(a, b), Infinity);
}

export function highest(values) {
  return values.reduce((a, b) => Math.max(a, b), -Infinity);
}

export function decades(low, high) {
  const first = Math.floor(Math.log10(low));
  const last = Math.max(first + 1, Math.ceil(Math.log10(high)));
  return Array.from({ length: last - first + 1 }, (_, i) => 10 ** (first + i));
}
