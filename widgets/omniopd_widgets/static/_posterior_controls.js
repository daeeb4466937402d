// The posterior plot's controls, each with its price: free, local seconds, or a teacher's tokens and dollars.
// What a teacher would have to be asked for is priced while it is typed, and assigned to `order` on Enter only.

import { assign, clear, h, later, on, plain } from "./_common.js";

export function makeControls(model, root, { change, signal }) {
  const alpha = h("input", { type: "range", min: 0, max: 10, step: 0.05, "aria-label": "α, the strength of the prior" });
  const alphaBox = h("input", { type: "number", min: 0, step: 0.1, "aria-label": "α as a number" });
  const samples = h("input", { type: "range", min: 1, max: 1, step: 1, "aria-label": "samples: how many texts count" });
  const samplesText = h("output", {});
  const phi = h("select", { "aria-label": "compare by: the similarity" });
  const phiPrice = price("local", "");
  const centring = h(
    "select", { "aria-label": "centring" },
    h("option", { value: "none" }, "none: the trust itself"),
    h("option", { value: "others" }, "agreement − mean of other rollouts"),
    h("option", { value: "these" }, "agreement − mean of these forks"),
  );
  const centringNote = h("span", { class: "oopd-quiet" });
  const drag = (input, name, read) => {
    on(input, "input", () => change(name, read(input.value), true), { signal });
    on(input, "change", () => change(name, read(input.value), false), { signal });
  };
  drag(alpha, "concentration", Number);
  drag(samples, "samples", Number);
  on(alphaBox, "change", () => {
    const value = Number(alphaBox.value);
    if (alphaBox.value !== "" && value >= 0 && value <= 1e6) change("concentration", value, false);
  }, { signal });
  on(centring, "change", () => change("centring", centring.value, false), { signal });
  on(phi, "change", () => assign(model, "similarity", phi.value), { signal });
  const paid = makePaid(model, signal);
  const element = h(
    "div", { class: "oopd-posterior-controls" },
    h("div", { class: "oopd-bar" },
      together(h("label", {}, "α ", alpha), alphaBox, price("free", "free")),
      together(h("label", { title: "how many of the teacher's texts count, N" }, "samples (only here) ", samples), samplesText, price("free", "free")),
      together(h("label", { title: "what counts as agreement, φ" }, "compare by ", phi), phiPrice),
      together(h("label", {}, "centring (only here) ", centring), price("free", "free")), centringNote,
    ),
    paid.element,
  );

  function update(setting, forks) {
    // A scan compares token by token, and is asked for as a whole, from the bar.
    phi.disabled = paid.element.hidden = model.get("scan");
    const atHand = Math.max(0, ...forks.map((fork) => fork.similarities.length));
    if (Number(alpha.value) !== setting.concentration) alpha.value = String(setting.concentration);
    if (alphaBox !== root.ownerDocument.activeElement) alphaBox.value = String(setting.concentration);
    samples.max = String(Math.max(1, atHand));
    samples.disabled = atHand < 2;
    if (Number(samples.value) !== setting.samples) samples.value = String(setting.samples);
    samplesText.textContent = `${setting.samples} of ${atHand} texts`;
    centring.value = setting.centring;
    const none = model.get("others_share") === null;
    centringNote.textContent =
      setting.centring === "others" && none ? "no other rollout is shown: nothing is subtracted"
      : setting.centring === "these" ? "biased where a later chunk depends on an earlier one: to look at only" : "";
    const names = model.get("similarity_names");
    const known = [...phi.options].map((option) => option.value).join("\n");
    if (known !== names.map((one) => one.name).join("\n")) {
      clear(phi, names.map((one) => h("option", { value: plain(one.name) }, plain(one.name))));
    }
    phi.value = model.get("similarity");
    const one = names.find((each) => each.name === phi.value);
    phiPrice.textContent = plain(one?.takes ?? "free");
    paid.update();
  }
  return { element, update };
}

function makePaid(model, signal) {
  const field = (name, label, min) => h("input", { type: "number", min, step: 1, "aria-label": label, "data-name": name });
  const fields = [
    field("forks", "forks to audit", 1), field("samples", "samples: texts per fork", 1), field("chunk_tokens", "length: tokens per chunk", 1),
  ];
  const cost = price("free", "free");
  cost.setAttribute("role", "status");
  const element = h(
    "details", { class: "oopd-posterior-paid" },
    h("summary", {}, "More than was asked: other forks, samples or lengths"),
    h("div", { class: "oopd-bar" },
      ["forks ", "samples ", "length "].map((label, i) => h("label", {}, label, fields[i])), cost,
      h("span", { class: "oopd-quiet" }, "Enter asks the teacher; typing asks nobody."),
    ),
  );
  let usage = null;
  const wanted = () => Object.fromEntries(fields.map((input) => [input.dataset.name, Math.round(Number(input.value))]));
  const valid = () => fields.every((input) => Number(input.value) >= 1 && Number(input.value) <= 1e6);
  // Python prices what is `typed` and says so by `quoted`.
  const isQuoted = (quoted) => Object.entries(wanted()).every(([name, value]) => quoted[name] === value);
  function show() {
    if (!valid()) return void (cost.textContent = "whole numbers from 1 on");
    const quoted = model.get("quoted") ?? {};
    cost.dataset.kind = isQuoted(quoted) && quoted.kind === "free" ? "free" : "paid";
    cost.textContent = isQuoted(quoted) ? plain(quoted.text) : "…";
    if (isQuoted(quoted) || JSON.stringify(model.get("typed")) === JSON.stringify(wanted())) return;
    model.set("typed", wanted());
    model.save_changes();
  }
  for (const input of fields) {
    on(input, "input", show, { signal });
    on(input, "keydown", (event) => {
      if (event.key !== "Enter" || event.repeat || !valid()) return;
      event.preventDefault();
      if (!isQuoted(model.get("quoted") ?? {})) return;
      model.set("order", { ...wanted(), serial: (model.get("order")?.serial ?? 0) + 1 });
      model.save_changes();
    }, { signal });
  }
  later(model, ["quoted"], show, signal);
  function update() {
    if (usage === model.get("usage")) return;
    usage = model.get("usage");
    for (const input of fields) input.value = String(usage[input.dataset.name] || 1);
    show();
  }
  return { element, update };
}

// A control and its price do not part at the end of a line.
function together(...parts) {
  return h("span", { class: "oopd-posterior-control" }, ...parts);
}

function price(kind, text) {
  return h("span", { class: "oopd-price", "data-kind": kind, title: "what using this costs" }, text);
}
