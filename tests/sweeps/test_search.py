"""Trials that Optuna proposes: the same again from the folders alone, as many for each arm, all of them reported."""

from __future__ import annotations

import math
import sys
from dataclasses import replace

import pytest

from omniopd.cli.main import main
from omniopd.errors import ConfigError
from omniopd.runs import create_run
from omniopd.sweeps.study import load_study, tag
from omniopd.sweeps.trials import trial_verdicts, tried
from tests.sweeps.small_study import small_study
from tests.sweeps.test_study import finished

pytest.importorskip("optuna", reason="optuna is not installed: pip install omniopd[search]")
from omniopd.sweeps.search import grown

SEARCH = """[arms.other]
settings = { method = "white_box" }
[arms.narrow]
ranges = { training.learning_rate = { low = 1e-4, high = 2e-4 } }
[arms."a control"]
like = "plain"
[trials]
seeds = [9]
search = "tpe"
count = 7
startup = 4
[trials.ranges]
training.learning_rate = { low = 1e-5, high = 1e-1, log = true }
audit.forks = { low = 1, high = 3 }
student.dtype = ["float32", "bfloat16"]
"""


@pytest.fixture
def study(tmp_path):
    return load_study(small_study(tmp_path, 4, SEARCH))


def finish(study, folder, best=-3.0):
    """Finish the runs of all trials that there are: right answers grow towards a learning rate of 10 ** best."""
    for planned in study.trials():
        if not (folder / planned.place).exists():
            far = abs(math.log10(planned.recipe.training.learning_rate) - best)
            right = max(0, 10 - round(4 * far))
            finished(planned, folder, {4: (right, right)})


def test_the_first_trials_are_drawn_at_once_and_the_same_again_for_every_arm_as_many(study, tmp_path):
    first, again = grown(study, tmp_path), grown(study, tmp_path)
    assert first.trials() == again.trials()
    tags = {name: [tag(one) for one in arm.trials] for name, arm in first.arms.items()}
    counts = {name: len(set(found)) for name, found in tags.items()}
    assert counts == {"plain": 4, "other": 4, "narrow": 4, "a control": 0}
    assert tags["plain"] != tags["other"]
    for one in first.arms["plain"].trials:
        assert 1e-5 <= one["training.learning_rate"] <= 1e-1
        assert one["audit.forks"] in (1, 2, 3)
        assert one["student.dtype"] in ("float32", "bfloat16")
    assert all(1e-4 <= one["training.learning_rate"] <= 2e-4 for one in first.arms["narrow"].trials)
    # On seeds of their own, measured as trials are.
    assert {planned.seed for planned in first.trials()} == {9}


def test_each_next_trial_is_what_optuna_says_of_all_results_and_none_comes_before_them(study, tmp_path):
    only = replace(study, arms={"plain": study.arms["plain"]})
    first = grown(only, tmp_path)
    create_run(tmp_path / "trials/plain", first.trials()[0].recipe, first.trials()[0].place.name)  # goes on
    assert grown(only, tmp_path).arms["plain"].trials[0] == first.arms["plain"].trials[0]
    assert len(grown(only, tmp_path).arms["plain"].trials) == 4
    (tmp_path / "trials").rename(tmp_path / "aside")
    finish(first, tmp_path)
    for done in (4, 5, 6):
        now = grown(only, tmp_path)
        trials = now.arms["plain"].trials
        assert len(trials) == done + 1
        assert now.trials() == grown(only, tmp_path).trials()
        assert {tag(one) for one in trials[:done]} > {tag(one) for one in first.arms["plain"].trials[:-1]}
        create = now.trials()[-1]
        other = create_run(tmp_path / create.place.parent, create.recipe, create.place.name)
        assert len(grown(only, tmp_path).arms["plain"].trials) == done + 1  # one that has not finished is waited for
        other.discard()
        finish(now, tmp_path)
    last = grown(only, tmp_path)
    assert len(last.arms["plain"].trials) == 7
    results = tried(last, last.trials(), tmp_path)
    assert [len(results), sum(one.wins for one in results)] == [7, 1]
    assert "is best, and the study's tuned is none of the trials: change it" in trial_verdicts(results)[0]


