"""A model behind an API as teacher: any that litellm can reach, many calls at once, none lost and none paid for twice.

    request → handover → pieces (one call each, `traits.most_samples` texts) → buying.py → litellm

Works from a script, a notebook and any thread: calls run on a loop of their own (background.py). Keys are read from
the environment by litellm and stand in no message, record or file made here. Knows no cache and no budget: those watch.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Mapping, Sequence
from typing import Any

from omniopd.errors import ConfigError, TeacherError
from omniopd.models.decoding import row_seed
from omniopd.teachers.handover import ChatTemplate, Handover, handover_named
from omniopd.teachers.hosted.background import run
from omniopd.teachers.hosted.batch import Batch
from omniopd.teachers.hosted.calls import Call, CallObserver, OnResult
from omniopd.teachers.hosted.fetch import RetryPolicy, SampleBatch
from omniopd.teachers.hosted.keys import require_leave, sent_by, without_keys
from omniopd.teachers.hosted.pacing import Limits, pacer_for
from omniopd.teachers.hosted.transport import Failure, Reply, prepare, send
from omniopd.teachers.hosted.wire import (
    base_of,
    call_parameters,
    likely_tokens,
    merged,
    most_tokens,
    sampling,
    server_address,
)
from omniopd.teachers.model_traits import ModelTraits, traits_of
from omniopd.teachers.spending.prices import STANDARD, Price, price_of
from omniopd.types import ContinuationRequest, Continuations

_LOG = logging.getLogger(__name__)


class HostedTeacher:
    """Continues prefixes with `model`, by its name as litellm writes it, sampled at `temperature` and `top_p`.

    `handover` is "raw", "prefill" or "instruction" ("": as the table says); a raw one, as servers of open models take
    it, renders the prompt with `template`: `ChatTemplate(tokenizer)` of the served model. `concurrency` calls are in
    flight at once; one is given up after `call_timeout_s`, a batch after `batch_deadline_s` (what is missing then is
    unanswered). Failures are tried again with `patience`. Limits per minute (0: none) hold for all calls of the process
    to this model at this address, of several teachers' the lowest. `price` replaces that of the table; `parameters` go
    into every call; `key_variable` names the environment's variable that holds the key, if litellm's own is not meant.
    `strict` stops at a changed fingerprint of the served system, too.
    """

    def __init__(
        self,
        model: str,
        *,
        temperature: float = 1.0,
        top_p: float = 1.0,
        handover: str = "",
        template: ChatTemplate | None = None,
        student_thinks: bool = False,
        api_base: str | None = None,
        key_variable: str | None = None,
        concurrency: int = 64,
        call_timeout_s: float = 120.0,
        batch_deadline_s: float = 1200.0,
        patience: RetryPolicy | None = None,
        requests_per_minute: float = 0,
        tokens_per_minute: float = 0,
        strict: bool = False,
        price: Price | None = None,
        traits: ModelTraits | None = None,
        parameters: Mapping[str, Any] | None = None,
    ) -> None:
        self.model = model
        self.traits = traits or traits_of(model)
        self.handover: Handover = handover_named(handover, self.traits, template, student_thinks)
        self.temperature, self.top_p = temperature, top_p
        # Whose tokens the model reads, where that is known (a template is of use to raw prompts alone).
        self.tokenizer = None if template is None else template.tokenizer
        self.api_base = server_address(model, self.handover.name, api_base)
        self.concurrency = concurrency
        self.call_timeout_s, self.batch_deadline_s = call_timeout_s, batch_deadline_s
        self.patience = patience or RetryPolicy()
        self.strict = strict
        self.price = price or price_of(model)
        self.parameters = dict(parameters or {})
        self.served_model, self.fingerprints = "", list[str]()
        self._sampling = sampling(self.traits, self.handover.name, temperature, top_p)
        self._key_variable = key_variable
        if "api_key" not in self.parameters:
            sent = self.traits.completion_model if self.handover.name == "raw" else model
            require_leave(sent_by(sent, self.api_base or base_of(self.parameters), key_variable), model)
        self._limits = Limits(requests_per_minute, tokens_per_minute)  # they hold as long as this teacher lives
        self._pacer = pacer_for(model, self.api_base or "", self._limits)
        self._slots: tuple[asyncio.AbstractEventLoop, asyncio.Semaphore] | None = None
        self._lock = threading.Lock()
        if concurrency < 1 or call_timeout_s <= 0 or batch_deadline_s <= 0:
            raise ConfigError(
                f"the teacher {model!r} has concurrency {concurrency}, call_timeout_s {call_timeout_s} and "
                f"batch_deadline_s {batch_deadline_s}: all must be above 0"
            )

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that changes the texts; the served model is compared apart, since it is known after a call."""
        return {
            "kind": "hosted",
            "endpoint": self.api_base or "",
            "model": self.model,
            "handover": self.handover.name,
            "sampling": merged(self._sampling, self.traits.parameters, self.parameters),
            **self.handover.identity,
        }

    def beyond_text(self, request: ContinuationRequest) -> Mapping[str, Any] | None:
        """What else than a request's texts changes what is sent (identity.py)."""
        return self.handover.beyond_text(request)

    def continue_from(
        self, requests: Sequence[ContinuationRequest], on_result: OnResult | None = None
    ) -> list[Continuations]:
        """One answer per request; `on_result` is called in the calling thread.

        What cannot be answered has a `problem` and fewer texts. Raises TeacherError where no request can succeed (no
        such model, a wrong key), and where another model than before answers.
        """
        return self.fetch(requests, on_result, None)

    def fetch(
        self, requests: Sequence[ContinuationRequest], on_result: OnResult | None, watcher: CallObserver | None
    ) -> list[Continuations]:
        """The same, with every call shown to `watcher` (calls.py)."""
        if not requests:
            return []
        prepare()
        return run(lambda desk: Batch(self, requests, on_result, watcher, desk).execute())

    def pieces(self, index: int, request: ContinuationRequest) -> list[SampleBatch]:
        """The calls that a request takes. Raises UnsupportedRequest."""
        asked = self.handover.ask(request)
        base = row_seed(request.seed, request.prompt.id, request.prefix)
        last, most = request.first_sample + request.samples, self.traits.most_samples
        max_tokens = request.max_tokens + asked.extra_tokens
        return [
            SampleBatch(index, asked, tuple(range(n, min(n + most, last))), base, max_tokens, most)
            for n in range(request.first_sample, last, most)
        ]

    def call_for(self, piece: SampleBatch, samples: int) -> Call:
        """What a call takes at most: no token is shorter than a byte, and none is written beyond the limit."""
        read, written = most_tokens(piece.asked), samples * piece.max_tokens
        asked = self.parameters.get("service_tier") or self.parameters.get("speed") or STANDARD
        usd = None if self.price is None else self.price.most(read, written, str(asked))
        return Call(piece.request, self.model, read, written, usd)

    def slots(self) -> asyncio.Semaphore:
        """The places of calls in flight, shared by all batches of this teacher."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._slots is None or self._slots[0] is not loop:
                self._slots = loop, asyncio.Semaphore(self.concurrency)
            return self._slots[1]

    async def in_turn(self, piece: SampleBatch, samples: int) -> None:
        """Until limits per minute let a call go out."""
        await self._pacer.wait(_expected(piece, samples))

    async def send(self, piece: SampleBatch, seed: int | None, samples: int) -> Reply | Failure:
        """One call, at once."""
        parameters = call_parameters(
            self.traits, piece.asked, max_tokens=piece.max_tokens, samples=samples, seed=seed, api_base=self.api_base,
            key_variable=self._key_variable, more=merged(self._sampling, self.parameters),
        )  # fmt: skip
        reply = await send(parameters, self.call_timeout_s)
        if isinstance(reply, Reply):
            reply = without_keys(reply)
        if isinstance(reply, Reply) and reply.is_counted:
            most = self.call_for(piece, samples)
            taken = min(reply.taken.read, most.input_tokens) + min(reply.taken.written, most.output_tokens)
            self._pacer.correct(_expected(piece, samples), taken)
        return reply

    def recognise(self, reply: Reply, again: bool) -> bool:
        """Whether the model that answered is the one that answered before; TeacherError if it is not, `again`."""
        with self._lock:
            self.served_model = self.served_model or reply.served_model
            if reply.served_model != self.served_model:
                if not again:
                    return False
                raise TeacherError(
                    f"the teacher {self.model!r} was served by {self.served_model!r} and is now served by "
                    f"{reply.served_model!r}: the run stops, since its audits would mix two teachers; start a new one, "
                    "or name a model that is pinned to a version"
                )
            if reply.fingerprint and reply.fingerprint not in self.fingerprints:
                self.fingerprints.append(reply.fingerprint)
                if len(self.fingerprints) > 1:
                    self._changed()
            return True

    def _changed(self) -> None:
        before, after = self.fingerprints[-2:]
        if self.strict:
            raise TeacherError(
                f"the system behind the teacher {self.model!r} changed its fingerprint from {before!r} to {after!r}, "
                "and the run is strict: start a new one, or set teacher.strict = false"
            )
        _LOG.warning("the system behind %s changed its fingerprint from %s to %s", self.model, before, after)


def _expected(piece: SampleBatch, samples: int) -> int:
    return likely_tokens(piece.asked) + samples * piece.max_tokens
