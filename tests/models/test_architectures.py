"""Small members of many kinds of architectures are right or refused (all there are: `benchmarks/architectures.py`)."""

from __future__ import annotations

import pytest

from omniopd.errors import ConfigError
from omniopd.models.architecture.reading import Way, way_of
from omniopd.models.architecture.tree_attention import supports_trees
from omniopd.training.checks.architecture import check_architecture
from tests.architectures import build
from tests.trials import try_branches, try_draws, try_gradient, try_rollouts, try_scores

# Type, changes of its configuration, and how it is read: padded or not, its cache, trees, trained or not.
KINDS = [
    ("qwen3", {}, Way(True, "roomy"), True, True),
    ("gemma2", {}, Way(True, "own"), False, True),  # windows, capped scores
    ("bloom", {}, Way(True, "roomy"), False, True),  # ALiBi
    ("falcon", {"alibi": True, "new_decoder_architecture": False}, Way(True, "roomy"), False, True),
    ("mpt", {}, Way(True, "roomy"), False, True),
    ("opt", {}, Way(True, "roomy"), True, True),  # learnt positions
    ("gpt_neo", {}, Way(True, "roomy"), False, True),  # a window that is no cache's
    ("qwen3_moe", {}, Way(True, "roomy"), True, True),
    ("deepseek_v3", {}, Way(True, "roomy"), True, True),  # latent attention
    ("deepseek_v32", {}, Way(False, "none"), False, False),  # an index chooses tokens
    ("qwen3_5_text", {}, Way(True, "own"), False, True),  # linear attention
    ("lfm2", {}, Way(True, "own"), False, True),
    ("mamba", {}, Way(True, "own"), False, True),
    ("rwkv", {}, Way(False, "none"), False, False),
    ("xlstm", {}, Way(False, "none"), False, False),
    ("llama4_text", {}, Way(True, "own"), False, True),  # chunks
    ("recurrent_gemma", {}, Way(False, "none"), False, False),
    ("bart", {}, Way(False, "roomy"), False, False),  # positions nobody may give
]  # fmt: skip
IDS = [name for name, *_ in KINDS]


@pytest.mark.parametrize(("name", "changes", "way", "trees", "trained"), KINDS, ids=IDS)
def test_what_a_model_takes_is_found_out_and_everything_is_right(name, changes, way, trees, trained) -> None:
    usual = build(name, **changes)
    assert (way_of(usual), supports_trees(usual)) == (way, trees)
    model, reference = (build(name, seed, exact=True, **changes) for seed in (0, 1))
    try_scores(model, reference)
    try_draws(model)
    try_branches(model)
    try_gradient(model, reference)
    if trained:
        try_rollouts(usual)
    else:
        with pytest.raises(ConfigError, match="padded batches, and padding changes"):
            check_architecture(usual)
