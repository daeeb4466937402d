// What every view needs: elements made with textContent, texts shown and never obeyed, keys that stay in the view,
// numbers, colours, and listeners that end with the view. Has no side effects and keeps no state of a module.

const SVG = "http://www.w3.org/2000/svg";

// The characters of _safe.UNSEEN: they have no shape of their own, or change the shape of others.
const UNSEEN = new RegExp(
  "[\\u0000-\\u0008\\u000b-\\u001f\\u007f-\\u009f\\u00ad\\u034f\\u061c\\u115f\\u1160\\u17b4\\u17b5\\u180e\\u200b-\\u200f" +
    "\\u2028-\\u202e\\u2060-\\u206f\\u3164\\ufeff\\uffa0\\ufff9-\\ufffb\\ud800-\\udfff" +
    "\\u{e0000}-\\u{e007f}\\u{10d800}-\\u{10dfff}]",
  "gu",
);
const HALF_SHIFT = 0x100000; // see to_json() in _parts/safe.py

const CONTROLS = "NUL SOH STX ETX EOT ENQ ACK BEL BS TAB LF VT FF CR SO SI DLE DC1 DC2 DC3 DC4 NAK SYN ETB CAN EM SUB ESC FS GS RS US".split(" ");
const UNSEEN_NAMES = {
  0x00: "null", 0x1b: "escape", 0xad: "soft hyphen", 0x200b: "zero-width space", 0x200c: "zero-width non-joiner",
  0x200d: "zero-width joiner", 0x200e: "left-to-right mark", 0x200f: "right-to-left mark", 0x2028: "line separator",
  0x2029: "paragraph separator", 0x202a: "left-to-right embedding", 0x202b: "right-to-left embedding",
  0x202c: "pop direction", 0x202d: "left-to-right override", 0x202e: "right-to-left override", 0x2060: "word joiner",
  0x2066: "left-to-right isolate", 0x2067: "right-to-left isolate", 0x2068: "first strong isolate",
  0x2069: "pop isolate", 0xfeff: "byte order mark",
};

// ---- elements ----------------------------------------------------------------------------------------------------

// h("button", {class: "oopd-x", title: "…", disabled: true}, "text", otherNode). A string child becomes a text node, as
// it is (for a text that a model wrote, use shown()). Attributes are ours: names from this list, data-* and aria-*.
const ATTRIBUTES = /^(class|id|type|title|role|tabindex|for|name|value|min|max|step|checked|disabled|hidden|open|lang|dir|placeholder|scope|colspan|rowspan|start|list|autocomplete|spellcheck|readonly|rows|cols|selected|multiple|width|height|maxlength|data-[a-z-]+|aria-[a-z]+)$/;

export function h(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (!ATTRIBUTES.test(name)) throw new Error(`attribute ${name} is not one that a view sets`);
    if (value === false || value === null || value === undefined) continue;
    element.setAttribute(name, value === true ? "" : name === "title" ? plain(value) : String(value));
  }
  element.append(...present(children));
  return element;
}

// The same for SVG, where any attribute but a handler, a style or a reference will do.
export function svg(tag, attributes = {}, ...children) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (/^(on|style|href|xlink)/i.test(name)) throw new Error(`attribute ${name} is not one that a view sets`);
    if (value !== null && value !== undefined) element.setAttribute(name, String(value));
  }
  element.append(...present(children));
  return element;
}

const present = (children) => children.flat().filter((child) => child !== null && child !== undefined);

// The head of a table: a column a name.
export const tableHead = (names) => h("thead", {}, h("tr", {}, names.map((name) => h("th", { scope: "col" }, name))));

export function button(label, onClick, { signal, title, kind = "" } = {}) {
  const element = h("button", { type: "button", class: `oopd-button ${kind}`, title }, label);
  if (onClick) element.addEventListener("click", onClick, { signal });
  return element;
}

export function clear(element, ...children) {
  element.replaceChildren(...present(children));
  return element;
}

