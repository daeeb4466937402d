// The workbench's controls: problem, seed, temperature; where and how much to ask; what each press costs.
import { assign, button, clear, h, on, plain, scope, shown, watch } from "./_common.js";
import { numberBox, optionsOf } from "./_inputs.js";

const NUMBERS = [
  ["audit.forks", "M", "forks: uncertain places of an answer; in a scan its texts at most (0: as many as it takes)", 0, 64],
  ["audit.chunk_tokens", "C", "tokens of a chunk, of a scan's texts at most", 1, 4096],
  ["audit.samples", "N", "texts of the teacher at a fork, in a scan at a token", 1, 128],
  ["audit.at_once", "at once", "stretches of the answer that a scan asks about side by side", 1, 64],
];
const NAMES = [
  ["audit.way", "ask by", "at forks, or in a scan of the whole answer"],
  ["audit.scheduler", "forks by", "where an answer is audited"],
  ["audit.similarity", "φ", "similarity: what counts as agreement"],
  ["objective.target", "target", "what an audit becomes in the loss"],
];
const KEYS = [["[ ]", "problem before, after"], ["a", "have the student answer"], ["q", "ask at the chosen token"]];

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
      "]": () => step(1), "[": () => step(-1), a: () => press("answer"), q: () => press("ask"),
    },
  });

  // ---- the problem
  const list = h("select", { "aria-label": "problem", class: "oopd-bench-list" });
  const own = h("textarea", { rows: 2, placeholder: "or a problem of your own", "aria-label": "a problem of your own", class: "oopd-bench-own", spellcheck: "false" });
  const text = h("div", { class: "oopd-bench-problem" });
  on(list, "change", () => assign(model, "problem_index", list.selectedIndex), { signal });
  on(own, "change", () => assign(model, "own_text", own.value), { signal });
  const seed = field("seed", "seed", "which answer: the same seed writes it again", 0, 1e9, 1);
  const temperature = field("T", "temperature", "sampling temperature; 1 is on-policy", 0, 2, 0.1);

  function field(label, trait, title, min, max, stepBy) {
    const input = numberBox({ min, max, step: stepBy, title, read: () => model.get(trait), write: (value) => assign(model, trait, value), signal });
    watch(model, [trait], () => (input.value = String(model.get(trait))), signal);
    return h("label", { title }, label, input);
  }

  // ---- the settings
  const put = (name, value) => assign(model, "settings", { ...model.get("settings"), [name]: value });
  const inputs = {};
  const numbers = NUMBERS.map(([name, label, title, min, max]) => {
    const read = () => model.get("settings")[name] ?? "";
    inputs[name] = numberBox({ min, max, title, read, write: (value) => put(name, Math.round(value)), signal });
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
  const answer = priced("answer", "Have the student answer", "sample an answer to this problem (a)");
  const ask = priced("ask", "Ask the teacher here", "the teacher continues at the chosen token (q)");
  const askAll = priced("ask_all", "Ask at all forks", "as a training step does");
  const use = priced("use", "Train with these settings…", "put them into the launcher below");

  const who = h("p", { class: "oopd-quiet oopd-bench-who" });
  body.append(
    who,
    h("div", { class: "oopd-bar" },
      button("‹", () => step(-1), { signal, title: "the problem before" }), list,
      button("›", () => step(1), { signal, title: "the next problem" }), seed, temperature, answer),
    text, own,
    h("div", { class: "oopd-bar oopd-bench-settings" }, names[0], ...numbers, ...names.slice(1), where, ask, askAll, use),
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
    inputs["audit.way"].parentElement.hidden = !("audit.way" in settings);
    inputs["audit.at_once"].parentElement.hidden = !scan; // of a scan alone
    inputs["audit.similarity"].parentElement.hidden = scan; // it compares token by token
    actions.ask_all.made.textContent = scan ? "Scan the answer" : "Ask at all forks";
  }, signal);
  watch(model, ["student", "teacher"], () => clear(who, "student ", shown(model.get("student")), " · teacher ", shown(model.get("teacher"))), signal);
  watch(model, ["place"], () => (where.textContent = plain(model.get("place"))), signal);
  watch(model, ["prices", "busy", "has_answer"], () => {
    const busy = model.get("busy");
    for (const [action, { made, price }] of Object.entries(actions)) {
      const { text: words = "", paid = false } = model.get("prices")[action] ?? {};
      price.textContent = plain(words);
      price.hidden = words === "";
      price.dataset.kind = paid ? "paid" : "free";
      made.disabled = busy !== "" || (!model.get("has_answer") && (action === "ask" || action === "ask_all"));
    }
    if (busy) say(busy);
    else say(model.get("has_answer") ? "ready" : "choose a problem and have the student answer");
  }, signal);
}
export default { render };
