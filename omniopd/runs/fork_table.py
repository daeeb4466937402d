"""Every fork that a run has recorded, one row each: what was asked, what the student wrote, what the teacher writes.

A row is an audit of a fork, a run of a scan (its last token is what the row is about), or a fork that got no answer.
`search.matching` filters the table, `grouped` counts it. Knows records and folders; no view, no command.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from omniopd.io.texts import HALF, whole
from omniopd.method.disagreement import first_difference, place_of, self_agreement, teacher_tokens
from omniopd.records import AuditRecord, Posterior, RolloutRecord
from omniopd.runs.fork_labels import key, labels_of
from omniopd.runs.search import matching, require_column

if TYPE_CHECKING:
    import pandas

AGREED, SPLIT, DIFFERS, UNANSWERED = "agreed", "split", "differs", "unanswered"
KINDS = (AGREED, SPLIT, DIFFERS, UNANSWERED)
# A column: its type, and what it says. Programs read these names; a new one is a line here and its value below.
FORK_COLUMNS: dict[str, tuple[str, str]] = {
    "run": ("str", "the run's folder"),
    "step": ("int64", "the optimizer step, from 1"),
    "rollout": ("int64", "the answer's row in that step"),
    "probe": ("bool", "whether the answer was looked at and never learnt from"),
    "prompt": ("str", "the prompt's id"),
    "start": ("int64", "the first token of the chunk, from 0"),
    "stop": ("int64", "behind its last token"),
    "scan": ("bool", "a run of a scan, about its last token (texts agree in the others); a fork is about its first"),
    "kind": ("str", "`agreed`: every text is the chunk; `differs`: none is; `split`; `unanswered`"),
    "token": ("str", "the student's token there (empty: the end of the turn, or half of a character)"),
    "teacher_token": ("str", "the teacher's most frequent one"),
    "teacher_share": ("float64", "the share of the texts that have it"),
    "wrote": ("str", "the first word in which the chunk differs from `teacher_text` (empty: it does not)"),
    "writes": ("str", "the teacher's word there"),
    "chunk": ("str", "what the student wrote"),
    "teacher_text": ("str", "the teacher's most frequent text"),
    "entropy": ("float64", "the student's at that token, in nats"),
    "probability": ("float64", "the student's of its own token"),
    "agreement": ("float64", "mean similarity of chunk and texts"),
    "self_agreement": ("float64", "the share of pairs of texts that are the same"),
    "prior": ("float64", "the student's own confidence"),
    "posterior_mean": ("float64", "the trust"),
    "weight": ("float64", "mean weight of the chunk in the loss"),
    "texts": ("int64", "how many texts"),
    "different": ("int64", "how many different ones"),
    "exact": ("bool", "whether the teacher continued the student's very tokens"),
    "handover": ("str", "how the prefix was shown to the teacher"),
    "served_model": ("str", "who answered"),
    "tokens": ("int64", "the teacher's tokens, read and written"),
    "cost_usd": ("float64", "dollars"),
    "problem": ("str", "why there is no answer, or what is wrong with it"),
    "label": ("str", "what somebody has said of it: `real choice`, `only wording`, `teacher wrong`, `other`"),
    "note": ("str", "and why"),
}  # fmt: skip
_START, _CHUNK = (list(FORK_COLUMNS).index(name) for name in ("start", "chunk"))
GROUPS: dict[str, tuple[str, ...]] = {"pair": ("wrote", "writes")}  # what several columns are grouped by together
_MEANS = ("entropy", "agreement", "self_agreement", "posterior_mean")
_WORD_BEFORE = re.compile(r"(?:\d+(?:[.,]\d+)*[.,]?|[^\W\d]+)\Z")
_PIECES_BEFORE = 12  # tokens that a word before a fork may have begun in


def forks_of(
    recorded: Iterable[tuple[Path, Iterable[RolloutRecord]]], where: str = ""
) -> pandas.DataFrame:
    """The forks of these runs, each by its folder with its rollouts, in their order: the columns of `FORK_COLUMNS`.

    `where` keeps the rows that it holds for, such as `entropy > 1 and agreement < .3 and kind == "differs"`. Raises
    ConfigError for an expression that is none, before a rollout is read.
    """
    kept(table_of(()), where)
    return kept(table_of(row for run, rollouts in recorded for row in rows_of(run, rollouts)), where)


def rows_of(run: Path, rollouts: Iterable[RolloutRecord]) -> Iterator[tuple[Any, ...]]:
    """The forks of a run's rollouts as rows in the order of `FORK_COLUMNS`, with their labels."""
    labels = labels_of(run)
    for rollout in rollouts:
        about = (str(run), rollout.step, rollout.row, rollout.probe, rollout.prompt_id)
        made = [(*about, *_audited(rollout, audit)) for audit in rollout.audits]
        made += [(*about, *_unanswered(rollout, start, problem)) for start, problem in rollout.unanswered]
        for row in sorted(made, key=lambda row: int(row[_START])):
            said = labels.get(key(rollout.step, rollout.row, row[_START], row[_CHUNK])) if labels else None
            yield (*row, "", "") if said is None else (*row, said.label, said.note)


