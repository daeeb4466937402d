"""One step of every kind of learning by the real model: it is drawn, asked about, scored, learnt from and recorded."""

from __future__ import annotations

import math
from itertools import cycle

import pytest
import torch
from transformers.trainer_utils import SaveStrategy

from omniopd.config import load_recipe
from omniopd.pipeline.build import LocalModel
from omniopd.pipeline.methods import build_trainer
from omniopd.tasks.stories import Stories

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")

LONGEST = 10  # tokens of an answer
METHODS = {
    "labels": {"objective.target": "labels"},
    "posterior_kl": {"objective.target": "posterior_kl", "objective.concentration": 0.5},
    "scan": {
        "audit.way": "scan", "audit.forks": 0, "audit.samples": 1, "audit.chunk_tokens": LONGEST,
        "objective.target": "posterior_kl", "teacher.sees": "{question}\nWrite exactly this answer:\n{solution}",
    },
    "paper": {"objective.target": "paper", "audit.chunk_tokens": 3, "audit.similarity": "characters"},
    "white_box": {"method": "white_box"},
    "sft": {"method": "sft"},
    "grpo": {"method": "grpo", "training.group": 2},
}


class Recorder:
    def __init__(self):
        self.steps, self.rollouts = [], []

    def append(self, record):
        self.steps.append(record)

    def write_rollouts(self, step, records):
        self.rollouts += records


def recipe(**changes):
    small = {
        "task.steps": [1], "task.prompts": 2, "task.instruction": "Answer in one short line.",
        "student.max_tokens": LONGEST, "audit.forks": 2, "audit.samples": 2, "audit.chunk_tokens": 1,
        "objective.anchor_weight": 0.1, "training.steps": 1, "training.rollouts": 2, "training.micro_batch": 2,
        "training.learning_rate": 1e-5, "training.record_every": 1, "training.probe_prompts": 0,
        "evaluation.controls": [],
    }  # fmt: skip
    return load_recipe("labels", **{**small, **changes})


@pytest.mark.parametrize("method", METHODS)
def test_a_step_of(method, model, student, tokenizer, tmp_path, monkeypatch):
    # Answers this short are all wrong, and a group that is all wrong teaches nothing.
    grades = cycle([True, False])
    monkeypatch.setattr(Stories, "grade", lambda self, prompt, response: next(grades))
    recorder, before = Recorder(), student.model.model.layers[0].mlp.up_proj.weight.detach().clone()
    trainer = build_trainer(
        recipe(**METHODS[method]), tmp_path, recorder, student, LocalModel("teacher", model, tokenizer)
    )
    trainer.args.save_strategy = SaveStrategy.NO
    trainer.train()
    learner = trainer.accelerator.unwrap_model(trainer.model)
    [step] = recorder.steps
    assert math.isfinite(step.loss)
    assert step.metrics["grad_norm"] > 0
    assert not torch.equal(learner.model.layers[0].mlp.up_proj.weight, before)
    assert all(bool(torch.isfinite(p).all()) for p in learner.parameters())
    for record in recorder.rollouts:
        assert 0 < len(record.pieces) <= LONGEST
        # The token that pads ends an answer, and stands nowhere else in it.
        assert all(record.pieces[:-1])
        assert (record.pieces[-1] == "") == (record.finish == "stop")
