"""`omniopd sweep STUDY`: the arms of a study on its seeds, a process a run; or the trials that choose its rates."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from omniopd.errors import ConfigError

if TYPE_CHECKING:
    from omniopd.sweeps.executors import RunOutcome
    from omniopd.sweeps.study import PlannedRun, Study


@dataclass(frozen=True, slots=True)
class Swept:
    """What a sweep did: where, by which plan, and how every run ended."""

    study: Study
    folder: Path
    plan: tuple[PlannedRun, ...]
    ended: tuple[RunOutcome, ...]

    @property
    def failed(self) -> list[RunOutcome]:
        return [one for one in self.ended if one.state != "finished"]


def sweep_study(
    study: str | Path,
    runs: str | Path = "runs",
    name: str | None = None,
    arms: Sequence[str] | None = None,
    seeds: Sequence[int] | None = None,
    settings: Sequence[str] = (),
    jobs: int | None = None,
    devices: Sequence[str] = (),
    trials: bool = False,
    say: Callable[[str], None] = print,
) -> Swept:
    """The command as a function: carry out what a study still lacks in `runs`/`name` (by default the study's name).

    None means what the study says. `settings` are `key=value` words for every run. Raises ConfigError and RunError
    before anything starts, KeyboardInterrupt when it was stopped; a run that fails stands in `failed`.
    """
    from omniopd.sweeps.executors import execute
    from omniopd.sweeps.study import load_study

    loaded = load_study(study)
    plan = (loaded.trials if trials else loaded.runs)(arms, seeds, settings)
    folder = Path(runs) / (name or loaded.name)
    say(f"{len(plan)} {'trials' if trials else 'runs'} in {folder}; the same command goes on with what is left")
    return Swept(loaded, folder, tuple(plan), tuple(execute(plan, folder, jobs, devices, say)))


def run(options: argparse.Namespace) -> int:
    done = sweep_study(
        options.notebook,
        options.runs,
        options.name,
        options.arms,
        _seeds(options.seeds),
        options.settings or (),
        options.jobs,
        [word for word in options.device.split(",") if word and word != "auto"],
        options.trials,
        lambda words: print(words, file=sys.stderr, flush=True),
    )
    if options.trials:
        _show_trials(done)
    for one in done.failed:
        print(f"{one.state}: {one.planned}: {one.message} ({one.path})", file=sys.stderr)
    if not options.trials:
        report = ["omniopd", "report", str(done.folder), "--reference", done.study.reference]
        print(shlex.join([*report, "--out", str(done.folder / "report.html"), "--title", done.study.about]))
    return 1 if done.failed else 0


def _show_trials(done: Swept) -> None:
    from omniopd.evaluation.tables import as_text
    from omniopd.sweeps.trials import trial_table, trial_verdicts, tried

    found = tried(done.study, done.plan, done.folder)
    print(as_text(trial_table(found)))
    print(*trial_verdicts(found), sep="\n")


def _seeds(text: str) -> list[int] | None:
    words = [word.strip() for word in text.split(",") if word.strip()]
    if not all(word.isdecimal() for word in words):
        raise ConfigError(f"--seeds {text} holds more than whole numbers: write --seeds 0,1,2")
    return list(dict.fromkeys(map(int, words))) or None
