"""Small values for tests: a tokenizer and a model made in memory, prompts, rollouts, requests."""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import torch
from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers
from transformers import GPT2Config, GPT2LMHeadModel, PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

from omniopd.types import ContinuationRequest, Prompt, Rollout

TURN, END, PAD = "<|im_start|>", "<|im_end|>", "<|endoftext|>"
CHAT = (
    "{% for m in messages %}{{ '<|im_start|>' + m['role'] + '\\n' + m['content'] + '<|im_end|>\\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|im_start|>assistant\\n' }}{% endif %}"
)
_WORDS = r" ?\p{L}+|\p{N}| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
_CORPUS = 9 * [
    "the cat sat on the mat and the dog ran to the man",
    "2 plus 3 is 5, so the answer is 5",
    "user assistant",
]


@lru_cache(maxsize=1)
def tiny_tokenizer() -> PreTrainedTokenizerFast:
    """A byte-level BPE of about 300 tokens with a chat template; every text round-trips."""
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.Sequence(
        [
            pre_tokenizers.Split(Regex(_WORDS), "isolated"),
            pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False),
        ]
    )
    backend.decoder = decoders.ByteLevel()
    backend.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(
            vocab_size=300, special_tokens=[PAD, TURN, END], show_progress=False,
            initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()),
        ),
    )  # fmt: skip
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token=END, pad_token=PAD, additional_special_tokens=[TURN], padding_side="left",
        clean_up_tokenization_spaces=False, model_max_length=256,
    )  # fmt: skip
    tokenizer.chat_template = CHAT
    return tokenizer


def tiny_model(
    seed: int = 0, *, dtype: torch.dtype = torch.float32, context: int = 256, spread: float = 0.3
) -> Qwen3ForCausalLM:
    """A random Qwen3 over the tiny tokenizer's vocabulary; `spread` scales its weights (larger: more decided)."""
    tokenizer = tiny_tokenizer()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = Qwen3ForCausalLM(
            Qwen3Config(
                vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
                num_attention_heads=4, num_key_value_heads=2, head_dim=8, max_position_embeddings=context,
                tie_word_embeddings=True, initializer_range=spread, eos_token_id=tokenizer.eos_token_id,
                pad_token_id=tokenizer.pad_token_id, bos_token_id=None,
            )
        )  # fmt: skip
    return model.to(dtype).eval()


def eager_model() -> Qwen3ForCausalLM:
    """The tiny model, whose attention wants its mask as numbers to add."""
    model = tiny_model()
    model.set_attn_implementation("eager")
    return model


def gpt2_model() -> GPT2LMHeadModel:
    """Another architecture over the same vocabulary, with learnt positions."""
    torch.manual_seed(3)
    config = GPT2Config(vocab_size=300, n_embd=32, n_layer=2, n_head=2, n_positions=128, initializer_range=0.3)
    return GPT2LMHeadModel(config).eval()


def sliding_model(window: int = 16) -> Qwen3ForCausalLM:
    """Attention to the last `window` tokens only: neither its cache nor its mask can be shared by a tree."""
    torch.manual_seed(4)
    config = Qwen3Config(
        vocab_size=300, hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, head_dim=8, use_sliding_window=True, sliding_window=window, max_window_layers=1,
    )  # fmt: skip
    return Qwen3ForCausalLM(config).eval()


def prompt(text: str = "2 plus 3?", id: str = "p0", answer: str | None = "5") -> Prompt:
    return Prompt(id, ({"role": "user", "content": text},), answer)


def prompts(count: int) -> list[Prompt]:
    """Prompts of different lengths."""
    return [prompt("the cat " * (i % 3 + 1) + f"{i}?", f"p{i}", str(i)) for i in range(count)]


def rollout(
    pieces: Sequence[str] = ("a", "b", "c", "d"),
    entropies: Sequence[float] | None = None,
    logprobs: Sequence[float] | None = None,
    of: Prompt | None = None,
    finish: str = "stop",
) -> Rollout:
    """A rollout by its pieces; token ids count up from 10, and numbers that are not given are plain."""
    time = len(pieces)
    return Rollout(
        prompt=of or prompt(),
        prompt_ids=torch.tensor([1, 2, 3]),
        token_ids=torch.arange(10, 10 + time),
        logprobs=torch.tensor(list(logprobs) if logprobs is not None else [-1.0] * time),
        entropies=torch.tensor(list(entropies) if entropies is not None else [1.0] * time),
        pieces=tuple(pieces),
        finish=finish,
    )


def request(
    prefix: str = "the cat", samples: int = 3, max_tokens: int = 4, of: Prompt | None = None, **more: int
) -> ContinuationRequest:
    return ContinuationRequest(of or prompt(), prefix, samples, max_tokens, **more)
