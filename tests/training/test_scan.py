"""A run whose audit is a scan: what it learns from, records, and repeats."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch

from omniopd.errors import TeacherError
from omniopd.method.loss_breakdown import break_down
from omniopd.method.recorded import recorded_targets, targets_of_records
from omniopd.models.drafts import next_tokens
from omniopd.pipeline.methods import build_trainer
from omniopd.training.arguments import OmniOPDConfig
from omniopd.training.checks.preflight import check_batch
from omniopd.types import AuditedRollout, Unanswered
from tests.small_runs import small_recipe
from tests.training.test_trainer import PartialResults

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
LAB = {"student__model": "embedded:student", "teacher__model": "embedded:teacher", "student__max_tokens": 64}
SCAN = {
    "audit__way": "scan", "audit__forks": 0, "audit__samples": 1, "audit__chunk_tokens": 64,
    "objective__target": "posterior_kl", "objective__concentration": 0.3, "training__record_every": 1,
    "training__rollouts": 4, "training__micro_batch": 4, "training__learning_rate": 1e-3, "training__probe_prompts": 0,
}  # fmt: skip


def trained(folder, resume=None, **more):
    recipe, kept = small_recipe(**{**LAB, **SCAN, **more}), PartialResults()
    trainer = build_trainer(recipe, folder, kept)
    trainer.train(resume_from_checkpoint=resume)
    student = trainer.accelerator.unwrap_model(trainer.model)
    weights = b"".join(p.detach().numpy().tobytes() for p in student.parameters())
    return hashlib.sha256(weights).hexdigest(), kept, recipe


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scan")
    return *trained(folder), folder


def test_every_token_of_every_answer_is_audited_and_the_log_says_how_well_the_teacher_agrees(run):
    for step in run[1].steps:
        assert step.metrics["scan/labelled_share"] == 1
        assert 0.5 < step.metrics["scan/acceptance"] < 1
        assert 1 < step.metrics["scan/texts_per_answer"] < 20
        assert step.input_tokens > step.output_tokens > 0
    for records in run[1].rollouts.values():
        for r in records:
            assert [i for a in r.audits for i in range(a.start, a.stop)] == list(range(len(r.pieces)))
            assert all(a.run and len(a.labels) == a.stop - a.start for a in r.audits)
            assert not any(r.anchored)


def test_targets_are_found_again_in_the_records_and_the_breakdown_adds_up_to_the_loss(run):
    _, kept, recipe, _ = run
    for step, records in kept.rollouts.items():
        again = targets_of_records(records, "posterior_kl", 0.3, 1)
        for mine, theirs in zip(recorded_targets(records), again, strict=True):
            assert np.allclose(mine.weights, theirs.weights)
            assert [sum(s.values()) for s in mine.labels] == [sum(s.values()) for s in theirs.labels]
        broken = break_down(records, recorded_targets(records), recipe.objective, 4 * recipe.normaliser_length)
        [loss] = [s.chunk_loss for s in kept.steps if s.step == step]
        assert broken.chunk_loss == pytest.approx(loss, rel=1e-4)


def test_a_resumed_run_draws_the_same_labels(run, tmp_path):
    weights, kept, _, folder = run
    again, rest, _ = trained(tmp_path, resume=str(folder / "step-000002"))
    assert again == weights
    assert [s.loss for s in rest.steps] == [s.loss for s in kept.steps[2:]]


@pytest.mark.parametrize("control", ["self_teacher", "shuffled", "constant"])
@pytest.mark.parametrize("target", ["labels", "centred"])
def test_every_control_takes_something_away(run, tmp_path, target, control):
    kept = [
        trained(tmp_path / each, objective__target=target, objective__control=each, training__steps=1)[1]
        for each in ("none", control)
    ]
    plain, taken = (one.rollouts[1] for one in kept)
    assert [r.pieces for r in plain] == [r.pieces for r in taken]
    assert [(a.weights, a.labels) for r in plain for a in r.audits] != [
        (a.weights, a.labels) for r in taken for a in r.audits
    ]


def test_a_few_texts_leave_the_rest_under_the_anchor(tmp_path):
    _, kept, _ = trained(tmp_path, audit__forks=2, audit__chunk_tokens=8, training__steps=1)
    assert 0.1 < kept.steps[0].metrics["scan/labelled_share"] < 0.9
    assert kept.steps[0].metrics["scan/texts_per_answer"] <= 2
    for r in kept.rollouts[1]:
        audited = {i for a in r.audits for i in range(a.start, a.stop)}
        assert [i for i, held in enumerate(r.anchored) if held] == [
            i for i in range(len(r.pieces)) if i not in audited
        ]


def test_answers_that_are_given_up_count_by_the_tokens_that_they_lack():
    """One broken conversation is one failure, and a finished answer many audits: what is missing is what counts."""
    from tests.test_scanning import answers, scanned, teacher

    whole = scanned(answers(), teacher())
    lost = [
        AuditedRollout(item.rollout, item.audits[:1], (Unanswered(item.audits[1].fork, "deadline"),))
        for item in whole[:5]
    ]
    args = OmniOPDConfig("run", way="scan", forks=0, max_unanswered_share=0.5, use_cpu=True, bf16=False)
    check_batch(whole, args, first=False)
    with pytest.raises(TeacherError, match="5 of 6 answers were given up, most often for 'deadline'"):
        check_batch([*lost, *whole[5:]], args, first=False)


def test_a_full_memory_is_read_in_smaller_batches(monkeypatch):
    """As texts are: the very labels, a warning, and half as many tokens at once from then on."""
    from tests.test_scanning import answers, labels, scanned, teacher

    wanted, reads = labels(scanned(answers(), teacher(), seed=3)), []

    def full(model, drafts, sampling, batch_tokens):
        reads.append(batch_tokens)
        if batch_tokens > 1000:
            raise torch.OutOfMemoryError
        return next_tokens(model, drafts, sampling, batch_tokens)

    monkeypatch.setattr("omniopd.teachers.local.next_tokens", full)
    assert labels(scanned(answers(), teacher(batch_tokens=3000), seed=3)) == wanted
    assert reads == [3000, 1500, 750]
