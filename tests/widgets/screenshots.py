"""Pictures of every view in both themes, for the README files: `python -m tests.widgets.screenshots [NAME …]`.

The views show the recorded runs that ship with the package, the pencil a scan of the embedded pair; the workbench is
taken in a real JupyterLab.
"""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from omniopd.embedded import RECORDED, recorded
from omniopd.pipeline.session import Session
from omniopd.records import RolloutRecord
from omniopd_widgets import (
    AuditPanel,
    CheckpointPair,
    Launcher,
    PosteriorPlot,
    RolloutView,
    RunBrowser,
    TrainingMonitor,
    UpdateLedger,
)
from tests.widgets.harness import Mounted, Pages, launched
from tests.widgets.lab import ROOT, notebook, running_lab

FOLDER = ROOT / "widgets" / "pictures"
WIDTH = 1100
SIZES = ((1280, 800), (1440, 900), (1920, 1080))
BENCH = """\
from omniopd.io.quiet import quiet_libraries
from omniopd_widgets import Workbench
quiet_libraries()
bench = Workbench(runs=None)
bench.answer(); bench.wait(); bench.ask_all(); bench.wait()
bench
"""


def views() -> dict[str, Callable[[], Any]]:
    """Each view by the name of its picture."""
    run = recorded("paper")
    rollouts = [r for r in run.rollouts(1) if not r.probe]
    return {
        "rollout_view": lambda: RolloutView(rollouts[0], anchor_weight=0.1),
        "pencil": lambda: RolloutView(scanned()),
        "audit_panel": lambda: AuditPanel(rollouts[0]),
        "posterior_plot": lambda: PosteriorPlot(rollouts[0], others=rollouts[1:]),
        "update_ledger": lambda: UpdateLedger(rollouts, run.recipe),
        "training_monitor": lambda: TrainingMonitor("runs/labels"),
        "run_browser": lambda: RunBrowser("runs", chosen=["labels", "self_teacher"]),
        "checkpoint_pair": lambda: CheckpointPair(
            "embedded:student", "embedded:teacher", problem_index=2, seed=1
        ).wait(),
        "launcher": lambda: Launcher("train", runs="launched"),
    }


def scanned() -> RolloutRecord:
    """An answer of the untrained student with the teacher's pencil in it, three draws a token."""
    scan = {"audit.way": "scan", "audit.forks": 0, "audit.samples": 3, "audit.chunk_tokens": 96}
    session = Session("embedded", **scan)
    session.answer(session.problems(1)[0], seed=2)
    return session.ask_everywhere()


def main() -> None:
    FOLDER.mkdir(exist_ok=True)
    os.chdir(tempfile.mkdtemp())  # no run of one's own in the pictures, and no path
    shutil.copytree(RECORDED, "runs")
    names = sys.argv[1:] or [*views(), "workbench"]
    with launched() as browser:
        pages = Pages(browser)
        for name, make in views().items():
            if name not in names:
                continue
            for theme in ("light", "dark"):
                view = make()
                with pages.page(theme) as (page, log):
                    page.set_viewport_size({"width": WIDTH, "height": 900})
                    mounted = Mounted(page, log, view, 0)
                    mounted.settle()
                    page.wait_for_timeout(400)
                    page.locator(".oopd-view").first.screenshot(path=FOLDER / f"{name}-{theme}.png")
                view.close()
        if "workbench" not in names:
            return
        folder = Path(tempfile.mkdtemp())
        with running_lab(folder) as lab:
            page = browser.new_page(viewport={"width": 1440, "height": 900})
            tab = lab.open(page, notebook(folder, "workbench", BENCH))
            tab.run_all()
            for theme in ("Light", "Dark"):
                tab.theme(f"JupyterLab {theme}")
                page.evaluate("document.querySelectorAll('.Toastify, .jp-toastContainer').forEach((e) => e.remove())")
                for width, height in SIZES:
                    page.set_viewport_size({"width": width, "height": height})
                    page.evaluate("document.querySelector('.oopd-bench').scrollIntoView({block: 'start'})")
                    page.wait_for_timeout(1500)
                    page.screenshot(path=FOLDER / f"workbench-{width}-{theme.lower()}.png")


if __name__ == "__main__":
    main()
