// What a view has opened beneath itself: views of their own models, which come and go while it stays.

import { clear, h, plain, watch } from "./_common.js";

// `views` are scripts by the names of their classes; the model's trait `beneath` lists {view, model}, from top to bottom.
export function beneath({ model, el, signal, views }) {
  const element = h("div", { class: "oopd-beneath" });
  el.append(element);
  const shown = new Map();
  const end = (id) => {
    shown.get(id).control.abort();
    shown.get(id).place.remove();
    shown.delete(id);
  };
  signal?.addEventListener("abort", () => {
    [...shown.keys()].forEach(end);
    element.remove();
  }, { once: true });
  const draw = async ({ view, model: id }, { place, control }) => {
    try {
      const inner = await model.widget_manager.get_model(id);
      if (!control.signal.aborted) await views[view].render({ model: inner, el: place, signal: control.signal });
    } catch (error) {
      clear(place, h("p", { role: "alert" }, `What is open could not be drawn: ${plain(String(error))}. Open it again.`));
    }
  };
  watch(model, ["beneath"], () => {
    const wanted = model.get("beneath");
    for (const id of shown.keys()) if (!wanted.some((one) => one.model === id)) end(id);
    const made = wanted.filter((one) => !shown.has(one.model));
    for (const one of made) shown.set(one.model, { place: h("div", {}), control: new AbortController() });
    const places = wanted.map((one) => shown.get(one.model).place);
    // What is read and has the focus is not moved without need.
    if (places.some((place, i) => element.children[i] !== place)) element.append(...places);
    for (const one of made) draw(one, shown.get(one.model));
  }, signal);
}
