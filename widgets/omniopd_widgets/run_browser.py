"""The runs in a folder: found, sorted, compared, opened.

    RunBrowser("runs")

What a row says comes from the run's own ledger and from whether its process lives, never from a notebook. A thread
looks every two seconds while the view is open.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from traitlets import Bool, Bytes, Dict, Int, List, Unicode, observe

from omniopd.errors import RunError
from omniopd.io.redaction import redact
from omniopd.runs.checkpoints import kept, said
from omniopd.runs.notes import annotate, tags_in
from omniopd.runs.store import Run, open_run
from omniopd_widgets._parts import comparison as comparing
from omniopd_widgets._parts import curves
from omniopd_widgets._parts.polling_view import PollingView
from omniopd_widgets._parts.run_list import RunList
from omniopd_widgets._parts.safe import SafeHTML, element, shorten, table, to_json
from omniopd_widgets.checkpoint_pair import CheckpointPair
from omniopd_widgets.training_monitor import TrainingMonitor

COLUMNS = ("state", "best_accuracy", "gain", "step", "target", "seed", "message")
_FIRST_S, _LOOK_S = 0.3, 2.0  # how long results are read before the view is shown, and at each look after it


class RunBrowser(PollingView):
    """The table of the runs in `folder`, at any depth.

    Assign `query` to search (all words; `state:failed` in one column), `sort` and `descending` to order, `chosen`
    (places in `folder`; the first is what the others are compared with) to compare, `columns` to show (names of
    `omniopd.runs`), `opened` to open one beneath, `live` to look again or not. `at` is the temperature of the
    comparison's forest, `pair` names two students of runs (`RUN`, `RUN@STEP`), which then answer one prompt beneath.
    `by_arm` folds runs that differ in nothing but their seed into one row. `annotated` writes what is said of a run
    beside it, {"run": its place, "tags": parted by spaces, "note": why, "before": the tags and the note that were
    shown when this was begun (left out: those of `rows`)}; `edited` is the run whose words are open.
    """

    made_of = (CheckpointPair, TrainingMonitor)
    folder = Unicode("").tag(sync=True)
    rows: List[Any] = List().tag(sync=True)
    hidden_rows = Int(0).tag(sync=True)
    unread = Int(0).tag(sync=True)
    query = Unicode("").tag(sync=True)
    sort = Unicode("").tag(sync=True)
    descending = Bool(True).tag(sync=True)
    columns = List(Unicode(), list(COLUMNS)).tag(sync=True)
    chosen = List(Unicode()).tag(sync=True)
    comparison = Dict().tag(sync=True)
    data = Bytes(b"").tag(sync=True)
    smoothing = Int(1, min=1).tag(sync=True)
    at = Unicode("best temperature").tag(sync=True)
    pair = List(Unicode()).tag(sync=True)
    by_arm = Bool(False).tag(sync=True)
    edited = Unicode("").tag(sync=True)
    annotated = Dict().tag(sync=True)
    written = Dict().tag(sync=True)  # the last of `annotated` that is on the disk
    opened = Unicode("").tag(sync=True)

    def __init__(self, folder: str | Path = "runs", interval_s: float = 2.0, **traits: Any) -> None:
        self.monitor: TrainingMonitor | None = None
        self.students: CheckpointPair | None = None
        self._list = RunList(folder)
        super().__init__(interval_s, **traits)
        self.folder = to_json(redact(str(folder)))
        self._poll(_FIRST_S)
        self.live = True

    def run(self, name: str) -> Run:
        """The run in a directory of the table. Raises RunError for one that cannot be read."""
        path = self._list.paths.get(name)
        if path is None:
            raise RunError(f"there is no run {name!r} in {self.folder}: it was moved or renamed")
        return open_run(path)

    def close(self) -> None:
        """Stop looking, and take the view and what is open beneath it off the page."""
        super().close()
        for view in (self.monitor, self.students):
            if view is not None:
                view.close()

    def _poll(self, seconds: float = _LOOK_S) -> bool:
        with self._lock:
            before_look = self._list.trouble
            rows = self._list.look(seconds)
            if self._list.trouble != before_look:
                self.problem = self._list.trouble
            compared = {row["id"]: row for row in rows if row["id"] in self.chosen}
            before = {row["id"]: row for row in self.rows if row["id"] in self.chosen}
            with self.hold_sync():
                self.rows = rows
                self.hidden_rows, self.unread = self._list.hidden, self._list.unread
                if compared != before:
                    self._compare()
            return True

    @observe("chosen", "smoothing")
    def _on_chosen(self, _: Any) -> None:
        with self._lock, self.hold_sync():
            self._compare()

    def _compare(self) -> None:
        """The chosen runs beside each other; what cannot be read is reported, and the rest is compared."""
        names, runs, problems = [], [], []
        for name in self.chosen[: comparing.MOST]:
            try:
                runs.append(self.run(name))
                names.append(name)
            except RunError as error:
                problems.append(str(error))
        if len(self.chosen) > comparing.MOST:
            problems.append(f"{comparing.MOST} runs are compared at once: the others are left out")
        if len(runs) < 2:
            self.data = b""
            self.comparison = to_json({"names": names, "problems": problems, "students": _students(names, runs)})
            return
        found = [comparing.read(run) for run in runs]
        problems += [shorten(problem, 400) for _, _, problem in found if problem]
        steps, evals = [records for records, _, _ in found], [records for _, records, _ in found]
        described, self.data = curves.packed(comparing.panels(names, steps, evals), self.smoothing)
        self.comparison = to_json({"names": names, "problems": problems, "students": _students(names, runs)}) | {
            "panels": described,
            "differences": comparing.differences(runs),
            "accuracies": comparing.accuracies(names, evals),
        }

    @observe("annotated")
    def _on_annotated(self, change: Any) -> None:
        """What the page's tags add to those it had shown when the editing began, and take from them: others may have
        tagged the run since, and `rows` may know of it already."""
        name, tags, note, title = (str(change["new"].get(key, "")) for key in ("run", "tags", "note", "title"))
        with self._lock:
            row = next((row for row in self.rows if row["id"] == name), None)
            try:
                if row is None or name not in self._list.paths:
                    raise RunError(f"there is no run {name!r} in {self.folder}: it was moved or renamed")
                before = {**row, **(change["new"].get("before") or {})}
                shown, wanted = tags_in(str(before["tags"])), tags_in(tags)
                said = annotate(
                    self._list.paths[name],
                    [tag for tag in wanted if tag not in shown],
                    [tag for tag in shown if tag not in wanted],
                    None if note == str(before["note"]) else note,
                    None if "title" not in change["new"] or title == str(before["title"]) else title,
                )
            except RunError as error:
                self.problem = str(error)
                return
            self.problem, self.written = "", change["new"]
            new = to_json({"tags": " ".join(said.tags), "note": said.note, "title": said.title})
            self.rows = [{**one, **new} if one is row else one for one in self.rows]

    @observe("opened")
    def _on_opened(self, change: Any) -> None:
        with self._lock:
            if self.monitor is not None:
                self.monitor.close()
                self.monitor = None
            self.problem = ""
            try:
                if change["new"]:
                    self.monitor = TrainingMonitor(self.run(change["new"]))
            except RunError as error:
                self.problem = str(error)
            self._place()

    @observe("pair")
    def _on_pair(self, change: Any) -> None:
        with self._lock:
            if self.students is not None:
                self.students.close()
                self.students = None
            self.problem = ""
            try:
                if len(change["new"]) == 2:
                    self.students = CheckpointPair(*map(self._student, change["new"]))
            except RunError as error:
                self.problem = str(error)
            self._place()

    def _student(self, name: str) -> str:
        """A student of a run of the table, by its place in the file system."""
        run, _, which = name.rpartition("@") if name not in self._list.paths else (name, "", "")
        return f"{self.run(run).path}{f'@{which}' if which else ''}"

    def _place(self) -> None:
        """What is open, beneath: the pair above the run."""
        self._open_beneath(*(view for view in (self.students, self.monitor) if view is not None))

    def summary(self) -> str:
        # The name alone: a path would tell of a machine in every saved notebook.
        return f"{len(self.rows) + self.hidden_rows} runs in {shorten(Path(self.folder).name, 60)}"

    def fallback(self) -> Sequence[SafeHTML]:
        if not self.rows:
            return [element("p", "No run in this folder yet.")]
        heads = ("run", "state", "method", "target", "step", "loss", "best accuracy", "gain", "message", "tags", "note")
        cells = [
            (
                r["id"], r["state"], r["method"], r["target"], f"{r['step'] or 0} of {r['steps'] or 0}",
                _short(r["loss"]), _percent(r["best_accuracy"]), _percent(r["gain"]), r["message"],
                r["tags"], r["note"],
            )
            for r in self.rows[:12]
        ]  # fmt: skip
        more = len(self.rows) + self.hidden_rows - 12
        parts = [table(heads, cells, limit=80)]
        parts += [element("p", f"… and {more} more")] if more > 0 else []
        for accuracy in self.comparison.get("accuracies", []):
            rows = [(row["at"], row["ours"], row["theirs"], row["said"]) for row in accuracy["rows"]]
            title = f"{accuracy['run']} against {accuracy['against']}"
            parts.append(table(("at", accuracy["run"], accuracy["against"], "difference"), rows, title, limit=120))
        return parts


def _students(names: Sequence[str], runs: Sequence[Run]) -> list[dict[str, str]]:
    """The students that each run keeps, by the name that `pair` takes."""
    return [
        {"id": f"{name}@{which}" if which else name, "run": name, "which": said(which)}
        for name, run in zip(names, runs, strict=True)
        for which in kept(run)
    ]


def _short(value: float | None) -> str:
    return "–" if value is None else f"{value:.4g}"


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f}"
