"""Every causal language model of the installed transformers, small and random: what tests and benchmarks try.

Sizes are given by the names that configurations use, and a configuration takes those it knows; what cannot be built so
has its own line. Windows, chunks and blocks are shorter than the texts that are tried, so that they matter.
"""

from __future__ import annotations

import inspect
from typing import Any

import torch
from transformers import AutoModelForCausalLM, PreTrainedModel
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import MODEL_FOR_CAUSAL_LM_MAPPING_NAMES

VOCABULARY, CONTEXT, SPAN = 300, 256, 8
PAD, BEGIN, END = 0, 1, 2
_HEADS = {"num_attention_heads": 4, "n_head": 4, "n_heads": 4, "num_heads": 4, "attention_heads": 4,
          "encoder_attention_heads": 4, "decoder_attention_heads": 4, "num_encoder_attention_heads": 4,
          "num_decoder_attention_heads": 4}  # fmt: skip
_SIZES: dict[str, Any] = {
    **_HEADS, "vocab_size": VOCABULARY, "pad_token_id": PAD, "bos_token_id": BEGIN, "eos_token_id": END,
    "initializer_range": 0.3, "init_std": 0.3, "attention_dropout": 0.0, "attention_probs_dropout_prob": 0.0,
    "hidden_dropout_prob": 0.0, "dropout": 0.0, "activation_dropout": 0.0, "attn_pdrop": 0.0, "embd_pdrop": 0.0,
    "resid_pdrop": 0.0, "summary_first_dropout": 0.0, "layerdrop": 0.0, "decoder_layerdrop": 0.0,
    "residual_dropout": 0.0, "router_jitter_noise": 0.0, "input_jitter_noise": 0.0, "rotary_dim": 4,
    # width and depth
    "hidden_size": 32, "n_embd": 32, "d_model": 32, "embedding_dim": 32, "intermediate_size": 64, "d_ff": 64,
    "dff": 64, "ffn_dim": 64, "ffn_hidden_size": 64, "encoder_ffn_dim": 64, "decoder_ffn_dim": 64, "emb_dim": 32,
    "num_hidden_layers": 4, "n_layer": 4, "n_layers": 4, "num_layers": 4, "encoder_layers": 2, "decoder_layers": 2,
    "num_encoder_layers": 2, "num_decoder_layers": 2, "num_blocks": 4, "head_dim": 8, "kv_channels": 8,
    "num_key_value_heads": 2, "max_position_embeddings": CONTEXT, "n_positions": CONTEXT, "n_ctx": CONTEXT,
    "max_seq_len": CONTEXT, "context_length": CONTEXT,
    # mixtures of experts
    "num_experts": 4, "num_local_experts": 4, "n_routed_experts": 4, "moe_num_experts": 4, "expert_num": 4,
    "num_experts_per_tok": 2, "moe_k": 2, "moe_topk": 2, "moe_num_active_primary_experts": 2, "n_shared_experts": 1,
    "num_shared_experts": 1, "moe_intermediate_size": 32, "shared_expert_intermediate_size": 32,
    "expert_ffn_hidden_size": 32, "shared_intermediate_size": 32, "n_group": 1, "topk_group": 1,
    "first_k_dense_replace": 1, "num_dense_layers": 1, "moe_layer_start_index": 1,
    # latent and indexed attention
    "q_lora_rank": 16, "kv_lora_rank": 16, "qk_rope_head_dim": 8, "qk_nope_head_dim": 8, "v_head_dim": 8,
    "index_n_heads": 2, "index_head_dim": 16, "index_topk": SPAN,
    # windows, chunks, recurrences
    "sliding_window": SPAN, "local_attention": SPAN, "attention_chunk_size": SPAN, "window_size": SPAN,
    "attention_window_size": SPAN, "chunk_size": SPAN, "mamba_chunk_size": SPAN, "block_size": SPAN,
    "conv_L_cache": 3, "linear_num_key_heads": 2, "linear_num_value_heads": 4, "linear_key_head_dim": 8,
    "linear_value_head_dim": 8, "mamba_n_heads": 8, "mamba_d_head": 8, "mamba_d_state": 8, "mamba_n_groups": 1,
    "mamba_num_heads": 8, "mamba_head_dim": 8, "ssm_state_size": 8, "state_size": 8, "n_groups": 1,
}  # fmt: skip
_ALL_HEADS = {"num_key_value_heads": 4}
_OWN: dict[str, dict[str, Any]] = {
    "axk1": _ALL_HEADS, "axk2": _ALL_HEADS, "bailing_hybrid": {**_ALL_HEADS, "layer_group_size": 2},
    "bamba": {"attn_layer_indices": [1, 3]}, "jamba": {"attn_layer_period": 2, "attn_layer_offset": 1},
    "deepseek_v2": _ALL_HEADS, "deepseek_v3": _ALL_HEADS,
    "deepseek_v32": _ALL_HEADS, "dots3_note_text": _ALL_HEADS, "glm4_moe_lite": _ALL_HEADS, "glm_moe_dsa": _ALL_HEADS,
    "kimi_linear": _ALL_HEADS, "longcat_flash": _ALL_HEADS, "youtu": _ALL_HEADS, "minicpm3": _ALL_HEADS,
    "bloom": {"n_layer": 4}, "cohere": {"logit_scale": 0.25}, "cohere2": {"logit_scale": 0.25},
    "falcon": {"num_kv_heads": 2, "new_decoder_architecture": True, "alibi": False},
    "falcon_h1": {"mamba_d_ssm": 64, "lm_head_multiplier": 0.5},
    "qwen4_exp_text": {"indexer_n_heads": 2, "indexer_kv_heads": 1, "indexer_head_dim": 16, "indexer_budget": SPAN,
                       "indexer_compress_ratio": 2, "hc_lowrank": 8},
    "reformer": {"is_decoder": True, "attn_layers": ["local", "local"], "axial_pos_embds": False,
                 "local_attn_chunk_length": SPAN, "hidden_dropout_prob": 0.0, "feed_forward_size": 64},
    "xmod": {"default_language": "en_XX"},
    "zamba": {"num_hidden_layers": 8, "attn_layer_period": 3, "attn_layer_offset": 1},
    "gemma3n_text": {"num_kv_shared_layers": 0, "vocab_size_per_layer_input": VOCABULARY, "laurel_rank": 8,
                     "hidden_size_per_layer_input": 8, "altup_num_inputs": 2, "activation_sparsity_pattern": [0.0] * 4,
                     "layer_types": ["sliding_attention", "full_attention"] * 2},
    "gemma4_text": {"vocab_size_per_layer_input": VOCABULARY, "hidden_size_per_layer_input": 8},
    "dbrx": {"attn_config": {"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
             "ffn_config": {"ffn_hidden_size": 64}},
    "granitemoehybrid": {"layer_types": ["mamba", "attention"] * 2},
    "lfm2": {"layer_types": ["conv", "full_attention"] * 2},
    "lfm2_moe": {"layer_types": ["conv", "full_attention"] * 2},
    "zaya": {"num_experts_per_tok": 1},
    "zamba2": {"layers_block_type": ["linear_attention", "hybrid"] * 2, "n_mamba_heads": 8, "adapter_rank": 4},
    "gemma2": {"final_logit_softcapping": 5.0, "attn_logit_softcapping": 10.0},
    "gpt_neo": {"attention_types": [[["global", "local"], 2]]},
    "granite": {"logits_scaling": 8.0}, "hyperclovax": {"logits_scaling": 0.5},
    "mamba2": {"num_heads": 8, "head_dim": 8}, "xlstm": {"num_heads": 4},
    "recurrent_gemma": {"num_hidden_layers": 3, "lru_width": 32, "logits_soft_cap": 5.0},
}  # fmt: skip
# Those of pictures, sounds and bytes have parts that no text needs; their text models have names of their own.
NAMES = tuple(
    name for name in sorted(MODEL_FOR_CAUSAL_LM_MAPPING_NAMES)
    if name in ("dbrx", "mpt") or not getattr(CONFIG_MAPPING[name], "sub_configs", None)
)


def build(name: str, seed: int = 0, exact: bool = False, **changes: Any) -> PreTrainedModel:
    """A random model of a type, in evaluation mode and float32 (`exact`: float64); `changes` are keys of its
    configuration."""
    config_class = CONFIG_MAPPING[name]
    known = set(inspect.signature(config_class.__init__).parameters)
    for ancestor in config_class.__mro__:
        known |= set(getattr(ancestor, "__annotations__", {}))
    sizes = {**{key: value for key, value in _SIZES.items() if key in known}, **_OWN.get(name, {}), **changes}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        config = config_class(**sizes)
        if exact:
            config._experts_implementation = "eager"  # the others multiply in 32 bits at most
        model = AutoModelForCausalLM.from_config(config)
    if exact:
        return model.double().eval()
    return model.float().eval()
