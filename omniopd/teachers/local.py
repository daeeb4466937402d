"""A transformers model as teacher: it sees the prefix itself, and shows nothing but texts.

Draws are seeded per (request seed, prompt, prefix, number of the draw), so that a request gets the same texts alone or
among others. All requests of a call are decoded together, each prefix read once.
"""

from __future__ import annotations

import hashlib
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from omniopd.errors import ConfigError, TeacherError
from omniopd.models.branching import Branch, branch_ids
from omniopd.models.chat import prompt_ids
from omniopd.models.decoding import context_length, row_seed
from omniopd.models.loading import end_ids
from omniopd.models.pieces import decode_whole, encode_all
from omniopd.teachers.asking import checked
from omniopd.types import ContinuationRequest, Continuations, Usage

log = logging.getLogger(__name__)


class LocalTeacher:
    """Continues prefixes with `model`, sampled at `temperature` (0: greedy) and `top_p`.

    As much is decoded at once as memory allows: `batch_tokens` at most, halved when a GPU's memory is full. `name` is
    what records call it. Usage counts the prompt and prefix once per request, and every token that was drawn.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        tokenizer: PreTrainedTokenizerBase,
        temperature: float = 1.0,
        top_p: float = 1.0,
        batch_tokens: int = 65536,
        name: str | None = None,
    ) -> None:
        if temperature < 0 or not 0 < top_p <= 1:
            raise ConfigError(
                f"a teacher's temperature is {temperature} and its top_p {top_p}: use at least 0, and above 0 up to 1"
            )
        self.model = model
        self.tokenizer = tokenizer
        self.temperature = temperature
        self.top_p = top_p
        self.batch_tokens = batch_tokens
        self.name = name or model.config._name_or_path or type(model).__name__

    @property
    def identity(self) -> Mapping[str, Any]:
        """Name, weights (a few numbers of each tensor) and sampling: what changes the texts."""
        return {
            "kind": "local", "name": self.name, "weights": weights_mark(self.model), "temperature": self.temperature,
            "top_p": self.top_p,
        }  # fmt: skip

    def most_usd(self, request: ContinuationRequest) -> float:
        """What a request costs: a model that runs here sends no bill."""
        return 0.0

    def continue_from(
        self,
        requests: Sequence[ContinuationRequest],
        on_result: Callable[[int, Continuations], None] | None = None,
    ) -> list[Continuations]:
        """One answer per request; a prompt and prefix that fill the model's context get none ("context")."""
        results: list[Continuations | None] = [None] * len(requests)

        def answer(index: int, continuations: Continuations) -> None:
            results[index] = continuations
            if on_result is not None:
                on_result(index, continuations)

        prefixes = self._prefixes(requests)
        room = context_length(self.model)
        fitting = [index for index, prefix in enumerate(prefixes) if len(prefix) < room]
        for index in sorted(set(range(len(requests))) - set(fitting)):
            answer(index, Continuations((), problem="context", served_model=self.name))
        branches = [self._branch(requests[index], prefixes[index], room) for index in fitting]
        stops = end_ids(self.model, self.tokenizer)
        waiting = dict(zip(fitting, branches, strict=True))
        while waiting:
            places, asked = list(waiting), list(waiting.values())
            try:
                for place, sampled in branch_ids(
                    self.model, asked, temperature=self.temperature, top_p=self.top_p, eos_ids=stops,
                    pad_id=stops[0], batch_tokens=self.batch_tokens,
                ):  # fmt: skip
                    answer(places[place], self._continuations(asked[place].prefix, sampled, stops))
                    del waiting[places[place]]
            except torch.OutOfMemoryError as error:
                self._ask_for_less(list(waiting.values()), error)
        return checked(self, requests, results)

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

    def _prefixes(self, requests: Sequence[ContinuationRequest]) -> list[tuple[int, ...]]:
        """The ids that the model continues: the prompt up to the assistant's turn, then the prefix as plain text."""
        prompts = {id(request.prompt): request.prompt for request in requests}
        before = {key: prompt_ids(self.tokenizer, prompt.messages) for key, prompt in prompts.items()}
        after = encode_all(self.tokenizer, [request.prefix for request in requests])
        return [(*before[id(request.prompt)], *ids) for request, ids in zip(requests, after, strict=True)]

    def _branch(self, request: ContinuationRequest, prefix: tuple[int, ...], room: int) -> Branch:
        base = row_seed(request.seed, request.prompt.id, request.prefix)
        draws = range(request.first_sample, request.first_sample + request.samples)
        max_tokens = min(request.max_tokens, room - len(prefix))
        return Branch(prefix, tuple(row_seed(base, draw) for draw in draws), max_tokens)

    def _continuations(
        self, prefix: tuple[int, ...], sampled: Sequence[Sequence[int]], stops: Sequence[int]
    ) -> Continuations:
        return Continuations(
            texts=tuple(decode_whole(self.tokenizer, prefix, ids) for ids in sampled),
            stopped=tuple(bool(ids) and ids[-1] in stops for ids in sampled),
            usage=Usage(input_tokens=len(prefix), output_tokens=sum(map(len, sampled)), calls=1),
            served_model=self.name,
        )


def weights_mark(model: PreTrainedModel) -> str:
    """A short mark that two differently trained models do not share."""
    digest = hashlib.sha256()
    for name, tensor in sorted(model.state_dict().items()):
        some = tensor.detach().flatten()[:: max(1, tensor.numel() // 16)].float().cpu()
        digest.update(f"{name} {tuple(tensor.shape)} {some.tolist()}".encode())
    return digest.hexdigest()[:16]
