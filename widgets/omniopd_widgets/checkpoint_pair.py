"""Two students on one prompt: both answers side by side, and how each of the two reads every token of both.

    CheckpointPair("runs/embedded")                       # its student before and after
    CheckpointPair("runs/embedded@20", "runs/sft")        # any two checkpoints, of one run or of two

Loading and answering go on in a thread of their own, by `omniopd.pipeline.pair`; the view knows records.
"""

from __future__ import annotations

import math
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import traitlets as t

from omniopd.method.forks import MovedForks, moved_forks
from omniopd.records import PairedAnswer
from omniopd.runs.checkpoints import checkpoint
from omniopd.runs.frames import pair_frame
from omniopd.runs.store import Run
from omniopd_widgets._parts.base import View
from omniopd_widgets._parts.polling_view import PollingView
from omniopd_widgets._parts.safe import JsonObject, SafeHTML, element, shorten, table, to_json
from omniopd_widgets._parts.worker import Worker
from omniopd_widgets.rollout_view import RolloutView

if TYPE_CHECKING:
    import pandas

ACTIONS = ("answer", "cancel")
MOVED_NATS = 0.5  # of a log-probability: odds that changed by 5 to 3
_MANY, _INERT = 50, 12  # problems to choose from; rows without a kernel


class CheckpointPair(View):
    """Two students answer one prompt with the same draws. `left` and `right` name a run (its trained student), one of
    its checkpoints (`RUN@STEP`, `RUN@0` the untrained one, `RUN@best`), or a model; without `right` a run's untrained
    student stands beside its trained one. Raises RunError for a checkpoint that its run does not keep.

    What the user does is an assignment: `problem_index` or `own_text`, `seed`, `temperature`, and `pressed`, {"action":
    "answer" or "cancel", "count": n}. `selected` is a token of the answer on `side` ("left", "right"), `metric` what
    tokens are coloured by ("probability", "entropy"), `least` how many nats a token has moved at least to be marked.
    `answers` on the page are those of `pair`, two `PairedAnswer`s; `table` has all their numbers.
    """

    made_of = (RolloutView, PollingView)  # whose strip of tokens and whose tables it has

    left = t.Unicode("").tag(sync=True)
    right = t.Unicode("").tag(sync=True)
    problems: t.List[Any] = t.List().tag(sync=True)
    answers: t.List[Any] = t.List().tag(sync=True)
    numbers = t.Bytes().tag(sync=True)  # of each answer log-probabilities left, right, entropies left, right; float32
    parted = t.Int(-1).tag(sync=True)  # the first token that differs, −1 where none does
    asked = t.Unicode("").tag(sync=True)  # the question that was answered
    stale = t.Unicode("").tag(sync=True)
    busy = t.Unicode("").tag(sync=True)

    problem_index = t.Int(0).tag(sync=True)
    own_text = t.Unicode("").tag(sync=True)
    seed = t.Int(0).tag(sync=True)
    temperature = t.Float(1.0).tag(sync=True)
    pressed: t.Dict[str, Any] = t.Dict({"action": "", "count": 0}).tag(sync=True)
    selected = t.Int(-1).tag(sync=True)
    side = t.Enum(("left", "right"), "left").tag(sync=True)
    metric = t.Enum(("probability", "entropy"), "probability").tag(sync=True)
    least = t.Float(MOVED_NATS).tag(sync=True)

    _worker: Worker | None = None  # a view that could not be made is closed as well

    def __init__(
        self,
        left: str | Path | Run,
        right: str | Path | Run | None = None,
        *,
        pair: tuple[PairedAnswer, PairedAnswer] | None = None,
        **traits: Any,
    ) -> None:
        """`pair`: answers that are there already; without them both students are loaded and answer at once."""
        first = f"{left.path if isinstance(left, Run) else left}@0" if right is None else left
        self._checkpoints = checkpoint(first), checkpoint(left if right is None else right)
        recipe = self._checkpoints[0].recipe or self._checkpoints[1].recipe
        heat = 1.0 if recipe is None else recipe.student.temperature
        self.pair = pair
        self._models: Any = None
        self._prompts: list[Any] = []
        self._question: tuple[Any, ...] = ()
        self._worker = Worker(self, "pair")
        labels = [to_json(one.label) for one in self._checkpoints]
        super().__init__(**{"left": labels[0], "right": labels[1], "temperature": heat} | traits)
        if pair is None:
            self.answer()
        else:
            self.show(pair)

    def answer(self) -> None:
        """Have both answer the chosen problem, as soon as both are loaded."""

        def work() -> None:
            from omniopd.pipeline.pair import Pair

            if self._models is None:
                self._models = Pair(*self._checkpoints)
            if not self._prompts:
                self._prompts = self._models.problems(_MANY)
                self.problems = [to_json(p.messages[-1]["content"]) for p in self._prompts]
            question = self._asked_now()
            at, own, seed, temperature = question
            asked = own or self._prompts[min(max(at, 0), len(self._prompts) - 1)]
            pair = self._models.answer(asked, seed, temperature, say=self._say)
            self._question = question
            self.show(pair)
            self.problem = self._models.difference_in_kind

        assert self._worker is not None
        self._worker.do("the problems are being read …", work)

    def show(self, pair: tuple[PairedAnswer, PairedAnswer]) -> None:
        """Show these answers; the first token that moved most is selected."""
        self.pair = pair
        pieces = [one.rollout.pieces for one in pair]
        least = min(map(len, pieces))
        parted = next((i for i in range(least) if pieces[0][i] != pieces[1][i]), least)
        with self.hold_sync():
            self.selected = -1
            self.parted = -1 if pieces[0] == pieces[1] else parted
            self.asked = to_json(str(pair[0].rollout.messages[-1]["content"]))
            self.numbers = b"".join(_numbers(one) for one in pair)
            self.answers = [_row(one) for one in pair]
            self.side, self.selected = "left", _most_moved(pair[0])
            self._asked_otherwise()

    @property
    def table(self) -> pandas.DataFrame:
        """Every token of both answers with its numbers under both, as `omniopd.runs.frames.pair_frame` says."""
        return pair_frame(self.pair or ())

    def cancel(self) -> None:
        """End what is going on; what is shown stays."""
        if self._worker is not None:
            self._worker.cancel()

    def wait(self, timeout_s: float = 120.0) -> CheckpointPair:
        """Return when the last thing asked for is done; its error, if any, is in `problem`."""
        if self._worker is not None:
            self._worker.wait(timeout_s)
        return self

    def close(self) -> None:
        """Take the view off the page, end its thread, and let go of the models."""
        if self._worker is not None:
            self._worker.close(drop=True)
            self._worker.cancel()
        self._models = None
        super().close()

    def summary(self) -> str:
        return f"{self.left} beside {self.right}"

    def fallback(self) -> Sequence[SafeHTML]:
        if self.pair is None:
            return [element("p", "No answers yet.")]
        parts = [element("p", self.asked)]
        for name, answer, row in zip((self.left, self.right), self.pair, self.answers, strict=True):
            right = answer.rollout.right
            said = "" if right is None else "✓ right" if right else f"✗ wrong, expected {row['expected']}"
            forks = ", ".join(f"{len(row[kind])} {kind}" for kind in ("kept", "vanished", "appeared"))
            parts.append(element("h4", f"{name} {said}"))
            parts.append(element("pre", "".join(answer.rollout.pieces), style="white-space:pre-wrap", limit=6000))
            parts.append(element("p", f"forks: {forks}"))
        frame = self.table
        again = (frame.answer == "right") & ((frame.token < self.parted) | (self.parted < 0))  # what they share
        moved = frame[(frame.moved.abs() >= self.least) & ~again].sort_values("moved", key=abs, ascending=False)
        heads = ("answer", "token", "text", f"log-probability, {self.left}", self.right, "moved")
        cells = [
            (m.answer, m.token, m.text, *(f"{x:.2f}".replace("-", "−") for x in m[4:7]))  # both and the difference
            for m in moved.head(_INERT).itertuples()
        ]
        return [*parts, *([table(heads, cells, "Tokens that moved most, in nats")] if cells else [])]

    @t.observe("pressed")
    def _pressed(self, change: Any) -> None:
        {"answer": self.answer, "cancel": self.cancel}.get(change["new"].get("action"), lambda: None)()

    @t.observe("problem_index", "own_text", "seed", "temperature")
    def _asked_otherwise(self, _: Any = None) -> None:
        now = self._asked_now()
        if not self._question or now == self._question:
            self.stale = ""
        elif now[:2] == self._question[:2]:
            self.stale = "These are answers of another seed or temperature: have both answer again."
        else:
            self.stale = "These are answers to another problem: have both answer this one."

    def _asked_now(self) -> tuple[Any, ...]:
        return self.problem_index, self.own_text.strip(), self.seed, self.temperature

    def _say(self, words: str) -> None:
        self.busy = to_json(words)


def _row(one: PairedAnswer) -> JsonObject:
    forks = MovedForks((), (), ())
    if one.left is not None and one.right is not None:
        forks = moved_forks(one.left.entropies, one.right.entropies)
    return to_json(
        {
            "pieces": one.rollout.pieces, "finish": one.rollout.finish, "right": one.rollout.right,
            "expected": shorten(one.rollout.answer or "", 200), "kept": forks.kept, "vanished": forks.vanished,
            "appeared": forks.appeared,
        }
    )  # fmt: skip


def _numbers(one: PairedAnswer) -> bytes:
    nothing = (math.nan,) * len(one.rollout.pieces)
    found = [
        nothing if reading is None else getattr(reading, name)
        for name in ("logprobs", "entropies")
        for reading in (one.left, one.right)
    ]
    return array("f", [value for values in found for value in values]).tobytes()


def _most_moved(one: PairedAnswer) -> int:
    if one.left is None or one.right is None:
        return -1
    sizes = [abs(b - a) for a, b in zip(one.left.logprobs, one.right.logprobs, strict=True)]
    return max(range(len(sizes)), key=sizes.__getitem__, default=-1)
