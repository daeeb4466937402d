"""Weights in pieces (FSDP2) on two processes of a CPU: the same losses, and checkpoints that are whole."""

import sys

import pytest
import torch

from omniopd.training.trl.strategies import shard_on_a_cpu
from tests.training.test_trainer import PartialResults, prompts, settings
from tests.training.test_two_processes import in_two_processes

pytestmark = [
    pytest.mark.skipif(sys.platform == "win32", reason="needs fork"),
    pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning", "ignore::UserWarning"),
]

PIECES = {
    "fsdp": True,
    "fsdp_config": {
        "version": 2,
        "transformer_layer_cls_to_wrap": ["Qwen3DecoderLayer"],
        "reshard_after_forward": True,
        "state_dict_type": "SHARDED_STATE_DICT",
    },
}


def test_the_losses_of_sharded_weights_are_those_of_whole_ones(tmp_path):
    (sharded, kind), _ = in_two_processes(tmp_path, train_in_pieces)
    (whole, _), _ = in_two_processes(tmp_path, train_whole)
    assert kind == "DTensor"
    assert len(whole) == 2
    for ours, theirs in zip(sharded, whole, strict=True):
        assert ours == pytest.approx(theirs, rel=1e-3, abs=1e-8)
    assert sorted(path.name for path in (tmp_path / "pieces").iterdir()) == ["step-000001", "step-000002"]


def test_a_baseline_of_the_students_redraws_is_refused_with_sharded_weights(tmp_path):
    assert all("redraws" in words for words in in_two_processes(tmp_path, redraw_in_pieces))


def train_in_pieces(folder):
    shard_on_a_cpu()
    return train(folder.parent / "pieces", save_strategy="steps", save_steps=1, **PIECES)


def train_whole(folder):
    return train(folder)


def redraw_in_pieces(folder):
    from omniopd.errors import ConfigError

    shard_on_a_cpu()
    try:
        train(folder, target="centred", redraws=2, **PIECES)
    except ConfigError as error:
        return str(error)
    return "finished"


def train(folder, **changes):
    from omniopd import embedded
    from omniopd.teachers.scripted import ScriptedTeacher
    from omniopd.training.trainer import OmniOPDTrainer

    torch.set_num_threads(1)
    lab, kept = embedded.lab(), PartialResults()
    values = {"target": "labels", "continuation_weight": 0.5, "per_device_train_batch_size": 2, **changes}
    trainer = OmniOPDTrainer(
        lab.student,
        ScriptedTeacher(["apples", "shells", "cards"]),
        settings(folder, ddp_backend="gloo", **values),
        train_dataset=prompts(lab),
        processing_class=lab.tokenizer,
        recorder=kept,
    )
    trainer.train()
    steps = [(s.loss, s.anchor_loss, s.metrics["grad_norm"], s.metrics["kl/audited"]) for s in kept.steps]
    return steps, type(next(trainer.model.parameters())).__name__
