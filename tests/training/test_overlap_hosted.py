"""Answers that are with a teacher behind an API while the student goes on: the same run, sooner, and paid for once."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest

from omniopd.errors import OmniOPDError
from omniopd.pipeline.methods import build_trainer
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.model_traits import ModelTraits
from omniopd.training.trainer import OmniOPDTrainer
from tests.small_runs import small_recipe
from tests.teachers.conftest import litellm_is_loaded  # noqa: F401
from tests.teachers.faulty_server import Served
from tests.training.test_overlap import PAPER, SMALL, digest, told
from tests.training.test_trainer import PartialResults
from tests.wire.saying import KEY

pytestmark = [
    pytest.mark.usefixtures("litellm_is_loaded"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning"),
]
MORE = PAPER | {"teacher__tokens_per_student_token": 1.3, "training__max_equal_share": 1.0}


def built(folder: Path, server: Served, answers: Path, **more: Any) -> tuple[OmniOPDTrainer, PartialResults]:
    model = "hosted_vllm/m"
    hosted = HostedTeacher(
        model, api_base=server.url, handover="instruction", traits=ModelTraits(model, "instruction"),
        parameters={"api_key": KEY}, concurrency=8,
    )  # fmt: skip
    kept = PartialResults()
    recipe = small_recipe(**(SMALL | MORE | more))
    return build_trainer(recipe, folder, kept, teacher=CachedTeacher(hosted, answers)), kept


def test_waves_ask_what_the_batch_asks_while_the_student_still_samples(tmp_path: Path) -> None:
    with Served(latency_s=0.1) as server:
        plain, kept = built(tmp_path / "1", server, tmp_path / "1.sqlite")
        plain.train()
        asked = sorted((one.question, one.seed or 0) for one in server.seen)
        server.seen.clear()
        waves, again = built(tmp_path / "2", server, tmp_path / "2.sqlite", training__waves=4)
        sampled: list[float] = []
        draw = waves._scored

        def timed(rollouts: Any) -> Any:
            sampled.append(time.monotonic())
            return draw(rollouts)

        waves._scored = timed  # type: ignore[method-assign]
        waves.train()
        assert sorted((one.question, one.seed or 0) for one in server.seen) == asked
    assert told(again) == told(kept)
    assert digest(waves) == digest(plain)
    assert min(one.came for one in server.seen) < sampled[3]  # the fourth wave is not there yet
    assert all(step.metrics["teacher/seconds_hidden"] > 0 for step in again.steps)


def test_a_step_ahead_pays_for_each_text_once_also_when_it_is_resumed(tmp_path: Path) -> None:
    more = {"training__staleness": 1, "training__steps": 4, "training__save_every": 2, "training__keep": 9}
    with Served() as server:
        whole, kept = built(tmp_path / "whole", server, tmp_path / "answers.sqlite", **more)
        whole.train()
        draws = [(one.question, one.seed) for one in server.seen]
        assert len(draws) == len(set(draws))
        paid = len(draws)
        rest, after = built(tmp_path / "rest", server, tmp_path / "answers.sqlite", **more)
        rest.train(resume_from_checkpoint=str(tmp_path / "whole" / "step-000002"))
        assert len(server.seen) == paid
    assert digest(rest) == digest(whole)
    # What was with the teacher when the checkpoint was written has its price from there; later steps were paid for too.
    assert after.steps[0].output_tokens == kept.steps[2].output_tokens > 0


def test_what_fails_beside_the_student_ends_the_run_with_its_own_words(tmp_path: Path) -> None:
    with Served(faults=lambda number, body: "401") as server:
        trainer, kept = built(tmp_path / "run", server, tmp_path / "answers.sqlite", training__waves=2)
        with pytest.raises(OmniOPDError, match="401"):
            trainer.train()
    assert not kept.steps


def test_a_step_that_is_done_has_its_checkpoint_though_the_next_ones_answers_fail(tmp_path: Path) -> None:
    more = {"training__staleness": 1, "training__steps": 4, "training__save_every": 1}
    broken: list[bool] = []
    with Served(faults=lambda number, body: "401" if broken else None) as server:
        trainer, kept = built(tmp_path / "run", server, tmp_path / "answers.sqlite", **more)
        sampled = trainer._sampled

        def breaks(draw: Any, step: int, *rest: Any) -> Any:
            if step == 2:  # the answers ahead of the second step; its own are there
                assert trainer._answers is not None
                trainer._finished(trainer._answers)
                broken.append(True)
            return sampled(draw, step, *rest)

        trainer._sampled = breaks  # type: ignore[method-assign]
        with pytest.raises(OmniOPDError, match="401"):
            trainer.train()
    assert [step.step for step in kept.steps] == [1, 2]
    assert (tmp_path / "run" / "step-000002").is_dir()


def test_an_interrupt_leaves_no_thread_that_goes_on_asking(tmp_path: Path) -> None:
    more = {"training__staleness": 1, "training__steps": 4}
    with Served(latency_s=0.5) as server:
        trainer, _ = built(tmp_path / "run", server, tmp_path / "answers.sqlite", **more)
        step, asked = trainer.training_step, 0

        def interrupted(*given: Any, **named: Any) -> Any:
            nonlocal asked
            if trainer.state.global_step == 1:
                # The third step's answers will be with the teacher when the second is learnt.
                found = step(*given, **named)
                asked = len(server.seen)
                raise KeyboardInterrupt(found)
            return step(*given, **named)

        trainer.training_step = interrupted  # type: ignore[method-assign]
        with pytest.raises(KeyboardInterrupt):
            trainer.train()
        time.sleep(0.5)  # for what was sent before
        before = len(server.seen)
        assert before - asked <= 16  # what was in flight, and whoever had just been given its place
        time.sleep(1)
        assert len(server.seen) == before
