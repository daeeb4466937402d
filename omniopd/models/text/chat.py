"""From a conversation to the ids a model reads, such that text never turns into control tokens.

A chat template writes roles and contents into one string, and a tokenizer then reads "<|im_end|>" in a user's text as
the end of the user's turn. Ordinary text goes the ordinary way, so that these ids are TRL's; a content that spells a
special token is encoded apart, as plain bytes. Works with any fast tokenizer of `transformers`; knows no models.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from omniopd.errors import DataError
from omniopd.models.text.conversation import conversation
from omniopd.models.text.encoding import encode
from omniopd.models.text.rendering import Endless, rendered
from omniopd.types import Message


def prompt_ids(
    tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message], rewrite: Callable[[str], str] = str
) -> list[int]:
    """Token ids of a conversation up to where the assistant begins to write; `rewrite` is given the rendered text.

    Equal to ``apply_chat_template(messages, add_generation_prompt=True)`` unless a content spells a special token;
    there the template is written around placeholders, and each content is encoded by itself, special tokens split.
    Raises DataError where the tokenizer has no chat template, or one that does not show a content as it is.
    """
    if tokenizer.chat_template is None:
        raise DataError(f"the tokenizer of {tokenizer.name_or_path or 'this model'} has no chat template: use "
                        "an instruction-tuned checkpoint, or set tokenizer.chat_template in Python")  # fmt: skip
    messages = conversation(messages, "a prompt")
    if not any(spells_special(tokenizer, message["content"]) for message in messages):
        return _encode(tokenizer, rewrite(_rendered(tokenizer, messages)), special=True)
    marks = [f"\ue000{number}\ue001" for number in range(len(messages))]
    text = rewrite(_rendered(tokenizer, [{**m, "content": mark} for m, mark in zip(messages, marks, strict=True)]))
    ids: list[int] = []
    for piece in re.split("(\ue000\\d+\ue001)", text):
        if piece in marks:
            ids += _encode(tokenizer, messages[marks.index(piece)]["content"], special=False)
        elif piece:
            ids += _encode(tokenizer, piece, special=True)
    if any(mark not in text for mark in marks):
        raise DataError("a message spells a special token, and the chat template leaves a message out or rewrites it: "
                        "remove the token from the text")  # fmt: skip
    return ids


def about_tokens(tokenizer: PreTrainedTokenizerBase, own: Sequence[Message], shown: Sequence[Message]) -> int:
    """About how long what a teacher is shown in place of the student's own messages is, in the student's tokens.

    Only the student's own are rendered: its template may refuse what the teacher's takes, as a system message is.
    """
    more, less = (sum(len(text_ids(tokenizer, m["content"])) for m in messages) for messages in (shown, own))
    return len(prompt_ids(tokenizer, own)) + more - less


def spells_special(tokenizer: PreTrainedTokenizerBase, text: str) -> bool:
    """Whether a text contains the spelling of one of the tokenizer's special tokens."""
    return any(token.special and token.content in text for token in tokenizer.added_tokens_decoder.values())


def text_ids(tokenizer: PreTrainedTokenizerBase, text: str) -> list[int]:
    """Token ids of plain text: no special token is added, and none is read out of the text."""
    return _encode(tokenizer, text, special=False)


def _rendered(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    try:
        return rendered(tokenizer, messages)
    except Endless as error:
        raise DataError(
            f"the chat template of {tokenizer.name_or_path or 'this model'} is {error}: take a tokenizer from a source "
            "that you trust"
        ) from error
    except TemplateError as error:  # roles that it does not know, or not in this order
        roles = ", ".join(message["role"] for message in messages)
        raise DataError(
            f"the chat template of {tokenizer.name_or_path or 'this model'} refuses the conversation of {roles[:80]} "
            f"({str(error)[:120]}): give roles that it knows, in an order that it takes"
        ) from error


def _encode(tokenizer: PreTrainedTokenizerBase, text: str, special: bool) -> list[int]:
    return encode(tokenizer, [text], special)[0]
