"""How a prefix is shown to a model that somebody serves, so that the model continues it.

A handover renders a request as what is sent (`render`) and parses an answer's text into a continuation (`parse`). All
of them stand in `config/handovers.py`, which of them fits a model in `teachers/models.toml`.
"""

from __future__ import annotations

from omniopd.errors import ConfigError
from omniopd.teachers.handover.base import Handover
from omniopd.teachers.handover.template import ChatTemplate
from omniopd.teachers.model_traits import ModelTraits


def handover_named(
    name: str, traits: ModelTraits, template: ChatTemplate | None = None, student_thinks: bool = False
) -> Handover:
    """The handover `name` ("" or "auto": the one that the table gives the model) for a model of these traits.

    One that completes bare prompts needs `template`, that of the served model. `student_thinks`: the student's own
    template opens `<think>` before the student writes (one with a `template` asks that). Raises ConfigError.
    """
    entry = traits.handover_entry(name)
    if entry.completes and template is None:
        raise ConfigError(
            f"the teacher {traits.model!r} gets raw prompts, which need its chat template: name its tokenizer "
            "(teacher.tokenizer), or another handover (teacher.handover)"
        )
    handover: Handover = entry.load()(traits, template, student_thinks)
    return handover
