"""A model's chat template, ours to render: a conversation and the beginning of an answer, as ids or as a text.

Only ids keep the spelling of a special token plain text, and only ids can be those that the student wrote. A text is
good for a server that takes no ids if the same tokenizer reads the same special tokens out of it, which is checked.
Sends nothing.
"""

from __future__ import annotations

import copy
import hashlib
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from omniopd.errors import ConfigError, DataError
from omniopd.models.text.chat import prompt_ids, text_ids
from omniopd.models.text.encoding import encode
from omniopd.models.text.rendering import check_template, rendered
from omniopd.models.text.vocabulary import tokenizer_mark
from omniopd.teachers.handover.base import UnsupportedRequest, check_text, held_back
from omniopd.teachers.handover.special_tokens import spelled
from omniopd.teachers.handover.thinking import CLOSE, OPEN, Joint, inside_thought, joint, opens_thought
from omniopd.types import ContinuationRequest, Message

_KEPT = 1024  # conversations


@dataclass(frozen=True, slots=True)
class Shown:
    """What a model is given to continue, as ids or as a text; `unsent` is white space that its answer has to restore.

    `exact`: the prefix stands there as the student's own tokens, or nothing says what those were.
    """

    ids: tuple[int, ...] = ()
    text: str = ""
    unsent: str = ""
    exact: bool = True


