"""`omniopd sweep STUDY`: the arms of a study on its seeds, a process a run; or the trials that choose its rates."""

from __future__ import annotations

import argparse
import shlex
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING

from omniopd.cli.place import one_device, print_lines, where
from omniopd.errors import ConfigError

if TYPE_CHECKING:
    from omniopd.sweeps import Swept


def run(options: argparse.Namespace, log: Callable[[str], None]) -> int:
    from omniopd.sweeps import job_lines, planned_study, sweep_study

    settings = options.settings or ()
    which = options.notebook, options.runs, options.name, options.arms, _seeds(options.seeds), settings
    if options.print_jobs:
        _, plan, folder = planned_study(*which, options.trials)
        return print_lines(job_lines(plan, folder, one_device(options), log))
    devices = [word for word in options.device.split(",") if word and word != "auto"]
    done = sweep_study(*which, options.jobs, devices, options.trials, log, where(options))
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
