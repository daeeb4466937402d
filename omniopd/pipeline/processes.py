"""One recipe in several processes: how they are started, and where they meet.

`omniopd train RECIPE --processes N` is `accelerate launch --config_file STRATEGY.yaml --num_processes N -m omniopd
train RECIPE` on this machine, by accelerate's own launcher, which is torch's. The strategies are accelerate's
configuration files in `recipes/strategies/`. `python -m omniopd.pipeline.processes RUN N STRATEGY PID` goes on with a
run for another process, PID (`together.py`), and ends with it.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from types import FrameType

from omniopd.config import Recipe
from omniopd.config.sharing import micro_batches
from omniopd.errors import ConfigError
from omniopd.io import processes
from omniopd.io.interrupts import end_with_parent, handled

PROGRAM = "omniopd.pipeline.processes"
STRATEGIES = Path(__file__).parent.parent / "recipes" / "strategies"
# A process that is to end has so long, then it is killed: a run that fails is over in half a minute.
_GRACE_S = 20
_LEAST_PATIENCE_S = 7200.0
_MISTAKE, _INTERRUPTED = 2, 130
_LAUNCHER = "OMNIOPD_LAUNCHER"  # tells a process the number of the one that has started it, with which it ends


def meet(recipe: Recipe) -> None:
    """Join the other processes that execute the recipe, where there are any. Raises ConfigError for a strategy by which
    they cannot."""
    # Taken out: what this process starts is not the launcher's.
    if (launcher := os.environ.pop(_LAUNCHER, None)) is not None:
        end_with_parent(int(launcher))
    if processes.count() == 1:
        return
    from omniopd.training.devices import device_of
    from omniopd.training.trl.strategies import FSDP2, WHOLE, shard_on_a_cpu, strategy

    now, on_cpu = strategy(), device_of(recipe) == "cpu"
    if now != WHOLE and recipe.student.lora_rank:
        raise ConfigError(
            f"student.lora_rank is {recipe.student.lora_rank} and the strategy {now}: an adapter is trained on weights "
            f"that are whole, so use {WHOLE}, or let all weights learn (student.lora_rank=0)"
        )
    if now == FSDP2 and on_cpu:
        shard_on_a_cpu()
    patience_s = max(_LEAST_PATIENCE_S, 2 * recipe.teacher.batch_deadline_s)
    processes.join(on_cpu, patience_s)


def start(words: Sequence[str], count: int, strategy: str, recipe: Recipe | None = None) -> int:
    """Execute `omniopd WORDS` in `count` processes of this machine; the exit code of the one that failed first, or 0.

    Raises ConfigError as `strategy_file` does, for processes in processes, and for a `recipe` whose rollouts so many
    cannot share.
    """
    file = strategy_file(strategy)
    if count < 1 or processes.count() > 1:
        raise ConfigError(
            f"--processes is {count} in one of {processes.count()} processes: give at least 1, and leave it out where "
            "torchrun or accelerate launch starts them"
        )
    if recipe is not None:
        micro_batches(recipe.training.rollouts, recipe.training.micro_batch, count)
    return _launched(file, [*words], count)


def strategy_file(strategy: str) -> Path:
    """accelerate's configuration of a strategy. Raises ConfigError for one that does not ship or lacks its library."""
    file = STRATEGIES / f"{strategy}.yaml"
    if not file.is_file():
        have = ", ".join(sorted(path.stem for path in STRATEGIES.glob("*.yaml")))
        raise ConfigError(f"--strategy is {strategy!r}: it must be one of {have}")
    if strategy == "zero3":
        from omniopd.training.trl.strategies import require_deepspeed

        require_deepspeed()
    return file


def _launched(file: Path, words: list[str], count: int) -> int:
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    given = ["--config_file", str(file), "--num_processes", str(count), "-m", "omniopd", *words]
    options = launch_command_parser().parse_args(given)
    options.standalone = True  # a port that is free, whoever else looks for one
    options.signals_to_handle = "SIGTERM,SIGHUP,SIGQUIT"  # which end the processes at once
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(_GRACE_S))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # What a process died of it says itself, or the lines below do.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    os.environ[_LAUNCHER] = str(os.getpid())
    try:
        # Each has a session of its own, which a terminal's Ctrl-C does not reach.
        with handled(_pass_on, "SIGINT"):
            launch_command(options)
    except (SignalException, KeyboardInterrupt):
        return _INTERRUPTED
    except ChildFailedError as error:
        first, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return int(failure.exitcode)
        how = signal.Signals(-failure.exitcode).name
        print(f"omniopd: process {first} of {count} was ended by {how}", file=sys.stderr)
        return 128 - int(failure.exitcode)
    finally:
        os.environ.pop(_LAUNCHER, None)
    return 0


def _pass_on(number: int, frame: FrameType | None) -> None:
    """A signal of this process to those that it has started; on Windows a console sends it to them itself. Raises
    KeyboardInterrupt where it has started none."""
    import psutil

    if os.name != "posix":
        return
    started = psutil.Process().children()
    if not started:
        raise KeyboardInterrupt
    for process in started:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def main(path: str, count: str, strategy: str, parent: str) -> int:
    """Go on with a run, whose price was accepted, in so many processes, until who started this one has ended."""
    end_with_parent(int(parent))
    return start(["train", "--resume", path, "--yes", "--quiet"], int(count), strategy)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:]))
