"""Which settings make a run fit into the memory of a GPU, each over those before it. Knows no run."""

from __future__ import annotations

from collections.abc import Iterator

from omniopd.config import Recipe, override
from omniopd.costs.memory import STRATEGIES, Memory, memory_of
from omniopd.errors import ConfigError

# First what changes nothing that is learnt, then rounding, then an adapter in the model's place.
_TRIED = (
    "training.gradient_checkpointing=true",
    "training.micro_batch={part}",
    "training.micro_batch=1",
    "evaluation.batch={own}",
    "teacher.batch_tokens=16384",
    "--strategy fsdp2",
    "training.optimizer=adamw_8bit",
    "student.sampler=vllm_server student.server=http://localhost:8000",
    "student.lora_rank=16",
    "student.load_in_4bit=true",
)


def changes(
    recipe: Recipe, prompt_tokens: int, gpus: int, strategy: str, device_bytes: float
) -> Iterator[tuple[str, Memory]]:
    """Words of a command line, each with what is taken with it and with those before, each less than the one before;
    the last is the first that fits into `device_bytes`, if any does."""
    least, left = memory_of(recipe, prompt_tokens, gpus, strategy, device_bytes), list(_TRIED)
    while least.peak > device_bytes:
        for words in left:
            tried = _with(words, recipe, gpus, strategy)
            if tried is None:
                continue
            word, other, way = tried
            try:
                found = memory_of(other, prompt_tokens, gpus, way, device_bytes)
            except ConfigError:
                continue  # what does not go with the recipe
            if found.peak < least.peak:
                break
        else:
            return
        # What took nothing off before may do so now that something else is the most.
        left.remove(words)
        recipe, strategy, least = other, way, found
        yield word, found


def _with(words: str, recipe: Recipe, gpus: int, strategy: str) -> tuple[str, Recipe, str] | None:
    """The words in full, with the recipe and the strategy that they make; None where they do not go with these."""
    if words.startswith("--strategy"):
        way = words.partition(" ")[2]
        return None if gpus == 1 or STRATEGIES[strategy] else (words, recipe, way)
    part, own = max(1, recipe.training.micro_batch // 4), max(1, recipe.training.rollouts // gpus)
    word = words.format(part=part, own=own)
    try:
        return word, override(recipe, word.split()), strategy
    except ConfigError:
        return None
