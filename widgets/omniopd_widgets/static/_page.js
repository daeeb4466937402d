// The models of a page without a kernel: what the user does changes them and reaches nobody. In place of Jupyter's.

export function pageModels(states) {
  const models = Object.fromEntries(Object.entries(states).map(([id, state]) => [id, pageModel(revived(state))]));
  const manager = { get_model: async (id) => models[id] };
  for (const model of Object.values(models)) model.widget_manager = manager;
  return models;
}

function pageModel(state) {
  const handlers = new Map();
  return {
    get: (name) => state[name],
    set(name, value) {
      if (Object.is(state[name], value)) return;
      state[name] = value;
      for (const act of [...(handlers.get(`change:${name}`) ?? [])]) act();
    },
    save_changes() {},
    on: (name, act) => handlers.set(name, [...(handlers.get(name) ?? []), act]),
    off: (name, act) => handlers.set(name, (handlers.get(name) ?? []).filter((one) => one !== act)),
  };
}

// Bytes travel as base64.
function revived(value) {
  if (Array.isArray(value)) return value.map(revived);
  if (value === null || typeof value !== "object") return value;
  if ("__bytes__" in value) return new DataView(Uint8Array.from(atob(value.__bytes__), (c) => c.charCodeAt(0)).buffer);
  return Object.fromEntries(Object.entries(value).map(([name, inner]) => [name, revived(inner)]));
}
