// The workbench's controls: problem, seed, temperature; what can be done, and what each press costs; the settings in a
// line, how they differ from the recipe's, and the way back.
import { assign, button, clear, h, missing, on, plain, scope, shown, watch } from "./_common.js";
import { numberBox, optionsOf } from "./_inputs.js";

const NUMBERS = [
  ["audit.forks", "forks", "uncertain places of an answer, M; in a scan its texts at most (0: as many as it takes)", 0, 64, 1],
  ["audit.chunk_tokens", "length", "tokens of a chunk, C; of a scan's texts at most", 1, 4096, 1],
  ["audit.samples", "samples", "texts of the teacher at a fork, N; in a scan at a token", 1, 128, 1],
  ["audit.at_once", "at once", "stretches of the answer that a scan asks about side by side", 1, 64, 1],
  ["objective.concentration", "α", "how many texts the student's own confidence counts as", 0, 1e6, 0.25],
  ["objective.anchor_weight", "anchor", "how strongly other tokens are held near the start, β", 0, 1e6, 0.01],
];
const NAMES = [
  ["audit.way", "ask by", "at forks, or in a scan of the whole answer"],
  ["audit.scheduler", "forks by", "where an answer is audited"],
  ["audit.similarity", "compare by", "what counts as agreement, φ"],
  ["objective.target", "target", "what the teacher's texts become in the loss"],
];
const SHORT = Object.fromEntries([...NUMBERS, ...NAMES].map(([name, label]) => [name, label]));
const OF_FORKS = ["audit.scheduler", "audit.similarity"];
const KEYS = [["[ ]", "problem before, after"], ["a", "have the student answer"], ["q", "ask at the chosen token"], ["u", "undo the last change"]];

