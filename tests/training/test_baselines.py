"""The baselines are one word of a recipe apart, and do what they say: SFT, GRPO, sampled-token OPD, continuations."""

from __future__ import annotations

import pytest
import torch

from omniopd.config import METHODS
from omniopd.errors import ConfigError, DataError, TeacherError, TrainingError
from omniopd.models.score import score
from omniopd.pipeline.build import LocalModel
from omniopd.pipeline.methods import build_trainer
from omniopd.records import StepRecord
from omniopd.runs.totals import totals
from omniopd.tasks.stories import Stories
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.training.arguments import OmniOPDConfig
from omniopd.training.baselines.grpo import grader_reward
from omniopd.training.baselines.sft import teacher_answers
from omniopd.training.baselines.white_box import WhiteBoxTrainer
from omniopd.training.baselines.white_box_sampled import SampledTokenTrainer
from omniopd.training.trl.checkpoints import newest_valid, step_of
from omniopd.types import Continuations
from tests.builders import prompt, tiny_model, tiny_tokenizer
from tests.small_runs import STEPS, small_recipe
from tests.training.test_trainer import PartialResults

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


@pytest.mark.parametrize("method", METHODS)
def test_every_method_trains_and_records_each_step(method: str, tmp_path) -> None:
    kept = PartialResults()
    idle = {"training__allow_zero_gradient": method == "grpo"}
    recipe = small_recipe(method=method, training__group=2, training__learning_rate=1e-3, **idle)
    trainer = build_trainer(recipe, tmp_path, kept)
    before = torch.cat([p.detach().flatten().clone() for p in trainer.model.parameters()])
    trainer.train()
    after = torch.cat([p.detach().flatten() for p in trainer.model.parameters()])
    assert [record.step for record in kept.steps] == list(range(1, STEPS + 1))
    assert all(isinstance(record, StepRecord) for record in kept.steps)
    # Nothing that random models write is right, so GRPO has nothing to prefer.
    assert torch.equal(before, after) == (method == "grpo")
    assert step_of(newest_valid(tmp_path)) == STEPS
    took, answers, tokens = totals(kept.steps, recipe.training.rollouts), 4 * STEPS, 8
    read = kept.steps[-1].metrics["num_tokens"]  # TRL counts the tokens of all prompts and answers
    assert took.updates == STEPS
    assert (took.student_tokens == 0) if method == "sft" else (answers <= took.student_tokens <= answers * tokens)
    if method.startswith("white_box"):
        assert (took.teacher_read, took.teacher_written) == (read, 0)
    elif method == "grpo":
        assert (took.teacher_read, took.teacher_written) == (0, 0)
    else:
        assert took.teacher_read > 0
        assert took.teacher_written > 0
        if method == "sft":
            assert took.teacher_written <= answers * tokens


def test_sft_learns_the_answers_and_nothing_of_the_questions() -> None:
    tokenizer, asked = tiny_tokenizer(), [prompt("the cat", "p0"), prompt("a dog", "p1")]
    teacher = ScriptedTeacher(lambda r: [f"sat {r.prompt.id} {r.first_sample}"])
    rows, _ = teacher_answers(asked, teacher, tokenizer, answers=3, max_tokens=8)
    learnt = [[t for t in row["labels"] if t != -100] for row in rows]
    texts = [tokenizer.decode(ids, skip_special_tokens=True) for ids in learnt]
    # Round the prompts in turn, each time with a new draw.
    assert texts == ["sat p0 0", "sat p1 0", "sat p0 1"]
    for row, own in zip(rows, learnt, strict=True):
        assert row["input_ids"][-len(own) :] == own
        assert len(row["input_ids"]) == len(row["labels"])


def test_only_an_answer_that_ended_closes_with_the_end_of_turn() -> None:
    tokenizer = tiny_tokenizer()

    class Half:
        def continue_from(self, requests, on_result=None):
            return [Continuations(("sat",), (i == 0,)) for i, _ in enumerate(requests)]

    rows, _ = teacher_answers([prompt()], Half(), tokenizer, answers=2, max_tokens=8)
    assert [row["input_ids"][-1] == tokenizer.eos_token_id for row in rows] == [True, False]