// The same where somebody may be working: what had the focus, by its data-what, has it again, else the view.
export function redraw(element, ...children) {
  const what = element.contains(document.activeElement) ? document.activeElement.dataset.what : undefined;
  clear(element, ...children);
  if (what === undefined) return element;
  const again = [...element.querySelectorAll("[data-what]")].find((found) => found.dataset.what === what);
  (again ?? element.closest(".oopd-view"))?.focus({ preventScroll: true });
  return element;
}

// ---- texts that somebody else wrote --------------------------------------------------------------------------------

// A fragment that shows `text` as it is: each character without a shape becomes a chip that names it. The character
// itself stays in the chip, so that a selection copies the text exactly.
export function visible(text) {
  const fragment = document.createDocumentFragment();
  let end = 0;
  for (const match of text.matchAll(UNSEEN)) {
    if (match.index > end) fragment.append(text.slice(end, match.index));
    fragment.append(chip(match[0]));
    end = match.index + match[0].length;
  }
  if (end < text.length) fragment.append(text.slice(end));
  return fragment;
}

// An element for such a text: its own direction, its spaces and line breaks kept, no translation, no spell check.
export function shown(text, attributes = {}, tag = "span") {
  const element = h(tag, { ...attributes, class: `oopd-text ${attributes.class ?? ""}`.trim() });
  element.translate = false;
  element.append(visible(text));
  return element;
}

// The same as a string, for attributes and status lines, where no element can be.
export function plain(text) {
  return String(text).replace(UNSEEN, (c) => sign(c.codePointAt(0)));
}

// What the text was before to_json(): halves of pairs are halves again, for copying and comparing.
export function restored(text) {
  return text.replace(/[\u{10d800}-\u{10dfff}]/gu, (c) => String.fromCharCode(c.codePointAt(0) - HALF_SHIFT));
}

// A text for a line of prose: line breaks and tabs as signs, shortened in the middle of nothing.
export function quoted(text, limit = 60) {
  const start = plain(text.slice(0, limit)).replaceAll("\n", "⏎").replaceAll("\t", "⇥");
  return `“${start}${text.length > limit ? "…" : ""}”`;
}

export function isUnseen(text) {
  return text.search(UNSEEN) >= 0; // not test(): it would leave its place in the pattern, where matchAll begins
}

function chip(character) {
  const code = character.codePointAt(0);
  const real = code >= 0x10d800 ? code - HALF_SHIFT : code;
  const hex = `U+${real.toString(16).toUpperCase().padStart(4, "0")}`;
  const named = UNSEEN_NAMES[real] ? `${UNSEEN_NAMES[real]} (${hex})` : hex;
  const element = h("span", { class: "oopd-chip", "data-sign": sign(code), title: named }, h("span", {}, character));
  return element;
}

function sign(code) {
  const real = code >= 0x10d800 ? code - HALF_SHIFT : code;
  const name = real < 32 ? CONTROLS[real] : real === 0x7f ? "DEL" : `U+${real.toString(16).toUpperCase().padStart(4, "0")}`;
  return `⟨${name}⟩`;
}

// ---- the view's root -----------------------------------------------------------------------------------------------

