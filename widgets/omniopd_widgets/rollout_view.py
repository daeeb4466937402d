"""The rollout view: an answer token by token, its forks, its audited chunks, and what the teacher wrote there.

Knows a `RolloutRecord` (or a `Rollout`, by its fields) and no model. Positions count response tokens from 0; nats.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import traitlets as t

from omniopd.records import AuditRecord, RolloutRecord
from omniopd_widgets._parts import pencil
from omniopd_widgets._parts.base import View
from omniopd_widgets._parts.fork_names import fork_short
from omniopd_widgets._parts.safe import JsonObject, SafeHTML, element, escape, join, shorten, table, to_json
from omniopd_widgets._parts.static_html import sparkline

METRICS = ("entropy", "logprob", "kl", "trust", "share")
GRANULARITIES = ("token", "word", "sentence", "line")
_FALLBACK_TOKENS = 600


class RolloutView(View):
    """One rollout. What the user does is an assignment, and assigning does the same:

    `selected` is a token, `fork` a number in `forks` (both −1 for none), `continuation` one of that fork's texts, and
    `opened` the token at which somebody pressed Enter or clicked a fork: who asks teachers observes it, and sets it to
    −1 again, so that the same place can be opened once more. `metric` is one of entropy, logprob, kl, trust (π̂), share
    (of the loss); `granularity` token, word, sentence or line; `scale` percentile (colours end at the 99th percentile
    of this answer) or fixed (two answers can be compared).
    """

    pieces: t.List[Any] = t.List().tag(sync=True)
    entropy = t.Bytes().tag(sync=True)  # float32 per token, NaN where unknown
    logprob = t.Bytes().tag(sync=True)
    kl = t.Bytes().tag(sync=True)
    anchored = t.Bytes().tag(sync=True)  # one byte per token
    forks: t.List[Any] = t.List().tag(sync=True)
    prompt: t.List[Any] = t.List().tag(sync=True)
    finish = t.Unicode("stop").tag(sync=True)
    anchor_weight = t.Float(None, allow_none=True).tag(sync=True)
    right = t.Bool(None, allow_none=True).tag(sync=True)  # None: nobody graded it
    expected = t.Unicode("").tag(sync=True)

    selected = t.Int(-1).tag(sync=True)
    fork = t.Int(-1).tag(sync=True)
    continuation = t.Int(-1).tag(sync=True)
    opened = t.Int(-1).tag(sync=True)
    metric = t.Enum(METRICS, "entropy").tag(sync=True)
    granularity = t.Enum(GRANULARITIES, "token").tag(sync=True)
    scale = t.Enum(("fixed", "percentile"), "percentile").tag(sync=True)
    height = t.Int(360).tag(sync=True)

    def __init__(
        self,
        record: RolloutRecord | Any = None,
        *,
        tokens: Sequence[str] = (),
        values: Sequence[float] | None = None,
        forks: Iterable[Any] = (),
        anchor_weight: float | None = None,
        **traits: Any,
    ) -> None:
        """`record`: a RolloutRecord, or a Rollout. `forks`: places with `start`, `stop` (and `entropy`) that nobody has
        been asked about yet. `anchor_weight`: β, without which the loss share knows the chunks' part only.

        Without a record: `tokens` as texts, and for each its value of `metric` (entropy, logprob or kl). Raises
        ValueError where there are not as many.
        """
        if record is None:
            record = _plain_record(tokens, values, traits.get("metric", "entropy"))
        chosen = {name: traits.pop(name) for name in ("selected", "fork", "continuation") if name in traits}
        super().__init__(anchor_weight=anchor_weight, **traits)
        self.show(record, forks)
        if "selected" in chosen and "fork" not in chosen:
            chosen["fork"] = self._fork_at(chosen["selected"])
        for name, value in chosen.items():
            setattr(self, name, value)

    def show(self, record: RolloutRecord | Any, forks: Iterable[Any] = ()) -> None:
        """Show another record. The selection stays where the text is the same, and else opens on the main fork."""
        record = _as_record(record)
        pieces = to_json(record.pieces)
        same = pieces == self.pieces
        with self.hold_trait_notifications(), self.hold_sync():
            self.record = record
            self.pieces = pieces
            self.entropy, self.logprob = _floats(record.entropies), _floats(record.logprobs)
            self.kl = _floats(record.anchor_kl)
            self.anchored = bytes(bytearray(bool(a) for a in record.anchored))
            self.prompt = [to_json({"role": m["role"], "content": m["content"]}) for m in record.messages]
            self.finish, self.right, self.expected = record.finish, record.right, shorten(record.answer or "", 200)
            self.forks = _fork_rows(record, forks)
            if not same:
                self.open_main_fork()
            else:
                self.fork = self._fork_at(self.selected)

    def open_main_fork(self) -> None:
        """Select the fork that is worth the first look: the student's least sure one, of a scan's differences too."""
        self.fork = main_fork(self.forks)
        self.selected = _place(self.forks[self.fork]) if self.forks else _highest(self.record.entropies)
        self.continuation = self.opened = -1

    def summary(self) -> str:
        known = [e for e in self.record.entropies if e is not None and not math.isnan(e)]
        most = f", at most {max(known):.2f} nats" if known else ""
        runs = sum("run" in f for f in self.forks)
        scan = f", a scan of {runs} runs" if runs else ""
        return f"{len(self.pieces)} tokens, {len(self.forks) - runs} forks{scan}{most}"

    def fallback(self) -> Sequence[SafeHTML]:
        rows = [
            [
                fork_short((i, len(self.forks)), f["start"], f["stop"]), _short(f["entropy"]),
                _short(f["posterior_mean"]), f["chunk"], _teacher_at(f),
            ]
            for i, f in enumerate(self.forks)
        ]  # fmt: skip
        heads = ["fork", "entropy", "trust", "the student's chunk", "what the teacher did"]
        forks = [table(heads, rows, "Forks", limit=160)] if rows else []
        prompt = [element("p", f"{m['role']}: ", escape(m["content"])) for m in self.prompt]
        verdict = [] if self.right is None else [element("p", self.verdict)]
        return [*prompt, *verdict, self._tinted_text(), *forks]

    @property
    def verdict(self) -> str:
        """Whether the answer is right, in words."""
        return "✓ right" if self.right else f"✗ wrong, expected {self.expected}"

    def _tinted_text(self) -> SafeHTML:
        """The first tokens on a tint of their entropy, runs of one tint together; forks carry their number, and what a
        scan would have written instead stands behind the token."""
        starts = {f["start"]: i + 1 for i, f in enumerate(self.forks) if "run" not in f}
        instead = {_place(f): f["said"][0][0] or "■" for f in self.forks if f.get("said")}
        entropies = self.record.entropies
        known = sorted(e for e in entropies if e is not None and math.isfinite(e))
        high = known[math.ceil(0.99 * (len(known) - 1))] if known else 0.0
        runs: list[tuple[int, str]] = []
        for i, piece in enumerate(self.record.pieces[:_FALLBACK_TOKENS]):
            entropy = (entropies[i] if i < len(entropies) else None) or 0.0
            level = min(4, math.ceil(4 * entropy / high)) if entropy >= 0.1 and high >= 0.1 else 0
            mark = f"[{starts[i]}▸" if i in starts else ""
            if i in instead:
                piece = f"{piece}[→{instead[i]}]"
            if runs and not mark and runs[-1][0] == level:
                runs[-1] = (level, runs[-1][1] + piece)
            else:
                runs.append((level, mark + piece))
        parts = [_tinted(text, level) for level, text in runs]
        scale = (
            [element("p", f"Tint: entropy, darkest from {high:.2f} nats on, from this answer")] if high >= 0.1 else []
        )
        rest = len(self.record.pieces) - _FALLBACK_TOKENS
        more = [element("p", f"… {rest} more tokens")] if rest > 0 else []
        kept, size = [], 0
        for part in parts:
            size += len(part.encode("utf-8", "replace"))
            if size > 14_000:
                more = [element("p", "… the rest is shown where the notebook runs")]
                break
            kept.append(part)
        # Elements that say the same where styles are taken away: line breaks stay, and what stands out stands out.
        text = SafeHTML(f'<pre style="line-height:1.6;white-space:pre-wrap">{join(kept)}</pre>')
        line = sparkline([0.0 if e is None or not math.isfinite(e) else e for e in entropies])
        along = [element("p", "Entropy along the answer: ", element("code", line))] if high >= 0.1 else []
        return join([text, *more, *along, *scale])

    @t.observe("selected")
    def _follow_token(self, change: Any) -> None:
        self.fork = self._fork_at(change["new"])

    @t.observe("fork")
    def _follow_fork(self, change: Any) -> None:
        if 0 <= change["new"] < len(self.forks) and self._fork_at(self.selected) != change["new"]:
            self.selected = _place(self.forks[change["new"]])

    def _fork_at(self, token: int) -> int:
        """The fork that starts at the token, else the last one whose chunk holds it, else −1."""
        inside = [i for i, f in enumerate(self.forks) if f["start"] <= token < f["stop"]]
        return inside[-1] if inside else -1


def main_fork(forks: Sequence[Mapping[str, Any]]) -> int:
    """The fork to open on: of those with an answer the one with the highest entropy, else of all; −1 without forks."""
    answered = [i for i, f in enumerate(forks) if f["texts"]] or list(range(len(forks)))
    return max(answered, key=lambda i: (pencil.worth(forks[i]), forks[i]["entropy"] or 0.0), default=-1)


def _fork_rows(record: RolloutRecord, planned: Iterable[Any]) -> list[JsonObject]:
    """Audited, unanswered and planned forks as one list, ascending by start, each start once."""
    rows = {audit.start: _audited(audit, record) for audit in record.audits}
    for start, problem in record.unanswered:
        rows.setdefault(start, _unaudited(record, start, start + 1, problem=problem))
    for place in planned:
        rows.setdefault(place.start, _unaudited(record, place.start, place.stop))
    return [to_json(rows[start]) for start in sorted(rows)]


def _place(fork: Mapping[str, Any]) -> int:
    """The token that a fork is about: the last one of a run."""
    return int(fork["stop"] - 1 if "run" in fork else fork["start"])


def _audited(audit: AuditRecord, record: RolloutRecord) -> dict[str, Any]:
    row = {
        "start": audit.start, "stop": audit.stop, "entropy": _rounded(audit.entropy), "chunk": audit.chunk,
        "texts": audit.texts, "similarities": [_rounded(s) for s in audit.similarities],
        "posterior_mean": _rounded(audit.posterior_mean), "prior": _rounded(audit.prior),
        "soft_count": _rounded(audit.soft_count), "weights": [_rounded(w) for w in audit.weights],
        "exact": audit.exact, "problem": audit.problem or "",
    }  # fmt: skip
    if not audit.run:
        return row
    known = pencil.run_row(audit, record)
    return {**row, **{name: _rounded(v) if isinstance(v, float) else v for name, v in known.items()}}


def _unaudited(record: RolloutRecord, start: int, stop: int, problem: str = "") -> dict[str, Any]:
    entropy = record.entropies[start] if start < len(record.entropies) else math.nan
    return {
        "start": start, "stop": stop, "entropy": _rounded(entropy), "chunk": "".join(record.pieces[start:stop]),
        "texts": [], "similarities": [], "weights": [], "exact": True, "problem": problem,
        **dict.fromkeys(("posterior_mean", "prior", "soft_count")),
    }  # fmt: skip


def _plain_record(tokens: Sequence[str], values: Sequence[float] | None, metric: str) -> RolloutRecord:
    pieces = tuple(map(str, tokens))
    numbers = (math.nan,) * len(pieces) if values is None else tuple(map(float, values))
    if len(numbers) != len(pieces):
        raise ValueError(f"{len(pieces)} tokens and {len(numbers)} values: give one value for each token")
    names = {"entropy": "entropies", "logprob": "logprobs", "kl": "anchor_kl"}
    if metric not in names:
        raise ValueError(f"metric is {metric!r}: values of tokens are one of {', '.join(names)}")
    unknown = (math.nan,) * len(pieces)
    bare = RolloutRecord(row=0, step=0, prompt_id="", messages=(), pieces=pieces, logprobs=unknown, entropies=unknown)
    return replace(bare, **{names[metric]: numbers})  # type: ignore[arg-type]


def _as_record(value: Any) -> RolloutRecord:
    if isinstance(value, RolloutRecord):
        return value
    if not hasattr(value, "pieces") or not hasattr(value, "prompt"):
        raise TypeError(f"RolloutView shows a RolloutRecord or a Rollout, not a {type(value).__name__}")
    return RolloutRecord(
        row=0, step=0, prompt_id=value.prompt.id, messages=tuple(value.prompt.messages), pieces=tuple(value.pieces),
        logprobs=tuple(value.logprobs.tolist()), entropies=tuple(value.entropies.tolist()),
        anchor_kl=() if value.anchor_kl is None else tuple(value.anchor_kl.tolist()), finish=value.finish,
        answer=value.prompt.answer,
    )  # fmt: skip


def _floats(values: Sequence[float | None]) -> bytes:
    return array("f", [math.nan if v is None else v for v in values]).tobytes()


def _rounded(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(f"{value:.5g}")


def _highest(entropies: Sequence[float]) -> int:
    return max(range(len(entropies)), key=lambda i: entropies[i] if entropies[i] is not None else -1.0, default=-1)


def _tinted(text: str, level: int) -> SafeHTML:
    """A text on the tint of a level of entropy, 0 to 4; a mark at the highest, which needs no style to be seen."""
    if not level:
        return element("span", text, limit=2000)
    style = f"background:rgba(230,110,30,{0.14 * level:.2f});color:inherit"
    return element("mark" if level == 4 else "span", text, style=style, limit=2000)


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _teacher_at(fork: Mapping[str, Any]) -> str:
    if fork["problem"]:
        return "no answer: " + shorten(fork["problem"], 120)
    if not fork["texts"]:
        return "not asked"
    if "run" in fork:
        return str(fork["words"])
    return f"{len(fork['texts'])} texts, mean similarity {fork['soft_count'] / len(fork['texts']):.2f}"
