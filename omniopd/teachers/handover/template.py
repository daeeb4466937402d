"""A model's chat template, ours to render: a conversation and the beginning of an answer, as ids or as a text.

Only ids keep the spelling of a special token plain text. A text is good for a server that takes no ids if the same
tokenizer reads the same special tokens out of it, which is checked. Sends nothing.
"""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from collections.abc import Sequence

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from omniopd.errors import ConfigError, DataError
from omniopd.models.chat import prompt_ids, text_ids
from omniopd.models.rendering import check_template, rendered
from omniopd.teachers.handover.asked import Unaskable
from omniopd.teachers.handover.special_tokens import spelled
from omniopd.teachers.handover.thinking import CLOSE, OPEN, Joint, inside_thought, joint, opens_thought
from omniopd.types import Message


class ChatTemplate:
    """Renders for the model that `tokenizer` belongs to.

    `student_thinks` says whether the student's own template opens `<think>` before the student writes; None: it does
    what this one does (as it is where teacher and student share it). Raises ConfigError without a chat template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, student_thinks: bool | None = None) -> None:
        if tokenizer.chat_template is None:
            raise ConfigError(
                f"the tokenizer {tokenizer.name_or_path or 'of the teacher'!r} has no chat template, which raw prompts "
                "are written with: name the tokenizer of an instruction-tuned model, or another handover"
            )
        check_template(tokenizer)
        # Encoding sets a switch on a fast tokenizer (whether special tokens are read out of a text): two threads
        # that share one get each other's. This copy is used by one thread at a time.
        self.tokenizer = copy.deepcopy(tokenizer)
        self._lock = threading.RLock()
        self.student_thinks = student_thinks

    @property
    def mark(self) -> str:
        """What changes where the same conversation and prefix are written otherwise."""
        written = [self.tokenizer.chat_template, self.tokenizer.bos_token, self.student_thinks]
        return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()[:16]

    def ids(self, messages: Sequence[Message], prefix: str) -> tuple[int, ...]:
        """Token ids of the conversation, up to and with the prefix; what a text spells stays text.

        Raises Unaskable for a conversation that the template refuses, and for a thought that it knows nothing of.
        """
        with self._lock:
            self._check_marks(messages, prefix)
            at = self._joint(self._rendered(messages), prefix)
            head = self._prompt_ids(messages)
            if at.dropped:
                tail = self._encode(at.dropped)
                if head[-len(tail) :] != tail:
                    raise Unaskable("the template's empty thought cannot be taken off its end")
                head = head[: -len(tail)]
            return (*head, *(self._encode(at.added) if at.added else ()), *self._prefix_ids(at.prefix))

    def text(self, messages: Sequence[Message], prefix: str) -> str:
        """The same as a text, for a server that encodes what it gets with this tokenizer.

        Raises Unaskable where that would read other special tokens than `ids` has.
        """
        with self._lock:
            rendered = self._rendered(messages)
            at = self._joint(rendered, prefix)
            text = rendered.removesuffix(at.dropped) + at.added + at.prefix
            begin = self.tokenizer.bos_token
            if begin and self.tokenizer("").input_ids[:1] == [self.tokenizer.bos_token_id]:
                text = text.removeprefix(begin)  # the server writes it itself
            if self._special(self.tokenizer(text).input_ids) != self._special(self.ids(messages, prefix)):
                raise Unaskable("a text spells a special token, and the server takes no token ids")
            return text

    def _rendered(self, messages: Sequence[Message]) -> str:
        try:
            return rendered(self.tokenizer, messages)
        except TemplateError as error:
            raise Unaskable(f"the teacher's chat template refuses the conversation: {error}") from error

    def _prompt_ids(self, messages: Sequence[Message]) -> list[int]:
        try:
            return prompt_ids(self.tokenizer, messages)
        except DataError as error:
            raise Unaskable(str(error)) from error

    def _check_marks(self, messages: Sequence[Message], prefix: str) -> None:
        """Raises Unaskable for a text with a mark of the template's that is no token, so that ids cannot tell it."""
        special = {added.content for added in self.tokenizer.added_tokens_decoder.values() if added.special}
        template = str(self.tokenizer.chat_template)
        for text in (prefix, *(message["content"] for message in messages)):
            forged = [mark for mark in spelled(text) if mark in template and mark not in special]
            if forged:
                raise Unaskable(f"a text spells {min(forged)!r}, which marks turns in the teacher's chat template")

    def _joint(self, rendered: str, prefix: str) -> Joint:
        opened = opens_thought(rendered) if self.student_thinks is None else self.student_thinks
        if inside_thought(prefix, opened) and OPEN not in str(self.tokenizer.chat_template):
            raise Unaskable(f"the prefix ends inside {OPEN}, which the teacher's chat template does not know")
        return joint(rendered, prefix, opened)

    def _prefix_ids(self, prefix: str) -> list[int]:
        """The prefix as plain text, but for the tags of its thought, which may be tokens of their own."""
        ids: list[int] = []
        if prefix.lstrip().startswith(OPEN):
            start = prefix.index(OPEN)
            ids += text_ids(self.tokenizer, prefix[:start]) + self._encode(OPEN)
            prefix = prefix[start + len(OPEN) :]
        thought, close, rest = prefix.partition(CLOSE)
        if not close or OPEN not in str(self.tokenizer.chat_template):
            return ids + text_ids(self.tokenizer, prefix)
        return ids + text_ids(self.tokenizer, thought) + self._encode(close) + text_ids(self.tokenizer, rest)

    def _encode(self, text: str) -> list[int]:
        return list(self.tokenizer(text, add_special_tokens=False).input_ids)

    def _special(self, ids: Sequence[int]) -> list[int]:
        special = {token for token, added in self.tokenizer.added_tokens_decoder.items() if added.special}
        return [token for token in ids if token in special]
