"""How a prefix is shown to a model that somebody serves: raw completion, prefill or instruction.

A handover turns a request into what is sent (`ask`) and an answer's text into a continuation (`read`). Which one fits a
model stands in `teachers/catalogue.py`; who sends is no concern of these.
"""

from __future__ import annotations

from omniopd.errors import ConfigError
from omniopd.teachers.handover.base import (
    PREAMBLE,
    PREFIX_NOT_RETURNED,
    REFUSAL,
    WHITESPACE_NOT_RESTORED,
    Handover,
    ParsedText,
    ProviderRequest,
    UnsupportedRequest,
)
from omniopd.teachers.handover.instruction import Instruction
from omniopd.teachers.handover.prefill import Prefill
from omniopd.teachers.handover.raw import RawCompletion
from omniopd.teachers.handover.special_tokens import FAMILIES, spelled_special
from omniopd.teachers.handover.template import ChatTemplate
from omniopd.teachers.model_traits import HANDOVERS, ModelTraits

__all__ = [
    "FAMILIES",
    "PREAMBLE",
    "PREFIX_NOT_RETURNED",
    "REFUSAL",
    "WHITESPACE_NOT_RESTORED",
    "ChatTemplate",
    "Handover",
    "ParsedText",
    "ProviderRequest",
    "UnsupportedRequest",
    "handover_named",
    "spelled_special",
]


def handover_named(
    name: str, traits: ModelTraits, render: ChatTemplate | None = None, student_thinks: bool = False
) -> Handover:
    """The handover `name` ("": the one that the table gives the model) for a model of these traits.

    "raw" needs `render`, the chat template of the served model. `student_thinks`: the student's own template opens
    `<think>` before the student writes (a raw handover takes it from `render`). Raises ConfigError.
    """
    name = name or traits.handover
    if name == "raw":
        if render is None:
            raise ConfigError(
                f"the teacher {traits.model!r} gets raw prompts, which need its chat template: name its tokenizer "
                "(teacher.tokenizer), or another handover (teacher.handover)"
            )
        return RawCompletion(traits, render)
    if name == "prefill":
        return Prefill(traits, student_thinks)
    if name == "instruction":
        return Instruction(traits, student_thinks)
    raise ConfigError(f"teacher.handover is {name!r}: it must be one of {', '.join(HANDOVERS)}")
