// What people say of a run: its title, its tags as chips that search, and the line in which all is written. A run tagged
// `hidden` is listed only where it is searched for.

import { assign, button, h, on, redraw, shown, watch } from "./_common.js";

const HIDDEN = "hidden";
export const isHidden = (row) => row.tags.split(/[\s,]+/).includes(HIDDEN);

// The tags of a row; a click searches for one.
export function tagChips(model, row, signal) {
  return row.tags.split(" ").filter(Boolean).map((tag) => {
    const chip = h("button", { type: "button", class: "oopd-tag", "data-what": `tag ${tag} ${row.id}`, title: "search for this tag" }, shown(tag));
    on(chip, "click", () => assign(model, "query", `tags:${tag}`), { signal });
    return chip;
  });
}

// The editor of the run that `edited` names: written when a field is left, and by Enter.
export function noteEditor(model, signal) {
  const tags = h("input", { type: "text", "aria-label": "tags, parted by spaces", placeholder: "tags, parted by spaces", autocomplete: "off", spellcheck: "false" });
  const note = h("input", { type: "text", class: "oopd-note", "aria-label": "a note", placeholder: "a note", autocomplete: "off" });
  const title = h("input", { type: "text", "aria-label": "a title", placeholder: "a title, in place of its name", autocomplete: "off", maxlength: 80 });
  const name = h("span", {});
  const hide = button("", () => {
    const said = tags.value.split(/[\s,]+/).filter((tag) => tag && tag !== HIDDEN);
    tags.value = (isHidden({ tags: tags.value }) ? said : [...said, HIDDEN]).join(" ");
    write();
  }, { signal });
  const done = button("done", () => assign(model, "edited", ""), { signal, title: "close (Escape)" });
  const element = h("div", { class: "oopd-bar oopd-notes" }, h("b", {}, "What is said of "), name, title, tags, note, hide, done);
  let open = "";
  let before = { tags: "", note: "", title: "" }; // as shown when the editing began: what others write meanwhile is not taken back
  const write = () => assign(model, "annotated", { run: model.get("edited"), tags: tags.value, note: note.value, title: title.value, before, at: Date.now() });
  watch(model, ["written"], () => {
    const { run, tags, note, title } = model.get("written");
    if (run === open) before = { tags, note, title };
  }, signal);
  for (const field of [title, tags, note]) on(field, "change", write, { signal });
  watch(model, ["edited", "rows"], () => {
    const row = model.get("rows").find(({ id }) => id === model.get("edited"));
    element.hidden = row === undefined;
    if (row === undefined) return (open = "");
    redraw(name, shown(row.id));
    for (const [field, key] of [[title, "title"], [tags, "tags"], [note, "note"]]) {
      if (open === row.id && document.activeElement === field) continue;
      field.value = row[key];
      before = { ...before, [key]: row[key] };
    }
    hide.textContent = isHidden(row) ? "list again" : "hide";
    hide.title = isHidden(row) ? "take the tag “hidden” away" : "tag it “hidden”: listed only by a search for tags:hidden";
    if (open !== row.id) tags.focus();
    return (open = row.id);
  }, signal);
  return element;
}
