"""Does a teacher continue, or restart? Found out with some twenty calls, before a run is paid for.

The table of handovers is a claim: where the provider refuses it, or texts do not go on, the next one is tried and
proposed. Calls are made one by one and not repeated until they please, so that rates are the provider's own.
"""

from __future__ import annotations

import asyncio
import random
import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from omniopd.config import HANDOVERS
from omniopd.errors import ConfigError, TeacherError
from omniopd.teachers.access.guard import prepare
from omniopd.teachers.cache.identity import sampling_of
from omniopd.teachers.checks.probes import KNOWN, OPEN, THINKS, UNANSWERED, ContinuationProbe, classified
from omniopd.teachers.checks.report import SamplingCheck, StreamCheck, TeacherReport, Trial
from omniopd.teachers.handover.base import UnsupportedRequest
from omniopd.teachers.hosted.background import run
from omniopd.teachers.hosted.choices import parsed_choice
from omniopd.teachers.hosted.endpoint import Endpoint
from omniopd.teachers.hosted.failures import FOR_ALL, Failure
from omniopd.teachers.hosted.retry import RetryPolicy
from omniopd.teachers.hosted.streaming import ALWAYS
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.hosted.transport import Reply
from omniopd.teachers.spending.usage import UNTOLD, Taken, billed
from omniopd.types import ContinuationRequest, Continuations, Teacher, Usage

Maker = Callable[[str, float], HostedTeacher]  # (handover, temperature); "" is the table's
LONGEST_WAIT_S = 60.0  # that this check, which has no deadline, waits because a provider says so
AT_ONCE, OPEN_TOKENS, COLD_DRAWS, WARM_DRAWS, TRIES = 4, 24, 3, 6, 3
STREAM_TOKENS, NOBODYS_DRAFT = 64, "\u2603"  # what no text begins with: it parts from it at once


def check_teacher(
    teacher: str | Teacher | Maker,
    *,
    known: Sequence[ContinuationProbe] = KNOWN,
    opening: ContinuationProbe = OPEN,
    **settings: Any,
) -> TeacherReport:
    """Try a teacher out: a model's name with `settings` of HostedTeacher, a function that makes one, or any Teacher.

    A name or a function lets other handovers and temperatures be tried; a Teacher is taken as it is. `known` are
    beginnings with one continuation, `opening` one with many. Raises ConfigError for a teacher that cannot be built;
    one that does not answer is a report that says so.
    """
    if isinstance(teacher, str):
        model, handover = teacher, settings.pop("handover", "")
        own, top_p = settings.pop("temperature", 1.0), settings.pop("top_p", 1.0)

        def make(other: str, temperature: float) -> HostedTeacher:
            # Some models take one of the two, and the user's top_p belongs to the user's temperature.
            kept = top_p if temperature == own else 1.0
            return HostedTeacher(model, handover=other or handover, temperature=temperature, top_p=kept, **settings)

        return _Check(make, known, opening).execute()
    if isinstance(teacher, Teacher):
        return _check_as_it_is(teacher, known, opening)
    return _Check(teacher, known, opening).execute()


@dataclass(frozen=True, slots=True)
class _CallResult:
    """One call's outcome: its texts with what the handover said of each (text, problem, echoed), or a failure."""

    texts: tuple[tuple[str | None, str | None, bool], ...] = ()
    seconds: float = 0.0
    served_model: str = ""
    usage: Usage = field(default_factory=Usage)
    failure: Failure | None = None
    streamed: bool = False
    taken: Taken = UNTOLD


