"""A real JupyterLab on this machine, driven in a real browser: for the few tests that only it can tell.

One server for all of them; each test gets a page of its own. Cells run in a kernel that finds this very package.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
TOKEN = "lab-under-test"
START_S, CELL_S = 90, 120


class Lab:
    """A running JupyterLab over a folder."""

    def __init__(self, folder: Path, port: int) -> None:
        self.folder, self.address = folder, f"http://127.0.0.1:{port}"

    def open(self, page: Any, notebook: str) -> LabPage:
        """A notebook of the folder, loaded, with its kernel ready."""
        page.goto(f"{self.address}/lab/tree/{notebook}?token={TOKEN}&reset")
        page.wait_for_function(
            "window.jupyterapp && jupyterapp.shell.currentWidget && jupyterapp.shell.currentWidget.sessionContext",
            timeout=START_S * 1000,
        )
        page.evaluate("jupyterapp.shell.currentWidget.sessionContext.ready")
        return LabPage(page)


class LabPage:
    """One notebook in one tab."""

    def __init__(self, page: Any) -> None:
        self.page = page

    def run_all(self, timeout_s: float = CELL_S) -> None:
        """Run all cells and wait until the kernel has nothing more to do."""
        self.page.evaluate("jupyterapp.commands.execute('notebook:run-all-cells')", None)
        self.page.wait_for_function(
            """() => {
                const notebook = jupyterapp.shell.currentWidget;
                const cells = [...notebook.content.widgets].filter((c) => c.model.type === "code");
                return cells.every((c) => c.model.executionCount !== null)
                    && notebook.sessionContext.session?.kernel?.status === "idle";
            }""",
            timeout=timeout_s * 1000,
        )

    def cells(self) -> int:
        return int(self.page.evaluate("jupyterapp.shell.currentWidget.content.widgets.length"))

    def restart_kernel(self) -> None:
        self.page.evaluate("jupyterapp.shell.currentWidget.sessionContext.session.kernel.restart()")

    def save(self) -> None:
        self.page.evaluate("jupyterapp.shell.currentWidget.context.save()")

    def theme(self, name: str) -> None:
        """`JupyterLab Light`, `JupyterLab Dark` or `JupyterLab Dark High Contrast`."""
        self.page.evaluate("(theme) => jupyterapp.commands.execute('apputils:change-theme', {theme})", name)
        self.page.wait_for_timeout(500)

    def errors(self) -> list[str]:
        """What cells ended with instead of a result."""
        return list(
            self.page.evaluate(
                """() => [...jupyterapp.shell.currentWidget.content.widgets]
                    .filter((c) => c.model.type === "code")
                    .flatMap((c) => c.model.outputs.toJSON())
                    .filter((o) => o.output_type === "error").map((o) => `${o.ename}: ${o.evalue}`)"""
            )
        )


@contextmanager
def running_lab(folder: Path) -> Iterator[Lab]:
    """JupyterLab over `folder` on a free port of this machine, ended afterwards with its kernels."""
    port = _free_port()
    settings = folder / ".jupyter"
    settings.mkdir(parents=True, exist_ok=True)
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join([str(ROOT), str(ROOT / "widgets"), os.environ.get("PYTHONPATH", "")]),
        "JUPYTER_CONFIG_DIR": str(settings), "JUPYTER_DATA_DIR": str(settings),
        "JUPYTERLAB_SETTINGS_DIR": str(settings), "JUPYTER_PREFER_ENV_PATH": "1",
        "JUPYTERLAB_WORKSPACES_DIR": str(settings / "workspaces"),
    }  # fmt: skip
    command = [
        sys.executable, "-m", "jupyterlab", "--no-browser", "--allow-root", "--ip=127.0.0.1", f"--port={port}",
        f"--ServerApp.root_dir={folder}", f"--IdentityProvider.token={TOKEN}", "--expose-app-in-browser",
        "--LabApp.news_url=None", "--LabApp.check_for_updates_class=jupyterlab.NeverCheckForUpdate",
        "--ServerApp.port_retries=0",
    ]  # fmt: skip
    with open(settings / "lab.log", "wb") as log:
        server = subprocess.Popen(command, cwd=folder, env=environment, stdout=log, stderr=log)
        try:
            _wait_for(port, server, settings / "lab.log")
            yield Lab(folder, port)
        finally:
            server.terminate()
            try:
                server.wait(20)
            except subprocess.TimeoutExpired:
                server.kill()
                server.wait()


def notebook(folder: Path, name: str, *cells: str) -> str:
    """A notebook of these code cells in the folder; returns its file name."""
    fresh = {"cell_type": "code", "metadata": {}, "outputs": [], "execution_count": None}
    made = {
        "cells": [{**fresh, "id": f"c{i}", "source": source} for i, source in enumerate(cells)],
        "metadata": {"kernelspec": {"name": "python3", "display_name": "Python 3", "language": "python"}},
        "nbformat": 4, "nbformat_minor": 5,
    }  # fmt: skip
    (folder / f"{name}.ipynb").write_text(json.dumps(made), encoding="utf-8")
    return f"{name}.ipynb"


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return int(free.getsockname()[1])


def _wait_for(port: int, server: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + START_S
    while time.monotonic() < end:
        if server.poll() is not None:
            break
        try:
            urllib.request.urlopen(f"http://127.0.0.1:{port}/api/status?token={TOKEN}", timeout=2).close()
            return
        except OSError:
            time.sleep(0.2)
    raise RuntimeError(f"JupyterLab did not start: {log.read_text(errors='replace')[-2000:]}")