// The one element of a view: a labelled group that takes the focus, keeps its keys, and shows the model's problem line.
// `keys` maps event.key to a function; it returns false where the key should do what the browser does. `help` says what
// they do, [["n", "next fork"], …], in a list that ? folds and unfolds.
// Returns {root, body, help, say}: build into body, speak with say("token 3 of 9").
export function scope({ model, el, signal, label, keys: given = {}, help: entries, name }) {
  const help = entries ? keyHelp([...entries, ["?", "these keys"]]) : null;
  const keys = help ? { "?": () => (help.open = !help.open), ...given } : given;
  const problem = h("p", { class: "oopd-problem", role: "alert", hidden: true });
  const ended = h("p", { class: "oopd-ended", role: "alert", hidden: true }, "The kernel behind this view has ended or was restarted: run its cell again.");
  const body = h("div", { class: "oopd-body" });
  const status = h("p", { class: "oopd-status", role: "status", "aria-live": "polite" });
  const root = h(
    "div",
    {
      class: `oopd-view oopd-${name}`, role: "group", tabindex: "0", "aria-label": plain(model.get("label") || label),
      "data-lm-suppress-shortcuts": "true",
    },
    ...present([problem, ended, body, help, status]),
  );
  const typing = (target) => target.matches?.("input:not([type=range], [type=checkbox], [type=radio]), textarea, select");
  for (const type of ["keydown", "keyup", "keypress"]) {
    on(root, type, (event) => {
      event.stopPropagation(); // in JupyterLab, b would insert a cell and d d delete one
      if (type !== "keydown" || event.ctrlKey || event.metaKey || event.altKey) return;
      if (event.key === "Escape" && !keys.Escape) return root.contains(document.activeElement) && document.activeElement.blur();
      if (typing(event.target) && event.key !== "Escape") return;
      if (event.target.matches?.("button, summary, [type=range], [type=checkbox], [type=radio]") && /^(Enter| |Arrow.*)$/.test(event.key)) return;
      const act = keys[event.key];
      if (act && act(event) !== false) event.preventDefault();
    }, { signal });
  }
  on(root, "copy", copyExactly, { signal });
  watch(model, ["problem"], () => {
    const text = model.get("problem") || "";
    problem.hidden = text === "";
    clear(problem, visible(text));
  }, signal);
  whileHeard(model, (heard) => (ended.hidden = heard), signal);
  el.append(root);
  signal?.addEventListener("abort", () => root.remove(), { once: true });
  const speak = throttle((text) => (status.textContent = plain(text)), 100, signal);
  return { root, body, help, say: speak };
}

// A selection inside one text is copied as that text, without what only the page adds (signs, line breaks of blocks).
function copyExactly(event) {
  const selection = document.getSelection();
  if (!selection || selection.isCollapsed || !event.clipboardData) return;
  const range = selection.getRangeAt(0);
  const common = range.commonAncestorContainer;
  const place = common instanceof Element ? common : common.parentElement;
  if (!place?.closest(".oopd-text")) return;
  event.clipboardData.setData("text/plain", restored(range.cloneContents().textContent));
  event.preventDefault();
}

// ---- the model -----------------------------------------------------------------------------------------------------

// Calls `act` now and whenever one of the traits changes (once per burst of changes), until the view closes.
export function watch(model, names, act, signal) {
  act();
  later(model, names, act, signal);
}

export function later(model, names, act, signal) {
  for (const name of names) model.on(`change:${name}`, act);
  signal?.addEventListener("abort", () => names.forEach((name) => model.off(`change:${name}`, act)), { once: true });
}

// Whether a kernel still hears of the model, as Jupyter tells the model of its layout; without a kernel there is none.
function whileHeard(model, tell, signal) {
  const layout = model.get("layout");
  if (typeof layout?.on !== "function") return;
  const act = () => tell(layout.comm_live !== false);
  layout.on("comm_live_update", act);
  signal?.addEventListener("abort", () => layout.off("comm_live_update", act), { once: true });
}

// What the user did: one assignment, sent to Python.
export function assign(model, name, value) {
  if (model.get(name) === value) return;
  model.set(name, value);
  model.save_changes();
}

export function on(target, type, act, options = {}) {
  target.addEventListener(type, act, options);
}

// A Bytes trait of float32 (little endian) as an array; a copy, since the buffer need not be aligned.
export function floats(bytes) {
  return new Float32Array(buffer(bytes));
}

export function flags(bytes) {
  return new Uint8Array(buffer(bytes));
}

function buffer(bytes) {
  if (!bytes) return new ArrayBuffer(0);
  const view = bytes instanceof ArrayBuffer ? new Uint8Array(bytes) : new Uint8Array(bytes.buffer, bytes.byteOffset, bytes.byteLength);
  return view.slice().buffer;
}

// ---- time ----------------------------------------------------------------------------------------------------------

// At most one call per `milliseconds`, the last one always. Ends with the view.
export function throttle(act, milliseconds, signal) {
  let timer = null;
  let last = -Infinity;
  let pending = null;
  signal?.addEventListener("abort", () => clearTimeout(timer), { once: true });
  const run = () => {
    timer = null;
    last = performance.now();
    act(...pending);
  };
  return (...values) => {
    if (signal?.aborted) return;
    pending = values;
    const wait = last + milliseconds - performance.now();
    if (wait <= 0 && timer === null) run();
    else if (timer === null) timer = setTimeout(run, wait);
  };
}

