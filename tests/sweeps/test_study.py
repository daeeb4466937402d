"""A study is read strictly and planned whole before anything runs; arms differ in what they name and nothing else."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from omniopd.config import load_recipe
from omniopd.errors import ConfigError
from omniopd.models.loading import EMBEDDED
from omniopd.pipeline.build import build_student, build_task
from omniopd.records import EvalRecord, ProblemResult
from omniopd.runs import create_run
from omniopd.sweeps.study import load_study, shipped_studies, slug
from omniopd.sweeps.trials import trial_score, trial_table, trial_verdicts, tried

STUDY = """# Two arms and a control
recipe = "mine.toml"
reference = "plain"
seeds = [0, 1]
[settings]
evaluation.problems = 20
audit.samples = 2
[trials]
seeds = [7]
tried = [{ training.learning_rate = 1e-4 }, { training.learning_rate = 2e-4 }]
[trials.settings]
evaluation.problems = 5
[arms.plain]
about = "as it is"
seeds = [0, 1, 2]
settings = { audit.samples = 3, audit.forks = 5, training.learning_rate = 9e-4 }
evaluation = { before = false, at = [1] }
tuned = { "training.learning_rate" = 2e-4, objective.anchor_weight = 0.5 }
[arms."the control, 2"]
like = "plain"
settings = { objective.control = "constant", objective.anchor_weight = 0.7 }
[arms.other]
settings = { method = "white_box" }
"""


def written(folder: Path, text: str = STUDY) -> Path:
    (folder / "mine.toml").write_text('name = "mine"\n[audit]\nsamples = 9\nforks = 3\n[training]\nsteps = 4\n')
    path = folder / "study.toml"
    path.write_text(text)
    return path


@pytest.fixture
def study(tmp_path):
    return load_study(written(tmp_path))


def test_the_later_word_wins(study):
    runs = {str(planned): planned.recipe for planned in study.runs()}
    plain, other = runs["plain, seed 0"], runs["other, seed 0"]
    assert (plain.audit.forks, plain.audit.samples, plain.evaluation.problems, plain.training.steps) == (5, 3, 20, 4)
    assert (plain.training.learning_rate, plain.objective.anchor_weight) == (2e-4, 0.5)  # tuned, above settings
    assert (other.audit.forks, other.audit.samples, other.method) == (3, 2, "white_box")
    tries = [planned.recipe for planned in study.trials(["plain"])]
    assert [r.training.learning_rate for r in tries] == [1e-4, 2e-4]
    # A trial takes the place of all that was tuned, and is measured by the trials' own settings.
    assert {(r.objective.anchor_weight, r.evaluation.problems, r.seed) for r in tries} == {(0.1, 5, 7)}
    [last] = study.runs(["plain"], [4], ["training.learning_rate=1.0"])
    assert (last.recipe.training.learning_rate, last.recipe.seed, last.recipe.name) == (1.0, 4, "plain")


def test_an_arm_like_another_has_its_settings_and_what_was_tuned_for_it_with_its_own_on_top(study):
    [planned] = study.runs(["the control, 2"], [0])
    recipe = planned.recipe
    assert (recipe.audit.forks, recipe.training.learning_rate, recipe.name) == (5, 2e-4, "the control, 2")
    assert (recipe.objective.control, recipe.objective.anchor_weight) == ("constant", 0.7)
    # How the other one alone is measured is not passed on, and neither are its seeds and trials.
    assert (recipe.evaluation.before, recipe.evaluation.at) == (True, ())
    assert study.arms["the control, 2"].seeds == (0, 1)
    assert {planned.arm for planned in study.trials()} == {"plain", "other"}


def test_runs_come_seed_by_seed_each_in_a_folder_of_its_own(study):
    assert [planned.place.as_posix() for planned in study.runs()] == [
        "plain/seed=0", "the-control-2/seed=0", "other/seed=0",
        "plain/seed=1", "the-control-2/seed=1", "other/seed=1", "plain/seed=2",
    ]  # fmt: skip
    assert study.trials()[0].place.as_posix() == "trials/plain/learning_rate=0.0001 seed=7"
    assert slug('a/b:c*?"<>|\\^8') == "a-b-c-8"


@pytest.mark.parametrize(
    ("old", "new", "sentence"),
    [
        ('recipe = "mine.toml"', 'recipe = "embeded"', "no recipe 'embeded': neither a file nor a shipped name; did"),
        ("reference =", "referense =", "referense in .*study.toml is not part of a study; did you mean 'reference'?"),
        ('reference = "plain"', 'reference = "plane"', "is 'plane', no arm of it; did you mean 'plain'?"),
        ("audit.samples = 2", "audit.sample = 2", "audit.sample in settings of .* is not a setting; the nearest is"),
        ("audit.samples = 3", "audit.sample = 3", "audit.sample in arm 'plain' of study is not a setting; the nearest"),
        ("audit.samples = 3", "audit.samples = 0", "arm 'plain' of study: audit.samples is 0: it must be at least 1"),
        ("audit.samples = 3", "seed = 3", "seed in settings of arms.plain in .* is not a setting of a study"),
        ("at = [1]", "at = [9]", "arm 'plain' of study: evaluation.at holds step 9, and training.steps is 4"),
        ("like =", "liek =", "liek in arms.the control, 2 in .* is not part of a study; did you mean 'like'?"),
        ('like = "plain"', 'like = "plan"', "is like 'plan', no arm of it; did you mean 'plain'?"),
        ("seeds = [0, 1, 2]", "seeds = [0, 0]", r"seeds of arms.plain in .* is \[0, 0\]: it must be a list of diff"),
        ("seeds = [0, 1]\n", "seeds = 3\n", "seeds in .*study.toml is 3: it must be a list of different whole"),
        ("seeds = [7]", "seeds = [1]", "the trials of .*study.toml use seed 1, which is reported: give them seeds"),
        ("2e-4 }]", "1e-4 }]", "try learning_rate=0.0001 twice"),
        ("[arms.other]", "[arms.Plain]", "arms.'Plain' in .* would share its folder with 'plain'"),
        ("[arms.other]", "[arms.trials]", "would share its folder with the folder of the trials"),
        ("[arms.other]", '[arms.other]\nlike = "loop"\n[arms.loop]\nlike = "other"', "which is like it in turn"),
        ("[settings]", "[settings", "study.toml is not a study: Expected"),
    ],
)
def test_a_mistake_in_a_study_is_one_sentence(tmp_path, old, new, sentence):
    assert STUDY.count(old) >= 1
    with pytest.raises(ConfigError, match=sentence) as raised:
        load_study(written(tmp_path, STUDY.replace(old, new, 1)))
    assert "\n" not in str(raised.value)


def test_arms_seeds_and_settings_that_are_asked_for_must_exist(study):
    with pytest.raises(ConfigError, match=re.escape("study has no arm 'plian'; did you mean 'plain'?")):
        study.runs(["plian"])
    with pytest.raises(ConfigError, match="the command line is not a setting of a study"):
        study.runs(overrides=["seed=4"])
    with pytest.raises(ConfigError, match=r"audit.sampels .* is not a setting; the nearest is audit.samples"):
        study.runs(overrides=["audit.sampels=4"])
    with pytest.raises(ConfigError, match="use seed 2, which is reported"):
        study.trials(seeds=[2])
    with pytest.raises(ConfigError, match="there is nothing to try: name trials of an arm in study"):
        study.trials(["the control, 2"])
    with pytest.raises(ConfigError, match="no study 'embedd': neither a TOML file nor a shipped name; did you mean"):
        load_study("embedd")


@pytest.mark.parametrize("name", [path.stem for path in shipped_studies()])
def test_every_run_of_a_shipped_study_can_be_built(name):
    study = load_study(name)
    assert study.about
    runs = study.runs()
    assert len({planned.place for planned in runs}) == len(runs)
    # Two arms with the same settings would be one arm counted twice.
    assert len({str(planned.recipe.as_dict() | {"name": ""}) for planned in runs}) == len(runs)
    for planned in study.runs(seeds=[0]):
        assert study.arms[planned.arm].about
        build_task(planned.recipe)
        # What no setting of a study may change without a word: who learns, from whom, at what.
        shipped = load_recipe(study.recipe.name)
        assert (planned.recipe.student, planned.recipe.teacher) == (shipped.student, shipped.teacher)
    if runs[0].recipe.student.model.startswith(EMBEDDED):  # another is fetched first (tests/real)
        build_student(runs[0].recipe)


def test_the_shipped_studies_agree_in_what_they_share():
    embedded, ablations = load_study("embedded"), load_study("ablations")
    for arm in ("labels", "paper"):
        [ours], [theirs] = embedded.runs([arm], [0]), ablations.runs([arm], [0])
        assert (ours.recipe.audit, ours.recipe.objective) == (theirs.recipe.audit, theirs.recipe.objective)
        assert ours.recipe.training == theirs.recipe.training
    # As many trials for every arm that is like no other; nobody reports them.
    own = [arm for arm in embedded.arms.values() if arm.trials]
    assert {len(arm.trials) for arm in own} == {6}
    assert all(embedded.tuned(arm.name) for arm in own)
    alone = {arm.name for arm in embedded.arms.values() if arm.tuned}
    assert {arm.name for arm in own} == alone
    assert all(p.recipe.task.test_split == "dev" and p.seed >= 1000 for p in embedded.trials())


def test_the_best_trial_is_that_of_the_highest_mean_over_budgets():
    assert trial_score({10: 0.5, 40: 0.9}) == pytest.approx(0.7)
    assert trial_score({}) is None


def record(step, temperature, right, split="test"):
    problems = tuple(ProblemResult(f"p{i}", i < right, 1, 1, 0, 3.0) for i in range(10))
    return EvalRecord("student", "stories", split, temperature, 1, 0, 8, problems, step)


def finished(planned, folder, by_step):
    run = create_run(folder / planned.place.parent, planned.recipe, planned.place.name)
    for step, pair in by_step.items():
        for temperature, right in zip((0.0, 1.0), pair, strict=True):
            run.append(record(step, temperature, right))
    run.set_status(state="finished")


def test_trials_are_judged_at_their_best_temperatures_over_all_budgets(study, tmp_path):
    plan = study.trials(["plain"])
    finished(plan[0], tmp_path, {0: (10, 10), 1: (6, 5), 4: (7, 9)})
    [first, second] = tried(study, plan, tmp_path)
    assert first.accuracies == {1: 0.6, 4: 0.9}
    assert not first.wins
    assert trial_verdicts([first, second]) == ["plain: undecided, because 1 of 2 trials have not finished"]
    # Ahead at the end, behind on the mean over budgets.
    finished(plan[1], tmp_path, {1: (2, 3), 4: (10, 4)})
    found = tried(study, plan, tmp_path)
    assert [one.wins for one in found] == [True, False]
    table = trial_table(found)
    assert list(table["mean"]) == ["75.0", "65.0"]
    assert list(table["4 steps"]) == ["90.0", "100.0"]
    [said] = trial_verdicts(found)
    assert said == "plain: learning_rate=0.0001 is best, and the study's tuned is none of the trials: change it"


def test_the_trial_that_the_study_names_is_known_by_what_it_does(tmp_path):
    agreed = STUDY.replace(", objective.anchor_weight = 0.5", ", objective.anchor_weight = 0.1")
    study = load_study(written(tmp_path, agreed))
    assert study.tuned("plain") == "learning_rate=0.0002"
    plan = study.trials(["plain"])
    finished(plan[0], tmp_path, {1: (2, 3), 4: (5, 4)})
    finished(plan[1], tmp_path, {1: (2, 3), 4: (6, 4)})
    assert trial_verdicts(tried(study, plan, tmp_path)) == [
        "plain: learning_rate=0.0002 is best, and the study's tuned says so"
    ]
