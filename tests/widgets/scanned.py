"""A scanned answer as a record, without models: for views that show the runs of a scan."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from omniopd.records import AuditRecord, Posterior, RolloutRecord

PIECES = ("Mia", " has", " 67", "-", "25", "=", "4", "1", " books", ".\n", "####", " 41", "")
LOGPROBS = tuple(-0.1 - 0.05 * i for i in range(len(PIECES)))
ENTROPIES = tuple(0.2 + 0.1 * i for i in range(len(PIECES)))
ALPHA = 0.3


def run(start: int, stop: int, last: Sequence[str], pieces: Sequence[str] = PIECES) -> AuditRecord:
    """The run of texts that agree with tokens start … stop − 2 and have `last` in the place of the next one."""
    agreed, own = tuple(pieces[start : stop - 1]), pieces[stop - 1]
    texts = tuple("".join(agreed) + token for token in last)
    similarities = tuple(float(token == own) for token in last)
    prior = math.exp(sum(LOGPROBS[start:stop]) / (stop - start))
    return AuditRecord(
        start, stop, ENTROPIES[start], "".join(pieces[start:stop]), texts, similarities, sum(similarities), prior,
        Posterior.of(sum(similarities), len(texts), prior, ALPHA).mean, ALPHA, weights=(0.0,) * (stop - start),
        labels=tuple(
            tuple((token, float(among.count(token))) for token in sorted(set(among)))
            for among in (*((piece,) * len(last) for piece in agreed), tuple(last))
        ),
        handover="raw", served_model="some-teacher", input_tokens=50 + start, output_tokens=stop - start,
        text_pieces=tuple((*agreed, token) for token in last), label_nll=(0.1,) * (stop - start), run=True,
    )  # fmt: skip


def scanned(*runs: AuditRecord, step: int = 1, row: int = 0, pieces: Sequence[str] = PIECES) -> RolloutRecord:
    """An answer under a scan of three draws: they part from “1” together, one of them from the end of the line, and
    none at the end. Other `runs` take their place."""
    made = runs or (run(0, 8, ("2", "2", "2")), run(8, 10, (".\n", " now", ".\n")), run(10, 13, ("", "", "")))
    return RolloutRecord(
        row, step, "p0", ({"role": "user", "content": "How many books?"},), tuple(pieces), LOGPROBS[: len(pieces)],
        ENTROPIES[: len(pieces)], anchored=(False,) * len(pieces), audits=made, answer="42",
    )  # fmt: skip


def one_draw() -> RolloutRecord:
    """The same of one draw."""
    made = scanned(run(0, 8, ("2",)), run(8, 10, (" now",)), run(10, 13, ("",)))
    return replace(made, row=1)