// At most one call per painted frame.
export function framed(act, signal) {
  let asked = 0;
  signal?.addEventListener("abort", () => cancelAnimationFrame(asked), { once: true });
  return () => {
    cancelAnimationFrame(asked);
    asked = requestAnimationFrame(act);
  };
}

// ---- numbers and colours -------------------------------------------------------------------------------------------

export const missing = (value) => value === null || value === undefined || Number.isNaN(value);
export const number = (value, digits = 3) => (missing(value) ? "–" : value.toFixed(digits).replace(/^-(0(\.0+)?)$/, "$1"));
// As omniopd.io.units.not_zero: what is not 0 does not read so.
export function notZero(value, digits = 4) {
  const first = value ? Math.ceil(-Math.log10(Math.abs(value))) : 0;
  return first > 8 ? value.toExponential(0) : number(value, Math.max(digits, first));
}
export const signed = (value) => `${value < 0 ? "−" : "+"}${number(Math.abs(value))}`;
export const count = (value) => (missing(value) ? "–" : Math.round(value).toLocaleString("en-US"));
export const percent = (value, digits = 0) => (missing(value) ? "–" : `${(100 * value).toFixed(digits)} %`);
// As omniopd.io.units.dollars; tests/widgets/test_static.py compares them.
export function dollars(value) {
  if (missing(value)) return "–";
  if (value === 0) return "$0";
  if (Math.abs(value) < 0.0001) return "under $0.0001";
  const two = { minimumFractionDigits: 2, maximumFractionDigits: 2 };
  return Math.abs(value) >= 0.1 ? `$${value.toLocaleString("en-US", two)}` : `$${Number(value.toPrecision(2))}`;
}
export const plural = (n, one, many = `${one}s`) => `${count(n)} ${n === 1 ? one : many}`;
// Positions count response tokens from 0, as in every record: the tokens of a chunk, its end left out.
export const tokensAt = (start, stop) => (stop - start > 1 ? `${start}–${stop - 1}` : `${start}`);
// One name of a fork in all views: “Fork 3 of 4 (tokens 25–30)”; a scan's is a run.
export const forkName = (k, many, { start, stop, run = false }) => `${run ? "Run" : "Fork"} ${k + 1} of ${many} (${stop - start > 1 ? "tokens" : "token"} ${tokensAt(start, stop)})`;
// The same beneath a head that says what is numbered: “3 of 4 (25–30)”.
export const forkShort = (k, many, { start, stop }) => `${k + 1} of ${many} (${tokensAt(start, stop)})`;
export const clamp = (value, low, high) => Math.min(high, Math.max(low, value));

// The colour class 0…15 of a value between low and high, −1 where there is none.
export function heat(value, low, high) {
  if (missing(value) || !(high > low)) return -1;
  return clamp(Math.floor((16 * (value - low)) / (high - low)), 0, 15);
}

// A linear scale from data to pixels.
export function linear([low, high], [from, to]) {
  const span = high - low || 1;
  const scale = (value) => from + ((value - low) / span) * (to - from);
  scale.invert = (pixel) => low + ((pixel - from) / (to - from || 1)) * span;
  return scale;
}

// The d attribute of a line through points; a missing value breaks it.
export function line(points) {
  let pen = "M";
  let d = "";
  for (const [x, y] of points) {
    if (missing(x) || missing(y)) {
      pen = "M";
      continue;
    }
    d += `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
    pen = "L";
  }
  return d;
}

// ---- help ----------------------------------------------------------------------------------------------------------

function keyHelp(entries) {
  const list = h("dl", { class: "oopd-keys" });
  for (const [key, meaning] of entries) list.append(h("dt", {}, ...key.split(" ").map((k) => h("kbd", {}, k))), h("dd", {}, meaning));
  return h("details", { class: "oopd-help" }, h("summary", {}, "Keys (?)"), list);
}
