// Controls of a trait: what is typed or chosen is assigned, and nothing else is.

import { assign, h, on, plain } from "./_common.js";

// A select of a trait; `options`: [[value, text, title], …].
export function traitSelect(model, trait, label, options, signal) {
  const select = h("select", { name: trait, "aria-label": label }, optionsOf(options));
  on(select, "change", () => assign(model, trait, select.value), { signal });
  return select;
}

// The same in its label, as the last child of it.
export function choice(model, trait, label, options, signal) {
  return h("label", {}, h("span", {}, label), traitSelect(model, trait, label, options, signal));
}

export function optionsOf(options) {
  return options.map(([value, text, title]) => h("option", { value, title }, plain(text)));
}

// A number box: `write(number)` hears of each that lies between min and max; of any other `refused(sentence)`, if it is
// given, and what `read()` gives stands there again.
export function numberBox({ min, max = 1e9, step = 1, title, label, name, read, write, refused, signal }) {
  const input = h("input", { type: "number", min, max, step, title, "aria-label": label });
  on(input, "change", () => {
    const value = Number(input.value);
    if (input.value !== "" && value >= min && value <= max) return write(value);
    refused?.(`${name ?? label ?? title} cannot be ${input.value || "empty"}: a number from ${min} to ${max.toLocaleString("en-US")}`);
    input.value = String(read());
  }, { signal });
  return input;
}
