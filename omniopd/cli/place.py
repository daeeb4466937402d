"""Where the runs of a sweep shall compute, by its options: here, in a cluster, or wherever its commands are given."""

from __future__ import annotations

import argparse
from typing import TYPE_CHECKING

from omniopd.errors import ConfigError

if TYPE_CHECKING:
    from omniopd.sweeps import Place


def where(options: argparse.Namespace) -> Place | None:
    """Where the jobs shall run, if not in processes of this machine. Raises ConfigError for what belongs elsewhere."""
    from omniopd.sweeps import Place

    for flag, name in (("slurm", "slurm"), ("ray", "ray"), ("address", "ray")):
        if getattr(options, flag) and options.executor != name:
            raise ConfigError(f"--{flag} belongs to --executor {name}, and this sweep is {options.executor}: give both")
    if options.executor == "local":
        return None
    for flag, used in (("jobs", options.jobs), ("device", options.device != "auto")):
        if used:
            raise ConfigError(f"--{flag} belongs to this machine, and {options.executor} has its own: leave it out")
    return Place(options.executor, options.slurm if options.executor == "slurm" else options.ray, options.address)


def print_lines(lines: list[str]) -> int:
    for line in lines:
        print(line)
    return 0


def one_device(options: argparse.Namespace) -> str | None:
    """The device of every job that is printed; None where each finds its own. Raises ConfigError for what would only
    matter where jobs are started."""
    for flag, used in (("executor", options.executor != "local"), ("jobs", options.jobs)):
        if used:
            raise ConfigError(f"--print-jobs starts nothing, so that --{flag} has no use: leave one of them out")
    named = [word for word in options.device.split(",") if word not in ("", "auto")]
    if len(named) > 1:
        raise ConfigError(f"--device {options.device} names {len(named)} devices, and a printed job has one: name one")
    return named[0] if named else None
