// Runs that differ in nothing but their seed as one row: means over them, and from where to where they lie.

import { missing } from "./_common.js";

const MEANS = ["best_accuracy", "gain", "accuracy_before", "greedy", "loss", "samples", "teacher_tokens", "cost_usd", "seconds"];
const SAME = ["arm", "method", "target", "control", "student", "teacher"];

// A row an arm, in the order of the first of its runs; a run alone, or one that cannot be read, stays as it is.
export function byArm(rows) {
  const groups = new Map();
  for (const row of rows) {
    const key = row.settings ? `${row.settings} ${row.arm}` : `alone ${row.id}`;
    groups.set(key, [...(groups.get(key) ?? []), row]);
  }
  return [...groups].map(([key, members]) => (members.length > 1 ? grouped(key, members) : members[0]));
}

function grouped(key, members) {
  const states = [...new Set(members.map(({ state }) => state))];
  const seeds = members.map(({ seed }) => seed).filter((seed) => !missing(seed)).sort((a, b) => a - b);
  const row = {
    key, members, id: members[0].arm, readable: members.some(({ readable }) => readable), settings: members[0].settings,
    state: states.length === 1 ? states[0] : "", states: states.map((state) => `${members.filter((one) => one.state === state).length} ${state}`).join(", "),
    seed: seeds.join(", "), step: least(members.map(({ step }) => step)), steps: least(members.map(({ steps }) => steps)), created: members.map(({ created }) => created).sort()[0],
    message: "", note: "", tags: [...new Set(members.flatMap(({ tags }) => tags.split(" ")))].filter(Boolean).join(" "), spread: {},
    ...Object.fromEntries(SAME.map((name) => [name, members[0][name]])),
  };
  for (const name of MEANS) {
    const known = members.map((one) => one[name]).filter((value) => !missing(value));
    row[name] = known.length ? known.reduce((a, b) => a + b) / known.length : null;
    if (known.length > 1) row.spread[name] = [Math.min(...known), Math.max(...known)];
  }
  return row;
}

function least(values) {
  const known = values.filter((value) => !missing(value));
  return known.length ? Math.min(...known) : null;
}
