// A long text as spans of tokens, in blocks that the browser skips while they are out of sight. Built in slices, so that
// 100,000 tokens do not hold up the page; whatever is asked for is built at once.
import { h, isUnseen, visible } from "./_common.js";
import { keepInSight } from "./_in_sight.js";

const BLOCK = 256;
const LONGEST = 512; // a block looks this far for a line break to end at, since its end breaks the line
const SLICE_MS = 12;

// classOf(i) gives the classes of token i; numberOf(i) the number of the fork that starts there, or null; teacherOf(i)
// what a teacher would have written there ({teacher, times}, strings) and is drawn by the style sheet: no part of the text;
// chosen() the selected token, −1 for none.
export function makeStrip({ signal, classOf, numberOf, teacherOf, finish, chosen }) {
  const element = h("div", { class: "oopd-strip oopd-text", lang: "" });
  element.translate = false;
  let pieces = [];
  let spans = [];
  let blocks = [];
  const around = () => Math.min(50, element.clientHeight / 3);
  const sight = keepInSight(element, () => at(chosen()), () => [around(), around()], signal);
  const inked = new Set(); // the tokens that bear, or bore, the teacher's
  let timer = null;
  signal?.addEventListener("abort", () => clearTimeout(timer), { once: true });

  function load(newPieces, near) {
    clearTimeout(timer);
    pieces = newPieces;
    spans = new Array(pieces.length);
    blocks = cut(pieces);
    inked.clear();
    element.removeAttribute("data-complete");
    element.replaceChildren(...blocks.map((block) => block.element));
    const first = blockOf(Math.max(0, near));
    for (const block of blocks.slice(0, 4).concat(blocks.slice(Math.max(0, first - 1), first + 3))) fill(block);
    build(0);
    sight.stay();
  }

  function build(from) {
    const until = performance.now() + SLICE_MS;
    while (from < blocks.length && performance.now() < until) fill(blocks[from++]);
    if (from < blocks.length) timer = setTimeout(build, 0, from);
    else element.setAttribute("data-complete", "");
  }

  function fill(block) {
    if (block.filled) return;
    block.filled = true;
    const fragment = document.createDocumentFragment();
    for (let i = block.start; i < block.stop; i++) fragment.append((spans[i] = span(i)));
    block.element.append(fragment);
  }

  function span(i) {
    const piece = pieces[i];
    const token = document.createElement("span");
    token.oopdToken = i;
    if (piece === "") token.setAttribute("data-sign", i === pieces.length - 1 && finish() === "stop" ? "■" : "▫");
    else if (piece.includes("\n")) token.append(...withBreaks(piece));
    else if (isUnseen(piece)) token.append(visible(piece));
    else token.textContent = piece;
    signs(token, i);
    return token;
  }

  function repaint() {
    clearTimeout(timer);
    const [top, bottom] = inSight();
    for (let b = top; b <= bottom; b++) recolour(blocks[b]);
    let b = 0;
    const rest = () => {
      const until = performance.now() + SLICE_MS;
      while (b < blocks.length && performance.now() < until) {
        if (b < top || b > bottom) recolour(blocks[b]);
        b++;
      }
      if (b < blocks.length) timer = setTimeout(rest, 0);
      else element.setAttribute("data-complete", "");
    };
    element.removeAttribute("data-complete");
    timer = setTimeout(rest, 0);
  }

  function recolour(block) {
    if (!block) return;
    if (!block.filled) return fill(block);
    for (let i = block.start; i < block.stop; i++) refresh(i);
  }

  function refresh(i) {
    if (spans[i]) signs(spans[i], i);
  }

  // What a token bears beside its text.
  function signs(token, i) {
    const classes = classOf(i);
    if (token.className !== classes) token.className = classes;
    bear(token, "data-fork", numberOf(i));
    const { teacher = null, times = null } = teacherOf(i);
    if (teacher === null && !inked.has(i)) return;
    inked.add(i);
    const ink = token.querySelector(".oopd-ink") ?? token;
    bear(ink, "data-teacher", teacher);
    bear(ink, "data-times", times);
  }

  function at(i) {
    if (!spans[i] && blocks.length) fill(blocks[blockOf(i)]);
    return spans[i];
  }

  function blockOf(i) {
    let low = 0;
    let high = blocks.length - 1;
    while (low < high) {
      const middle = (low + high + 1) >> 1;
      if (blocks[middle].start <= i) low = middle;
      else high = middle - 1;
    }
    return low;
  }

  // The first and last block that can be seen now.
  function inSight() {
    const top = element.scrollTop;
    const bottom = top + element.clientHeight;
    let first = 0;
    while (first < blocks.length - 1 && blocks[first + 1].element.offsetTop <= top) first++;
    let last = first;
    while (last < blocks.length - 1 && blocks[last + 1].element.offsetTop < bottom) last++;
    return [first, last];
  }

  return {
    element,
    load,
    repaint,
    refresh,
    reveal: sight.reveal,
    at,
    tokenOf: (node) => {
      const token = node instanceof Element ? node.closest(".oopd-t") : null;
      return token && element.contains(token) ? token.oopdToken : -1;
    },
    // The tokens in sight, about: [first, last].
    window: () => {
      if (!blocks.length) return [0, 0];
      const [first, last] = inSight();
      const share = (block, y) => (block.stop - block.start) * Math.min(1, Math.max(0, (y - block.element.offsetTop) / (block.element.offsetHeight || 1)));
      const bottom = element.scrollTop + element.clientHeight;
      return [blocks[first].start + share(blocks[first], element.scrollTop), blocks[last].start + share(blocks[last], bottom)];
    },
  };
}