class _Check:
    """The check of a hosted teacher. `make` builds it anew for each handover and temperature."""

    def __init__(self, make: Maker, known: Sequence[ContinuationProbe], opening: ContinuationProbe) -> None:
        self.make, self.known, self.opening = make, known, opening
        self.heard: list[_CallResult] = []

    def execute(self) -> TeacherReport:
        prepare()
        first = self.make("", 1.0)
        claimed = first.handover.name
        taken = first.traits.takes_sampling
        trials: list[Trial] = []
        for name in (claimed, *(h for h in HANDOVERS if h != claimed)):
            try:
                teacher = self.make("" if name == claimed else name, 0.0 if taken else 1.0)
            except ConfigError:
                if name == claimed:
                    raise
                continue  # no chat template to render a raw prompt with
            if teacher.handover.completes and teacher.api_base is None:
                continue  # a completion endpoint is a server of one's own; litellm would ask OpenAI
            trial, problem = self._try(teacher)
            trials.append(trial)
            if problem:
                return self._report(first, problem, trials)
            if trial.works:
                break
        best = max(trials, key=lambda t: (not t.refused, t.goes_on))
        if not best.works:
            return self._report(first, _why_not(best), trials)
        chosen = "" if best.handover == claimed else best.handover
        sampling = self._sampling(chosen, taken)
        stream = self._stream(chosen)
        problem = _why_not_sampled(sampling) or _why_not_streamed(first, stream)
        return self._report(first, problem, trials, best.handover, sampling, stream)

    def _try(self, teacher: HostedTeacher) -> tuple[Trial, str]:
        """The known beginnings by one handover; and why there is no answer, if there is none."""
        heard = self._ask(teacher, [item.request() for item in self.known])
        name, exact = teacher.handover.name, teacher.handover.exact
        failures = [h.failure for h in heard if h.failure is not None]
        if len(failures) == len(heard) and any(f.reason in FOR_ALL or not f.is_final for f in failures):
            reason = str(next(f for f in failures if f.reason in FOR_ALL or not f.is_final))
            return Trial(name, exact, refused=reason), f"the teacher does not answer: {reason}"
        begun = [h.failure for h, item in zip(heard, self.known, strict=True) if item.prefix]
        if begun and all(failure is not None for failure in begun):
            return Trial(name, exact, refused=str(failures[0])), ""
        findings, echoes = [], 0
        for item, answer in zip(self.known, heard, strict=True):
            if not answer.texts:
                findings.append(UNANSWERED)
                continue
            text, problem, echoed = answer.texts[0]
            findings.append(classified(item, text, problem))
            echoes += echoed
        return Trial(name, exact, tuple(findings), tuple(item.ends_in for item in self.known), echoes), ""

    def _sampling(self, handover: str, taken: bool) -> SamplingCheck:
        request = replace(self.opening.request(OPEN_TOKENS), samples=1)
        cold: list[str] = []
        if taken:
            cold = _texts(self._ask(self.make(handover, 0.0), [replace(request, seed=n) for n in range(COLD_DRAWS)]))
        teacher = self.make(handover, 1.0)
        per_call = min(teacher.traits.most_samples, WARM_DRAWS)
        together = self._ask(teacher, [replace(request, samples=per_call)])
        alone = self._ask(teacher, [replace(request, seed=100 + n) for n in range(max(0, WARM_DRAWS - per_call))])
        warm = _texts([*together, *alone])
        brought = len(together[0].texts)
        return SamplingCheck(len(set(cold)), len(cold), len(set(warm)), len(warm), per_call, brought, taken)

    def _stream(self, handover: str) -> StreamCheck:
        """Whether a call can be left where its text parts from a draft, and what is known of what it costs then."""
        teacher = self.make(handover, 1.0)
        request = replace(self.opening.request(STREAM_TOKENS), samples=1, draft=NOBODYS_DRAFT)
        [heard] = self._ask(teacher, [request])
        taken, costs = heard.taken, teacher.endpoint.parted_costs
        problem = "" if heard.failure is None else str(heard.failure)
        return StreamCheck(
            heard.streamed, taken.is_parted, STREAM_TOKENS, taken.written, taken.is_told, costs, problem
        )

    def _ask(self, teacher: HostedTeacher, requests: Sequence[ContinuationRequest]) -> list[_CallResult]:
        async def all_of_them(desk: object) -> list[_CallResult]:
            slots = asyncio.Semaphore(AT_ONCE)
            return list(await asyncio.gather(*(_one_call(teacher.endpoint, request, slots) for request in requests)))

        heard = run(all_of_them)
        self.heard += heard
        return heard

    def _report(
        self,
        teacher: HostedTeacher,
        problem: str,
        trials: Sequence[Trial],
        handover: str = "",
        sampling: SamplingCheck | None = None,
        stream: StreamCheck | None = None,
    ) -> TeacherReport:
        answered = [h for h in self.heard if h.texts]
        served = tuple(dict.fromkeys(h.served_model for h in answered))
        if not problem and len(served) > 1:
            problem = f"its answers came from {' and '.join(served)}: name a model that is pinned to a version"
        return _timed(
            TeacherReport(
                teacher.model, problem, teacher.handover.name, handover, tuple(trials), sampling, stream, served,
                usage=sum((h.usage for h in self.heard), Usage()), price=teacher.price,
            ),
            [h.seconds for h in answered],
        )  # fmt: skip


async def _one_call(endpoint: Endpoint, request: ContinuationRequest, slots: asyncio.Semaphore) -> _CallResult:
    """One call as a run makes it, its texts as they came; only what may pass by itself is tried again."""
    try:
        [batch] = endpoint.sample_batches(0, request)
    except UnsupportedRequest as refused:
        return _CallResult(failure=Failure(refused.reason, is_final=True))
    policy, chance = RetryPolicy(), random.Random()
    attempt, paid, call = 1, Usage(), endpoint.call_for(batch, request.samples)
    tries = max(TRIES, endpoint.streaming.ways)  # each way of streaming that is refused takes one
    async with slots:
        while True:
            await endpoint.wait_turn(batch, request.samples)
            since = time.monotonic()
            reply = await endpoint.send(batch, batch.seed % 2**31, request.samples)
            if isinstance(reply, Reply):
                paid += billed(reply.taken, endpoint.price, call, endpoint.parted_costs)[0]
                parsed = [parsed_choice(choice, reply, batch.rendered, endpoint.handover) for choice in reply.choices]
                texts = tuple((one.text, one.problem, one.echoed) for one in parsed) or ((None, None, False),)
                seconds = time.monotonic() - since
                return _CallResult(texts, seconds, reply.served_model, paid, None, reply.streamed, reply.taken)
            paid += billed(UNTOLD, endpoint.price, call)[0] if reply.unsure else Usage(calls=1)
            if reply.is_final or attempt == tries or (reply.retry_after_s or 0) > LONGEST_WAIT_S:
                return _CallResult(failure=reply, usage=paid)
            await asyncio.sleep(policy.pause(attempt, reply.retry_after_s, chance))
            attempt += 1


