"""A run does not report success for having learnt nothing: it stops after the first such step and says why."""

import logging

import pytest

from omniopd.errors import ConfigError, TeacherError, TrainingError
from omniopd.pipeline.build import LocalModel
from omniopd.pipeline.methods import build_trainer
from omniopd.pipeline.run import run_training
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.types import Continuations
from tests.builders import tiny_model, tiny_tokenizer
from tests.small_runs import small_recipe
from tests.training.test_trainer import PartialResults

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
EMPTY = ScriptedTeacher(lambda request: [""] * request.samples)
NEVER = ScriptedTeacher(["zzz"])
SILENT = ScriptedTeacher(lambda request: Continuations((), problem="server error"))
STILL = {  # a teacher, settings, and what the sentence names
    "empty, labels": (EMPTY, {"objective__target": "labels"}, "all texts at 8 forks are empty"),
    "empty, posterior_kl": (EMPTY, {"objective__target": "posterior_kl"}, "are empty"),
    "empty, centred": (EMPTY, {"objective__target": "centred"}, "are empty"),
    "empty, continuations": (EMPTY, {"method": "continuations"}, "are empty"),
    "never agrees, centred": (NEVER, {"objective__target": "centred"}, "the target 'centred' weighs every token of 8"),
    "never agrees, credit": (NEVER, {"objective__target": "prefix_credit"}, "another similarity, target or teacher"),
    "unanswered": (SILENT, {"training__max_unanswered_share": 1.0}, "all 8 forks went unanswered, .*'server error'"),
}


def trained(folder, teacher, kept=None, **more):
    recipe = small_recipe(
        training__probe_prompts=0, audit__similarity="exact", training__steps=2, training__save_every=9,
        **more,
    )
    trainer = build_trainer(recipe, folder, kept, teacher=teacher)
    trainer.train()
    return trainer


@pytest.mark.parametrize("case", STILL)
def test_a_step_without_a_gradient_stops_the_run_when_it_is_recorded(tmp_path, case):
    teacher, more, named = STILL[case]
    kept = PartialResults()
    with pytest.raises(TrainingError, match=f"step 1 learnt nothing: .*{named}.*allow_zero_gradient"):
        trained(tmp_path, teacher, kept, **more)
    [step] = kept.steps
    if case != "empty, centred":  # a chunk that is written as nothing is like an empty text
        assert step.metrics["grad_norm"] == 0
    assert (step.metrics.get("texts/usable_as_tokens") or 0) == (teacher is NEVER)


@pytest.mark.parametrize("case", ["empty, labels", "unanswered"])
def test_it_goes_on_where_that_is_allowed(tmp_path, case):
    teacher, more, _ = STILL[case]
    trainer = trained(tmp_path, teacher, training__allow_zero_gradient=True, **more)
    assert trainer.state.global_step == 2


def test_the_run_says_so_too(tmp_path):
    recipe = small_recipe(training__probe_prompts=0, evaluation__before=False)
    with pytest.raises(TrainingError):
        run_training(recipe, tmp_path, "idle", show=False, teacher=EMPTY)


def test_no_rounding_passes_for_learning(tmp_path):
    """Where nothing is taught, what two forwards of one student differ by is not a gradient."""
    trainer = trained(tmp_path, ScriptedTeacher(["5 is"]), objective__target="labels")
    log = {"grad_norm": 1e-9, "kl/anchored": 1e-8}
    trainer.refuse_idle(log)
    trainer._untaught = "nothing was taught"
    with pytest.raises(TrainingError, match="nothing was taught"):
        trainer.refuse_idle(log)
    trainer.refuse_idle({"grad_norm": 1e-3, "kl/anchored": 1e-2})  # the anchor pulls a student that has moved


@pytest.mark.parametrize("method", ["white_box", "white_box_sampled"])
def test_a_white_box_that_is_the_student_is_noticed(tmp_path, method):
    same = LocalModel("same", tiny_model(0, context=512), tiny_tokenizer())
    with pytest.raises(TrainingError, match="already says what it is taught"):
        trained(tmp_path, same, method=method)


def test_grpo_may_idle_but_not_to_its_end(tmp_path):
    with pytest.raises(TrainingError, match="none of 2 steps learnt anything: no two answers of a group"):
        trained(tmp_path, None, method="grpo", training__group=2)


@pytest.mark.parametrize("control", ["constant", "shuffled", "prior_only", "self_teacher"])
def test_every_control_trains(tmp_path, control):
    teacher = LocalModel("teacher", tiny_model(1, context=512), tiny_tokenizer())
    assert trained(tmp_path, teacher, objective__control=control).state.global_step == 2


def test_the_student_as_its_own_white_box_is_a_control(tmp_path):
    """It has no gradient at first, by design."""
    teacher = LocalModel("teacher", tiny_model(1, context=512), tiny_tokenizer())
    trained(tmp_path, teacher, method="white_box_sampled", objective__control="self_teacher")


@pytest.mark.parametrize("key", ["objective.control", "evaluation.controls"])
def test_a_control_that_cannot_learn_by_its_target_is_refused_before_anything_runs(key):
    value = ["prior_only"] if key.endswith("s") else "prior_only"
    with pytest.raises(ConfigError, match="prior_only"):
        small_recipe(**{"objective__target": "posterior_kl", key.replace(".", "__"): value})


class Seeded:
    """A server that begins every call with one seed: N calls for a fork are one text, other forks have others."""

    temperature, top_p = 1.0, 1.0

    def __init__(self, different=0):
        self.different, self.count = different, 0

    def continue_from(self, requests, on_result=None):
        answers = []
        for place, request in enumerate(requests):
            texts = [" the"] + [f" {'cat' if place < self.different else 'the'}"] * (request.samples - 1)
            answers.append(Continuations(tuple(texts), (False,) * request.samples))
            if on_result:
                on_result(place, answers[-1])
        return answers


def test_a_teacher_that_seeds_itself_is_noticed_at_the_first_step(tmp_path, caplog):
    with pytest.raises(TeacherError, match=r"at 8 of 8 forks .* are all one, though its temperature is 1"):
        trained(tmp_path, Seeded())
    with caplog.at_level(logging.WARNING):
        trained(tmp_path, Seeded(), training__max_equal_share=1.0)
    assert "at 8 of 8 forks" in caplog.text


def test_a_teacher_that_is_sure_at_many_forks_is_none(tmp_path):
    trained(tmp_path, Seeded(different=1))


def test_one_text_at_temperature_0_is_told_and_goes_on(tmp_path, caplog):
    teacher = LocalTeacher(tiny_model(1, context=512), tiny_tokenizer(), temperature=0.0)
    with caplog.at_level(logging.WARNING):
        trained(tmp_path, teacher)
    assert "one sample says as much" in caplog.text


def test_a_sampling_teacher_passes_without_a_word(tmp_path, caplog):
    with caplog.at_level(logging.WARNING):
        trained(tmp_path, LocalTeacher(tiny_model(1, context=512), tiny_tokenizer()))
    assert "forks where the student itself" not in caplog.text
