"""What a model can do is tried on the model itself: once, on a few tokens, and remembered for as long as it lives.

No configuration says how an architecture takes padding, a cache or a mask. Tools for those who ask; knows no question.
"""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, TypeVar
from weakref import WeakKeyDictionary

import torch
from torch import Tensor, nn

T = TypeVar("T")
# Longer than what recurrences look back on, and cheap; the second text is the padded one.
LENGTHS = (32, 21)
# How configurations name the longest text.
_CONTEXTS = ("max_position_embeddings", "max_seq_len", "n_positions", "n_ctx", "context_length")
# Relative root mean square. Other batch shapes round otherwise: by 1e-6 in 32 bits, 1e-3 where a GPU multiplies in
# TF32, 1.5% in 16 bits in a trained model of 30 layers, more where a near tie sends a token to another expert. Padding
# that is read as text, wrong positions or a wrong cache make 50% and more; a recurrence that goes on a bit off, 6e-5.
_SAME, _SAME_ON_A_GPU, _SAME_IN_16_BITS = 2e-5, 0.01, 0.15
_answers: WeakKeyDictionary[nn.Module, dict[tuple[Any, ...], Any]] = WeakKeyDictionary()


def measured(question: Callable[[nn.Module], T]) -> Callable[[nn.Module], T]:
    """Ask once per model and kind of attention: in evaluation mode, without gradients or autocast, leaving the random
    generators and the model's modes as they are."""

    @functools.wraps(question)
    def answer(model: nn.Module) -> T:
        asked = question.__qualname__, getattr(model.config, "_attn_implementation", None)
        known = _answers.setdefault(model, {})
        if asked not in known:
            weight = next(model.parameters())
            devices = [weight.device] if weight.is_cuda else []
            with (
                evaluating(model), torch.random.fork_rng(devices), torch.autocast(weight.device.type, enabled=False),
            ):  # fmt: skip
                known[asked] = question(model)
        return known[asked]

    return answer


def share_answers(model: nn.Module, twin: nn.Module) -> None:
    """What is known of `model` is known of its copy."""
    _answers.setdefault(twin, {}).update(_answers.get(model, {}))


@contextmanager
def evaluating(model: nn.Module) -> Iterator[None]:
    """Evaluation mode and no gradients inside; every module's own mode afterwards."""
    training = [module for module in model.modules() if module.training]
    model.eval()
    try:
        with torch.no_grad():
            yield
    finally:
        for module in training:
            module.training = True


def bare(model: Any) -> Any:
    """The transformers model inside a PEFT wrapper; its injected adapter layers stay active."""
    return model.get_base_model() if hasattr(model, "get_base_model") else model


def text_config(model: nn.Module, decoder: bool = False) -> Any:
    """The part of the model's configuration that is about text."""
    return bare(model).config.get_text_config(decoder=decoder)


def kind(model: nn.Module) -> str:
    """The model's type, for a sentence."""
    return repr(str(getattr(model.config, "model_type", type(model).__name__)))


def accepted_inputs(model: nn.Module) -> frozenset[str]:
    """The names of the arguments of the model's own forward, inside a PEFT wrapper too."""
    return frozenset(inspect.signature(bare(model).forward).parameters)


def context_length(model: nn.Module) -> int:
    """How many tokens the model can read; very large where its configuration names no limit."""
    config = text_config(model)
    named = (getattr(config, name, None) for name in _CONTEXTS)
    return next((limit for limit in named if isinstance(limit, int) and limit > 0), 2**31)


def texts(model: nn.Module) -> tuple[list[int], list[int], int]:
    """Two texts of `LENGTHS`, less where the context is shorter, in ordinary tokens, and an ordinary token to pad with:
    a padding token of its own might be told from text by its number, which a tokenizer need not share."""
    config = text_config(model, decoder=True)
    room = context_length(model)
    named = (getattr(config, f"{name}_token_id", None) for name in ("pad", "bos", "eos"))
    special = {token for found in named for token in (found if isinstance(found, list) else [found])}
    lengths = [min(length, room * length // max(LENGTHS)) for length in LENGTHS]
    count = sum(lengths) + 1
    tokens: list[int] = []
    for step in range(count + len(special)):
        token = (config.vocab_size // 3 + 7 * step) % config.vocab_size
        if token not in special and len(tokens) < count:
            tokens.append(token)
    return tokens[: lengths[0]], tokens[lengths[0] : -1], tokens[-1]


def probe_ids(model: nn.Module, rows: int, columns: int) -> Tensor:
    """A fixed batch of ids, narrower where the context is shorter."""
    columns = min(columns, context_length(model))
    ids = 7 * torch.arange(rows * columns, device=next(model.parameters()).device) % text_config(model).vocab_size
    return ids.view(rows, columns)


def row(model: nn.Module, ids: Sequence[int]) -> Tensor:
    """One text as a batch."""
    return torch.tensor([list(ids)], device=next(model.parameters()).device)


def plain_logits(model: nn.Module, ids: Sequence[int]) -> Tensor:
    """The model's own logits behind every token of a text: no padding, no cache."""
    extra = {"use_cache": False} if "use_cache" in accepted_inputs(model) else {}
    return model(input_ids=row(model, ids), **extra).logits[0]


def works(attempt: Callable[[], bool]) -> bool:
    """Whether it comes out right; whatever an architecture raises at it means no. A full memory says nothing."""
    try:
        return attempt()
    except torch.OutOfMemoryError:
        raise
    except Exception:
        return False


def same(model: nn.Module, found: Tensor, wanted: Tensor, at_least: float = 0.0) -> bool:
    """Whether two results of the model differ by rounding only, or by less than `at_least` of their size."""
    if found.shape != wanted.shape:
        return False
    weight = next(model.parameters())
    tolerance = _SAME if weight.device.type == "cpu" else _SAME_ON_A_GPU
    if weight.dtype in (torch.float16, torch.bfloat16):
        tolerance = _SAME_IN_16_BITS
    tolerance = max(tolerance, at_least)
    found, wanted = found.double(), wanted.double()
    return bool((found - wanted).square().mean().sqrt() <= tolerance * wanted.square().mean().sqrt())


def first_line(error: Exception) -> str:
    """Of its message, for a sentence."""
    return str(error).strip().splitlines()[0].rstrip(".") if str(error).strip() else type(error).__name__
