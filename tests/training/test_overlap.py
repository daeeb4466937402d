"""A teacher that nobody waits for: answers in waves change nothing, answers ahead are those of the student before."""

from __future__ import annotations

import dataclasses
import hashlib

import pytest
from transformers import AutoModelForCausalLM

from omniopd.config import load_recipe
from omniopd.errors import ConfigError
from omniopd.models.text.chat import prompt_ids
from omniopd.pipeline.methods import build_trainer
from omniopd.training.background import Audits, Background, busy_seconds
from omniopd.training.overlap import AHEAD
from omniopd.training.trl.seeding import seed_global_generators
from tests.small_runs import small_recipe
from tests.training.test_trainer import PartialResults

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
SMALL = {
    "student__max_tokens": 20, "training__max_equal_share": 1.0, "training__rollouts": 8, "training__micro_batch": 2,
    "training__record_every": 1, "training__steps": 3, "training__probe_prompts": 0, "training__learning_rate": 1e-3,
    "task__prompts": 40, "audit__forks": 3,
}  # fmt: skip
SCAN = {"audit__way": "scan", "audit__forks": 0, "audit__samples": 1, "audit__chunk_tokens": 20}
KL = SCAN | {"objective__target": "posterior_kl"}
PAPER = {"objective__target": "paper", "audit__similarity": "characters", "audit__chunk_tokens": 4}


def trained(folder, resume=None, **more):
    recipe, kept = small_recipe(**(SMALL | more)), PartialResults()
    trainer = build_trainer(recipe, folder, kept)
    trainer.train(resume_from_checkpoint=resume)
    return trainer, kept


def digest(trainer) -> str:
    student = trainer.accelerator.unwrap_model(trainer.model)
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in student.parameters())).hexdigest()


def told(kept) -> list[object]:
    """All that was recorded, but for what a clock says and how far ahead answers were sampled."""
    timed = ("seconds", "time", "runtime", "per_second", "answers/staleness")
    steps = [
        dataclasses.replace(
            step, seconds={}, metrics={k: v for k, v in step.metrics.items() if not any(word in k for word in timed)}
        )
        for step in kept.steps
    ]
    return [repr(steps), repr(kept.rollouts)]


@pytest.mark.parametrize(("more", "waves"), [(KL, 4), (PAPER, 2)], ids=["scan", "chunks"])
def test_answers_in_waves_are_those_of_the_batch_to_the_bit(tmp_path, more, waves):
    at_once, kept = trained(tmp_path / "1", **more)
    in_waves, again = trained(tmp_path / "2", training__waves=waves, **more)
    assert told(kept) == told(again)
    assert digest(in_waves) == digest(at_once)
    assert [step.metrics["answers/staleness"] for step in again.steps] == [0, 0, 0]


def test_a_student_that_hardly_moves_learns_the_same_one_step_behind(tmp_path):
    """The limit: where a step changes no draw, it does not matter before which step an answer was sampled."""
    still = {"training__learning_rate": 1e-12, "training__steps": 4}
    _, kept = trained(tmp_path / "1", **KL, **still)
    _, behind = trained(tmp_path / "2", training__staleness=1, **KL, **still)
    assert [step.metrics["answers/staleness"] for step in behind.steps] == [0, 0, 1, 1]
    for step in range(1, 5):
        mine, theirs = behind.rollouts[step], kept.rollouts[step]
        assert [(r.pieces, r.prompt_id) for r in mine] == [(r.pieces, r.prompt_id) for r in theirs]
        assert [[(a.start, a.texts) for a in r.audits] for r in mine] == [
            [(a.start, a.texts) for a in r.audits] for r in theirs
        ]
    assert [s.loss for s in behind.steps] == pytest.approx([s.loss for s in kept.steps], rel=1e-4)


def test_the_answers_of_a_step_are_those_of_the_student_one_step_before(tmp_path):
    """A slow twin: the checkpoint of the step before the last, asked for this step's draws at this step's prompts."""
    more = KL | {"training__staleness": 1, "training__steps": 4, "training__save_every": 1, "training__keep": 9}
    _, kept = trained(tmp_path / "run", **more)
    twin = build_trainer(small_recipe(**(SMALL | KL)), tmp_path / "twin", None)
    for step in (3, 4):
        moved = {}
        for name, of in (("sampled", step - 2), ("learnt", step - 1)):
            checkpoint = AutoModelForCausalLM.from_pretrained(tmp_path / "run" / f"step-{of:06d}")
            twin.model.load_state_dict(checkpoint.state_dict())
            twin.model.train()
            twin.state.global_step = step - 1
            prompts = [prompt_ids(twin.tokenizer, r.messages) for r in kept.rollouts[step]]
            seed_global_generators("sampling", 0, step - 1)
            moved[name] = twin._generate_single_turn(prompts, None, {})
        answers = [len(r.pieces) for r in kept.rollouts[step]], ["".join(r.pieces) for r in kept.rollouts[step]]
        sampled = [len(ids) for ids in moved["sampled"]], [
            twin.tokenizer.decode(ids, skip_special_tokens=True) for ids in moved["sampled"]
        ]
        assert answers == sampled
        assert moved["sampled"] != moved["learnt"]  # or nothing was shown


