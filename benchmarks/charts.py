"""The charts of a run, by the views' own drawing and by plotly's: what a page loads, when it has painted, what a new
step costs.

    python benchmarks/charts.py

The panels of one run of 500 steps, in one Chromium without a GPU; medians of the repeats, side by side.
"""

from __future__ import annotations

import argparse
import statistics
import sys
import tempfile
from pathlib import Path
from typing import Any

sys.path[:0] = [str(Path(__file__).parents[1]), str(Path(__file__).parents[1] / "widgets")]

import plotly.offline  # noqa: E402

from omniopd_widgets import TrainingMonitor  # noqa: E402
from omniopd_widgets._parts import curves  # noqa: E402
from tests.widgets import watched  # noqa: E402
from tests.widgets.harness import Mounted, Pages, launched  # noqa: E402

STEPS = 500
_PARSED = """source => { const began = performance.now();
  const tag = document.createElement("script"); tag.textContent = source; document.head.append(tag);
  return performance.now() - began; }"""
_DRAWN = """async figures => { const began = performance.now();
  const places = window.places ??= figures.map(() => document.body.appendChild(document.createElement("div")));
  await Promise.all(figures.map((figure, i) => Plotly.react(places[i], figure.data, figure.layout)));
  await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - began; }"""
_UPDATED = """async id => { const began = performance.now();
  harness.models[id].model.receive({recorded: [1, 2, 3]});
  await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
  return performance.now() - began; }"""


def figures(panels: list[curves.Panel]) -> list[dict[str, Any]]:
    """The same curves as plotly takes them."""
    made = []
    for panel in panels:
        data = [{"x": list(c.xs), "y": list(c.ys), "name": c.name, "type": "scatter", "mode": "lines"}
                for c in panel.curves]  # fmt: skip
        layout = {"title": {"text": panel.title}, "width": 300, "height": 190, "hovermode": "x unified"}
        made.append({"data": data, "layout": layout})
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--repeats", type=int, default=5)
    repeats = parser.parse_args().repeats
    steps = [watched.step(number) for number in range(1, STEPS + 1)]
    drawn = figures(curves.panels(steps, watched.evals()))
    source = plotly.offline.get_plotlyjs()
    times: dict[str, list[float]] = {}

    def note(what: str, milliseconds: float) -> None:
        times.setdefault(what, []).append(milliseconds)

    with tempfile.TemporaryDirectory() as folder, launched() as browser:
        run = watched.run_in(Path(folder), steps=STEPS)
        (run.path / "steps.jsonl").write_text("".join(watched.record_json(step) + "\n" for step in steps))
        for record in watched.evals():
            run.append(record)
        watched.finished(run)
        for _ in range(repeats):
            with Pages(browser).page() as (page, log):
                view = TrainingMonitor(run)
                mounted = Mounted(page, log, view, 0)
                own = len(str(view._esm).encode())
                note("ours: painted, with all of the monitor", mounted.timing["painted"])
                note("ours: drawn anew", page.evaluate(_UPDATED, mounted.id))
                view.close()
            with Pages(browser).page() as (page, _):
                parsed = page.evaluate(_PARSED, source)
                note("plotly: script run", parsed)
                note("plotly: script run and painted", parsed + page.evaluate(_DRAWN, drawn))
                note("plotly: drawn anew", page.evaluate(_DRAWN, drawn))
    print(f"{len(drawn)} charts, {STEPS} steps\n\n| what | measured |\n| --- | ---: |")
    for what, size in {"ours: script of the view": own, "plotly: script": len(source.encode())}.items():
        print(f"| {what} | {size / 1e3:,.0f} kB |")
    for what, values in times.items():
        print(f"| {what} | {statistics.median(values):,.0f} ms |")


if __name__ == "__main__":
    main()
