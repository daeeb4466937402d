"""A scan's runs read closely: how far the teacher agrees with the student, and what it would have written where not.

Every text of a run agrees with the student's tokens in all but perhaps the last, so what is to be told of a run is told
of its last token. Knows records; numbers and strings.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

from omniopd.method.disagreement import place_of as place_of
from omniopd.records import AuditRecord, Posterior, RolloutRecord
from omniopd_widgets._parts.safe import JsonObject, shorten, to_json

_SAID = 12  # different tokens of the teacher's at one place, at most
END = "the end of the turn"


def agreeing(audit: AuditRecord) -> int:
    """How many texts of a run agree with its last token too."""
    return sum(similarity > 0 for similarity in audit.similarities)


def said(audit: AuditRecord) -> list[tuple[str, int]]:
    """What texts have instead of a run's last token, each with its number, most frequent first; "" ends the turn."""
    counts = Counter(
        pieces[-1]
        for pieces, similarity in zip(audit.text_pieces, audit.similarities, strict=False)
        if pieces and not similarity > 0
    )
    return sorted(counts.items(), key=lambda item: (-item[1], item[0]))[:_SAID]


def at_its_end(audit: AuditRecord, rollout: RolloutRecord | None = None) -> AuditRecord:
    """A run's last token as an audit of its own, of texts of one token; any other audit as it is.

    Its prior is the student's probability there, so that its π̂ is (k + α π) / (n + α) of that very token.
    """
    if not audit.run:
        return audit
    before = len(agreed_text(audit))
    return _of_token(
        audit, rollout, audit.stop - 1, chunk=audit.chunk[before:], texts=tuple(text[before:] for text in audit.texts),
        text_pieces=tuple(p[-1:] for p in audit.text_pieces),
    )  # fmt: skip


def agreed_after(rollout: RolloutRecord, prefix: str) -> AuditRecord | None:
    """The audit of the one token behind `prefix`, where a run's texts all agree with it."""
    place, length = 0, 0
    while place < len(rollout.pieces) and length < len(prefix):
        length += len(rollout.pieces[place])
        place += 1
    if length != len(prefix) or "".join(rollout.pieces[:place]) != prefix:
        return None
    inside = [a for a in rollout.audits if a.run and a.start <= place < a.stop]
    if not inside or (said(inside[0]) and place == inside[0].stop - 1):
        return None
    piece, count = rollout.pieces[place], len(inside[0].texts)
    return _of_token(
        inside[0], rollout, place, chunk=piece, texts=(piece,) * count, text_pieces=((piece,),) * count,
        similarities=(1.0,) * count, soft_count=float(count),
    )  # fmt: skip


def parting(rollout: RolloutRecord) -> list[AuditRecord]:
    """The audits that say something: forks, and of the runs of a scan the tokens from which a text parts."""
    return [at_its_end(a, rollout) for a in rollout.audits if not a.run or said(a)]


def _of_token(audit: AuditRecord, rollout: RolloutRecord | None, place: int, **found: Any) -> AuditRecord:
    """A run's audit at one of its tokens; the student's probability there is known from the rollout alone."""
    prior, entropy, at = audit.prior, audit.entropy, slice(place - audit.start, place - audit.start + 1)
    if rollout is not None and place < len(rollout.logprobs):
        prior, entropy = math.exp(rollout.logprobs[place]), rollout.entropies[place]
    one = replace(
        audit, start=place, stop=place + 1, prior=prior, entropy=entropy, weights=audit.weights[at],
        labels=audit.labels[at], label_nll=audit.label_nll[at], **found,
    )  # fmt: skip
    mean = Posterior.of(one.soft_count, len(one.texts), prior, one.concentration).mean
    return replace(one, posterior_mean=mean)


def agreed_text(audit: AuditRecord) -> str:
    """What of a run all texts share with the student: everything but its last token."""
    pieces: tuple[str, ...] = next((p for p in audit.text_pieces if p), ())
    return "".join(pieces[:-1])


def acceptance(audits: Iterable[AuditRecord]) -> float | None:
    """The share of the teacher's tokens that are the student's own; None without a run."""
    equal = drawn = 0
    for audit in audits:
        if audit.run:
            drawn += len(audit.texts) * (audit.stop - audit.start)
            equal += len(audit.texts) * (audit.stop - audit.start - 1) + agreeing(audit)
    return equal / drawn if drawn else None


def worth(fork: Mapping[str, Any]) -> int:
    """Of the page's rows: a run from which most texts part is worth more than one that they agree with."""
    if "run" not in fork or not fork["said"]:
        return 0 if "run" in fork else 2
    return 2 if fork["said"][0][1] > fork["agreeing"] else 1


def in_words(audit: AuditRecord) -> str:
    """`agrees for 14 tokens, then “29” for “31”`."""
    last = audit.stop - audit.start - 1
    if not (others := said(audit)):
        return f"agrees for {_tokens(last + 1)}"
    own, (token, count) = audit.chunk[len(agreed_text(audit)) :], others[0]
    times = f" ({count} of {len(audit.texts)})" if len(audit.texts) > 1 else ""
    begins = f"agrees for {_tokens(last)}, then " if last else ""
    return f"{begins}{_quoted(token)} for {_quoted(own)}{times}"


def run_row(audit: AuditRecord, rollout: RolloutRecord | None) -> JsonObject:
    """What the page gets of a run; `said` are the teacher's other tokens at the last place, `own` is the student's."""
    end = at_its_end(audit, rollout)
    return to_json(
        {
            "run": True, "samples": len(audit.texts), "agreeing": agreeing(audit), "said": said(audit),
            "own": end.chunk, "agreed": agreed_text(audit), "words": in_words(audit), "entropy": end.entropy,
            "prior": end.prior, "posterior_mean": end.posterior_mean, "concentration": audit.concentration,
        }
    )  # fmt: skip


def _tokens(count: int) -> str:
    return f"{count} token{'s' * (count != 1)}"


def _quoted(token: str) -> str:
    one_line = token.replace("\n", "⏎").replace("\t", "⇥")
    return f"“{shorten(one_line, 40)}”" if token else END
