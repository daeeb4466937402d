// Search in a text of tokens: a field, how many matches, and the way from one to the next.
import { h, on, plural, quoted, throttle } from "./_common.js";

const MOST = 5000;

// `pieces()` gives the tokens, `selected()` the place to search from; `go(token)` selects, `mark(tokens)` repaints some.
export function makeSearch({ signal, pieces, selected, go, mark, say }) {
  const field = h("input", { type: "search", placeholder: "search", "aria-label": "search in the answer", spellcheck: "false", autocomplete: "off" });
  const told = h("span", { class: "oopd-quiet" });
  let hits = []; // the first token of each match
  let tokens = new Set(); // all tokens of all matches
  let at = -1;

  function search() {
    const old = tokens;
    const query = field.value;
    [hits, tokens, at] = [[], new Set(), -1];
    if (query) find(query);
    mark(old);
    mark(tokens);
    told.textContent = query && !hits.length ? `no match for ${quoted(query, 30)}` : "";
    if (hits.length) step(1, hits.findIndex((i) => i >= selected()) - 1);
    else if (query) say(told.textContent);
  }

  function find(query) {
    const all = pieces();
    const needle = new RegExp(query.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"), "gi");
    let i = 0;
    let start = 0; // of token i, in the whole text
    for (const match of all.join("").matchAll(needle)) {
      while (start + all[i].length <= match.index) start += all[i++].length;
      hits.push(i);
      const end = match.index + match[0].length;
      for (let j = i, from = start; j < all.length && from < end; from += all[j++].length) tokens.add(j);
      if (hits.length >= MOST) break;
    }
  }

  function step(way, from = at) {
    if (!hits.length) return;
    at = (Math.max(-1, from) + way + hits.length) % hits.length;
    told.textContent = `${at + 1} of ${plural(hits.length, "match", "matches")}`;
    go(hits[at]);
  }

  on(field, "input", throttle(search, 60, signal), { signal });
  on(field, "keydown", (event) => {
    if (event.key !== "Enter") return;
    event.preventDefault();
    step(event.shiftKey ? -1 : 1);
  }, { signal });
  return {
    field,
    told,
    has: (token) => tokens.has(token),
    clear: () => {
      field.value = "";
      search();
    },
  };
}
