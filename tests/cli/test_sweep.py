"""`omniopd sweep` on a study: mistakes are one sentence, and the shipped studies go from a command to a report."""

from __future__ import annotations

import argparse
import re
import tomllib

import pytest

from omniopd.cli.main import main
from omniopd.cli.sweep import add_parser
from omniopd.sweeps.study import shipped_studies
from tests.launch.small_notebooks import notebook
from tests.small_runs import as_words


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["embeded"], "no study and no notebook 'embeded': did you mean 'embedded'?"),
        (["xyzzy.toml"], "no study 'xyzzy.toml': neither a TOML file nor a shipped name; there are ablations, emb"),
        (["embedded", "--arms", "white-box"], "embedded has no arm 'white-box'; did you mean 'white_box'?"),
        (["embedded", "--seeds", "0,x"], "--seeds 0,x holds more than whole numbers: write --seeds 0,1,2"),
        (["embedded", "--set", "training.step=1"], "training.step in arm 'labels' of embedded is not a setting"),
        (["embedded", "--set", "training.steps=1"], "evaluation.at holds step 10, and training.steps is 1"),
        (["embedded", "--jobs", "0"], "jobs is 0: run at least one at a time"),
        (["embedded", "--trials", "--seeds", "0"], "use seed 0, which is reported: give them seeds of their own"),
        (["embedded", "--grid", "x=1"], "--grid belongs to a notebook, and embedded is a study: leave it out"),
        (["embedded", "-p", "x", "1"], "-p belongs to a notebook, and embedded is a study: leave it out"),
        (["n.ipynb", "--arms", "a"], "--arms belongs to a study, and n.ipynb is a notebook: leave it out"),
        (["n.ipynb", "--trials"], "--trials belongs to a study, and n.ipynb is a notebook: leave it out"),
    ],
)  # fmt: skip
def test_a_mistake_is_one_sentence_and_nothing_is_begun(tmp_path, monkeypatch, capsys, words, sentence):
    monkeypatch.chdir(tmp_path)
    notebook(tmp_path / "n.ipynb", "print(x)")
    assert main(["sweep", *words]) == 2
    said = [line for line in capsys.readouterr().err.splitlines() if "the same command goes on" not in line]
    assert len(said) == 1
    assert sentence in said[0]
    assert not (tmp_path / "runs").exists()


def test_the_shipped_studies_go_from_a_command_to_a_report(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small = as_words(training__steps=1, evaluation__at="[]", evaluation__samples=1)
    for words in (["embedded", "--arms", "labels", "white_box", "--seeds", "0,1"],
                  ["ablations", "--arms", "labels", "no anchor", "--seeds", "0"]):  # fmt: skip
        # All of a test's settings but those that make an arm what it is.
        kept = [word for word in small if not word.startswith("audit.")]
        assert main(["sweep", *words, "--set", *kept]) == 0
        said = capsys.readouterr()
        study, runs = words[0], 2 * len(words[-1].split(","))
        assert f"{runs} of {runs} done" in said.err
        assert f"omniopd report runs/{study} --reference labels --out runs/{study}/report.html" in said.out
        assert main(["report", f"runs/{study}", "--reference", "labels", "--out", f"runs/{study}/report.html"]) == 0
        assert f"labels beside {words[3]}" in capsys.readouterr().out
        assert "data:image/svg+xml" in (tmp_path / "runs" / study / "report.html").read_text()


def test_the_examples_name_arms_that_there_are():
    said = " ".join(add_parser(argparse.ArgumentParser().add_subparsers()).epilog.split())
    [(name, words)] = re.findall(r"omniopd sweep (\S+) --arms ((?:\w+ )+)", said)
    [file] = [path for path in shipped_studies() if path.stem == name]
    assert set(words.split()) <= set(tomllib.loads(file.read_text())["arms"])
