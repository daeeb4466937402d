"""Whatever an architecture drops in training is off, wherever it is written down; what is not found is refused."""

import copy

import pytest
import torch
import transformers
from peft import LoKrConfig, LoraConfig, get_peft_model
from torch import nn

from omniopd.errors import ConfigError
from omniopd.models.architecture.dropout import check_still, remove_dropout
from tests.builders import tiny_model

SMALL = {
    "vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4, "intermediate_size": 64,
    "eos_token_id": 2, "pad_token_id": 0, "bos_token_id": 1,
}  # fmt: skip
GPT = {"vocab_size": 64, "n_embd": 32, "n_layer": 2, "n_head": 4, "eos_token_id": 2, "bos_token_id": 1}
SHARED = {**SMALL, "num_key_value_heads": 2}
# Every number by which an architecture of transformers drops something, or shakes it, in training.
DROPPING = {
    "OPT": {**SMALL, "ffn_dim": 64, "word_embed_proj_dim": 32, "dropout": 0.3, "layerdrop": 0.6},
    "XGLM": {"vocab_size": 64, "d_model": 32, "ffn_dim": 64, "num_layers": 2, "attention_heads": 4, "dropout": 0.3,
             "layerdrop": 0.6, "eos_token_id": 2},
    "BioGpt": {**SMALL, "layerdrop": 0.6, "activation_dropout": 0.3, "hidden_dropout_prob": 0.3},
    "GPTBigCode": {**GPT, "attn_pdrop": 0.3, "resid_pdrop": 0.3},
    "GPT2": {**GPT, "attn_pdrop": 0.3, "embd_pdrop": 0.3},
    "CTRL": {"vocab_size": 64, "n_embd": 32, "dff": 64, "n_layer": 2, "n_head": 4, "embd_pdrop": 0.3},
    "GPTNeo": {"vocab_size": 64, "hidden_size": 32, "num_layers": 2, "num_heads": 4, "attention_types":
               [[["global", "local"], 1]], "attention_dropout": 0.3, "embed_dropout": 0.3, "bos_token_id": 1,
               "eos_token_id": 2},
    "GPTNeoX": {**SMALL, "attention_dropout": 0.3, "hidden_dropout": 0.3},
    "Falcon": {"vocab_size": 64, "hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 4,
               "attention_dropout": 0.3, "hidden_dropout": 0.3, "bos_token_id": 1, "eos_token_id": 2},
    "Bloom": {"vocab_size": 64, "hidden_size": 32, "n_layer": 2, "n_head": 4, "attention_dropout": 0.3},
    "Llama": {**SHARED, "attention_dropout": 0.3},
    "Qwen2": {**SHARED, "attention_dropout": 0.3},
    "Mixtral": {**SHARED, "attention_dropout": 0.3, "router_jitter_noise": 0.3, "num_local_experts": 4},
    "Phimoe": {**SHARED, "router_jitter_noise": 0.3, "input_jitter_noise": 0.3, "num_local_experts": 4},
    "Granite": {**SHARED, "attention_dropout": 0.3},
    "Starcoder2": {**SHARED, "residual_dropout": 0.3, "embedding_dropout": 0.3},
    "Phi": {**SHARED, "resid_pdrop": 0.3, "embd_pdrop": 0.3, "attention_dropout": 0.3},
}  # fmt: skip


def built(name, **more):
    torch.manual_seed(0)
    config = getattr(transformers, f"{name}Config")(**{**DROPPING[name], **more})
    return transformers.AutoModelForCausalLM.from_config(config)


def gradient(model):
    """Of a sum of log-probabilities, in the mode that the model is in."""
    ids = torch.arange(40).view(2, 20)
    logits = model(input_ids=ids).logits[:, :-1].log_softmax(-1)
    torch.manual_seed(1)
    (-logits.gather(-1, ids[:, 1:, None]).sum()).backward()
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("name", DROPPING)
def test_the_gradient_in_training_is_that_of_a_twin_in_evaluation_mode(name):
    model = built(name)
    twin = gradient(copy.deepcopy(model).eval())
    with pytest.raises(ConfigError, match="say something else in training mode"):
        check_still(model)
    remove_dropout(model)
    check_still(model)
    if name == "Phimoe":
        return  # its router estimates its gradient by a rule of its own in training
    torch.testing.assert_close(gradient(model.train()), twin, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize(
    "adapter",
    [
        LoraConfig(r=2, target_modules=["q_proj"], lora_dropout=0.5, init_lora_weights=False),
        LoKrConfig(r=2, target_modules=["q_proj"], rank_dropout=0.5, module_dropout=0.5, init_weights=False),
    ],
    ids=["lora", "lokr"],
)
def test_an_adapters_dropout_is_off_too(adapter):
    model = get_peft_model(tiny_model(), adapter)
    with pytest.raises(ConfigError):
        check_still(model)
    remove_dropout(model)
    check_still(model)


def test_randomness_without_a_name_is_refused_and_no_generator_moves():
    class Noisy(nn.Module):
        def forward(self, states):
            return states + torch.randn_like(states) if self.training else states

    model = tiny_model()
    model.model.norm = nn.Sequential(model.model.norm, Noisy())
    remove_dropout(model)
    before = torch.get_rng_state()
    with pytest.raises(ConfigError, match="choose another student"):
        check_still(model)
    assert torch.equal(torch.get_rng_state(), before)
    assert not model.training
