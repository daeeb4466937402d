"""One name of a fork in all views: which one of its answer's it is, and its tokens, as `forkName` and `forkShort` of
static/_common.js say it (tests/widgets/test_fork_names.py compares them). Knows records."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from omniopd.records import RolloutRecord

Nth = tuple[int, int]  # from 0, and of how many


def numbered(record: RolloutRecord, planned: Iterable[Any] = ()) -> dict[int, Nth]:
    """The forks of an answer by their first token, and runs of a scan by their last one, too: those with an answer,
    those without one, and planned ones (with a `start`)."""
    starts = {audit.start for audit in record.audits} | {start for start, _ in record.unanswered}
    starts |= {fork.start for fork in planned}
    found = {start: (k, len(starts)) for k, start in enumerate(sorted(starts))}
    return found | {audit.stop - 1: found[audit.start] for audit in record.audits if audit.run}


def fork_name(nth: Nth, start: int, stop: int, run: bool = False) -> str:
    """`Fork 3 of 4 (tokens 25–30)`; a scan's is a run."""
    tokens = "tokens" if stop - start > 1 else "token"
    return f"{'Run' if run else 'Fork'} {nth[0] + 1} of {nth[1]} ({tokens} {_tokens_at(start, stop)})"


def fork_short(nth: Nth, start: int, stop: int) -> str:
    """The same where little room is, beneath a head that says what is numbered: `3 of 4 (25–30)`."""
    return f"{nth[0] + 1} of {nth[1]} ({_tokens_at(start, stop)})"


def _tokens_at(start: int, stop: int) -> str:
    return f"{start}–{stop - 1}" if stop - start > 1 else str(start)