def test_trials_come_to_where_results_are_good_and_elsewhere_where_those_are_other(tmp_path):
    text = SEARCH.replace("count = 7\nstartup = 4", "count = 10\nstartup = 4").partition("audit.forks")[0]
    study = load_study(small_study(tmp_path, 4, text))
    study = replace(study, arms={"plain": study.arms["plain"]})
    rates = {}
    for best in (-2, -4):
        folder = tmp_path / str(best)
        for _ in range(7):
            now = grown(study, folder)
            finish(now, folder, best)
        rates[best] = [math.log10(one["training.learning_rate"]) for one in now.arms["plain"].trials]
        assert len(rates[best]) == 10
    assert rates[-2][:4] == rates[-4][:4]
    assert sum(rates[-2][4:]) / 6 > sum(rates[-4][4:]) / 6


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('search = "tpe"', 'search = "tpee"', "search in trials in .* is 'tpee'; did you mean 'tpe'?"),
        ('search = "tpe"', "", 'count in trials in .* belongs to a search: write search = "tpe" as well'),
        ('search = "tpe"', 'search = "tpe"\ntried = []', "name both a search and what is tried: take one out"),
        ("count = 7", "count = 0", "count in trials in .* is 0: it must be a whole number from 1 on"),
        ("log = true", "log = 1, base = 2", "training.learning_rate in ranges of arms.plain .* write { low = 1e-5"),
        ("high = 3", "high = 1", "audit.forks in ranges of .* low must be below high"),
        ("low = 1, high = 3", "low = 0.5, high = true", "low, high and step must be numbers"),
        ('"float32", "bfloat16"', '"float32"', "name two values or more to choose from"),
        ("audit.forks", "audit.forkz", "audit.forkz in arm 'plain' of small is not a setting"),
        ("low = 1e-5", "low = -1.0", "low must be below high, above 0 with log"),
        ("like = ", "trials = []\nlike = ", "trials of arms.a control .* have no use"),
    ],
)  # fmt: skip
def test_a_mistake_in_a_search_is_one_sentence(tmp_path, old, new, sentence):
    assert SEARCH.count(old) == 1
    with pytest.raises(ConfigError, match=sentence) as raised:
        load_study(small_study(tmp_path, 4, SEARCH.replace(old, new)))
    assert "\n" not in str(raised.value)


def test_ranges_that_hold_too_few_trials_are_refused(tmp_path):
    few = SEARCH.partition("[trials.ranges]")[0] + "[trials.ranges]\naudit.forks = { low = 1, high = 3 }\n"
    with pytest.raises(ConfigError, match="the ranges of arm 'plain' of small hold fewer than 7 trials: lower count"):
        grown(load_study(small_study(tmp_path, 4, few.replace("[arms.narrow]\nranges", "#"))), tmp_path)


def test_a_search_without_optuna_names_the_extra(tmp_path, monkeypatch, capsys):
    small_study(tmp_path, 4, SEARCH)
    monkeypatch.setitem(sys.modules, "optuna", None)
    monkeypatch.chdir(tmp_path)
    assert main(["sweep", "small.toml", "--trials"]) == 2
    assert "pip install omniopd[search]" in capsys.readouterr().err


def test_a_search_runs_to_its_count_from_one_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small_study(tmp_path, 1, SEARCH.replace("count = 7\nstartup = 4", "count = 3\nstartup = 2"))
    assert main(["sweep", "small.toml", "--trials", "--arms", "plain"]) == 0
    said = capsys.readouterr()
    assert "3 trials of each arm are searched for; 2 runs of them are known" in said.err
    assert said.err.count("finished after") == 3
    assert said.out.count("learning_rate=") >= 3  # all of them are reported
    before = sorted(path.name for path in (tmp_path / "runs/small/trials/plain").glob("*/"))
    assert main(["sweep", "small.toml", "--trials", "--arms", "plain"]) == 0
    assert "finished after" not in capsys.readouterr().err
    assert sorted(path.name for path in (tmp_path / "runs/small/trials/plain").glob("*/")) == before