class ChatTemplate:
    """Renders for the model that `tokenizer` belongs to.

    `student_thinks` says whether the student's own template opens `<think>` before the student writes, for requests
    that do not say so (`in_thought`); None: it does what this one does (as it is where teacher and student share it).
    Raises ConfigError without a chat template.
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
        # Conversations as texts, and their ids: every prefix of an answer follows the same one.
        self._text_of = lru_cache(_KEPT)(self._render)
        self._ids_of = lru_cache(_KEPT)(self._encode_prompt)
        self._special = {
            token: added.content for token, added in self.tokenizer.added_tokens_decoder.items() if added.special
        }

    @property
    def mark(self) -> str:
        """What changes where the same conversation and prefix are written otherwise."""
        written = [self.tokenizer.chat_template, self.tokenizer.bos_token, self.student_thinks]
        if OPEN in str(self.tokenizer.chat_template):
            # Answers that were kept when a thought's tags were encoded apart from the prompt are not found again.
            written.append("thoughts and prompt encoded as one text")
        return hashlib.sha256(json.dumps(written, sort_keys=True).encode()).hexdigest()[:16]

    def shown(self, request: ContinuationRequest, vocabulary: int | None = None) -> Shown:
        """What a model that takes ids is given: the student's own for the prefix, where they are this tokenizer's.

        Where they are not, the prefix's text is encoded, and white space at its end held back. `vocabulary`: how many
        ids the model knows (a student may draw one that no token has, which the model's embedding holds all the same).
        Raises UnsupportedRequest for a text that no request can carry, a conversation that the template refuses, and a
        thought that it knows nothing of.
        """
        check_text(request)
        own = self.own_ids(request, vocabulary)
        sent, unsent = held_back(request) if own is None else (self._with_tags(request.prefix, own), "")
        ids = self.ids(request.prompt.messages, sent, own, request.in_thought)
        return Shown(ids, unsent=unsent, exact=own is not None or not request.prefix_ids)

    def written(self, request: ContinuationRequest) -> Shown:
        """What a server that encodes a text with this tokenizer is given. Raises as `shown` and `text` do.

        Where it would make other tokens of the prefix than the student wrote, white space at the end is held back.
        """
        check_text(request)
        messages, own = request.prompt.messages, self.own_ids(request)
        text = self.text(messages, request.prefix, request.in_thought)
        if not request.prefix_ids:
            return Shown(text=text)
        if own is not None and self._as_served(text)[-len(own) :] == list(own):
            return Shown(text=text)
        sent, unsent = held_back(request)
        if unsent:
            text = self.text(messages, sent, request.in_thought)
        return Shown(text=text, unsent=unsent, exact=False)

    def beyond_text(
        self, request: ContinuationRequest, takes_ids: bool, vocabulary: int | None = None
    ) -> Mapping[str, Any] | None:
        """What else than the texts of a request changes what is shown; None where they say all.

        Where the student's ids are those that its text is encoded to, they add nothing.
        """
        more: dict[str, Any] = {}
        own = self.own_ids(request, vocabulary)
        if own is None:
            more["tokenizer"] = tokenizer_mark(self.tokenizer)
        elif takes_ids and list(own) != self._prefix_ids(request.prefix):
            more["prefix_ids"] = list(own)
        if unsent := (self.shown(request, vocabulary) if takes_ids else self.written(request)).unsent:
            more["unsent"] = unsent
        with self._lock:
            rendered = self._rendered(request.prompt.messages)
        if self._opened(rendered, request.in_thought) != self._opened(rendered, None):
            more["in_thought"] = request.in_thought
        return more or None

    def own_ids(self, request: ContinuationRequest, vocabulary: int | None = None) -> tuple[int, ...] | None:
        """The student's ids of the prefix, where they mean the same here, else None."""
        ids = request.prefix_ids
        if ids is None or request.tokenizer != tokenizer_mark(self.tokenizer):
            return None
        return ids if all(0 <= one < (vocabulary or len(self.tokenizer)) for one in ids) else None

    def ids(
        self,
        messages: Sequence[Message],
        prefix: str,
        prefix_ids: Sequence[int] | None = None,
        in_thought: bool | None = None,
    ) -> tuple[int, ...]:
        """Token ids of the conversation, up to and with the prefix (as `prefix_ids`, or encoded); what a text spells
        stays text. Raises UnsupportedRequest for a conversation that the template refuses, and for a thought that it
        knows nothing of.
        """
        with self._lock:
            self._check_marks(messages, prefix)
            head = self._ids_of(_key(messages), self._joint(self._rendered(messages), prefix, in_thought))
            return (*head, *(self._prefix_ids(prefix) if prefix_ids is None else prefix_ids))

    def text(self, messages: Sequence[Message], prefix: str, in_thought: bool | None = None) -> str:
        """What `ids` gives, as a text: for a server that encodes what it gets with this tokenizer.

        Raises UnsupportedRequest where that would read other special tokens than `ids` has.
        """
        with self._lock:
            rendered = self._rendered(messages)
            whole = text = self._joint(rendered, prefix, in_thought).rewrite(rendered) + prefix
            wanted = self._named(self.ids(messages, prefix, in_thought=in_thought))
            around, begin = self._as_served(""), self.tokenizer.bos_token
            if begin and around[:1] == [self.tokenizer.bos_token_id]:
                text = text.removeprefix(begin)  # the server writes it itself
            if self._named(self._as_served(text)) == wanted:
                return text
            if self._named(encode(self.tokenizer, [whole], special=True)[0]) == wanted:
                names = " and ".join(map(repr, self.tokenizer.convert_ids_to_tokens(around)))
                raise UnsupportedRequest(
                    f"the server's tokenizer puts {names} around every text, which the teacher's chat template does "
                    "not write, and the server takes no token ids"
                )
            raise UnsupportedRequest("a text spells a special token, and the server takes no token ids")

    def _rendered(self, messages: Sequence[Message]) -> str:
        return self._text_of(_key(messages))

    def _render(self, key: str) -> str:
        try:
            return rendered(self.tokenizer, json.loads(key))
        except TemplateError as error:
            raise UnsupportedRequest(f"the teacher's chat template refuses the conversation: {error}") from error

    def _encode_prompt(self, key: str, at: Joint) -> tuple[int, ...]:
        try:
            return tuple(prompt_ids(self.tokenizer, json.loads(key), at.rewrite))
        except DataError as error:
            raise UnsupportedRequest(str(error)) from error

    def _check_marks(self, messages: Sequence[Message], prefix: str) -> None:
        """Raises UnsupportedRequest for a text that spells a mark of the template's own that is not a token."""
        special, template = self._special.values(), str(self.tokenizer.chat_template)
        for text in (prefix, *(message["content"] for message in messages)):
            forged = [mark for mark in spelled(text) if mark in template and mark not in special]
            if forged:
                raise UnsupportedRequest(
                    f"a text spells {min(forged)!r}, which marks turns in the teacher's chat template"
                )

    def _with_tags(self, prefix: str, ids: Sequence[int]) -> str:
        """The prefix with the tags of its thought, which no text shows where they are special tokens."""
        if not {OPEN, CLOSE} & set(self._special.values()):
            return prefix
        return str(self.tokenizer.decode(list(ids), skip_special_tokens=False, clean_up_tokenization_spaces=False))

    def _opened(self, rendered: str, in_thought: bool | None) -> bool:
        """Whether the student's own template had opened a thought before the prefix."""
        said = self.student_thinks if in_thought is None else in_thought
        return opens_thought(rendered) if said is None else said

    def _joint(self, rendered: str, prefix: str, in_thought: bool | None) -> Joint:
        opened = self._opened(rendered, in_thought)
        if inside_thought(prefix, opened) and OPEN not in str(self.tokenizer.chat_template):
            raise UnsupportedRequest(f"the prefix ends inside {OPEN}, which the teacher's chat template does not know")
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
        return encode(self.tokenizer, [text], special=True)[0]

    def _as_served(self, text: str) -> list[int]:
        """What a server makes of a text that it is sent as a prompt."""
        return encode(self.tokenizer, [text], special=True, whole=True)[0]

    def _named(self, ids: Sequence[int]) -> list[int]:
        """The special tokens among ids: the skeleton of a conversation."""
        return [token for token in ids if token in self._special]


def _key(messages: Sequence[Message]) -> str:
    return json.dumps(list(messages))