function render({ model, el, signal }) {
  const press = (action) => {
    const { count } = model.get("pressed");
    model.set("pressed", { action, count: count + 1 });
    model.save_changes();
  };
  const step = (by) => {
    const many = model.get("problems").length;
    if (many) assign(model, "problem_index", (model.get("problem_index") + by + many) % many);
  };
  const { body, say } = scope({
    model, el, signal, label: "workbench controls", name: "bench-bar", help: KEYS,
    keys: {
      "]": () => step(1), "[": () => step(-1), a: () => press("answer"), q: () => press("ask"), u: () => press("undo"),
    },
  });

  // ---- the problem
  const list = h("select", { "aria-label": "problem", class: "oopd-bench-list" });
  const own = h("textarea", { rows: 2, placeholder: "or a problem of your own", "aria-label": "a problem of your own", class: "oopd-bench-own", spellcheck: "false" });
  const text = h("div", { class: "oopd-bench-problem" });
  on(list, "change", () => assign(model, "problem_index", list.selectedIndex), { signal });
  on(own, "change", () => assign(model, "own_text", own.value), { signal });
  const refuse = (said) => (refused.textContent = plain(said));
  const refused = h("span", { class: "oopd-bench-refused", role: "alert" });
  const seed = field("seed", "seed", "which answer: the same seed writes it again", 0, 1e9, 1);
  const temperature = field("temperature", "temperature", "T of the student's draws; 1 is on-policy", 0, 2, 0.1);

  function field(label, trait, title, min, max, stepBy) {
    const input = numberBox({ min, max, step: stepBy, title, read: () => model.get(trait), write: (value) => { refuse(""); assign(model, trait, value); }, refused: refuse, signal });
    watch(model, [trait], () => (input.value = String(model.get(trait))), signal);
    return h("label", { title }, label, input);
  }

  // ---- the settings
  const put = (name, value) => { refuse(""); assign(model, "settings", { ...model.get("settings"), [name]: value }); };
  const inputs = {};
  const numbers = NUMBERS.map(([name, label, title, min, max, by]) => {
    const read = () => model.get("settings")[name] ?? "";
    inputs[name] = numberBox({ min, max, step: by, title, name: label, read, write: (value) => put(name, by === 1 ? Math.round(value) : value), refused: refuse, signal });
    return h("label", { title }, label, inputs[name]);
  });
  const names = NAMES.map(([name, label, title]) => {
    const select = (inputs[name] = h("select", { title }));
    on(select, "change", () => put(name, select.value), { signal });
    return h("label", { title }, label, select);
  });

  // ---- what can be done
  const actions = {};
  const priced = (action, label, title) => {
    const price = h("span", { class: "oopd-price" });
    const made = button(label, () => press(action), { signal, title });
    actions[action] = { made, price };
    return h("span", { class: "oopd-bench-action" }, made, price);
  };
  const where = h("span", { class: "oopd-quiet" });
  const answer = priced("answer", "Answer", "have the student answer this problem (a)");
  const ask = priced("ask", "Ask here", "the teacher continues at the chosen token (q)");
  const askAll = priced("ask_all", "Ask at all forks", "the teacher reads the answer as in a training step");
  const use = priced("use", "Train…", "with these settings: see what a run would take, and start it");
  const cancel = button("✕ cancel", () => press("cancel"), { signal, title: "end what is going on; what has arrived is kept" });
  const share = button("Share", () => press("share"), { signal, title: "write the answer, with all that is known of it, as one page for any browser" });
  const changed = h("span", { class: "oopd-bench-changed" });
  const undo = button("undo", () => press("undo"), { signal, title: "take the last change back (u)" });
  const reset = button("as the recipe", () => press("reset"), { signal, title: "take all changes back" });

  // Where there is little room the settings are words until somebody wants to turn one.
  const brief = h("span", {});
  const edit = button("edit", () => edit.setAttribute("aria-expanded", String(body.classList.toggle("oopd-bench-editing"))), { signal, title: "change settings" });

  const preset = h("select", { "aria-label": "preset", title: "settings by name, with what they reached in the lab" });
  const reached = h("span", { class: "oopd-quiet" });
  on(preset, "change", () => {
    const chosen = model.get("presets").find(({ name }) => name === preset.value);
    if (chosen) assign(model, "settings", { ...model.get("settings"), ...chosen.settings });
  }, { signal });

  const who = h("p", { class: "oopd-quiet oopd-bench-who" });
  body.append(
    h("div", { class: "oopd-bar" },
      button("‹", () => step(-1), { signal, title: "the problem before" }), list,
      button("›", () => step(1), { signal, title: "the next problem" }), seed, temperature, answer, ask, askAll, cancel, use, share),
    h("div", { class: "oopd-bench-asked" }, text, who, h("details", { class: "oopd-bench-other" }, h("summary", {}, "own problem"), own)),
    h("div", { class: "oopd-bar oopd-bench-brief" }, brief, edit),
    h("div", { class: "oopd-bar oopd-bench-settings" }, preset, names[0], ...numbers, ...names.slice(1)),
    h("div", { class: "oopd-bar oopd-bench-line" }, reached, changed, undo, reset, where, refused),
  );

  watch(model, ["problems"], () => {
    list.replaceChildren(...model.get("problems").map((t, i) => h("option", {}, plain(`${i + 1}  ${t.slice(0, 90)}`))));
    list.selectedIndex = model.get("problem_index");
  }, signal);
  watch(model, ["problem_index", "problems", "own_text"], () => {
    const index = model.get("problem_index");
    list.selectedIndex = index;
    if (document.activeElement !== own) own.value = model.get("own_text");
    clear(text, shown(model.get("own_text") || (model.get("problems")[index] ?? "")));
  }, signal);
  watch(model, ["settings", "choices"], () => {
    const settings = model.get("settings");
    for (const [name] of NAMES) {
      clear(inputs[name], optionsOf(Object.entries(model.get("choices")[name] ?? {}).map(([c, title]) => [c, c, title])));
      inputs[name].value = settings[name];
    }
    for (const [name] of NUMBERS) inputs[name].value = String(settings[name] ?? "");
    const scan = settings["audit.way"] === "scan";
    clear(brief, [NAMES[0], ...NUMBERS, ...NAMES.slice(1)].filter(([name]) => name in settings && !(scan && OF_FORKS.includes(name)) && (scan || name !== "audit.at_once"))
      .map(([name, label], i) => [i ? " · " : "", `${label} `, h("b", {}, said(settings[name]))]).flat());
    for (const name of Object.keys(SHORT)) inputs[name].parentElement.hidden = !(name in settings) || (scan && OF_FORKS.includes(name));
    inputs["audit.at_once"].parentElement.hidden = !scan; // of a scan alone
    actions.ask_all.made.textContent = scan ? "Scan" : "Ask at all forks";
  }, signal);
  watch(model, ["settings", "presets"], () => {
    const presets = model.get("presets");
    const settings = model.get("settings");
    const now = presets.find((one) => Object.entries(one.settings).every(([name, value]) => settings[name] === value));
    preset.hidden = presets.length === 0;
    clear(preset, optionsOf([...presets.map(({ name, about }) => [name, name, about]), ...(now ? [] : [["", "own settings"]])]));
    preset.value = now?.name ?? "";
    reached.textContent = plain(now?.about ?? "");
  }, signal);
  watch(model, ["changes"], () => {
    const changes = model.get("changes");
    changed.hidden = undo.hidden = reset.hidden = changes.length === 0;
    clear(changed, "changed: ", changes.map(({ name, was, now }, i) => [i ? ", " : "", h("b", {}, SHORT[name] ?? plain(name)), ` ${said(was)} → ${said(now)}`]).flat());
  }, signal);
  watch(model, ["student", "teacher"], () => clear(who, "student ", shown(model.get("student")), " · teacher ", shown(model.get("teacher"))), signal);
  watch(model, ["place"], () => (where.textContent = plain(model.get("place"))), signal);
  watch(model, ["prices", "busy", "has_answer"], () => {
    const busy = model.get("busy");
    cancel.hidden = busy === "";
    share.disabled = busy !== "" || !model.get("has_answer");
    for (const [action, { made, price }] of Object.entries(actions)) {
      const { text: words = "", paid = false } = model.get("prices")[action] ?? {};
      price.textContent = plain(words);
      price.hidden = words === "" || words === "free" || busy !== "";
      price.dataset.kind = paid ? "paid" : "free";
      made.disabled = busy !== "" || (!model.get("has_answer") && (action === "ask" || action === "ask_all"));
    }
    if (busy) say(busy);
    else say(model.get("has_answer") ? "ready" : "choose a problem and have the student answer");
  }, signal);
}

const said = (value) => (missing(value) ? "–" : plain(value));

export default { render };
