"""What another setting would cost, from what the audits at hand have cost: no price list, no teacher, no network.

Prices are rounded up where the records cannot tell: a further round reads each prefix at least once again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from omniopd.io.units import dollars
from omniopd.records import AuditRecord

# Where the records cannot tell the two apart, a written token is assumed to cost as much as five read ones.
WRITTEN_TO_READ = 5.0


@dataclass(frozen=True, slots=True)
class StepUsage:
    """What the audits at hand used: M forks × N texts of C tokens. Dollars per token; None if unknown."""

    forks: int = 0
    samples: int = 0
    chunk_tokens: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float = 0.0
    usd_per_input: float | None = None
    usd_per_output: float | None = None


@dataclass(frozen=True, slots=True)
class TokenPrice:
    """Teacher tokens and dollars. Dollars are None where no record says what a token costs."""

    input_tokens: int = 0
    output_tokens: int = 0
    cost_usd: float | None = 0.0

    @property
    def is_free(self) -> bool:
        return not (self.input_tokens or self.output_tokens)

    def __str__(self) -> str:
        if self.is_free:
            return "free"
        read = f"{self.input_tokens:,} teacher tokens read + " if self.input_tokens else ""
        return f"≈ {read}{self.output_tokens:,} {'' if read else 'teacher tokens '}written, {dollars(self.cost_usd)}"


class Quoted(Protocol):
    """A price from whoever would ask the teacher; its text is shown verbatim."""

    @property
    def is_free(self) -> bool: ...


def usage_of(audits: Sequence[AuditRecord]) -> StepUsage:
    """What these audits used. Cached answers without token counts are assumed to be like the others."""
    if not audits:
        return StepUsage()
    counted = [a for a in audits if a.output_tokens > 0]
    samples = max(len(a.texts) for a in audits)
    chunk = max(a.stop - a.start for a in audits)
    if not counted:
        # No token counts: the student's own tokens stand for the teacher's.
        read = sum(a.start for a in audits)
        return StepUsage(len(audits), samples, chunk, read, len(audits) * samples * chunk, 0.0)
    scale = len(audits) / len(counted)
    read_rate, written_rate = _rates(counted)
    return StepUsage(
        len(audits),
        samples,
        chunk,
        round(scale * sum(a.input_tokens for a in counted)),
        round(scale * sum(a.output_tokens for a in counted)),
        scale * sum(a.cost_usd for a in counted),
        read_rate,
        written_rate,
    )


def quote(usage: StepUsage, forks: int, samples: int, chunk_tokens: int) -> TokenPrice:
    """At most what M, N and C would cost beyond what is at hand.

    More texts: a further round at every fork. More forks: theirs. Another C: everything again, since chunks keep apart
    by C and forks move. Fewer of anything: free.
    """
    if not usage.forks or not usage.samples:
        return TokenPrice()
    asked: list[tuple[int, int, float]]
    if chunk_tokens != usage.chunk_tokens:
        asked = [(forks, samples, chunk_tokens / usage.chunk_tokens)]
    else:
        asked = [(min(forks, usage.forks), samples - usage.samples, 1.0), (forks - usage.forks, samples, 1.0)]
    read = written = 0.0
    for count, texts, length in asked:
        if count > 0 and texts > 0:
            read += count * usage.input_tokens / usage.forks * max(1.0, texts / usage.samples)
            written += count * texts * usage.output_tokens / (usage.forks * usage.samples) * length
    return priced(usage, read, written)


def priced(usage: StepUsage, read: float, written: float) -> TokenPrice:
    """So many tokens at the rates of these audits."""
    cost = None
    if usage.usd_per_input is not None and usage.usd_per_output is not None:
        cost = read * usage.usd_per_input + written * usage.usd_per_output
    return TokenPrice(round(read), round(written), cost)


def _rates(audits: Sequence[AuditRecord]) -> tuple[float | None, float | None]:
    """Dollars per token read and written, by least squares over the audits; two None where a cache hid the price."""
    paid = [a for a in audits if a.cost_usd > 0]
    if not paid:
        return (None, None) if any(a.cached for a in audits) else (0.0, 0.0)
    rr = sum(a.input_tokens**2 for a in paid)
    rw = sum(a.input_tokens * a.output_tokens for a in paid)
    ww = sum(a.output_tokens**2 for a in paid)
    rc = sum(a.input_tokens * a.cost_usd for a in paid)
    wc = sum(a.output_tokens * a.cost_usd for a in paid)
    determinant = rr * ww - rw * rw
    if determinant > 1e-6 * rr * ww:
        read, written = (rc * ww - wc * rw) / determinant, (wc * rr - rc * rw) / determinant
        if read >= 0 and written >= 0:
            return read, written
    cost = sum(a.cost_usd for a in paid)
    units = sum(a.input_tokens + WRITTEN_TO_READ * a.output_tokens for a in paid)
    return cost / units, WRITTEN_TO_READ * cost / units
