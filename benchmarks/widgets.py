"""The figures of the views in a real browser: painting, hovering, keys, bytes, memory.

    python benchmarks/widgets.py

Prints one Markdown table; exit status 1 where a limit is broken. Chromium without a GPU; a time is the browser's own,
the median of the repeats (95th percentile for hovering and keys). Another program's load adds to it.
"""

from __future__ import annotations

import argparse
import gc
import json
import statistics
import sys
import weakref
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "widgets")]

from omniopd_widgets import AuditPanel, RolloutView  # noqa: E402
from tests.widgets.harness import Mounted, Pages, launched, wire_bytes  # noqa: E402
from tests.widgets.records import long_record, rollout_record  # noqa: E402

SECONDS, FREEZE_MS, ANSWER_MS, WIRE, NOTEBOOK = {20_000: 1.0, 100_000: 2.5}, 500, 100, 200_000, 20_000_000

_LONG_TASKS = """() => { window.tasks = [];
  const note = (list) => tasks.push(...list.getEntries().map((e) => e.duration));
  new PerformanceObserver(note).observe({ type: "longtask" }); }"""
_KEY = """async (key) => {
  const root = document.querySelector(".oopd-view");
  root.focus();
  const started = performance.now();
  root.dispatchEvent(new KeyboardEvent("keydown", { key, bubbles: true }));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - started;
}"""
_HOVER = """async (step) => {
  const box = document.querySelector(".oopd-strip").getBoundingClientRect();
  const [x, y] = [40 + ((37 * step) % (box.width - 80)), 20 + ((23 * step) % (box.height - 40))];
  const token = document.elementFromPoint(box.left + x, box.top + y);
  const started = performance.now();
  token.dispatchEvent(new PointerEvent("pointerover", { bubbles: true }));
  await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - started;
}"""
Row = tuple[str, float, float, str]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    with launched() as browser:
        pages = Pages(browser)
        rows = [row for length in SECONDS for row in painting(pages, length, repeats)]
    rows += weights()
    print("| what | measured | limit |\n| --- | ---: | ---: |")
    for what, value, limit, unit in rows:
        print(f"| {what} | {value:,.4g} {unit} | {limit:,.4g} {unit} |")
    return int(any(value > limit for _, value, limit, _ in rows))


def painting(pages: Pages, length: int, repeats: int) -> list[Row]:
    """First paint, all tokens there, the longest the page was held up, and answers to keys and hovering."""
    painted, complete, held, keys, hovers = [], [], [], [], []
    view = RolloutView(long_record(length))
    for _ in range(repeats):
        with pages.page() as (page, log):
            page.evaluate(_LONG_TASKS)
            started = page.evaluate("performance.now()")
            mounted = Mounted(page, log, view, 0)
            painted.append(mounted.timing["painted"] / 1000)
            mounted.find(".oopd-strip[data-complete]").wait_for()
            complete.append((page.evaluate("performance.now()") - started) / 1000)
            held.append(max(page.evaluate("tasks"), default=0.0))
            keys += [page.evaluate(_KEY, key) for key in [*"nnnpp", *["ArrowRight"] * 5, *["ArrowDown"] * 5]]
            hovers += [page.evaluate(_HOVER, step) for step in range(20)]
    name = f"{length:,} tokens"
    return [
        (f"{name}: painted", statistics.median(painted), SECONDS[length], "s"),
        (f"{name}: every token there", statistics.median(complete), 2 * SECONDS[length], "s"),
        (f"{name}: longest hold of the page", statistics.median(held), FREEZE_MS, "ms"),
        (f"{name}: key, 95th percentile", percentile(keys), ANSWER_MS, "ms"),
        (f"{name}: hover, 95th percentile", percentile(hovers), ANSWER_MS, "ms"),
    ]


def weights() -> list[Row]:
    view = RolloutView(long_record(8_000))
    panel = AuditPanel(long_record(8_000))
    notebook = 100 * len(json.dumps(view._repr_mimebundle_()[0]))
    alive = []
    for _ in range(20):
        for closing in (RolloutView(rollout_record()), AuditPanel(rollout_record())):
            closing.close()
            alive.append(weakref.ref(closing))
            del closing
    gc.collect()
    return [
        ("rollout view of 8,000 tokens on the wire", wire_bytes(view) / 1000, WIRE / 1000, "kB"),
        ("the same with its script and style", wire_bytes(view, with_code=True) / 1000, 1.5 * WIRE / 1000, "kB"),
        ("audit panel of 10 forks × 10 texts on the wire", wire_bytes(panel) / 1000, WIRE / 1000, "kB"),
        ("notebook of 100 views of 8,000 tokens, as saved", notebook / 1e6, NOTEBOOK / 1e6, "MB"),
        ("100 live views of 2,000 tokens with code", live(2_000) / 1e6, NOTEBOOK / 1e6, "MB"),
        ("closed views not collected, of 40", float(sum(r() is not None for r in alive)), 0.0, ""),
    ]


def live(length: int) -> float:
    """What 100 views hold if somebody saves the state of widgets with the notebook, which JupyterLab does not do."""
    view = RolloutView(long_record(length))
    state: dict[str, Any] = {k: v for k, v in view.get_state().items() if isinstance(v, str | list)}
    binary = sum(4 * len(v) // 3 for v in view.get_state().values() if isinstance(v, bytes))
    return 100.0 * (len(json.dumps(state, ensure_ascii=False).encode()) + binary)


def percentile(values: list[float], share: float = 0.95) -> float:
    return sorted(values)[int(share * (len(values) - 1))]


if __name__ == "__main__":
    sys.exit(main())
