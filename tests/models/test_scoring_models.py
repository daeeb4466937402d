"""Facts about scoring whole models: aligned with their tokens, their own logits understood, adapters told apart."""

from __future__ import annotations

import pytest
import torch
from peft import LoraConfig, get_peft_model
from transformers import AutoModelForCausalLM, Cohere2Config, Gemma2Config, GraniteConfig, Qwen3Config

from omniopd.errors import ConfigError
from omniopd.models.architecture.backbone import as_reference, check_head, head_of
from omniopd.models.token_stats import response_hidden, sequence_statistics, weighted_head_loss
from tests.models.test_token_stats import KL_NATS, KL_RELATIVE, assert_gradients_close

# PEFT reads a property that transformers is renaming.
pytestmark = pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 4,
         "num_key_value_heads": 2, "vocab_size": 120, "head_dim": 8, "pad_token_id": 0, "bos_token_id": 1,
         "eos_token_id": 2}


def tiny(config_class=Qwen3Config, seed: int = 0, **changes):
    torch.manual_seed(seed)
    return AutoModelForCausalLM.from_config(config_class(**{**SMALL, **changes})).eval()


def ragged_batch():
    """Two sequences of 4 + 5 columns: the second has two columns of padding before its prompt and one at its end."""
    ids = torch.randint(3, 120, (2, 9), generator=torch.Generator().manual_seed(1))
    mask = torch.ones_like(ids)
    mask[1, :2], mask[1, -1] = 0, 0
    return ids.where(mask.bool(), 0), mask


def test_statistics_belong_to_the_token_they_are_indexed_by():
    model, (ids, mask) = tiny(), ragged_batch()
    with torch.no_grad():
        found = sequence_statistics(model, ids, mask, response_tokens=5)
        for row, length in ((0, 9), (1, 6)):
            alone = ids[row][mask[row].bool()]
            log_p = model(alone[None]).logits[0].log_softmax(-1)
            for t in range(length - 4 + 2 * row):
                before = 4 - 2 * row + t  # tokens in front of response token t
                assert found.logprobs[row, t] == pytest.approx(log_p[before - 1, alone[before]].item(), abs=1e-5)
                entropy = -(log_p[before - 1].exp() * log_p[before - 1]).sum().item()
                assert found.entropies[row, t] == pytest.approx(entropy, abs=1e-5)
    assert found.logprobs[1, -1] == 0
    assert found.entropies[1, -1] == 0


@pytest.mark.parametrize(
    ("config_class", "changes"),
    [
        (Qwen3Config, {"tie_word_embeddings": True}), (GraniteConfig, {"logits_scaling": 8.0}),
        (Cohere2Config, {"logit_scale": 0.25}), (Gemma2Config, {"final_logit_softcapping": 2.0}),
    ],
)
def test_scaled_and_capped_logits_are_understood(config_class, changes):
    if config_class in (GraniteConfig, Cohere2Config):
        changes = {**changes, "head_dim": None}
    model = tiny(config_class, **{k: v for k, v in changes.items() if v is not None})
    check_head(model)
    ids, mask = ragged_batch()
    with torch.no_grad():
        found = sequence_statistics(model, ids, mask, response_tokens=5)
        log_p = model(ids[:1], attention_mask=mask[:1]).logits[0].log_softmax(-1)
    expected = log_p[3:8].gather(-1, ids[0, 4:, None]).squeeze(-1)
    torch.testing.assert_close(found.logprobs[0], expected, atol=1e-5, rtol=1e-5)


def test_an_unknown_change_of_the_logits_is_refused_with_the_model_type():
    model = tiny()
    model.lm_head.register_forward_hook(lambda layer, states, logits: 1.5 * logits)
    with pytest.raises(ConfigError, match="'qwen3'"):
        check_head(model)


def adapted(model):
    wrapped = get_peft_model(model, LoraConfig(r=4, target_modules=["q_proj", "v_proj"], init_lora_weights=False))
    return wrapped.eval()


def test_with_lora_the_reference_is_the_model_with_its_adapter_off():
    ids, mask = ragged_batch()
    student = adapted(tiny(seed=3))
    check_head(student)
    with torch.no_grad():
        same = sequence_statistics(student, ids, mask, response_tokens=5, reference=student)
        apart = sequence_statistics(student, ids, mask, response_tokens=5, reference=tiny(seed=3))
    assert same.anchor_kl.max() > 1e-6
    torch.testing.assert_close(same.anchor_kl, apart.anchor_kl, atol=KL_NATS, rtol=KL_RELATIVE)


def test_scoring_leaves_the_model_in_the_mode_it_was_in():
    ids, mask = ragged_batch()
    student = adapted(tiny()).train()
    sequence_statistics(student, ids, mask, response_tokens=5, reference=student)
    check_head(student)
    assert student.training


def test_full_tuning_cannot_be_its_own_reference():
    model = tiny()
    with pytest.raises(ConfigError, match="frozen copy"), as_reference(model, model):
        pass


def test_an_adapter_on_the_head_is_refused():
    model = get_peft_model(tiny(), LoraConfig(r=2, target_modules=["q_proj", "lm_head"]))
    with pytest.raises(ConfigError, match="lm_head"):
        head_of(model)


def test_gradients_of_a_whole_model_are_those_of_its_own_logits():
    model, (ids, mask) = tiny(tie_word_embeddings=True), ragged_batch()
    weights = torch.linspace(-1, 1, 5)
    hidden = response_hidden(model, ids[:1], mask[:1], response_tokens=5)[0]
    weighted_head_loss(hidden, head_of(model), ids[0, 4:], weights).total.backward()
    found = {name: p.grad.clone() for name, p in model.named_parameters()}
    model.zero_grad()
    log_p = model(ids[:1]).logits[0].log_softmax(-1)
    (-(weights * log_p[3:8].gather(-1, ids[0, 4:, None]).squeeze(-1)).sum()).backward()
    assert_gradients_close(list(found.values()), [p.grad for p in model.parameters()])
