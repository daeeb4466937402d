"""One recipe in several processes: how they are started, and where they meet.

`omniopd train RECIPE --processes N` is `accelerate launch --config_file STRATEGY.yaml --num_processes N -m omniopd
train RECIPE` on this machine, by accelerate's own launcher, which is torch's. The strategies are accelerate's
configuration files in `recipes/strategies/`.
"""

from __future__ import annotations

import logging
import os
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from omniopd.config import Recipe
from omniopd.config.sharing import micro_batches
from omniopd.errors import ConfigError
from omniopd.io import processes
from omniopd.io.interrupts import handled

STRATEGIES = Path(__file__).parent.parent / "recipes" / "strategies"
# A process that is to end has so long, then it is killed: a run that fails is over in half a minute.
_GRACE_S = 20
_LEAST_PATIENCE_S = 7200.0
_MISTAKE, _INTERRUPTED = 2, 130


def meet(recipe: Recipe) -> None:
    """Join the other processes that execute the recipe, where there are any. Raises ConfigError for a strategy that
    shares a model's weights out."""
    if processes.count() == 1:
        return
    from omniopd.training.arguments import device_of

    for name in ("FSDP", "DEEPSPEED", "MEGATRON_LM"):
        if os.environ.get(f"ACCELERATE_USE_{name}", "false").lower() == "true":
            raise ConfigError(
                f"accelerate was told to share the weights out ({name}), and a run's evaluations and students need "
                "them whole: use the strategy ddp; in Python, OmniOPDTrainer trains shared weights"
            )
    patience_s = max(_LEAST_PATIENCE_S, 2 * recipe.teacher.batch_deadline_s)
    processes.join(on_cpu=device_of(recipe) == "cpu", patience_s=patience_s)


def start(words: Sequence[str], count: int, strategy: str, recipe: Recipe | None = None) -> int:
    """Execute `omniopd WORDS` in `count` processes of this machine; the exit code of the one that failed first, or 0.

    Raises ConfigError for a strategy that does not ship, for processes in processes, and for a `recipe` whose rollouts
    so many cannot share.
    """
    file = STRATEGIES / f"{strategy}.yaml"
    if not file.is_file():
        have = ", ".join(sorted(path.stem for path in STRATEGIES.glob("*.yaml")))
        raise ConfigError(f"--strategy is {strategy!r}: it must be one of {have}")
    if count < 1 or processes.count() > 1:
        raise ConfigError(
            f"--processes is {count} in one of {processes.count()} processes: give at least 1, and leave it out where "
            "torchrun or accelerate launch starts them"
        )
    if recipe is not None:
        micro_batches(recipe.training.rollouts, recipe.training.micro_batch, count)
    return _launched(file, [*words], count)


def _launched(file: Path, words: list[str], count: int) -> int:
    from accelerate.commands.launch import launch_command, launch_command_parser
    from torch.distributed.elastic.multiprocessing import SignalException
    from torch.distributed.elastic.multiprocessing.errors import ChildFailedError

    given = ["--config_file", str(file), "--num_processes", str(count), "-m", "omniopd", *words]
    options = launch_command_parser().parse_args(given)
    options.standalone = True  # a port that is free, whoever else looks for one
    # A terminal sends Ctrl-C to the processes by itself: sent on, it would be a second one.
    options.signals_to_handle = "SIGTERM,SIGHUP,SIGQUIT"
    os.environ.setdefault("TORCH_ELASTIC_SHUTDOWN_TIMEOUT", str(_GRACE_S))
    os.environ.setdefault("TORCH_CPP_LOG_LEVEL", "ERROR")
    # What a process died of it says itself, or the lines below do.
    logging.getLogger("torch.distributed.elastic").setLevel(logging.CRITICAL)
    try:
        with handled(lambda number, frame: None, "SIGINT"):
            launch_command(options)
    except SignalException:
        return _INTERRUPTED
    except ChildFailedError as error:
        first, failure = error.get_first_failure()
        if failure.exitcode >= 0:
            return int(failure.exitcode)
        how = signal.Signals(-failure.exitcode).name
        print(f"omniopd: process {first} of {count} was ended by {how}", file=sys.stderr)
        return 128 - int(failure.exitcode)
    return 0
