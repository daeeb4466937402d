"""The workbench where JupyterLab is not: Notebook 7 and marimo, each a real server and a real browser."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.widgets.harness import Pages
from tests.widgets.lab import ROOT, START_S, TOKEN, _free_port, notebook
from tests.widgets.test_in_jupyterlab import BENCH_SCAN

MARIMO = """\
import marimo
app = marimo.App(width="full")

@app.cell
def _():
    from omniopd.io.quiet import quiet_libraries
    from omniopd_widgets import Workbench
    quiet_libraries()
    bench = Workbench("embedded", runs=None)
    bench.answer()
    bench.wait()
    bench.ask_all()
    bench.wait()
    bench
    return

@app.cell
def _():
    from omniopd.embedded import RECORDED
    from omniopd_widgets import RunBrowser
    runs = RunBrowser(RECORDED)
    runs.opened = "labels"
    runs.monitor.selected = 1
    runs
    return
"""


def needs(package: str) -> pytest.MarkDecorator:
    return pytest.mark.skipif(importlib.util.find_spec(package) is None, reason=f"{package} is not installed")


@contextmanager
def serving(folder: Path, address: str, *words: str) -> Iterator[None]:
    """`python -m WORDS` in a folder until it answers at an address; ended afterwards."""
    paths = [str(ROOT), str(ROOT / "widgets"), os.environ.get("PYTHONPATH", "")]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(paths)}
    with open(folder / "server.log", "wb") as log:
        server = subprocess.Popen([sys.executable, "-m", *words], cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            end = time.monotonic() + START_S
            while not _answers(address):
                assert server.poll() is None, (folder / "server.log").read_text(errors="replace")[-2000:]
                assert time.monotonic() < end
                time.sleep(0.2)
            yield
        finally:
            server.terminate()
            server.wait(20)


def _answers(address: str) -> bool:
    try:
        urllib.request.urlopen(address, timeout=2).close()
    except OSError:
        return False
    return True


def walks_through_its_forks(page) -> None:
    """The cards and the tabs follow what is selected in the answer, by way of the kernel."""
    page.locator(".oopd-bench .oopd-story-text").first.wait_for(timeout=120_000)
    page.wait_for_timeout(1_000)  # until the first state of all views has come
    page.locator(".oopd-bench .oopd-forks button").nth(3).click()
    page.locator(".oopd-fork-card h3:has-text('Run 4 of')").wait_for()  # marimo's shadows hide it from document
    page.get_by_role("tab", name="Trust").click()
    page.locator(".oopd-posterior-list [aria-current=true]:has-text('4 of 7')").wait_for()
    page.locator(".oopd-posterior input[type=range]").first.click()
    page.locator(".oopd-bench-changed:has-text('α')").wait_for()
    assert page.locator(".oopd-ended:visible").count() == 0


@needs("notebook")
def test_in_notebook_7(pages: Pages, tmp_path: Path) -> None:
    name, port = notebook(tmp_path, "bench", BENCH_SCAN), _free_port()
    here = f"http://127.0.0.1:{port}"
    words = ["--no-browser", "--allow-root", f"--port={port}", f"--ServerApp.root_dir={tmp_path}"]
    words += [f"--IdentityProvider.token={TOKEN}", "--expose-app-in-browser"]
    with serving(tmp_path, f"{here}/api/status?token={TOKEN}", "notebook", *words):
        page = pages.browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"{here}/notebooks/{name}?token={TOKEN}")
        kernel = "window.jupyterapp?.shell.currentWidget?.sessionContext?.session?.kernel"
        page.wait_for_function(kernel, timeout=60_000)
        page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')")
        walks_through_its_forks(page)
        page.close()


@needs("marimo")
def test_in_marimo(pages: Pages, tmp_path: Path) -> None:
    (tmp_path / "bench.py").write_text(MARIMO, encoding="utf-8")
    port = _free_port()
    words = ["run", "--headless", "--no-token", "-p", str(port), "bench.py"]
    with serving(tmp_path, f"http://127.0.0.1:{port}", "marimo", *words):
        page = pages.browser.new_page(viewport={"width": 1440, "height": 900})
        page.goto(f"http://127.0.0.1:{port}")
        walks_through_its_forks(page)
        page.locator(".oopd-monitor .oopd-plot").first.wait_for()  # what was opened, beneath
        page.locator(".oopd-rollout .oopd-strip").nth(1).wait_for()  # and beneath that
        page.close()
