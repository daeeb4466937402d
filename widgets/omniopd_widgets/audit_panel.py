"""The audit panel: what the student wrote at a fork, beside what the teacher wrote there instead.

Knows audit records and no model: similarities are compared again without torch, and nobody is asked anything.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy
import traitlets as t

from omniopd.method.disagreement import teacher_tokens
from omniopd.method.evidence import credit
from omniopd.method.similarity import SIMILARITIES, Compare, characters, without_model
from omniopd.records import AuditRecord, RolloutRecord
from omniopd_widgets._parts import evidence as ev
from omniopd_widgets._parts import pencil
from omniopd_widgets._parts.base import View
from omniopd_widgets._parts.fork_names import Nth, fork_name, numbered
from omniopd_widgets._parts.safe import SafeHTML, element, escape, table, to_json

ORDERS = ("similar", "different", "frequent", "drawn")


class AuditPanel(View):
    """The audits of a rollout, one fork at a time. What the user does is an assignment, and assigning does the same:

    `fork` is the number of the audit, `similarity` and `compare` two names of `names`, `order` one of similar,
    different, frequent, drawn; `continuation` the number of a text (−1: none). A run of a scan is told by how long it
    agrees, and what it says where it parts.
    """

    forks: t.List[Any] = t.List().tag(sync=True)
    names: t.List[Any] = t.List().tag(sync=True)
    matrix = t.Bytes().tag(sync=True)  # float32, N × N: the teacher's agreement with itself
    matrix_of = t.Unicode("").tag(sync=True)  # "fork/similarity" that `matrix` belongs to

    fork = t.Int(-1).tag(sync=True)
    similarity = t.Unicode(ev.RECORDED).tag(sync=True)
    compare = t.Unicode("exact").tag(sync=True)
    order = t.Enum(ORDERS, "similar").tag(sync=True)
    continuation = t.Int(-1).tag(sync=True)

    def __init__(
        self,
        record: AuditRecord | RolloutRecord | Sequence[AuditRecord | RolloutRecord],
        *,
        similarities: Mapping[str, Compare] | None = None,
        **traits: Any,
    ) -> None:
        """`record`: an audit, a rollout, or several. `similarities`: more of them by name, each a function of a chunk
        and texts, such as a loaded embedding's. Opens on the fork with the highest entropy."""
        self.audits: tuple[AuditRecord, ...] = ()
        self.more = dict(similarities or {})
        super().__init__(**traits)
        self.show(record)
        for name in ("fork", "continuation"):
            if name in traits:
                setattr(self, name, traits[name])

    def show(
        self, record: AuditRecord | RolloutRecord | Sequence[AuditRecord | RolloutRecord], forks: Iterable[Any] = ()
    ) -> None:
        """Show other audits; `forks`: planned ones, which count where the answer's are numbered."""
        found = list(_audits(record))
        self.audits = tuple(audit for audit, _ in found)
        named = _numbered(found, tuple(forks))
        told = [{"nth": n, **_fork(*one, self.more)} for n, one in zip(named, found, strict=True)]
        worth = [(pencil.worth(fork), _known(fork["entropy"])) for fork in told]
        with self.hold_sync():
            self.names = [[name, self._label(name)] for name in (ev.RECORDED, *without_model(), *self.more)]
            self.matrix_of = ""
            self.forks = to_json(told)
            self.fork = max(range(len(told)), key=worth.__getitem__, default=-1)
            self.continuation = -1
            self._fill_matrix()

    def _label(self, name: str) -> str:
        if name == ev.RECORDED:
            return "what the run compared by"
        return SIMILARITIES[name].label if name in SIMILARITIES and name not in self.more else name

    def go_to(self, start: int) -> bool:
        """Show the audit at token `start`; False where there is none."""
        places = [i for i, audit in enumerate(self.audits) if audit.start == start]
        if places:
            self.fork = places[0]
        return bool(places)

    @t.validate("similarity", "compare")
    def _known_name(self, proposal: Any) -> str:
        known = (ev.RECORDED, *without_model(), *self.more)
        if proposal["value"] not in known:
            raise t.TraitError(
                f"{proposal['trait'].name} is {proposal['value']!r}: it must be one of {', '.join(known)}"
            )
        return str(proposal["value"])

    @t.observe("fork", "similarity")
    def _fill_matrix(self, _: Any = None) -> None:
        wanted = f"{self.fork}/{self.similarity}"
        if self.matrix_of == wanted or not 0 <= self.fork < len(self.audits):
            return
        if self.audits[self.fork].run:
            self.matrix_of = ""
            return
        # The recorded similarity may be a model's, which no view loads: letters stand in, and the page says so.
        similarity = {**without_model(), **self.more}.get(self.similarity, characters)
        agreement = ev.self_agreement(self.audits[self.fork].texts, similarity)
        with self.hold_sync():
            self.matrix = array("f", agreement).tobytes()
            self.matrix_of = wanted

    def summary(self) -> str:
        texts = sum(len(audit.texts) for audit in self.audits)
        runs = sum(audit.run for audit in self.audits)
        scan = f", {runs} runs of a scan" if runs else ""
        return f"{len(self.audits) - runs} forks{scan}, {texts} texts"

    def fallback(self) -> Sequence[SafeHTML]:
        order = sorted(range(len(self.audits)), key=lambda i: (i != self.fork, self.audits[i].start))
        return [part for i in order for part in _inert(self.audits[i], self.forks[i]["nth"])]


