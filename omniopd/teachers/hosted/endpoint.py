"""A model at an address: what a call to it holds and costs at most, when it may be sent, and who answered.

Knows one call at a time; what belongs to a batch, and what is sent again, is `fetch.py`'s.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from omniopd.errors import TeacherError
from omniopd.models.decoding import row_seed
from omniopd.teachers.handover.base import Handover, ProviderRequest
from omniopd.teachers.hosted.calls import Call
from omniopd.teachers.hosted.failures import REFUSED_REQUEST, UNSTREAMED, Failure
from omniopd.teachers.hosted.pacing import Pacer
from omniopd.teachers.hosted.parting import parted
from omniopd.teachers.hosted.slots import Slots
from omniopd.teachers.hosted.streaming import Streaming
from omniopd.teachers.hosted.transport import Reply, send, without_keys
from omniopd.teachers.hosted.wire import call_parameters, likely_tokens, merged, most_tokens
from omniopd.teachers.model_traits import ModelTraits
from omniopd.teachers.spending.prices import STANDARD, Price
from omniopd.teachers.spending.usage import COSTS_MOST
from omniopd.types import ContinuationRequest

_LOG = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class SampleBatch:
    """Draws of one request that may share a call: how they are asked for, the seed of draw 0, and the draft that their
    texts are of use up to."""

    request: int
    rendered: ProviderRequest
    numbers: tuple[int, ...]
    seed: int
    max_tokens: int
    most_samples: int
    draft: str | None = None


@dataclass(eq=False)
class Endpoint:
    """What all calls of a hosted teacher share (`HostedTeacher` says what each setting means)."""

    traits: ModelTraits
    handover: Handover
    price: Price | None
    api_base: str | None
    key_variable: str | None
    sampling: Mapping[str, Any]
    parameters: Mapping[str, Any]
    concurrency: int
    call_timeout_s: float
    strict: bool
    pacer: Pacer
    streaming: Streaming
    parted_costs: str = COSTS_MOST
    served_model: str = ""
    fingerprints: list[str] = field(default_factory=list)
    _slots: tuple[asyncio.AbstractEventLoop, Slots] | None = None
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def sample_batches(self, index: int, request: ContinuationRequest) -> list[SampleBatch]:
        """The calls that request number `index` takes. Raises UnsupportedRequest."""
        rendered = self.handover.render(request)
        base = row_seed(request.seed, request.prompt.id, request.prefix)
        last, most = request.first_sample + request.samples, self.traits.most_samples
        if request.draft is not None and self.streaming.way is not None:
            most = 1  # each text parts from the draft at a place of its own
        max_tokens = request.max_tokens + rendered.extra_tokens
        return [
            SampleBatch(index, rendered, tuple(range(n, min(n + most, last))), base, max_tokens, most, request.draft)
            for n in range(request.first_sample, last, most)
        ]

    def call_for(self, batch: SampleBatch, samples: int) -> Call:
        """What a call takes at most: no token is shorter than a byte, and none is written beyond the limit."""
        read, written = most_tokens(batch.rendered), samples * batch.max_tokens
        tier = self.parameters.get("service_tier") or self.parameters.get("speed") or STANDARD
        usd = None if self.price is None else self.price.most(read, written, str(tier))
        return Call(batch.request, self.traits.model, read, written, usd)

    def slots(self) -> Slots:
        """The places of calls in flight, shared by all batches of this teacher."""
        loop = asyncio.get_running_loop()
        with self._lock:
            if self._slots is None or self._slots[0] is not loop:
                self._slots = loop, Slots(self.concurrency)
            return self._slots[1]

    async def wait_turn(self, batch: SampleBatch, samples: int) -> None:
        """Until limits per minute let a call go out."""
        await self.pacer.wait(_expected(batch, samples))

    async def send(self, batch: SampleBatch, seed: int | None, samples: int) -> Reply | Failure:
        """One call, at once; streamed if it has a draft. `seed` is left out where the model takes none."""
        way = None if batch.draft is None else self.streaming.way
        parameters = call_parameters(
            self.traits, batch.rendered, max_tokens=batch.max_tokens, samples=samples,
            seed=seed if self.traits.takes_seed else None, api_base=self.api_base, key_variable=self.key_variable,
            more=merged(self.sampling, self.parameters, way or {}),
        )  # fmt: skip
        reply = await send(parameters, self.call_timeout_s, None if way is None else self._enough(batch))
        if batch.draft is not None:
            reply = self._learned(way, reply)
        if not isinstance(reply, Reply):
            return reply
        reply = without_keys(reply)
        if not reply.taken.is_told and reply.taken.written and not reply.taken.read:
            # Counted here: what was read is known where it was token ids, and guessed where it was a text.
            reply = replace(reply, taken=replace(reply.taken, read=likely_tokens(batch.rendered)))
        if reply.taken.read or reply.taken.is_told:  # a gateway may leave that out, and litellm fills in zeros
            most = self.call_for(batch, samples)
            taken = min(reply.taken.read, most.input_tokens) + min(reply.taken.written, most.output_tokens)
            self.pacer.correct(_expected(batch, samples), taken)
        return reply

    def _enough(self, batch: SampleBatch) -> Callable[[str], bool]:
        """Of what has been written so far: whether the rest is of no use, since it has parted from the draft, or will
        never be a continuation."""
        rendered, draft = batch.rendered, batch.draft or ""

        def enough(text: str) -> bool:
            if self.handover.is_open(rendered, text):
                return False
            found = self.handover.parse(rendered, text)
            return found.problem is not None or parted(draft, found.text)

        return enough

    def _learned(self, way: Mapping[str, Any] | None, reply: Reply | Failure) -> Reply | Failure:
        """The reply, or what it says of streaming."""
        if isinstance(reply, Reply):
            if self.streaming.answered(way, reply.streamed):
                return reply
            said = "a whole text"
        elif reply.reason != REFUSED_REQUEST:
            return reply
        elif self.streaming.refused(way):
            return replace(reply, is_final=False, retry_after_s=0.0)
        elif not self.streaming.is_demanded:
            return reply
        else:
            said = reply.said
        return Failure(UNSTREAMED, is_final=True, unsure=isinstance(reply, Reply), said=(
            f'{said}, and teacher.stream is "always": set it to "auto" for a teacher that does not stream'
        ))  # fmt: skip

    def recognise(self, reply: Reply, again: bool) -> bool:
        """Whether the model that answered is the one that answered before; TeacherError if it is not, `again`."""
        with self._lock:
            self.served_model = self.served_model or reply.served_model
            if reply.served_model != self.served_model:
                if not again:
                    return False
                raise TeacherError(
                    f"the teacher {self.traits.model!r} was served by {self.served_model!r} and is now served by "
                    f"{reply.served_model!r}: the run stops, since its audits would mix two teachers; start a new one, "
                    "or name a model that is pinned to a version"
                )
            if reply.fingerprint and reply.fingerprint not in self.fingerprints:
                self.fingerprints.append(reply.fingerprint)
                if len(self.fingerprints) > 1:
                    self._fingerprint_changed(*self.fingerprints[-2:])
            return True

    def _fingerprint_changed(self, before: str, after: str) -> None:
        if self.strict:
            raise TeacherError(
                f"the system behind the teacher {self.traits.model!r} changed its fingerprint from {before!r} to "
                f"{after!r}, and the run is strict: start a new one, or set teacher.strict = false"
            )
        _LOG.warning("the system behind %s changed its fingerprint from %s to %s", self.traits.model, before, after)


def _expected(batch: SampleBatch, samples: int) -> int:
    return likely_tokens(batch.rendered) + samples * batch.max_tokens
