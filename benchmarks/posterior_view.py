"""From a slider to the screen: new posteriors after α or N moved, another similarity, another target in the ledger.

    python benchmarks/posterior_view.py

Prints one Markdown table; exit status 1 where the 95th percentile breaks a limit. Chromium without a GPU; a time runs
from the slider's event to after the next painted frame; Python's own times stand apart. Another program's load on the
machine adds to every time.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "widgets")]

from omniopd_widgets import PosteriorPlot, UpdateLedger  # noqa: E402
from tests.widgets.audited import rollout  # noqa: E402
from tests.widgets.harness import Mounted, Pages, launched  # noqa: E402

ANSWER_MS = 100
_MOVE = """async ([label, values]) => {
  const input = document.querySelector(`input[type=range][aria-label^="${label}"]`);
  const took = [];
  for (const value of values) {
    const started = performance.now();
    input.value = value;
    input.dispatchEvent(new Event("input", { bubbles: true }));
    await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
    took.push(performance.now() - started);
  }
  input.dispatchEvent(new Event("change", { bubbles: true }));
  return took;
}"""
Row = tuple[str, list[float], float | None]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--moves", type=int, default=40)
    moves = parser.parse_args().moves
    rows: list[Row] = []
    with launched() as browser:
        for forks, samples, limit in ((10, 10, ANSWER_MS), (50, 32, None)):
            rows += dragged(Pages(browser), forks, samples, moves, limit)
    rows += in_python(moves)
    print("| what | median ms | 95th percentile ms | allowed ms |\n| --- | ---: | ---: | ---: |")
    failed = False
    for name, found, limit in rows:
        high = sorted(found)[int(0.95 * (len(found) - 1))]
        failed |= limit is not None and high > limit
        print(f"| {name} | {statistics.median(found):.1f} | {high:.1f} | {'' if limit is None else limit} |")
    return int(failed)


def dragged(pages: Pages, forks: int, samples: int, moves: int, limit: float | None) -> list[Row]:
    with pages.page() as (page, log):
        mounted = Mounted(page, log, PosteriorPlot(rollout(1, forks=forks, samples=samples)), 0)
        size = f"{forks} forks × {samples} texts"
        alphas = [round(0.05 + 9.9 * i / moves, 2) for i in range(moves)]
        counts = [1 + i % samples for i in range(moves)]
        page.evaluate(_MOVE, ["α", alphas[:5]])
        found: list[Row] = [
            (f"{name} moved, {size}", page.evaluate(_MOVE, [label, values]), limit)
            for name, label, values in (("α", "α", alphas), ("N", "N", counts))
        ]
        mounted.assert_quiet()
        return found


def in_python(moves: int) -> list[Row]:
    def compared() -> Callable[[], Any]:
        view = PosteriorPlot(rollout(1))
        return lambda: setattr(view, "similarity", "tokens")

    def booked() -> Callable[[], Any]:
        view = UpdateLedger([rollout(1, row=row) for row in range(16)], target="paper")
        return lambda: setattr(view, "target", "prefix_credit")

    named = (("another φ in Python, 10 × 10 texts", compared), ("another target in Python, 16 × 10 forks", booked))
    return [(name, [milliseconds(make()) for _ in range(min(moves, 10))], None) for name, make in named]


def milliseconds(act: Callable[[], Any]) -> float:
    started = time.perf_counter()
    act()
    return 1000 * (time.perf_counter() - started)


if __name__ == "__main__":
    sys.exit(main())