def _check_as_it_is(teacher: Teacher, known: Sequence[ContinuationProbe], opening: ContinuationProbe) -> TeacherReport:
    """A teacher of any kind, asked as a run asks it: its own handover, its own temperature. What is known is asked of a
    model that runs here at temperature 0: a drawn line may leave it, however the prefix was handed over."""
    from omniopd.teachers.local import LocalTeacher  # loads torch, which a teacher behind an API has no need of

    cold, is_here = teacher, isinstance(teacher, LocalTeacher)
    if isinstance(teacher, LocalTeacher):
        cold = LocalTeacher(teacher.model, teacher.tokenizer, 0.0, batch_tokens=teacher.batch_tokens, name=teacher.name)
    seconds: list[float] = []
    answers: list[Continuations] = []

    def ask(request: ContinuationRequest, who: Teacher = teacher) -> Continuations:
        since = time.monotonic()
        [answer] = who.continue_from([request])
        seconds.append(time.monotonic() - since)
        answers.append(answer)
        return answer

    names = (getattr(teacher, "name", None), getattr(teacher, "model", None), type(teacher).__name__)
    name = next(n for n in names if isinstance(n, str))
    try:
        continued = [ask(item.request(), cold) for item in known]
        warm = ask(replace(opening.request(OPEN_TOKENS), samples=WARM_DRAWS))
    except TeacherError as error:
        return TeacherReport(name, str(error))
    findings = tuple(
        classified(item, answer.texts[0] if answer.texts else None, answer.problem)
        for item, answer in zip(known, continued, strict=True)
    )
    trial = Trial(warm.handover, warm.exact, findings, tuple(item.ends_in for item in known), here=is_here)
    sampling = SamplingCheck(
        warm=len(set(warm.texts)), warm_asked=len(warm.texts), per_call=WARM_DRAWS, brought=len(warm.texts),
        greedy=sampling_of(teacher).get("temperature") == 0,
    )  # fmt: skip
    usage = sum((answer.usage for answer in answers), Usage())
    problem = (_why_not(trial) if not trial.works else "") or _why_not_sampled(sampling)
    report = TeacherReport(
        name, problem, trial.handover, trial.handover if trial.works else "", (trial,), sampling, None,
        tuple(dict.fromkeys(a.served_model for a in answers)), usage=usage, is_hosted=bool(usage.cost_usd),
    )  # fmt: skip
    return _timed(report, seconds)


def _timed(report: TeacherReport, seconds: Sequence[float]) -> TeacherReport:
    if not seconds:
        return report
    ordered = sorted(seconds)
    p95 = ordered[min(len(ordered) - 1, round(0.95 * (len(ordered) - 1)))]
    return replace(report, calls=len(ordered), latency_median_s=statistics.median(ordered), latency_p95_s=p95)


def _texts(heard: Sequence[_CallResult]) -> list[str]:
    return [text for h in heard for text, problem, _ in h.texts if text is not None and problem is None]


def _why_not(best: Trial) -> str:
    if best.refused:
        return f"the provider refuses every handover, {best.handover} with: {best.refused}"
    if best.findings.count(THINKS) * 2 > len(best.findings):
        return (
            "it thinks, and the tokens it is given are used up before it writes: take a model that does not think, or "
            "switch thinking off where it is served"
        )
    return f"it does not go on from where a text stops, by {best.handover} at best: {best}"


def _why_not_streamed(teacher: HostedTeacher, stream: StreamCheck) -> str:
    if teacher.endpoint.streaming.mode != ALWAYS or stream.streamed:
        return ""
    return 'teacher.stream is "always", and it does not stream: set it to "auto", which asks for whole texts'


def _why_not_sampled(sampling: SamplingCheck) -> str:
    if sampling.warm_asked == 0:
        return "it wrote nothing after an open beginning: there would be no samples"
    if sampling.warm == 1 and sampling.warm_asked > 1 and not sampling.greedy:
        return (
            f"{sampling.warm_asked} draws of an open beginning were one text, as all samples would be; the server does "
            "not sample, or begins every call with one seed: start it so that it samples (do_sample and no seed in its "
            "settings or in the checkpoint's generation_config.json)"
        )
    return ""