function cut(pieces) {
  const blocks = [];
  let start = 0;
  while (start < pieces.length) {
    let stop = Math.min(start + BLOCK, pieces.length);
    if (stop < pieces.length) {
      let end = stop;
      while (end < Math.min(start + LONGEST, pieces.length) && !pieces[end - 1].endsWith("\n")) end++;
      stop = end;
    }
    const broken = stop < pieces.length && !pieces[stop - 1].endsWith("\n");
    const element = h("div", { class: broken ? "oopd-block oopd-broken" : "oopd-block" });
    let letters = 0;
    for (let i = start; i < stop; i++) letters += pieces[i].length;
    element.style.containIntrinsicBlockSize = `auto ${Math.ceil(letters / 90) * 22}px`;
    blocks.push({ start, stop, element, filled: false });
    start = stop;
  }
  return blocks;
}

// A line break keeps its character and gets a faint sign before it, from the style sheet. What is drawn behind a token
// has its place before the first of them.
function* withBreaks(piece) {
  let begun = false;
  for (const part of piece.split(/(\n)/)) {
    if (part === "\n") {
      yield h("span", { class: "oopd-break" }, begun ? "" : h("span", { class: "oopd-ink" }), "\n");
      begun = true;
    } else if (part !== "") yield visible(part);
  }
}

function bear(token, name, value) {
  if (value === null) token.removeAttribute(name);
  else token.setAttribute(name, value);
}

// The units of a granularity: for each token the number of its unit, and the first token of each unit (and the end).
export function unitsOf(pieces, granularity) {
  const unit = new Int32Array(pieces.length);
  const starts = [];
  let before = "";
  for (let i = 0; i < pieces.length; i++) {
    const piece = pieces[i];
    if (i === 0 || begins(granularity, before, piece)) starts.push(i);
    unit[i] = starts.length - 1;
    before = (before + piece).slice(-8);
  }
  starts.push(pieces.length);
  return { unit, starts };
}

function begins(granularity, before, piece) {
  if (granularity === "token") return true;
  if (piece === "") return false;
  if (granularity === "line") return before.endsWith("\n");
  if (granularity === "sentence") return before.endsWith("\n") || (/[.!?…。！？]["'”’)\]]*\s*$/.test(before) && (/\s$/.test(before) || /^\s/.test(piece) || /[。！？]$/.test(before)));
  return /\s$/.test(before) || /^\s/.test(piece);
}
