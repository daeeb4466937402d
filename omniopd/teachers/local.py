"""A transformers model as teacher: it sees the prefix itself, and shows nothing but texts.

The prefix is given to it as the student's own ids, where the tokenizers are the same. Draws are seeded per (request
seed, prompt, prefix, number of the draw), so that a request gets the same texts alone or among others; those of a
request with a draft per place in the answer, so that one forward over the draft gives the same tokens as asking at any
place of it (`read_drafts`). All requests of a call are decoded together, each prefix read once.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from omniopd.errors import TeacherError
from omniopd.method.evidence import shared
from omniopd.models.architecture.tree_sampling import Branch, branch_ids
from omniopd.models.decoding import Sampling, advanced, context_length, row_seed
from omniopd.models.drafts import Draft, next_tokens
from omniopd.models.loading import end_ids, require_weights
from omniopd.models.text.token_text import decode_whole
from omniopd.models.text.vocabulary import tokenizer_mark
from omniopd.teachers.asking import checked
from omniopd.teachers.handover.base import WHITESPACE_NOT_RESTORED, UnsupportedRequest
from omniopd.teachers.handover.template import ChatTemplate, Shown
from omniopd.teachers.model_traits import check_sampling
from omniopd.types import ContinuationRequest, Continuations, Usage

TRIES = 6  # of a draw that has to restore white space
log = logging.getLogger(__name__)


class LocalTeacher:
    """Continues prefixes with `model`, sampled at `temperature` (0: greedy) and `top_p`.

    As much is decoded at once as memory allows: `batch_tokens` at most, halved when a GPU's memory is full. `name` is
    what records call it. `student_thinks` is for requests that do not say themselves whether the student's own template
    opens `<think>` (as `ChatTemplate` takes it). Usage counts the prompt and prefix once per request, and every token
    that was drawn; what the request before, to the same prompt, begins with too counts as read before.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        temperature: float = 1.0,
        top_p: float = 1.0,
        batch_tokens: int = 65536,
        name: str | None = None,
        student_thinks: bool | None = None,
    ) -> None:
        check_sampling(temperature, top_p)
        self.model = model
        self.tokenizer = tokenizer
        self.temperature = temperature
        self.top_p = top_p
        self.batch_tokens = batch_tokens
        self.student_thinks = student_thinks
        self.name = name or model.config._name_or_path or type(model).__name__

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name, weights (a few numbers of each tensor), sampling, tokenizer and template: what changes the texts."""
        return {
            "kind": "local", "name": self.name, "weights": tensors_mark(self.model), "temperature": self.temperature,
            "top_p": self.top_p, "tokenizer": tokenizer_mark(self.tokenizer), "template": self._template.mark,
            "ends": list(end_ids(self.model, self.tokenizer)),
        }  # fmt: skip

    def most_usd(self, request: ContinuationRequest) -> float:
        """What a request costs: a model that runs here sends no bill."""
        return 0.0

    def beyond_text(self, request: ContinuationRequest) -> Mapping[str, Any] | None:
        """What else than a request's texts changes what the model reads (identity.py)."""
        return self._template.beyond_text(request, takes_ids=True, vocabulary=self._vocabulary)

    def continue_from(
        self,
        requests: Sequence[ContinuationRequest],
        on_result: Callable[[int, Continuations], None] | None = None,
    ) -> list[Continuations]:
        """One answer per request; none ("context") to what fills the model's context, or cannot be shown to it."""
        results: dict[int, Continuations] = {}

        def answer(index: int, continuations: Continuations) -> None:
            results[index] = continuations
            if on_result is not None:
                on_result(index, continuations)

        room, stops = context_length(self.model), end_ids(self.model, self.tokenizer)
        waiting: dict[int, _Draws] = {}
        last: dict[str, tuple[int, ...]] = {}  # by prompt, whose prefixes come ascending: each was read by the next
        for index, request in enumerate(requests):
            try:
                shown = self._template.shown(request, self._vocabulary)
            except UnsupportedRequest as refused:
                answer(index, Continuations((), problem=refused.reason, served_model=self.name))
                continue
            if len(shown.ids) < room:
                by_place = request.draft is not None and self._is_own(request)
                before = shared(shown.ids, last.get(request.prompt.id, ()))
                last[request.prompt.id] = shown.ids
                waiting[index] = _Draws(request, shown, by_place, before)
            else:
                answer(index, Continuations((), problem="context", served_model=self.name))
        while waiting:
            places = list(waiting)
            branches = [waiting[index].branch(room) for index in places]
            try:
                for place, sampled in branch_ids(
                    self.model, branches, temperature=self.temperature, top_p=self.top_p, eos_ids=stops,
                    pad_id=stops[0], batch_tokens=self.batch_tokens,
                ):  # fmt: skip
                    draws = waiting.pop(places[place])
                    if draws.take(self.tokenizer, sampled, stops):
                        answer(places[place], draws.continuations(self.name))
                    else:
                        waiting[places[place]] = draws
            except torch.OutOfMemoryError as error:
                self._ask_for_less([draws.branch(room) for draws in waiting.values()], error)
        return checked(self, requests, [results.get(index) for index in range(len(requests))])

    def read_drafts(self, requests: Sequence[ContinuationRequest]) -> list[ReadDraft | None]:
        """What it would write next at every place of each request's `draft_ids`, the prefix's end being the first.

        By one forward, with the draws that `continue_from` makes when it is asked at that place. None for a request
        that it cannot be given as the student's own tokens, or that fills its context. Raises ConfigError for a model
        that cannot be scored.
        """
        room, ends = context_length(self.model), end_ids(self.model, self.tokenizer)
        drafts: dict[int, Draft] = {}
        for index, request in enumerate(requests):
            try:
                shown = self._template.shown(request, self._vocabulary)
            except UnsupportedRequest:
                continue
            draft = request.draft_ids or ()
            known = self._is_own(request) and max(draft, default=0) < self._vocabulary
            if known and draft and len(shown.ids) + len(draft) <= room:
                drafts[index] = Draft(shown.ids, draft, _draft_seeds(request, _numbers(request)))
        sampling = Sampling(self.temperature, self.top_p)
        while True:
            try:
                found = next_tokens(self.model, [*drafts.values()], sampling, self.batch_tokens)
            except torch.OutOfMemoryError as error:
                self._ask_for_less([Branch(d.prompt, d.seeds, len(d.ids)) for d in drafts.values()], error)
            else:
                break
        drawn = dict(zip(drafts, found, strict=True))
        return [
            ReadDraft(drawn[index].tolist(), len(drafts[index].prompt), frozenset(ends)) if index in drawn else None
            for index in range(len(requests))
        ]

    def _is_own(self, request: ContinuationRequest) -> bool:
        """Whether the request's ids are this tokenizer's."""
        return self._template.own_ids(request, self._vocabulary) is not None

    @property
    def _template(self) -> ChatTemplate:
        return _template_of(self.tokenizer, self.tokenizer.chat_template, self.student_thinks)

    @property
    def _vocabulary(self) -> int:
        """How many ids the model has a row for: often a few more than its tokenizer has tokens."""
        return int(self.model.get_input_embeddings().weight.shape[0])

    def _ask_for_less(self, waiting: Sequence[Branch], error: torch.OutOfMemoryError) -> None:
        """Half as many tokens at once, from now on; draws have seeds of their own, so that no text changes."""
        longest = max(len(branch.prefix) + branch.max_tokens for branch in waiting)
        if self.batch_tokens <= longest:
            raise TeacherError(
                f"teacher.batch_tokens is {self.batch_tokens}, and the memory of {self.model.device} does not hold a "
                f"single text of {longest} tokens: free some of it, or give a smaller teacher"
            ) from error
        self.batch_tokens = max(longest, self.batch_tokens // 2)
        log.warning("the teacher's memory is full: %d tokens at once from now on", self.batch_tokens)
        if torch.cuda.is_available():
            torch.cuda.empty_cache()


@dataclass(frozen=True, slots=True)
class ReadDraft:
    """`tokens[i][u]`: what draw i writes behind u tokens of the draft; `ends` end a turn. The prompt has, with the
    prefix, `prompt_tokens`."""

    tokens: list[list[int]]
    prompt_tokens: int
    ends: frozenset[int]


@dataclass(slots=True)
class _Draws:
    """The draws of one request: those that count so far, and those still to be made, again where they did not.

    A draw that does not restore the white space that was held back does not count, and is made anew. `by_place`: draws
    are counted from the beginning of the answer. `read_before`: tokens that another request of the call begins with.
    """

    request: ContinuationRequest
    shown: Shown
    by_place: bool = False
    read_before: int = 0
    texts: dict[int, tuple[str, bool]] = field(default_factory=dict)
    ids: dict[int, tuple[int, ...]] = field(default_factory=dict)
    tries: int = 0
    tokens: int = 0

    @property
    def missing(self) -> list[int]:
        return [draw for draw in _numbers(self.request) if draw not in self.texts]

    def branch(self, room: int) -> Branch:
        """What is to be drawn, each draw by a seed of its own."""
        again = (self.tries,) if self.tries else ()
        if self.by_place:
            seeds = _draft_seeds(self.request, self.missing, *again)
        else:
            base = row_seed(self.request.seed, self.request.prompt.id, self.request.prefix)
            seeds = tuple(row_seed(base, draw, *again) for draw in self.missing)
        longest = self.request.max_tokens + len(self.shown.unsent)
        return Branch(self.shown.ids, seeds, min(longest, room - len(self.shown.ids)))

    def take(self, tokenizer: PreTrainedTokenizerBase, sampled: Sequence[Sequence[int]], stops: Sequence[int]) -> bool:
        """Keeps what counts; whether that was the last time."""
        unsent = self.shown.unsent
        for draw, ids in zip(self.missing, sampled, strict=True):
            text = decode_whole(tokenizer, self.shown.ids, ids)
            self.tokens += len(ids)
            if text.startswith(unsent):
                self.texts[draw] = text.removeprefix(unsent), bool(ids) and ids[-1] in stops
                self.ids[draw] = tuple(ids)
        self.tries += 1
        return not self.missing or self.tries >= TRIES

    def continuations(self, name: str) -> Continuations:
        drawn = [self.texts[draw] for draw in sorted(self.texts)]
        return Continuations(
            texts=tuple(text for text, _ in drawn),
            stopped=tuple(stopped for _, stopped in drawn),
            usage=Usage(len(self.shown.ids), self.tokens, cached_tokens=self.read_before, calls=1),
            problem=WHITESPACE_NOT_RESTORED if self.missing else None,
            served_model=name,
            exact=self.shown.exact,
            token_ids=tuple(self.ids[draw] for draw in sorted(self.texts)) if self.by_place else (),
        )


def _draft_seeds(request: ContinuationRequest, draws: Iterable[int], *again: int) -> tuple[int, ...]:
    """One for each draw, counted on to the place where the prefix ends."""
    base = row_seed(request.seed, request.prompt.id, "draft")
    return tuple(advanced([row_seed(base, draw, *again) for draw in draws], len(request.prefix_ids or ())))


def _numbers(request: ContinuationRequest) -> range:
    return range(request.first_sample, request.first_sample + request.samples)


@lru_cache(maxsize=8)
def _template_of(tokenizer: PreTrainedTokenizerBase, template: str | None, student_thinks: bool | None) -> ChatTemplate:
    """One copy of a tokenizer for all teachers that share it; `template` is its own, which may be set anew."""
    return ChatTemplate(tokenizer, student_thinks)


def tensors_mark(model: PreTrainedModel) -> str:
    """A short mark that two differently trained models do not share. Raises ConfigError where weights lie on a disk."""
    require_weights(model, "a cache that remembers its answers")
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        some = tensor.detach().flatten()[:: max(1, tensor.numel() // 16)].float().cpu()
        digest.update(f"{name} {tuple(tensor.shape)} {some.tolist()}".encode())
    return digest.hexdigest()[:16]