def _audits(
    record: AuditRecord | RolloutRecord | Sequence[AuditRecord | RolloutRecord],
) -> Iterator[tuple[AuditRecord, RolloutRecord | None]]:
    if isinstance(record, AuditRecord):
        yield record, None
    elif isinstance(record, RolloutRecord):
        yield from ((audit, record) for audit in record.audits)
    elif isinstance(record, (list, tuple)):
        for item in record:
            yield from _audits(item)
    else:
        raise TypeError(f"AuditPanel shows an AuditRecord or a RolloutRecord, not a {type(record).__name__}")


def _numbered(
    found: Sequence[tuple[AuditRecord, RolloutRecord | None]], planned: Sequence[Any]
) -> list[Nth]:
    """Which one of its answer's each is; of audits without their rollout, which one of all."""
    forks = {id(rollout): numbered(rollout, planned) for _, rollout in found if rollout is not None}
    return [
        (k, len(found)) if rollout is None else forks[id(rollout)][audit.start]
        for k, (audit, rollout) in enumerate(found)
    ]


def _fork(audit: AuditRecord, rollout: RolloutRecord | None, more: Mapping[str, Compare]) -> dict[str, Any]:
    told = {
        "row": None if rollout is None else rollout.row, "start": audit.start, "stop": audit.stop, "chunk": audit.chunk,
        "handover": audit.handover, "exact": audit.exact, "served_model": audit.served_model, "cached": audit.cached,
        "input_tokens": audit.input_tokens, "output_tokens": audit.output_tokens, "cost_usd": audit.cost_usd,
        "problem": audit.problem or "",
    }  # fmt: skip
    if audit.run:
        return told | pencil.run_row(audit, rollout)
    chunk_pieces = None if rollout is None else rollout.pieces[audit.start : audit.stop]
    alive, first = ev.survival(audit, chunk_pieces)
    logprob = rollout.logprobs[audit.start] if rollout is not None and audit.start < len(rollout.logprobs) else None
    return told | {
        "entropy": audit.entropy, "samples": len(audit.texts), "prior": audit.prior,
        "posterior_mean": audit.posterior_mean, "concentration": audit.concentration,
        "groups": [
            {"draws": draws, "parts": ev.differences(audit.chunk, text), "first": first[draws[0]]}
            for text, draws in ev.merged(audit.texts)
        ],
        "similarities": {
            name: [None if s is None else round(s, 5) for s in found]
            for name, found in ev.similarities(audit, more).items()
        },
        "pieces": chunk_pieces, "alive": alive, "credit": credit(numpy.array(alive)).tolist(), "weights": audit.weights,
        "unknown_tokens": sum(n is None for n in first),
        "next": teacher_tokens(audit), "own": chunk_pieces[0] if chunk_pieces else None,
        "own_probability": None if logprob is None else math.exp(logprob),
    }  # fmt: skip


def _inert(audit: AuditRecord, nth: Nth) -> list[SafeHTML]:
    if audit.run:
        return _inert_run(audit, nth)
    count = len(audit.texts)
    head = (
        f"{fork_name(nth, audit.start, audit.stop)}: entropy {_known(audit.entropy):.2f} nats, agreement "
        f"{audit.soft_count / count if count else 0.0:.2f} (sum of {count}), trust {audit.posterior_mean:.3f}; "
        f"{_handed(audit)}"
    )
    rows = sorted(
        ([len(draws), f"{audit.similarities[draws[0]]:.3f}", escape(text, 300)]
         for text, draws in ev.merged(audit.texts[: len(audit.similarities)])),
        key=lambda row: (-float(str(row[1])), -int(str(row[0]))),
    )  # fmt: skip
    chunk = element("p", "the student: ", escape(audit.chunk, 600))
    problem = [element("p", f"problem: {audit.problem}")] if audit.problem else []
    return [element("p", head), chunk, *problem, table(["texts", "similarity", "the teacher"], rows)]


def _inert_run(audit: AuditRecord, nth: Nth) -> list[SafeHTML]:
    end = pencil.at_its_end(audit)
    head = f"{fork_name(nth, audit.start, audit.stop, run=True)}: the teacher "
    own = [(end.chunk, pencil.agreeing(audit))] if pencil.agreeing(audit) else []
    rows = [[count, escape(token or pencil.END, 60)] for token, count in [*own, *pencil.said(audit)]]
    return [
        element("p", head, pencil.in_words(audit), f"; {_handed(audit)}"), element("p", escape(audit.chunk, 600)),
        *([element("p", f"problem: {audit.problem}")] if audit.problem else []),
        table(["texts", f"the teacher's token {audit.stop - 1}"], rows),
    ]  # fmt: skip


def _handed(audit: AuditRecord) -> str:
    way = f"prefix handed over as {audit.handover or 'unknown'}"
    if audit.exact:
        return "the teacher continued the student's exact text"
    asked = audit.handover == "instruction"
    loose = "was asked to go on in a sentence" if asked else "read it in other tokens than the student wrote"
    return f"{way} (not exact: the teacher {loose})"


def _known(value: float | None) -> float:
    return value if value is not None and math.isfinite(value) else 0.0
