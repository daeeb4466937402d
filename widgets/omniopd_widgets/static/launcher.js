// A notebook's parameters as a form, and the runs that were launched. A press is an assignment to `pressed`, a typed
// value one to `texts`; what comes of them is shown from the traits.

import { assign, button, clear, h, later, missing, number, on, percent, plain, redraw, scope, shown, watch } from "./_common.js";

const SIGNS = { queued: "⏳", running: "▶", finished: "✓", failed: "✗", lost: "✗", interrupted: "⏸", stopped: "⏹", unreadable: "✗" };
const ENDS = [
  ["stop", "Stop after this step", "the step in progress ends, a checkpoint is written; outside a training the cell ends at once"],
  ["interrupt", "Interrupt now", "the cell ends at once, its traceback is kept; the run goes on from its last checkpoint"],
  ["kill", "Kill", "the kernel is killed, then its process; the run goes on from its last checkpoint"],
];
const WANTED = { stop: "asked to stop after its step", interrupt: "asked to end now", kill: "being killed" };
const KEYS = [["j k", "next, previous run"], ["Enter", "in a field: check it at once"]];
const PAUSE_MS = 300; // who stops typing for so long wants to hear about it

function render({ model, el, signal }) {
  let sure = ""; // a press that has to be repeated: "start", or "kill" and the run
  let sent = false; // a start that the kernel has not heard of yet
  const { body, say } = scope({
    model, el, signal, name: "launcher", help: KEYS, label: `Launcher of ${plain(model.get("notebook"))}`,
    keys: { j: () => move(1), k: () => move(-1) },
  });

  const press = (action, run = "") => {
    sure = "";
    sent ||= action === "start";
    const { price } = model.get("estimated");
    model.set("pressed", { action, run, price, count: (model.get("pressed").count ?? 0) + 1 });
    model.save_changes();
    drawStart();
  };
  // What costs money or cannot be taken back is asked for twice.
  const twice = (key, words, act) => {
    if (sure === key) return act();
    sure = key;
    say(words);
    drawStart();
    drawRuns();
  };

  // ---- the form ----------------------------------------------------------------------------------------------------
  const rows = h("tbody", {});
  const form = h("table", { class: "oopd-launch-form" }, h("caption", { class: "oopd-sr" }, "parameters"), rows);
  const inputs = new Map();
  const timers = new Map(); // fields that are being typed into
  signal?.addEventListener("abort", () => timers.forEach(clearTimeout), { once: true });
  const type = (name, text, fallback) => {
    clearTimeout(timers.get(name));
    timers.delete(name);
    const texts = { ...model.get("texts") };
    if (text === fallback) delete texts[name];
    else texts[name] = text;
    model.set("texts", texts);
    model.save_changes();
  };

  function drawFields() {
    inputs.clear();
    clear(rows, model.get("fields").map((field) => {
      const id = `oopd-launch-${Math.random().toString(36).slice(2)}`;
      const described = { id, name: field.name, "aria-describedby": `${id}-help ${id}-problem` };
      let input;
      if (field.kind === "choice") {
        input = h("select", described, field.choices.map((choice) => h("option", { value: choice }, plain(choice))));
      } else if (field.kind === "check") {
        input = h("input", { ...described, type: "checkbox" });
      } else {
        input = h("input", { ...described, type: "text", autocomplete: "off", spellcheck: "false", placeholder: plain(field.default) });
      }
      const value = () => (field.kind === "check" ? String(input.checked) : input.value);
      const now = () => type(field.name, value(), field.default);
      on(input, "change", now, { signal });
      if (field.kind === "text") {
        on(input, "input", () => {
          clearTimeout(timers.get(field.name));
          timers.set(field.name, setTimeout(now, PAUSE_MS));
        }, { signal });
      }
      const problem = h("span", { id: `${id}-problem`, class: "oopd-launch-problem" });
      inputs.set(field.name, { input, field, problem });
      return h(
        "tr", {},
        h("th", { scope: "row" }, h("label", { for: id }, field.name)),
        h("td", {}, input),
        h("td", { id: `${id}-help`, class: "oopd-quiet" }, shown(field.help), field.help ? " · " : null, plain(field.type), problem),
      );
    }));
    drawValues();
  }

  function drawValues() {
    const texts = model.get("texts");
    for (const [name, { input, field }] of inputs) {
      const text = texts[name] ?? field.default;
      if (field.kind === "check") input.checked = text === "true";
      else if (input.value !== text && !timers.has(name)) input.value = text;
      input.closest("tr").classList.toggle("oopd-launch-changed", name in texts);
    }
  }

  function drawProblems() {
    const problems = model.get("problems");
    for (const [name, { input, problem }] of inputs) {
      input.setAttribute("aria-invalid", String(name in problems));
      clear(problem, name in problems ? shown(problems[name], {}, "span") : null);
    }
    const rest = Object.entries(problems).filter(([name]) => !inputs.has(name)).map(([, sentence]) => h("p", {}, shown(sentence)));
    clear(others, rest);
    others.hidden = rest.length === 0;
    drawStart();
  }

  const others = h("div", { class: "oopd-launch-problem", role: "alert", hidden: true });
  const device = h("input", { type: "text", class: "oopd-launch-device", autocomplete: "off", spellcheck: "false" });
  on(device, "change", () => assign(model, "device", device.value.trim() || "auto"), { signal });
  const start = button("", () => {
    const { paid, price } = model.get("estimated");
    if (paid) twice("start", `this may cost money: ${price}. Press again to start`, () => press("start"));
    else press("start");
  }, { signal, kind: "oopd-launch-start" });
  const price = h("span", { class: "oopd-price" });
  const time = h("p", { class: "oopd-quiet" });
  const queue = h("p", { class: "oopd-quiet" });
  const keys = h("ul", { class: "oopd-launch-keys" });

  function drawStart() {
    const { time: seconds = "", price: words = "", paid = false, queue: place = "" } = model.get("estimated");
    const busy = model.get("busy");
    const wrong = Object.keys(model.get("problems")).length;
    start.disabled = Boolean(busy || wrong || sent);
    start.textContent = busy || (sent ? "waiting for the kernel …" : sure === "start" ? "Start it all the same" : "Start");
    start.title = wrong ? "the fields above have to be right first" : "in a process of its own: it goes on when this kernel ends";
    clear(price, plain(words));
    price.dataset.kind = paid ? "paid" : "free";
    clear(time, plain(`Time: ${seconds}`));
    clear(queue, plain(place));
  }

  function drawKeys() {
    clear(keys, model.get("variables").map(({ name, set, needed }) =>
      h("li", { "data-set": String(set), "data-needed": String(needed && !set) }, h("code", {}, name), set ? " is set" : needed ? " is not set, and this teacher needs it" : " is not set")));
  }

  // ---- the runs ----------------------------------------------------------------------------------------------------
  const list = h("ol", { class: "oopd-launch-runs", "aria-label": "launched runs, those that go on first" });
  const none = h("p", { class: "oopd-quiet" });

  const move = (by) => {
    const runs = model.get("runs");
    if (!runs.length) return;
    const at = runs.findIndex((run) => run.path === model.get("selected"));
    const next = runs[Math.min(runs.length - 1, Math.max(0, at + by))];
    assign(model, "selected", next.path);
    say(`${next.name}: ${next.state}`);
  };

  function words(run) {
    const parts = [];
    if (run.steps) parts.push(`step ${run.step} of ${run.steps}`);
    if (!missing(run.loss)) parts.push(`loss ${number(run.loss, 4)}`);
    if (!missing(run.accuracy)) parts.push(`accuracy ${percent(run.accuracy, 1)}`);
    if (run.left) parts.push(run.left);
    if (run.wanted) parts.push(WANTED[run.wanted] ?? run.wanted);
    return parts.join(" · ");
  }

  function drawRuns() {
    const selected = model.get("selected");
    const runs = model.get("runs");
    none.hidden = runs.length > 0;
    clear(none, `No run was launched into ${plain(model.get("folder"))} yet.`);
    redraw(list, runs.map((run) => {
      const chosen = run.path === selected;
      const pick = h("button", { type: "button", class: "oopd-button oopd-launch-name", "aria-current": String(chosen), "data-what": `pick ${run.path}` }, shown(run.name));
      pick.addEventListener("click", () => assign(model, "selected", run.path));
      const state = h("span", { class: "oopd-state", "data-state": run.state, "data-sign": SIGNS[run.state] ?? "" }, run.state);
      const share = run.steps ? run.step / run.steps : 0;
      const bar = run.steps
        ? h("progress", { max: "1", value: String(share), "aria-label": `steps done: ${run.step} of ${run.steps}` })
        : null;
      const buttons = chosen ? controls(run) : null;
      return h(
        "li", { class: chosen ? "oopd-launch-chosen" : "" },
        h("div", { class: "oopd-bar" }, pick, state, h("span", { class: "oopd-quiet" }, shown(run.notebook)), bar, h("span", {}, words(run))),
        run.message ? h("p", { class: "oopd-quiet" }, shown(run.message)) : null, buttons,
      );
    }));
  }

  function controls(run) {
    const made = [];
    const add = (action, label, meaning, act) => {
      const element = h("button", { type: "button", class: "oopd-button", "data-what": `${action} ${run.path}`, disabled: Boolean(model.get("busy")) }, label);
      element.addEventListener("click", act);
      made.push(h("dt", {}, element), h("dd", { class: "oopd-quiet" }, meaning));
    };
    if (run.going_on) {
      for (const [action, label, meaning] of ENDS) {
        const key = `${action} ${run.path}`;
        const asked = sure === key;
        add(action, asked ? "Kill it" : label, meaning, () =>
          action === "kill" ? twice(key, "press again to kill it", () => press(action, run.path)) : press(action, run.path));
      }
    } else if (run.resumable) {
      add("resume", "Resume", "the notebook is executed again, and its training goes on from the newest checkpoint", () => press("resume", run.path));
    }
    return made.length ? h("dl", { class: "oopd-launch-controls" }, made) : null;
  }

  body.append(
    h("h3", {}, "Launch ", shown(model.get("notebook"))),
    form, others,
    h("div", { class: "oopd-bar" }, start, price, h("label", {}, "device", device)),
    time, queue,
    h("details", { class: "oopd-help" }, h("summary", {}, "Keys of providers (from the environment only)"), keys),
    h("h3", {}, "Runs"), none, list,
  );
  watch(model, ["fields"], drawFields, signal);
  watch(model, ["texts"], drawValues, signal);
  // Who was asked about another form, or another device, has not agreed to this one.
  later(model, ["texts", "device"], () => { sure = ""; drawStart(); drawRuns(); }, signal);
  later(model, ["busy"], () => { sent = false; }, signal);
  watch(model, ["problems"], drawProblems, signal);
  watch(model, ["device"], () => { device.value = model.get("device"); }, signal);
  watch(model, ["estimated", "busy"], drawStart, signal);
  watch(model, ["variables"], drawKeys, signal);
  watch(model, ["runs", "selected", "busy"], drawRuns, signal);
}

export default { render };
