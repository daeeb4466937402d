"""A run launched from a notebook goes on when that notebook's kernel restarts, and another notebook finds it."""

import os

import pytest
from jupyter_client.manager import KernelManager

from omniopd.launch import attach
from tests.launch.small_notebooks import notebook, until

LONG = """\
import os, time
open("begun", "w").close()
while not os.path.exists("enough"):
    time.sleep(0.01)
"""
LAUNCHER = "from omniopd_widgets import Launcher\nview = Launcher('long.ipynb', interval_s=0.1)"


class Kernel:
    """A notebook's kernel, with what a notebook does to it."""

    def __init__(self, folder):
        self.manager = KernelManager(kernel_name="python3")
        self.manager.start_kernel(
            cwd=str(folder), env=os.environ | {"PYTHONPATH": os.pathsep.join(os.sys.path)},
            stdout=-3, stderr=-3,
        )  # fmt: skip
        self.connect()

    def connect(self):
        self.client = self.manager.client()
        self.client.start_channels()
        self.client.wait_for_ready(timeout=120)

    def __call__(self, code):
        """Execute a cell; returns what it printed. Raises AssertionError where it failed."""
        said = []
        reply = self.client.execute_interactive(
            code, timeout=120, output_hook=lambda m: said.append(m["content"].get("text", "")), allow_stdin=False
        )
        assert reply["content"]["status"] == "ok", reply["content"]
        return "".join(said).strip()

    def restart(self):
        self.client.stop_channels()
        self.manager.restart_kernel(now=False)
        self.connect()

    def end(self):
        self.client.stop_channels()
        self.manager.shutdown_kernel(now=True)
        self.manager.cleanup_resources()


@pytest.fixture
def kernels(tmp_path):
    started = []

    def start():
        started.append(Kernel(tmp_path))
        return started[-1]

    yield start
    for kernel in started:
        kernel.end()


@pytest.mark.filterwarnings("ignore::ResourceWarning")
def test_a_run_outlives_the_kernel_that_launched_it_and_another_one_attaches(kernels, tmp_path):
    notebook(tmp_path / "long.ipynb", LONG, "print(x)")
    first = kernels()
    path = first(f"{LAUNCHER}\nview.start()\nview.wait()\nprint(view.problem or view.selected)")
    launched = attach(tmp_path / path)
    until(lambda: (tmp_path / "begun").exists())
    executor, kernel = launched.process.pid, launched.process.kernel_pid

    first.manager.interrupt_kernel()
    first.restart()
    assert launched.is_running()
    again = first(f"{LAUNCHER}\nprint(view.selected, view.runs[0]['state'])")
    assert again == f"{path} running"

    second = kernels()
    assert second(f"{LAUNCHER}\nprint(view.selected, view.runs[0]['message'])") == f"{path} cell 2 of 3"
    first.end()
    assert launched.is_running()
    assert (launched.process.pid, launched.process.kernel_pid) == (executor, kernel)
    (tmp_path / "enough").touch()
    assert launched.wait(60)
    assert (launched.state, launched.exit_code) == ("finished", 0)
    seen = second("import time\nwhile view.runs[0]['going_on']: time.sleep(0.05)\nprint(view.runs[0]['state'])")
    assert seen == "finished"
