"""A model behind an API as teacher: any that litellm can reach, many calls at once, none lost and none paid for twice.

    request → handover → sample batches (one call each, `traits.most_samples` texts) → fetch.py → litellm

Works from a script, a notebook and any thread: calls run on a loop of their own. Keys are read from
the environment by litellm and stand in no message, record or file made here. Knows no cache and no budget: those watch.
"""

from __future__ import annotations

import time
from collections.abc import Coroutine, Mapping, Sequence
from contextvars import ContextVar
from typing import Any

from omniopd.config.settings import PARTED_COSTS
from omniopd.errors import ConfigError
from omniopd.teachers.access.guard import prepare
from omniopd.teachers.access.keys import require_leave, sent_by
from omniopd.teachers.asking import checked
from omniopd.teachers.handover import handover_named
from omniopd.teachers.handover.template import ChatTemplate
from omniopd.teachers.hosted.background import CallerThreadQueue, run
from omniopd.teachers.hosted.calls import CallObserver, ObservableTeacher, OnResult
from omniopd.teachers.hosted.endpoint import Endpoint
from omniopd.teachers.hosted.fetch import Fetch
from omniopd.teachers.hosted.pacing import Limits, pacer_for
from omniopd.teachers.hosted.retry import RetryPolicy
from omniopd.teachers.hosted.streaming import AUTO, Streaming
from omniopd.teachers.hosted.wire import base_of, merged, sampling, server_address
from omniopd.teachers.model_traits import ModelTraits, traits_of
from omniopd.teachers.spending.prices import Price, price_of
from omniopd.types import ContinuationRequest, Continuations

# When the conversation that asks is given up, by the monotonic clock: its calls, though batches of their own, end then.
given_up_at: ContextVar[float] = ContextVar("given_up_at")


class HostedTeacher(ObservableTeacher):
    """Continues prefixes with `model`, by its name as litellm writes it, sampled at `temperature` and `top_p`.

    `handover` is "raw", "prefill" or "instruction" ("": as the table says); a raw one, as servers of open models take
    it, renders the prompt with `template`: `ChatTemplate(tokenizer)` of the served model. `concurrency` calls are in
    flight at once; one is given up after `call_timeout_s`, a batch after `batch_deadline_s`, as is a whole scan (what
    is missing then is unanswered). Failures are tried again with `patience`. Limits per minute (0: none) hold for all
    calls of the process to this model at this address, of several teachers' the lowest. `price` replaces that of the
    table; `parameters` go into every call; `key_variable` names the environment's variable that holds the key, if
    litellm's own is not meant. `strict` stops at a changed fingerprint of the served system, too.

    A request with a draft is streamed, and its call left once the text has parted from the draft: with `stream` "auto"
    where the provider streams, with "always" or not at all (TeacherError), with "never" whole texts are asked for, of
    which the rest is wasted and paid. `parted_costs` says what a call that was left costs: "most", the most that it
    can, since providers may write on, or "written", where it is known that they do not ("auto": as the table says).
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
        stream: str = AUTO,
        parted_costs: str = AUTO,
    ) -> None:
        if concurrency < 1 or call_timeout_s <= 0 or batch_deadline_s <= 0:
            raise ConfigError(
                f"the teacher {model!r} has concurrency {concurrency}, call_timeout_s {call_timeout_s} and "
                f"batch_deadline_s {batch_deadline_s}: all must be above 0"
            )
        if parted_costs not in PARTED_COSTS:
            raise ConfigError(f"teacher.parted_costs is {parted_costs!r}: it must be one of {', '.join(PARTED_COSTS)}")
        self.model = model
        self.traits = traits or traits_of(model)
        self.handover = handover_named(handover, self.traits, template, student_thinks)
        self.temperature, self.top_p = temperature, top_p
        # Whose tokens the model reads, where that is known (a template is of use to raw prompts alone).
        self.tokenizer = None if template is None else template.tokenizer
        self.api_base = server_address(model, self.handover.completes, api_base)
        self.batch_deadline_s = batch_deadline_s
        self.patience = patience or RetryPolicy()
        parameters = dict(parameters or {})
        if "api_key" not in parameters:
            sent = self.traits.completion_model if self.handover.completes else model
            require_leave(sent_by(sent, self.api_base or base_of(parameters), key_variable), model)
        self._limits = Limits(requests_per_minute, tokens_per_minute)  # they hold as long as this teacher lives
        self.endpoint = Endpoint(
            self.traits, self.handover, price or price_of(model), self.api_base, key_variable,
            sampling(self.traits, self.handover, temperature, top_p), parameters, concurrency, call_timeout_s, strict,
            pacer_for(model, self.api_base or "", self._limits), Streaming(model, stream),
            self.traits.parted_costs if parted_costs == AUTO else parted_costs,
        )  # fmt: skip

    @property
    def price(self) -> Price | None:
        return self.endpoint.price

    @property
    def identity(self) -> Mapping[str, Any]:
        """Everything that changes the texts; the served model is compared apart, since it is known after a call."""
        return {
            "kind": "hosted",
            "endpoint": self.api_base or "",
            "model": self.model,
            "handover": self.handover.name,
            "sampling": merged(self.endpoint.sampling, self.traits.parameters, self.endpoint.parameters),
            **self.handover.identity,
        }

    def beyond_text(self, request: ContinuationRequest) -> Mapping[str, Any] | None:
        """What else than a request's texts changes what is sent (identity.py)."""
        return self.handover.beyond_text(request)

    def fetch(
        self, requests: Sequence[ContinuationRequest], on_result: OnResult | None, observer: CallObserver | None
    ) -> list[Continuations]:
        """`on_result` is called in the calling thread. Raises TeacherError where no request can succeed (no such model,
        a wrong key), and where another model than before answers."""
        if not requests:
            return []
        prepare()
        left = given_up_at.get(float("inf")) - time.monotonic()
        patience_s = max(0.0, min(self.batch_deadline_s, left))

        def fetch(caller: CallerThreadQueue) -> Coroutine[Any, Any, list[Continuations | None]]:
            return Fetch(
                self.endpoint, self.patience, patience_s, requests, on_result, observer, caller
            ).answers()

        return checked(self, requests, run(fetch))
