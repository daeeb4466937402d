"""A model whose linear layers are held in 4 bits: what it takes, what it computes, and that all below it learns."""

from __future__ import annotations

import sys
from importlib.util import find_spec
from pathlib import Path

import pytest
import torch
from peft import get_peft_model
from transformers.pytorch_utils import Conv1D

from omniopd.errors import ConfigError
from omniopd.models.adapters import linear_layers, lora_config
from omniopd.models.four_bits import is_packed, widen_adapters
from omniopd.models.loading import load_model
from omniopd.models.token_stats import head_of
from tests.builders import gpt2_model, tiny_model

needs_bitsandbytes = pytest.mark.skipif(
    find_spec("bitsandbytes") is None, reason="bitsandbytes is not installed (pip install 'omniopd[bits]')"
)
# PEFT reads a property that transformers is renaming.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")
IDS = torch.arange(24).view(2, 12)


@pytest.fixture(scope="module", params=[tiny_model, gpt2_model], ids=["qwen3", "gpt2"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("model")
    request.param().save_pretrained(path)
    return path


def test_without_the_package_it_is_one_sentence(monkeypatch, tmp_path):
    monkeypatch.setitem(sys.modules, "bitsandbytes", None)  # as where it is not installed
    tiny_model().save_pretrained(tmp_path)
    with pytest.raises(ConfigError, match=r"needs the package bitsandbytes, and it is not installed: pip install"):
        load_model(str(tmp_path), device="cpu", packed_for="float32")


@needs_bitsandbytes
def test_linear_layers_are_packed_and_nothing_else(folder):
    import bitsandbytes as bnb

    whole, packed = (load_model(str(folder), device="cpu", packed_for=bits) for bits in ("", "float32"))
    assert (is_packed(whole), is_packed(packed)) == (False, True)
    names = {name for name, module in packed.named_modules() if isinstance(module, bnb.nn.Linear4bit)}
    assert names == set(linear_layers(whole))
    assert torch.equal(head_of(packed).weight, head_of(whole).weight)
    assert packed.get_input_embeddings().weight.dtype == torch.float32
    for name in names:
        weight = packed.get_submodule(name).weight
        assert 2 * weight.nbytes == whole.get_submodule(name).weight.numel()


@needs_bitsandbytes
def test_logits_are_those_of_a_whole_model_on_the_unpacked_numbers(folder):
    from bitsandbytes.functional import dequantize_4bit

    whole, packed = (load_model(str(folder), device="cpu", packed_for=bits) for bits in ("", "float32"))
    before = whole(input_ids=IDS).logits.clone()
    for name in linear_layers(whole):
        held, plain = packed.get_submodule(name), whole.get_submodule(name)
        numbers = dequantize_4bit(held.weight.data, held.weight.quant_state)
        plain.weight.data = numbers.t().contiguous() if isinstance(plain, Conv1D) else numbers
    assert not torch.allclose(before, packed(input_ids=IDS).logits, atol=1e-3)  # rounding is there
    torch.testing.assert_close(whole(input_ids=IDS).logits, packed(input_ids=IDS).logits, rtol=1e-4, atol=1e-4)


@needs_bitsandbytes
def test_every_adapter_learns_after_the_model_has_answered(folder):
    model = get_peft_model(load_model(str(folder), device="cpu", packed_for="float32"), lora_config(2))
    with torch.no_grad():
        for name, weight in model.named_parameters():  # as after a step: B is no longer nothing
            if "lora_B" in name:
                weight.fill_(0.1)
        model.eval()(input_ids=IDS)
    model.train()(input_ids=IDS).logits.sum().backward()
    learning = {name: weight for name, weight in model.named_parameters() if weight.requires_grad}
    assert learning
    assert all("lora_" in name for name in learning)
    assert all(weight.grad is not None and weight.grad.abs().sum() > 0 for weight in learning.values())


@needs_bitsandbytes
def test_no_layer_may_repack_itself_where_the_processor_could(folder, monkeypatch):
    monkeypatch.setattr("bitsandbytes.nn.modules.has_avx512bf16", lambda: True)
    flags = [
        module.support_avx512bf16_for_cpu
        for module in load_model(str(folder), device="cpu", packed_for="float32").modules()
        if hasattr(module, "support_avx512bf16_for_cpu")
    ]
    assert flags
    assert not any(flags)


@needs_bitsandbytes
def test_products_are_in_the_dtype_that_is_asked_for_and_states_in_the_models_own(folder):
    packed = load_model(str(folder), device="cpu", packed_for="bfloat16")
    layer = packed.get_submodule(linear_layers(packed)[0])
    assert layer.compute_dtype == torch.bfloat16
    assert layer(torch.ones(1, layer.in_features)).dtype == torch.float32


@needs_bitsandbytes
def test_what_learns_is_widened_and_what_is_frozen_stays(folder):
    model = get_peft_model(load_model(str(folder), device="cpu", packed_for="float32"), lora_config(2))
    held = {name: weight.clone() for name, weight in model.named_parameters() if not weight.requires_grad}
    for weight in model.parameters():
        if weight.requires_grad:
            weight.data = weight.data.bfloat16()
    widen_adapters(model)
    assert {w.dtype for w in model.parameters() if w.requires_grad} == {torch.float32}
    assert all(torch.equal(held[n], w) for n, w in model.named_parameters() if not w.requires_grad)
    narrow = get_peft_model(tiny_model().bfloat16(), lora_config(2), autocast_adapter_dtype=False)
    widen_adapters(narrow)
    assert {w.dtype for w in narrow.parameters()} == {torch.bfloat16}  # another model's kind is its owner's choice
