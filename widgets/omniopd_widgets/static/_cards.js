// One fork at a glance: what the teacher wrote where the student wrote its own (`forkCard`), and what the update makes of
// that (`effectCard`). Stories are Python's; this file shows them.
import { button, clear, forkName, h, number, percent, quoted, redraw, shown } from "./_common.js";
import { atAGlance } from "./_posterior_pictures.js";

const ARROWS = { up: "↑", down: "↓", nowhere: "·", unknown: "?" };
const HALF = "half of a character"; // _parts/fork_story.py says so
const DENSE = 12; // distinct texts from which lines are small

const tokenSaid = (piece) => (piece === "" ? "the end" : piece === HALF ? piece : quoted(piece, 24));

// `pick(n)` is called with the number of a text; `chosen` is the one that is chosen.
export function forkCard(place, story, { at, many, chosen, pick, signal }) {
  const rows = story.texts.map((text) => {
    const line = h("div", { class: "oopd-story-text", role: "row" },
      h("span", { class: "oopd-story-times" }, `${text.draws}×`),
      h("span", { class: "oopd-story-words" }, written(text).map(([kind, part]) => shown(part === "" ? "■" : part, kind === "same" ? {} : { class: "oopd-differs" }))),
      story.run ? null : h("span", { class: "oopd-quiet oopd-figure" }, number(text.similarity, 2)));
    if (text.first === undefined) return line;
    line.dataset.what = `text ${text.first}`;
    line.tabIndex = 0;
    line.setAttribute("aria-selected", String(text.first === chosen));
    const choose = () => pick(text.first === chosen ? -1 : text.first);
    line.addEventListener("click", choose, { signal });
    line.addEventListener("keydown", (event) => { if (event.key === "Enter") choose(); }, { signal });
    return line;
  });
  const next = story.next.slice(0, 4).map(([piece, times]) => `${tokenSaid(piece)} ${times} of ${story.count}`).join(", ");
  redraw(place,
    h("h3", {}, forkName(at, many, story), h("span", { class: "oopd-quiet" }, ` · student ${percent(story.sure)} sure, entropy ${number(story.entropy, 2)}`)),
    story.agreed ? h("p", { class: "oopd-story-agreed" }, h("span", { class: "oopd-quiet" }, "both wrote "), shown(story.agreed.slice(-160), { class: "oopd-agreed" })) : null,
    h("div", { class: "oopd-story-text oopd-story-own" }, h("span", { class: "oopd-story-times" }, "student"), h("span", { class: "oopd-story-words" }, shown(story.chunk || "■"))),
    h("div", { class: `oopd-story-texts ${rows.length > DENSE ? "oopd-dense" : ""}`, role: "table", "aria-label": "the teacher's texts" }, rows),
    story.run ? null : h("p", { class: "oopd-quiet" }, `next token: teacher ${next || "unknown"} · student ${tokenSaid(story.own)}`),
    story.exact ? null : h("p", { class: "oopd-quiet" }, "The teacher did not read the student's very tokens."),
    warning(story),
  );
}

// What a text says, without what is gone from it; a sign where it says nothing.
function written(text) {
  const parts = text.parts.filter(([kind]) => kind !== "gone");
  return parts.length ? parts : [["other", ""]];
}

function warning(story) {
  const w = story.warning;
  if (!w) return null;
  return h("p", { class: "oopd-story-warning" },
    `⚠ The teacher never begins with ${tokenSaid(story.own)}, but by ${w.similarity} its texts agree to ${number(w.agreement, 2)}: this update strengthens what the student wrote.`);
}

// `set(name, value)` turns a setting; `settings` are the present ones, `choices` what there is to choose from.
export function effectCard(place, story, { settings, set, frozen, controls, signal }) {
  const push = story.push;
  const own = tokenSaid(story.own);
  const where = push.way === "unknown" ? ["moves ", h("b", {}, shown(own)), " up or down: its target is centred, so that the step's other answers decide"]
    : push.way === "nowhere" ? ["moves ", h("b", {}, own), " nowhere"]
    : ["pushes ", h("b", {}, shown(own)), ` ${push.way} `, ARROWS[push.way], ` (${signedShare(push)})`, push.towards === null ? "" : [", towards ", h("b", {}, shown(tokenSaid(push.towards)))]].flat();
  redraw(place,
    h("div", { class: "oopd-effect-top" },
      h("div", {},
        h("div", { class: "oopd-effect-line" }, h("span", {}, "Trust"), meter(story.trust), h("b", {}, number(story.trust, 2)),
          h("span", { class: "oopd-quiet", title: "the student's own confidence in what it wrote; how far the teacher's texts agree with it" }, `own ${number(story.prior, 2)} · teacher ${number(story.agreement, 2)}`)),
        h("div", { class: "oopd-effect-line" }, h("span", {}, "Share"), meter(story.share), h("b", {}, percent(story.share)), h("span", { class: "oopd-quiet" }, "of this answer's update"))),
      atAGlance(story, settings["objective.concentration"])),
    h("p", { class: "oopd-effect-push" }, "This update ", where, "."),
    h("div", { class: "oopd-effect-more" },
      controls,
      h("p", { class: "oopd-quiet" }, "Under another target:"),
      h("div", { class: "oopd-effect-targets" }, story.pushes.map(({ target, about, way, towards }) => {
        const to = towards === null ? "" : ` → ${tokenSaid(towards)}`;
        const made = button(`${ARROWS[way]} ${target}${to}`, () => set("objective.target", target), { signal, title: about });
        made.setAttribute("aria-pressed", String(settings["objective.target"] === target));
        made.dataset.what = `target ${target}`;
        made.disabled = frozen; // nobody would hear
        return made;
      })),
      frozen ? null : tries(story, set, signal)),
  );
}

function tries(story, set, signal) {
  const w = story.warning;
  if (!w) return null;
  const offer = (label, setting, value) => {
    const made = button(label, () => set(setting, value), { signal });
    made.dataset.what = `try ${label}`;
    return made;
  };
  const found = [
    ...w.similarities.map(([name, trust]) => offer(`compare by ${name}: trust ${number(trust, 2)}`, "audit.similarity", name)),
    ...w.targets.map((name) => offer(`target ${name}`, "objective.target", name)),
  ];
  return h("div", { class: "oopd-effect-targets" }, h("span", { class: "oopd-quiet" }, found.length ? "What would weaken or turn that:" : "No similarity and no target here would weaken that."), found);
}

function signedShare({ by, labels }) {
  const size = number(Math.abs(by), 2);
  return labels ? `by ${size} in probability` : `weight ${by < 0 ? "−" : "+"}${size}`;
}

function meter(value) {
  const full = h("span", { class: "oopd-meter-full" });
  full.style.width = `${Math.round(100 * Math.min(1, Math.max(0, value ?? 0)))}%`;
  return h("span", { class: "oopd-meter", "aria-hidden": "true" }, full);
}

// Where nothing is known of a place yet.
export function emptyCard(place, words, act, signal) {
  clear(place, h("p", { class: "oopd-quiet" }, words), act ? button(act.label, act.press, { signal }) : null);
}

export const storyAt = (stories, selected) => stories.findIndex((story) => story.start <= selected && selected < story.stop);