def test_a_prompt_without_an_answer_is_named() -> None:
    class Silent:
        def continue_from(self, requests, on_result=None):
            return [Continuations((), problem="refusal") for _ in requests]

    with pytest.raises(TeacherError, match=r"left prompt 'p0' without an answer \(refusal\)"):
        teacher_answers([prompt(id="p0")], Silent(), tiny_tokenizer(), answers=1, max_tokens=8)


def test_a_grader_that_throws_rewards_nothing_and_its_reason_is_recorded(tmp_path, monkeypatch) -> None:
    def broken(self, prompt, response):
        raise RecursionError("too deep")

    monkeypatch.setattr(Stories, "grade", broken)
    kept = PartialResults()
    with pytest.raises(TrainingError, match="no two answers of a group"):
        build_trainer(small_recipe(method="grpo", training__group=2, training__steps=1), tmp_path, kept).train()
    [step] = kept.steps
    assert step.failures == {"grader: RecursionError: too deep": 4}
    assert step.metrics["reward"] == 0


def test_the_reward_is_the_tasks_grade() -> None:
    tokenizer, task = tiny_tokenizer(), Stories()
    [asked] = task.prompts("test", 1)
    ids = [tokenizer(text, add_special_tokens=False).input_ids for text in (f"#### {asked.answer}", "#### -1")]
    found = grader_reward(task, tokenizer)(
        prompts=[list(asked.messages)] * 2, completion_ids=ids, id=[asked.id] * 2, answer=[asked.answer] * 2
    )
    assert found == [1.0, 0.0]


def test_sampled_token_weights_are_the_teachers_log_ratios(tmp_path) -> None:
    trainer = build_trainer(small_recipe(method="white_box_sampled", teacher__temperature=0.5), tmp_path)
    trainer.model.train()
    batch = trainer._generate_and_score_completions([trainer.train_dataset[i] for i in range(2)])
    own = [trainer._own[i][0].rollout for i in range(2)]
    theirs = score(tiny_model(1, context=512), tiny_tokenizer(), own, temperature=0.5)
    for row, (mine, teachers) in enumerate(zip(own, theirs, strict=True)):
        wanted = teachers.logprobs - mine.logprobs
        torch.testing.assert_close(batch["weights"][row, : len(mine)], wanted, rtol=1e-4, atol=1e-5)
    assert torch.equal(batch["audited"], batch["completion_mask"].bool())
    assert not batch["anchored"].any()


def test_white_box_methods_need_a_teacher_that_runs_here(tmp_path) -> None:
    recipe = small_recipe(method="white_box_sampled", teacher__model="anthropic/claude-haiku-4-5")
    with pytest.raises(ConfigError, match=r'method is "white_box_sampled" and teacher.model is .*logits are needed'):
        build_trainer(recipe, tmp_path, student=LocalModel("tiny", tiny_model(), tiny_tokenizer()))


def test_white_box_methods_need_a_teacher_with_the_students_tokens(tmp_path) -> None:
    recipe = small_recipe(method="white_box_sampled", teacher__model="embedded:teacher")
    with pytest.raises(ConfigError, match=r"embedded:teacher has another vocabulary than .*student"):
        build_trainer(recipe, tmp_path)


@pytest.mark.parametrize("setting", [{"waves": 2}, {"staleness": 1}])
@pytest.mark.parametrize("trainer", [WhiteBoxTrainer, SampledTokenTrainer])
def test_white_box_methods_have_no_teacher_to_ask_meanwhile(trainer, setting, tmp_path) -> None:
    args = OmniOPDConfig(str(tmp_path), use_cpu=True, bf16=False, gradient_accumulation_steps=2, **setting)
    with pytest.raises(ConfigError, match=r"(waves|staleness) is \d in white-box OPD.*: it asks no teacher about"):
        trainer(tiny_model(), tiny_model(1), args, None, tiny_tokenizer())


def test_grpo_needs_prompts_for_a_step(tmp_path) -> None:
    steps = {"training__rollouts": 16, "training__micro_batch": 4, "training__group": 2}
    recipe = small_recipe(method="grpo", task__prompts=4, **steps)
    with pytest.raises(DataError, match="holds 4 prompts, and a step takes 8"):
        build_trainer(recipe, tmp_path)


def test_grpo_compares_whole_groups() -> None:
    with pytest.raises(ConfigError, match=r"training.group is 3: grpo compares at least 2 answers"):
        small_recipe(method="grpo", training__group=3)
