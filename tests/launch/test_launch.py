"""A notebook in a process of its own: what it leaves, how it is ended, what is refused before it starts."""

import json
import os
import signal
import threading

import nbformat
import pytest

from omniopd.costs.launch import estimate
from omniopd.errors import ConfigError, Refused, RunError
from omniopd.launch import attach, end_run, launch, launched_in, resume
from omniopd.launch.portable import cleaned, places_of
from tests.launch.small_notebooks import end_all, notebook, outputs, until

ENDLESS = "import time\nprint('begun')\nopen('begun', 'w').close()\nwhile True:\n    time.sleep(0.01)"


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working directory of its own, in an environment as a notebook's kernel has it."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JPY_PARENT_PID", "1")
    monkeypatch.setenv("MPLBACKEND", "module://matplotlib_inline.backend_inline")
    yield tmp_path
    end_all(tmp_path / "runs")


def endless(here, before="print(x)"):
    """A run in whose second cell the time stands still."""
    launched = launch(notebook(here / "long.ipynb", before, ENDLESS), {"x": 7}, device="none")
    until(lambda: (here / "begun").exists() or not launched.is_running())
    return launched


def test_a_notebook_leaves_its_copy_its_status_and_no_trace_of_this_machine(here, monkeypatch):
    cells = [
        "import json, os, sys\nprint(json.dumps([x, sys.executable, os.getsid(0), dict(os.environ)]))",
        "import pathlib\nprint(pathlib.Path('here.txt').resolve(), pathlib.Path.home() / 'there')",
        "import ipywidgets\nipywidgets.IntSlider(5)",
    ]
    source = notebook(here / "a {odd} name.ipynb", *cells)
    before = source.read_bytes()
    launched = launch(source, {"x": "5"}, device="cpu")
    assert launched.wait(120)
    assert (launched.state, launched.exit_code) == ("finished", 0)
    assert source.read_bytes() == before
    x, program, session, environment = json.loads(outputs(launched.notebook)[2])
    assert x == 5
    assert session != os.getsid(0)
    assert environment["JPY_PARENT_PID"] != "1"  # its own kernel has another parent
    assert environment["TQDM_DISABLE"] == "1"
    assert environment["CUDA_VISIBLE_DEVICES"] == ""
    assert os.path.basename(program) == os.path.basename(os.sys.executable)
    executed = nbformat.read(launched.notebook, as_version=4)
    assert outputs(launched.notebook)[3] == "here.txt ~/there\n"
    assert "papermill" not in executed.metadata
    assert "widgets" not in executed.metadata
    assert not any("papermill" in cell.metadata for cell in executed.cells)
    assert [each.path for each in launched_in("runs")] == [launched.path]


def test_a_launch_that_cannot_be_read_hides_no_other(tmp_path):
    for name, text in (("a", '{"notebook": "n.ipynb", "created": "2026"}'), ("b", "{torn"), ("c", "[]")):
        (tmp_path / name / "launch").mkdir(parents=True)
        (tmp_path / name / "launch/launch.json").write_text(text)
    assert [each.path.name for each in launched_in(tmp_path)] == ["a", "c", "b"]
    values = {"x": 1}
    assert estimate(tmp_path, tmp_path / "n.ipynb", [], values).time.startswith("unknown: this notebook has not")


def test_a_parameter_that_may_be_nothing_is_no_unknown_one(here):
    source = notebook(here / "optional.ipynb", "print(x)", parameters="x: int | None = 3  # a number, or none\n")
    launched = launch(source, {"x": "none"}, device="none")
    assert launched.wait(120)
    assert outputs(launched.notebook)[2] == "None\n"
    assert "unknown parameter" not in launched.log.read_text()


def test_a_cell_that_fails_is_a_run_that_fails_and_what_came_before_is_kept(here):
    launched = launch(notebook(here / "bad.ipynb", "print('kept')", "1 / 0", "print('never')"), device="none")
    assert launched.wait(120)
    assert (launched.exit_code, launched.state) == (1, "failed")
    assert launched.status.message == "cell 3: ZeroDivisionError: division by zero"
    assert outputs(launched.notebook)[1:] == ["kept\n", "ZeroDivisionError", ""]
    assert "division by zero" in launched.log.read_text()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_signals_reach_the_kernel_and_its_traceback_is_kept(here, number):
    launched = endless(here)
    os.kill(launched.process.pid, number)
    assert launched.wait(60)
    assert (launched.exit_code, launched.state) == (130, "interrupted")
    assert outputs(launched.notebook)[2:] == ["7\n", "begun\nKeyboardInterrupt"]


def test_a_kernel_that_dies_is_said_and_the_run_starts_again(here):
    launched = endless(here)
    os.kill(launched.process.kernel_pid, signal.SIGKILL)
    assert launched.wait(60)
    assert (launched.exit_code, launched.state) == (137, "failed")
    assert launched.status.message.startswith("the kernel died in cell 4 (SIGKILL: killed by somebody")
    assert outputs(launched.notebook)[2] == "7\n"

    (here / "begun").unlink()
    again = resume(launched.path)
    until(lambda: (here / "begun").exists() or not again.is_running())
    assert outputs(again.path / "launch" / "attempt_1.ipynb")[2] == "7\n"
    with pytest.raises(RunError, match="is being run by process"):
        resume(again.path)
    again.kill()
    assert (again.exit_code, again.state, again.status.message) == (137, "interrupted", "killed in cell 4")
    assert attach(again.path).wanted == "kill"
    with pytest.raises(RunError, match="is not going on: it is interrupted"):
        end_run(again.path)


