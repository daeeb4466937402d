"""What a step logs does not depend on the micro-batches that it was computed in."""

import math

import pytest

from omniopd.pipeline.methods import build_trainer
from tests.builders import tiny_model, tiny_tokenizer
from tests.small_runs import small_recipe
from tests.training.test_trainer import PartialResults

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
CLOCKS = ("seconds/", "step_time", "train_", "total_flos", "epoch")


@pytest.fixture(scope="module")
def ending(tmp_path_factory):
    """The tiny student, which ends at many tokens: answers of many lengths."""
    folder, model = tmp_path_factory.mktemp("ending"), tiny_model(context=512, spread=0.6)
    model.generation_config.eos_token_id = [2, *range(10, 60)]
    model.save_pretrained(folder)
    tiny_tokenizer().save_pretrained(folder)
    return str(folder)


def first_step(ending, folder, method, micro_batch):
    recipe = small_recipe(
        method=method, training__micro_batch=micro_batch, training__steps=1, training__rollouts=8, training__group=2,
        student__max_tokens=24, training__probe_prompts=0, training__record_every=1, task__prompts=8,
        student__model=ending, training__allow_zero_gradient=True,  # a teacher like it would leave signs of rounding
    )  # fmt: skip
    kept = PartialResults()
    trainer = build_trainer(recipe, folder, kept)
    trainer.train()
    return trainer.state.log_history[0], kept


@pytest.mark.parametrize("method", ["omniopd", "continuations", "white_box", "white_box_sampled", "grpo", "sft"])
def test_every_number_of_a_step_is_the_same_in_any_micro_batch(ending, tmp_path, method):
    sizes = (8, 2 if method == "grpo" else 1)
    (whole, _), (part, _) = [first_step(ending, tmp_path / str(size), method, size) for size in sizes]
    compared = [name for name in whole if not name.startswith(CLOCKS)]
    assert set(part) == set(whole) > {"entropy", "grad_norm"}
    for name in compared:
        here, there = (math.nan if log[name] is None else log[name] for log in (whole, part))
        assert here == pytest.approx(there, rel=1e-4, abs=1e-6, nan_ok=True), name


def test_the_logged_entropy_is_the_mean_over_the_tokens_of_the_step(ending, tmp_path):
    """Against the entropies that the rollouts were scored with, one by one."""
    log, kept = first_step(ending, tmp_path, "omniopd", 1)
    tokens = [entropy for record in kept.rollouts[1] for entropy in record.entropies]
    assert len({len(record.pieces) for record in kept.rollouts[1]}) > 2
    assert log["entropy"] == pytest.approx(sum(tokens) / len(tokens), rel=1e-5)
