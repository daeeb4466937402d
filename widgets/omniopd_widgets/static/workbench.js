// The workbench on one screen: the answer, what the teacher wrote at one fork of it, what the update makes of that; behind
// tabs the views that say more. Every view keeps its own model, which this page finds by its name.
import { assign, button, clear, h, later, scope, watch } from "./_common.js";
import { effectCard, emptyCard, forkCard, storyAt } from "./_cards.js";
import { numberBox, optionsOf } from "./_inputs.js";
import barView from "./question_bar.js";
import answerView from "./rollout_view.js";
import textsView from "./audit_panel.js";
import posteriorView from "./posterior_plot.js";
import lossView from "./update_ledger.js";
import launcherView from "./launcher.js";

const TABS = [
  ["fork", "At this fork", "what the teacher wrote, and what the update does"], ["panel", "Texts", "every text, how alike, how long they agree"],
  ["posterior", "Trust", "prior, evidence and posterior"], ["ledger", "Loss", "all forks by their share of the update"],
  ["launcher", "Runs", "train with these settings, and watch"],
];
const VIEWS = { panel: textsView, posterior: posteriorView, ledger: lossView, launcher: launcherView };
const TAB_OF = { runs: "launcher" };

async function render({ model, el, signal }) {
  const { body } = scope({ model, el, signal, label: "workbench", name: "bench", keys: {} });
  const ids = model.get("parts");
  const models = Object.fromEntries(await Promise.all(Object.entries(ids).map(async ([name, id]) => [name, await model.widget_manager.get_model(id)])));
  if (signal?.aborted) return;
  const { bar, rollout } = models;

  const places = Object.fromEntries(TABS.map(([name]) => [name, h("div", { class: `oopd-bench-pane oopd-pane-${name}`, role: "tabpanel", "data-tab": name, hidden: true })]));
  const fork = h("div", { class: "oopd-card oopd-fork-card" });
  const effect = h("div", { class: "oopd-card oopd-effect-card" });
  places.fork.append(fork, effect);
  const tabs = h("div", { class: "oopd-bench-tabs", role: "tablist" }, TABS.filter(([name]) => name === "fork" || models[name]).map(([name, label, title]) => {
    const made = button(label, () => assign(model, "tab", name), { signal, title });
    made.setAttribute("role", "tab");
    made.dataset.tab = name;
    return made;
  }));
  const stale = h("p", { class: "oopd-bench-stale", role: "status" });
  const top = h("div", { class: "oopd-bench-top" });
  const answer = h("div", { class: "oopd-bench-answer" });
  const side = h("div", { class: "oopd-bench-side" }, tabs, ...Object.values(places));
  body.append(h("div", { class: "oopd-bench-grid" }, top, h("div", { class: "oopd-bench-left" }, stale, answer), side));
  // A page that was shared: nobody hears of a setting, and the views follow each other here and not in Python.
  const frozen = Boolean(model.get("frozen"));
  top.hidden = frozen;
  if (frozen) followHere(model, models, signal);
  else barView.render({ model: bar, el: top, signal });
  answerView.render({ model: rollout, el: answer, signal });

  // ---- the tabs: a view is made when it is first looked at
  const made = new Set();
  watch(model, ["tab"], () => {
    const wanted = TAB_OF[model.get("tab")] ?? model.get("tab");
    const name = wanted in places && (wanted === "fork" || models[wanted]) ? wanted : "fork";
    if (name !== "fork" && !made.has(name)) {
      made.add(name);
      VIEWS[name].render({ model: models[name], el: places[name], signal });
    }
    for (const [other, place] of Object.entries(places)) place.hidden = other !== name;
    for (const tab of tabs.children) tab.setAttribute("aria-selected", String(tab.dataset.tab === name));
  }, signal);

  // ---- the cards
  const set = (name, value) => assign(bar, "settings", { ...bar.get("settings"), [name]: value });
  const controls = twoSettings(bar, set, signal);
  const pressAsk = () => {
    bar.set("pressed", { action: "ask", count: bar.get("pressed").count + 1 });
    bar.save_changes();
  };

  function draw() {
    const stories = model.get("stories");
    const selected = rollout.get("selected");
    const at = storyAt(stories, selected);
    if (at < 0) {
      const words = !bar.get("has_answer") ? "Choose a problem and have the student answer it."
        : bar.get("busy") || `Nobody has been asked about token ${selected}${stories.length ? "; n and p go to the forks that were asked about" : ""}.`;
      const price = bar.get("prices").ask;
      emptyCard(fork, words, bar.get("has_answer") && !bar.get("busy") && !frozen ? { label: `Ask here (${price?.text || "free"})`, press: pressAsk } : null, signal);
      clear(effect);
      return;
    }
    const forks = rollout.get("forks"); // numbered as in the answer
    forkCard(fork, stories[at], { at: forks.findIndex((one) => one.start === stories[at].start), many: forks.length, chosen: rollout.get("continuation"), pick: (text) => assign(rollout, "continuation", text), signal });
    effectCard(effect, stories[at], { settings: bar.get("settings"), set, frozen, controls: frozen ? null : controls.element, signal });
    controls.update(stories[at]);
  }

  watch(model, ["stale"], () => {
    stale.hidden = model.get("stale") === "";
    stale.textContent = model.get("stale");
    for (const old of [answer, side]) old.classList.toggle("oopd-bench-old", !stale.hidden);
  }, signal);
  watch(model, ["stories"], draw, signal);
  later(rollout, ["selected", "continuation"], draw, signal);
  later(bar, ["busy", "has_answer", "prices"], draw, signal);
}

function followHere(model, { rollout, panel, posterior, ledger }, signal) {
  later(rollout, ["selected"], () => {
    const story = model.get("stories")[storyAt(model.get("stories"), rollout.get("selected"))];
    if (!story) return;
    panel.set("fork", panel.get("forks").findIndex((fork) => fork.start === story.start));
    posterior.set("selected", story.place);
    ledger.set("selected", story.start);
  }, signal);
  const back = (start) => {
    const story = model.get("stories").find((one) => one.start === start || one.place === start);
    if (story && story !== model.get("stories")[storyAt(model.get("stories"), rollout.get("selected"))]) rollout.set("selected", story.place);
  };
  later(posterior, ["selected"], () => back(posterior.get("selected")), signal);
  later(ledger, ["selected"], () => back(ledger.get("selected")), signal);
  later(panel, ["fork"], () => back(panel.get("forks")[panel.get("fork")]?.start), signal);
}

// α and the comparison where their effect is seen.
function twoSettings(bar, set, signal) {
  const alpha = numberBox({ min: 0, max: 1e6, step: 0.25, label: "α, how many texts the student's own confidence counts as", read: () => bar.get("settings")["objective.concentration"], write: (value) => set("objective.concentration", value), signal });
  const compare = h("select", { "aria-label": "what counts as agreement" });
  alpha.dataset.what = "α";
  compare.dataset.what = "compare by";
  compare.addEventListener("change", () => set("audit.similarity", compare.value), { signal });
  const compared = h("label", {}, "compare by ", compare);
  const element = h("div", { class: "oopd-bar" }, h("label", {}, "α ", alpha), compared);
  function update(story) {
    const settings = bar.get("settings");
    if (document.activeElement !== alpha) alpha.value = String(settings["objective.concentration"]);
    clear(compare, optionsOf(Object.entries(bar.get("choices")["audit.similarity"] ?? {}).map(([name, title]) => [name, name, title])));
    compare.value = settings["audit.similarity"];
    compared.hidden = story.run; // a scan compares token by token
  }
  return { element, update };
}

export default { render };
