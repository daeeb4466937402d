// What a view has opened beneath itself: views of their own models, which come and go while it stays.

import { h, watch } from "./_common.js";

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
    const inner = await model.widget_manager.get_model(id);
    if (!control.signal.aborted) await views[view].render({ model: inner, el: place, signal: control.signal });
  };
  watch(model, ["beneath"], () => {
    const wanted = model.get("beneath");
    for (const id of shown.keys()) if (!wanted.some((one) => one.model === id)) end(id);
    const drawn = wanted.map((one) => {
      if (shown.has(one.model)) return null;
      shown.set(one.model, { place: h("div", {}), control: new AbortController() });
      return draw(one, shown.get(one.model));
    });
    element.append(...wanted.map((one) => shown.get(one.model).place));
    return Promise.all(drawn);
  }, signal);
}