@pytest.mark.parametrize("more", [KL, PAPER], ids=["labels", "weights"])
def test_a_resumed_run_goes_on_with_the_answers_that_its_checkpoint_holds(tmp_path, more):
    more = more | {"training__staleness": 1, "training__steps": 5, "training__save_every": 2, "training__keep": 9}
    whole, kept = trained(tmp_path / "whole", **more)
    assert (tmp_path / "whole" / "step-000002" / AHEAD).is_file()
    resumed, rest = trained(tmp_path / "rest", resume=str(tmp_path / "whole" / "step-000002"), **more)
    assert digest(resumed) == digest(whole)
    assert [s.loss for s in rest.steps] == [s.loss for s in kept.steps[2:]]
    assert [s.output_tokens for s in rest.steps] == [s.output_tokens for s in kept.steps[2:]]
    assert [s.metrics["answers/staleness"] for s in rest.steps] == [
        s.metrics["answers/staleness"] for s in kept.steps[2:]
    ]


def test_a_pass_over_the_data_ends_with_nothing_ahead_and_goes_on(tmp_path):
    """Two steps a pass: the first of each pass is sampled when it is learnt."""
    more = KL | {"training__staleness": 1, "training__steps": 6, "task__prompts": 24, "training__save_every": 3}
    whole, kept = trained(tmp_path / "whole", **more)
    assert [s.metrics["answers/staleness"] for s in kept.steps] == [0, 0, 1, 0, 1, 1]
    assert not (tmp_path / "whole" / "step-000003" / AHEAD).exists()
    resumed, _ = trained(tmp_path / "rest", resume=str(tmp_path / "whole" / "step-000003"), **more)
    assert digest(resumed) == digest(whole)


def test_weights_of_an_earlier_student_get_the_ratio_of_the_two_and_labels_do_not(tmp_path):
    more = {"training__staleness": 1, "training__learning_rate": 1e-2}
    _, weighted = trained(tmp_path / "1", **PAPER, **more)
    _, labelled = trained(tmp_path / "2", **KL, **more)
    last = weighted.steps[-1].metrics
    assert last["answers/staleness"] == 1
    assert 0 < last["ratio/truncated_share"] < 1
    assert all("ratio/mean" not in step.metrics for step in (*weighted.steps[:2], *labelled.steps))
    trust = [(a.posterior_mean, w) for r in weighted.rollouts[3] for a in r.audits for w in a.weights]
    assert any(w != pytest.approx(mean, rel=1e-3) for mean, w in trust)
    assert all(0 <= w <= 2 * mean * (1 + 1e-5) for mean, w in trust)


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ({"training.waves": 3}, "training.waves is 3, and a step has 4 micro-batches in each process: take 1, 2, 4"),
        ({"training.waves": 2, "method": "sft"}, "training.waves is 2 and method \"sft\""),
        ({"training.staleness": 1, "method": "white_box"}, "training.staleness is 1 and method \"white_box\""),
        ({"training.staleness": 2}, "training.staleness"),
        ({"training.waves": 2, "audit.scheduler": "random"}, "training.waves is 2 and audit.scheduler \"random\""),
        (
            {"training.staleness": 1, "objective.target": "centred", "objective.redraws": 2},
            "training.staleness is 1 and objective.redraws is 2",
        ),
    ],
)
def test_what_cannot_overlap_is_refused_before_anything_is_loaded(words, said):
    from omniopd.pipeline.readiness import require_ready

    settings = {"training.rollouts": 8, "training.micro_batch": 2, "evaluation.controls": []} | words
    with pytest.raises(ConfigError) as refused:
        require_ready(load_recipe("labels", **settings))
    assert said in str(refused.value)


def test_the_teachers_time_counts_once_where_audits_run_beside_each_other():
    audits = [Audits(0, None, 1.0, 4.0), Audits(1, None, 2.0, 3.0), Audits(2, None, 6.0, 7.5)]
    assert busy_seconds(audits) == pytest.approx(4.5)


def test_audits_that_are_interrupted_end_and_those_that_wait_are_never_begun():
    import threading
    import time

    begun, ended = threading.Event(), []

    def endless():
        begun.set()
        try:
            while True:
                time.sleep(0.01)
        finally:
            ended.append(True)

    background = Background(1)
    under_way, waiting = background.do(0, endless), background.do(1, lambda: ended.append("begun"))
    assert begun.wait(5)
    background.close(interrupted=True)
    assert ended == [True]
    assert isinstance(under_way.found.exception(0), KeyboardInterrupt)
    assert not waiting.found.done()
