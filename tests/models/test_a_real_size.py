"""A student of Qwen3-4B's own shape, without its weights: what reads a model understands it, at its real numbers."""

from __future__ import annotations

import pytest
import torch
from peft import get_peft_model
from transformers import AutoModelForCausalLM, Qwen3Config

from omniopd.models import chunked_stats
from omniopd.models.adapters import lora_config
from omniopd.models.loading import frozen_copy
from omniopd.models.token_stats import as_reference, head_of, response_hidden

# PEFT reads a property that transformers is renaming.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

VOCAB, WIDTH, LAYERS = 151_936, 2_560, 36


@pytest.fixture(scope="module")
def model():
    """The published configuration; on the meta device every tensor has a shape and no numbers."""
    config = Qwen3Config(
        vocab_size=VOCAB, hidden_size=WIDTH, intermediate_size=9_728, num_hidden_layers=LAYERS,
        num_attention_heads=32, num_key_value_heads=8, head_dim=128, max_position_embeddings=40_960,
        tie_word_embeddings=True,
    )  # fmt: skip
    with torch.device("meta"):
        # The other kernels look at the mask's numbers.
        return AutoModelForCausalLM.from_config(config, dtype=torch.bfloat16, attn_implementation="eager").eval()


def test_the_head_is_the_embedding_and_states_have_its_width(model):
    assert sum(p.numel() for p in model.parameters()) == 4_022_468_096
    head = head_of(model)
    assert head.weight is model.get_input_embeddings().weight
    assert head.weight.shape == (VOCAB, WIDTH)
    assert (head.bias, head.scale, head.softcap) == (None, 1.0, None)
    ids = torch.zeros(2, 12, dtype=torch.long, device="meta")
    hidden = response_hidden(model, ids, torch.ones_like(ids), response_tokens=5)
    assert (hidden.shape, hidden.dtype) == ((2, 5, WIDTH), torch.bfloat16)
    assert not any(p.requires_grad for p in frozen_copy(model).parameters())


def test_a_tile_pays_for_a_pass_over_the_head_and_stays_within_a_gigabyte():
    on_a_gpu, on_a_cpu = (chunked_stats.rows_of_a_tile(torch.device(kind), VOCAB) for kind in ("cuda", "cpu"))
    assert (on_a_gpu, on_a_cpu) == (421, 64)
    assert 3 * on_a_gpu * VOCAB * 4 < 1e9  # three buffers of float32


def test_adapters_stand_on_every_linear_layer_but_the_head_and_can_be_switched_off(model):
    model = get_peft_model(model, lora_config(16))  # in place, so this test comes last
    adapted = {name.split(".lora_A")[0] for name, _ in model.named_parameters() if ".lora_A" in name}
    assert len(adapted) == 7 * LAYERS  # q, k, v, o, gate, up, down
    assert head_of(model).weight.shape == (VOCAB, WIDTH)
    ids = torch.zeros(1, 8, dtype=torch.long, device="meta")
    with as_reference(model, model) as reference:
        assert response_hidden(reference, ids, torch.ones_like(ids), response_tokens=3).shape == (1, 3, WIDTH)