def test_an_executor_that_is_killed_leaves_a_lost_run_and_no_kernel(here):
    launched = endless(here)
    os.kill(launched.process.pid, signal.SIGKILL)
    until(lambda: not launched.is_running() and launched.state == "lost")
    assert launched.exit_code == 1
    from omniopd.runs.status import is_alive

    until(lambda: not is_alive(launched.process.kernel_pid, launched.process.kernel_started), 30)


def test_runs_queue_for_a_device_and_say_so(here):
    first = launch(notebook(here / "long.ipynb", ENDLESS), device="cuda:0")
    until(lambda: first.process.began)
    second = launch(notebook(here / "short.ipynb", "print(x)"), device="cuda:0")
    until(lambda: second.status.message == "queued (2nd) for cuda:0")
    assert second.state == "queued"
    waiting = launch(notebook(here / "other.ipynb", "print(x)"), device="cuda:0")
    until(lambda: waiting.status.message == "queued (3rd) for cuda:0")
    waiting.stop()
    assert waiting.wait(30)
    assert (waiting.state, waiting.exit_code, waiting.status.message) == ("interrupted", 130, "left the queue")
    first.kill()
    assert second.wait(120)
    assert second.state == "finished"


def test_what_cannot_work_is_said_before_anything_starts(here):
    path = notebook(here / "n.ipynb", "print(x)")
    for parameters, sentence in (
        ({"x": "many"}, "x is 'many', and must be a whole number"),
        ({"y": 1}, "y is not a parameter of this notebook: it has x"),
    ):
        with pytest.raises(ConfigError, match=sentence):
            launch(path, parameters)
    with pytest.raises(Refused, match="parameter 'api_key' looks like a secret"):
        launch(path, {"api_key": "x"})
    with pytest.raises(ConfigError, match="neither a file nor a shipped name; did you mean 'train'"):
        launch("trian")
    with pytest.raises(ConfigError, match="'gpu' names no device"):
        launch(path, device="gpu")
    assert not (here / "runs").exists()


def test_cleaning_rewrites_paths_in_text_only():
    cell = nbformat.v4.new_code_cell("p = '/w/runs/r/x'", metadata={"tags": ["injected-parameters"], "papermill": {}})
    cell.outputs = [
        nbformat.v4.new_output("display_data", {"text/plain": "/w/runs/r /w/a", "image/png": "/w/a"}),
        nbformat.v4.new_output("error", ename="E", evalue="in /w/a", traceback=["/w/a"]),
    ]
    book = nbformat.v4.new_notebook(cells=[cell], metadata={"papermill": {}})
    made = cleaned(book, {"/w/runs/r": "runs/r", "/w/": ""})
    [cell] = made.cells
    assert cell.source == "p = 'runs/r/x'"
    assert cell.outputs[0].data == {"text/plain": "runs/r a", "image/png": "/w/a"}
    assert (cell.outputs[1].evalue, cell.outputs[1].traceback) == ("in a", ["a"])
    assert all(len(place) > 2 for place in places_of("/", "/r"))


def test_of_two_that_resume_a_notebook_at_once_one_executes_it(here):
    launched = launch(notebook(here / "n.ipynb", "1 / x", ENDLESS), {"x": 0}, device="none")
    assert launched.wait(120)
    assert launched.state == "failed"
    gate, told = threading.Barrier(2), []

    def goes_on():
        gate.wait()
        try:
            told.append(resume(launched.path))
        except RunError as error:
            told.append(str(error))

    both = [threading.Thread(target=goes_on) for _ in range(2)]
    for thread in both:
        thread.start()
    for thread in both:
        thread.join()
    [refused] = [word for word in told if isinstance(word, str)]
    assert refused.startswith(f"{launched.path} is being run by process ")
    # What the first execution had shown was put aside once.
    assert [p.name for p in (launched.path / "launch").glob("attempt_*.ipynb")] == ["attempt_1.ipynb"]
    assert launched.wait(120)


def test_a_clock_that_is_set_makes_no_executed_notebook_lost(here):
    launched = endless(here)
    file = launched.path / "launch" / "process.json"
    told = json.loads(file.read_text())
    for by in (-7200, 7200):
        file.write_text(json.dumps(told | {"pid_started": told["pid_started"] + by}))
        assert launched.is_running()
        assert (launched.state, launched.exit_code) == ("running", None)
        with pytest.raises(RunError, match=f"is being run by process {told['pid']}"):
            resume(launched.path)
    file.write_text(json.dumps(told))
    os.kill(told["pid"], signal.SIGKILL)
    until(lambda: not launched.is_running(), 10)
    assert launched.state == "lost"
    launched.kill()