def table_of(rows: Iterable[tuple[Any, ...]]) -> pandas.DataFrame:
    """Rows as the table, numbered; the columns and their types are the same without rows."""
    import pandas

    found = list(zip(*rows, strict=True)) or [()] * len(FORK_COLUMNS)
    columns: dict[str, Sequence[Any]] = dict(zip(FORK_COLUMNS, found, strict=True))
    types = {name: kind for name, (kind, _) in FORK_COLUMNS.items()}
    columns |= {name: _writable(columns[name]) for name, kind in types.items() if kind == "str"}
    return pandas.DataFrame(columns, index=pandas.RangeIndex(len(found[0]), name="fork")).astype(types)


def kept(table: pandas.DataFrame, where: str) -> pandas.DataFrame:
    """The rows that an expression holds for, with their numbers."""
    return table if not where.strip() else table[matching(table, where)]


def grouped(table: pandas.DataFrame, by: str) -> pandas.DataFrame:
    """How many forks share a value of the column `by` (or of "pair", the words that disagree), on how many prompts, and
    their means; the most frequent first. Pairs of forks whose most frequent text is the student's are left out."""
    names = list(GROUPS[by]) if by in GROUPS else [require_column(table, by)]
    if by == "pair":
        table = table[(table.wrote != "") | (table.writes != "")]
    found = table.groupby(names, sort=True, dropna=False)
    means = {name: (name, "mean") for name in _MEANS if name not in names}
    counted = found.agg(forks=("prompt", "size"), prompts=("prompt", "nunique"), **means)
    return counted.sort_values("forks", ascending=False, kind="stable").reset_index()


def _audited(rollout: RolloutRecord, audit: AuditRecord) -> tuple[Any, ...]:
    place, count = place_of(audit), len(audit.texts)
    said = teacher_tokens(audit)
    texts = Counter(audit.texts)
    text = max(texts, key=lambda t: (texts[t], t == audit.chunk), default="")
    head = _word_before(rollout.pieces, audit.start)
    wrote, writes = first_difference(head + audit.chunk, head + text) if count else ("", "")
    own = texts[audit.chunk]
    probability = _probability(rollout, place)
    # A run is about its last token, and so is its trust.
    prior = probability if audit.run else audit.prior
    trust = audit.posterior_mean
    if audit.run and count:
        trust = Posterior.of(audit.soft_count, count, prior, audit.concentration).mean
    return (
        audit.start, audit.stop, audit.run,
        UNANSWERED if not count else AGREED if own == count else SPLIT if own else DIFFERS,
        _at(rollout.pieces, place, ""), said[0][0] if said else "",
        said[0][1] / sum(n for _, n in said) if said else math.nan,
        wrote, writes, audit.chunk, text,
        _at(rollout.entropies, place, audit.entropy) if audit.run else audit.entropy, probability,
        audit.soft_count / count if count else math.nan, self_agreement(audit.texts), prior, trust,
        sum(audit.weights) / len(audit.weights) if audit.weights else math.nan,
        count, len(texts), audit.exact, audit.handover, audit.served_model, audit.input_tokens + audit.output_tokens,
        audit.cost_usd, audit.problem or "",
    )  # fmt: skip


def _unanswered(rollout: RolloutRecord, start: int, problem: str) -> tuple[Any, ...]:
    token, nan = _at(rollout.pieces, start, ""), math.nan
    return (
        start, start + 1, False, UNANSWERED, token, "", nan, "", "", token, "", _at(rollout.entropies, start, nan),
        _probability(rollout, start), nan, nan, nan, nan, nan, 0, 0, True, "", "", 0, 0.0, problem,
    )  # fmt: skip


def _writable(texts: Sequence[str]) -> list[str]:
    """Texts that a table and a file can hold: half a surrogate pair is its escape."""
    return list(map(whole, texts)) if HALF.search("".join(texts)) else list(texts)


def _word_before(pieces: Sequence[str], start: int) -> str:
    """The beginning of a word that the fork lies inside of: a text that goes on with "2" behind "4" writes 42."""
    found = _WORD_BEFORE.search("".join(pieces[max(0, start - _PIECES_BEFORE) : start]))
    return found[0] if found else ""


def _probability(rollout: RolloutRecord, place: int) -> float:
    logprob: float = _at(rollout.logprobs, place, math.nan)
    return math.exp(min(logprob, 0.0))


def _at(values: Sequence[Any], place: int, otherwise: Any) -> Any:
    return values[place] if 0 <= place < len(values) else otherwise
