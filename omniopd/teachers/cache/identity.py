"""What makes two teachers the same for a cache, and two requests: everything that changes the distribution of texts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from transformers import PreTrainedTokenizerBase

from omniopd.errors import ConfigError
from omniopd.models.text.vocabulary import same_tokenizer, tokens_for_one
from omniopd.teachers.handover.base import UnsupportedRequest
from omniopd.types import ContinuationRequest, Teacher


def identity_of(teacher: Teacher) -> Mapping[str, Any]:
    """A teacher's own account of itself (its `identity`, numbers and strings). Raises ConfigError where it has none."""
    identity = getattr(teacher, "identity", None)
    if not isinstance(identity, Mapping):
        raise ConfigError(
            f"a {type(teacher).__name__} does not say who it is, so its texts cannot be told from another's: give it "
            "an `identity`, a dictionary of everything that changes its texts"
        )
    return identity


def beyond_text(teacher: Teacher, request: ContinuationRequest) -> Mapping[str, Any] | None:
    """What else than a request's texts changes what this teacher reads: the student's ids, white space that it has to
    restore. None where the texts say all, as they do to a teacher that has no method of this name."""
    for layer in layers(teacher):
        if (tell := getattr(layer, "beyond_text", None)) is not None:
            try:
                found: Mapping[str, Any] | None = tell(request)
            except UnsupportedRequest:  # never sent, so that there is nothing to keep
                return None
            return found
    return None


def tokenizer_of(teacher: Teacher) -> PreTrainedTokenizerBase | None:
    """The tokenizer of the teacher's model, where it is at hand; below whatever keeps its answers and its budget."""
    for layer in layers(teacher):
        if isinstance(tokenizer := getattr(layer, "tokenizer", None), PreTrainedTokenizerBase):
            return tokenizer
    return None


def check_token_ratio(
    teacher: Teacher, student: PreTrainedTokenizerBase | None, tokens_per_student_token: float, texts: Sequence[str]
) -> None:
    """Raises ConfigError where the teacher's tokenizer is at hand and another than the student's, and the ratio of
    their tokens is 1, which says that they are one: texts would be cut short, and inside words. `texts` are some of the
    run's own, to measure the ratio on."""
    tokenizer = tokenizer_of(teacher)
    if student is None or tokenizer is None or tokens_per_student_token != 1 or same_tokenizer(student, tokenizer):
        return
    raise ConfigError(
        "tokens_per_student_token is 1, as if teacher and student had one tokenizer, and they have not: set "
        f"teacher.tokens_per_student_token to {tokens_for_one(student, tokenizer, texts):.2f}, which is what these "
        "prompts and answers take"
    )


def sampling_of(teacher: object) -> dict[str, Any]:
    """How a teacher samples, below whatever keeps its answers and its budget; nothing of one that does not say."""
    *_, innermost = layers(teacher)
    names = ("temperature", "top_p", "batch_tokens")
    return {name: getattr(innermost, name) for name in names if hasattr(innermost, name)}


def layers(teacher: object) -> Iterator[object]:
    """A stack of wrappers, from the outside in."""
    while teacher is not None:
        yield teacher
        teacher = getattr(teacher, "teacher", None)
