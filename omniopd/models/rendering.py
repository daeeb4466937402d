"""A conversation as its chat template writes it, with a limit to what a template may take: it comes with a model, as a
program in a file of a stranger's.

jinja's sandbox keeps it from files and from Python, and lets it loop. Knows tokenizers and no models.
"""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from omniopd.errors import ConfigError
from omniopd.types import Message

DEADLINE_S = 5.0  # of processor time; a template takes some thousandths
_CODE = "<template>"  # the file name of what jinja has compiled


class Endless(TemplateError):
    """A template that was not done by the deadline."""


def rendered(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    """The conversation up to where the assistant begins to write. Raises TemplateError, whatever a template did."""
    try:
        with _by(time.thread_time() + DEADLINE_S):
            return str(tokenizer.apply_chat_template(list(messages), add_generation_prompt=True, tokenize=False))
    except TemplateError:
        raise
    except (ArithmeticError, AttributeError, LookupError, MemoryError, RecursionError, TypeError, ValueError) as error:
        raise TemplateError(f"{type(error).__name__}: {error}") from error


def check_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises ConfigError for a chat template that never ends. One that refuses some conversations is sound."""
    try:
        rendered(tokenizer, [{"role": "user", "content": "?"}])
    except Endless as error:
        raise ConfigError(
            f"the chat template of the tokenizer {tokenizer.name_or_path or 'of this model'!r} is {error}: take a "
            "tokenizer from a source that you trust"
        ) from error
    except TemplateError:
        pass


@contextmanager
def _by(end_s: float) -> Iterator[None]:
    """Inside, lines of a template that run after this time of the thread's processor raise Endless."""

    def trace(frame: Any, event: str, argument: Any) -> Any:
        if frame.f_code.co_filename != _CODE:
            return None
        if time.thread_time() > end_s:
            raise Endless(f"not done after {DEADLINE_S:g} s")
        return trace

    before = sys.gettrace()
    sys.settrace(trace)
    try:
        yield
    finally:
        sys.settrace(before)
