"""Bytes that are counted without numbers are those of the same computation with numbers."""

from __future__ import annotations

import copy
from importlib.util import find_spec

import pytest
import torch
from peft import get_peft_model

from omniopd.costs import shapes
from omniopd.models.adapters import lora_config
from omniopd.models.architecture.backbone import own_hidden
from omniopd.models.architecture.probing import bare
from omniopd.models.loading import load_model
from tests.builders import gpt2_model, tiny_model

# PEFT reads a property that transformers is renaming, and says that it turned GPT-2's weights round.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning", "ignore:fan_in_fan_out is set to False:UserWarning"
)
ROWS, PROMPT, ANSWER = 4, 70, 50


def real_learning_peak(model, checkpointing: bool, tiles: int) -> int:
    """The same step with numbers and padded rows, counted by the same eyes: all of torch's allocations."""
    model.train()
    if checkpointing:
        bare(model).activation_checkpointing_enable({"use_reentrant": False, "preserve_rng_state": False})
        if model is not bare(model):
            model.enable_input_require_grads()
    ids = torch.zeros(ROWS, PROMPT + ANSWER, dtype=torch.long)
    mask = torch.ones_like(ids)
    mask[0, :20] = 0
    with shapes.Alive() as alive:
        model = copy.deepcopy(model)  # or weights would be counted where they are first seen
        before, head = alive.reset(), bare(model).get_output_embeddings()
        own_copy = torch.empty(ROWS, PROMPT + ANSWER, head.in_features)  # a reference's states
        states = own_hidden(model, ids, mask)[:, -ANSWER - 1 : -1]
        loss = shapes._Loss.apply(states.reshape(-1, states.shape[-1]), head.weight, tiles)
        del states, own_copy
        loss.backward()
    return alive.peak - before


def made(make, adapter: bool):
    return get_peft_model(make(), lora_config(2)) if adapter else make()


@pytest.mark.parametrize("checkpointing", [False, True], ids=["kept", "checkpointed"])
@pytest.mark.parametrize("adapter", [False, True], ids=["whole", "lora"])
@pytest.mark.parametrize("make", [tiny_model, gpt2_model])
def test_the_peak_of_a_step_is_that_of_a_real_one_on_padded_rows(make, adapter, checkpointing):
    tiles = 100_000
    real = real_learning_peak(made(make, adapter), checkpointing, tiles)
    model = shapes.built(make().config, torch.float32, rank=2 * adapter)
    with shapes.without_numbers() as alive:
        planned = shapes.learning_peak(
            alive, shapes.held(model), ROWS, PROMPT, ANSWER, mixed=False, checkpointing=checkpointing,
            accumulates=False, anchored=True, tiles=tiles,
        )  # fmt: skip
    assert planned == pytest.approx(real, rel=0.005)


def test_rows_without_padding_need_no_mask_so_that_the_plan_is_of_those_that_do():
    """The mask that transformers makes of fake numbers is the one that padded rows need, no more."""
    model, ids = tiny_model().train(), torch.zeros(ROWS, PROMPT + ANSWER, dtype=torch.long)

    def kept(mask) -> int:
        with shapes.Alive() as alive:
            own = copy.deepcopy(model)
            before = alive.reset()
            states = own_hidden(own, ids, mask)
            found = alive.now - before
            del states
        return found

    padded = torch.ones_like(ids)
    padded[0, :20] = 0
    shell = shapes.built(model.config, torch.float32)
    with shapes.without_numbers() as alive:
        shapes.held(shell).train()
        before = alive.reset()
        fake = torch.zeros(ROWS, PROMPT + ANSWER, dtype=torch.long)
        states = own_hidden(shell, fake, torch.ones_like(fake))
        planned = alive.now - before
        del states
    assert planned == pytest.approx(kept(padded), rel=0.005)
    assert planned > 1.1 * kept(torch.ones_like(ids))


@pytest.mark.parametrize("make", [tiny_model, gpt2_model])
def test_a_cache_is_as_large_as_a_real_one(make):
    model = make().eval()
    with torch.no_grad():
        cache = model(input_ids=torch.zeros(3, 40, dtype=torch.long), use_cache=True).past_key_values
    real = shapes.size(t for layer in cache.layers for t in (layer.keys, layer.values))
    logits = 3 * 4 * 3 * model.config.vocab_size
    shell = shapes.built(model.config, torch.float32)
    with shapes.without_numbers() as alive:
        planned = shapes.answering_peak(alive, shapes.held(shell), 3, 4, 40, False)
    assert planned == pytest.approx(1.5 * real + logits, rel=0.01)  # of two layers one grows at a time


def test_gradients_of_micro_batches_before_tiles_and_narrow_products_are_counted():
    def peak(**more) -> int:
        settings = {"mixed": False, "checkpointing": False, "accumulates": False, "anchored": False, "tiles": 0} | more
        model = shapes.built(tiny_model().config, torch.float32)
        with shapes.without_numbers() as alive:
            return shapes.learning_peak(alive, shapes.held(model), ROWS, PROMPT, ANSWER, **settings)

    weights, plain = shapes.size(tiny_model().parameters()), peak()
    assert plain + weights > peak(accumulates=True) > plain > weights
    assert peak(tiles=10**7) > 10**7
    assert 0.5 * plain < peak(mixed=True) < 0.95 * plain


@pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed (pip install 'omniopd[bits]')"
)
@pytest.mark.parametrize("make", [tiny_model, gpt2_model])
def test_layers_of_4_bits_take_what_bitsandbytes_makes_of_them(make, tmp_path):
    make().save_pretrained(tmp_path)
    packed = load_model(str(tmp_path), device="cpu", packed_for="float32")
    real = shapes.size(packed.parameters())
    for module in packed.modules():
        if (state := getattr(getattr(module, "weight", None), "quant_state", None)) is not None:
            real += shapes.size([state.absmax, state.state2.absmax])
    shell = shapes.built(make().config, torch.float32, torch.float32)
    assert shapes.size(shell.parameters()) == pytest.approx(real, rel=0.005)
    with shapes.without_numbers():
        states = own_hidden(shapes.held(shell), torch.zeros(2, 9, dtype=torch.long), torch.ones(2, 9, dtype=torch.long))
        assert states.shape == (2, 9, shell.get_output_embeddings().in_features)
