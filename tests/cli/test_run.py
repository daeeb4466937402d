"""`omniopd run`, `sweep`, `stop` and `notebooks` from a terminal's point of view."""

import signal

import pytest

from omniopd.cli.main import main
from omniopd.launch import attach, launched_in
from omniopd.launch.notebooks import shipped_files, shipped_folder
from tests.cli.terminal import start
from tests.launch.small_notebooks import end_all, notebook, outputs, until

ENDLESS = "open('begun', 'w').close()\nimport time\nwhile True:\n    time.sleep(0.01)"


@pytest.fixture
def here(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield tmp_path
    end_all(tmp_path / "runs")


def only(folder):
    [launched] = launched_in(folder)
    return launched


def test_a_notebook_is_run_with_parameters_and_its_failure_is_the_exit_code(here, capsys):
    path = notebook(here / "n.ipynb", "print(10 // x)")
    assert main(["run", str(path), "-p", "x", "5", "--runs", "good", "--device", "none"]) == 0
    assert outputs(only("good").notebook)[2] == "2\n"
    assert "finished; the executed notebook: good/" in capsys.readouterr().err
    assert main(["run", str(path), "-p", "x", "0", "--runs", "bad", "--device", "none"]) == 1
    said = capsys.readouterr().err
    assert "failed: cell 3: ZeroDivisionError" in said
    assert "go on with: omniopd run --resume bad/" in said


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["run"], "run needs a NOTEBOOK or --resume RUN, and not both"),
        (["run", "n.ipynb", "-p", "y", "1"], "y is not a parameter of this notebook: it has x"),
        (["run", "n.ipynb", "-p", "x", "1", "-p", "x", "2"], "-p x is given twice, as '1' and as '2'"),
        (["run", "n.ipynb", "-p", "hub_token", "1"], "parameter 'hub_token' looks like a secret"),
        (["run", "--resume", "nowhere"], "no notebook was launched into nowhere (there is no such folder): give"),
        (["run", "--resume", "nowhere", "-p", "x", "1"], "leave out -p and --name"),
        (["run", "nowhere.ipynb"], "no notebook 'nowhere.ipynb': neither a file nor a shipped name"),
        (["sweep", "n.ipynb"], "a sweep needs --grid key=a,b or --seeds 0,1"),
        (["sweep", "n.ipynb", "--grid", "x"], "--grid x is not an axis: write key=a,b,c"),
        (["sweep", "n.ipynb", "--seeds", "0,1"], "seed is not a parameter of this notebook"),
        (["sweep", "n.ipynb", "--grid", "x=1,1"], "two runs of the sweep would be called x=1"),
        (["sweep", "n.ipynb", "--grid", "x=1,a"], "x is 'a', and must be a whole number"),
        (["stop", "nowhere"], "nowhere is not a run: there is no such folder; give the folder of a manifest.json"),
    ],
)
def test_mistakes_are_one_sentence_and_nothing_is_begun(here, capsys, words, sentence):
    notebook(here / "n.ipynb", "print(x)")
    assert main(words) == 2
    said = capsys.readouterr().err
    assert sentence in said
    assert said.count("\n") == 1
    assert not (here / "runs").exists()


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_what_ends_the_command_ends_its_notebook(here, number):
    notebook(here / "n.ipynb", ENDLESS)
    process = start(["run", "n.ipynb", "--device", "none"])
    until(lambda: (here / "begun").exists() or process.poll() is not None)
    process.send_signal(number)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130
    assert (only("runs").state, only("runs").exit_code) == ("interrupted", 130)
    assert "interrupted; its own words" in err


def test_a_detached_run_is_stopped_by_its_folder(here, capsys):
    notebook(here / "n.ipynb", ENDLESS)
    assert main(["run", "n.ipynb", "--detach", "--device", "none"]) == 0
    path = capsys.readouterr().out.strip()
    until(lambda: (here / "begun").exists())
    assert main(["stop", path, "--now"]) == 0
    assert f"ends now; go on with: omniopd run --resume {path}" in capsys.readouterr().err
    assert attach(path).wait(60)
    assert attach(path).state == "interrupted"
    assert main(["stop", path]) == 2


def test_a_sweep_runs_every_combination_and_goes_on_where_it_was(here, capsys):
    cell = "import pathlib\nassert pathlib.Path('enough').exists() or (x, seed) != (2, 1)\nprint(x, seed)"
    path = notebook(here / "n.ipynb", cell, parameters="x: int = 1\nseed: int = 0\n")
    words = ["sweep", str(path), "--grid", "x=2", "--seeds", "0,1", "--name", "mine", "--device", "cuda:0,cuda:1"]
    assert main(words) == 1
    said = capsys.readouterr()
    assert said.out.split() == ["finished", "runs/mine/x=2_seed=0", "failed", "runs/mine/x=2_seed=1"]
    first = (here / "runs/mine/x=2_seed=0/launch/process.json").read_bytes()
    (here / "enough").touch()
    assert main(words) == 0
    assert "x=2_seed=0: started" not in capsys.readouterr().err
    assert (here / "runs/mine/x=2_seed=0/launch/process.json").read_bytes() == first
    assert outputs(here / "runs/mine/x=2_seed=1/n.ipynb")[2] == "2 1\n"
    other = ["sweep", str(path), "--grid", "x=3", "--name", "mine"]
    assert main(other) == 2
    assert "mine holds another sweep" in capsys.readouterr().err


def test_what_ends_a_sweep_ends_its_notebooks(here):
    notebook(here / "n.ipynb", ENDLESS)
    process = start(["sweep", "n.ipynb", "--grid", "x=1,2", "--name", "mine", "--device", "none"])
    until(lambda: (here / "begun").exists() or process.poll() is not None)
    process.send_signal(signal.SIGINT)
    _, err = process.communicate(timeout=120)
    assert process.returncode == 130, err
    assert "Stopping the runs after their steps" in err
    begun = attach(here / "runs/mine/x=1")
    assert (begun.state, begun.is_running()) == ("interrupted", False)
    planned = attach(here / "runs/mine/x=2")  # the same command begins it
    assert not planned.is_running()
    assert not (planned.path / "launch" / "process.json").exists()


def test_notebooks_are_copied_and_changed_ones_are_left_alone(here, capsys):
    assert main(["notebooks", "copy"]) == 0
    names = capsys.readouterr().out.split()
    assert "copy/train.ipynb" in names
    for source in shipped_files():
        assert (here / "copy" / source.relative_to(shipped_folder())).read_bytes() == source.read_bytes()
    (here / "copy/README.md").unlink()
    assert main(["notebooks", "copy"]) == 0
    assert capsys.readouterr().out.startswith("copy/README.md\n")
    (here / "copy/train.ipynb").write_text("mine")
    (here / "copy/README.md").unlink()
    assert main(["notebooks", "copy"]) == 2
    assert "copy/train.ipynb would be overwritten" in capsys.readouterr().err
    assert (here / "copy/train.ipynb").read_text() == "mine"
    assert not (here / "copy/README.md").exists()
