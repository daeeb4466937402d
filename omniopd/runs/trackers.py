"""A run's records, sent on to a tracker as they are written: `training.report_to` = tensorboard, wandb or trackio.

    train/loss, train/target/mean, train/seconds/teacher, train/cost_usd, …                      at every step
    eval/student/test-500/T0.3/accuracy, …/readable, …/cut_off, …/mean_tokens, …/pass_at_16      at every evaluation

Its files stand in the run's folder:

    tensorboard/    tensorboard --logdir runs                       finds those of all runs
    wandb/          wandb sync runs/RUN/wandb/offline-run-*         where WANDB_MODE=offline kept them from being sent
    trackio/        TRACKIO_DIR=runs/RUN/trackio trackio show       TRACKIO_DIR set before training: one place for all

Sent are numbers, the run's name and its recipe without addresses; no text of a model, no command line, no environment
and no code. A tracker that cannot start is an error before anything is trained; one that fails later is let go with a
warning, since the run's own records are whole without it.
"""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import io
import logging
import os
import re
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

from omniopd.config import dotted
from omniopd.config.settings import TRACKERS
from omniopd.errors import ConfigError
from omniopd.evaluation.pass_at_k import mean_pass_at_k
from omniopd.evaluation.tables import mean_tokens
from omniopd.records import EvalRecord, StepRecord
from omniopd.runs.frames import STEP_COLUMNS
from omniopd.runs.store import Run

PROJECT = "omniopd"
_log = logging.getLogger(__name__)
Send = Callable[[Mapping[str, float], int], object]


class Tracker:
    """Sends records as named numbers: `send(numbers, step)`. The first error ends it, with a warning."""

    def __init__(self, send: Send, close: Callable[[], object], name: str) -> None:
        self._send: Send | None = send
        self._close, self._name = close, name

    def show(self, record: StepRecord | EvalRecord) -> None:
        numbers = step_numbers(record) if isinstance(record, StepRecord) else eval_numbers(record)
        if (send := self._send) is not None:
            self._guarded(lambda: send(numbers, record.step))

    def close(self) -> None:
        if self._send is not None:
            self._guarded(self._close)
        self._send = None

    def _guarded(self, work: Callable[[], object]) -> None:
        try:
            work()
        except Exception as error:
            self._send = None
            _log.warning("%s gets nothing more of this run: %s: %s", self._name, type(error).__name__, error)


def require_tracker(name: str) -> None:
    """Raises ConfigError where `training.report_to` names a tracker that is not installed."""
    if name != "none" and importlib.util.find_spec(name) is None:
        raise ConfigError(
            f'training.report_to is "{name}", which is not installed: pip install {name}, or all trackers with '
            "pip install 'omniopd[trackers]'"
        )


@contextmanager
def tracking(run: Run) -> Iterator[Tracker | None]:
    """The tracker that the run's recipe names, or None; closed at the end. Raises ConfigError where it cannot start."""
    name = run.recipe.training.report_to
    require_tracker(name)
    if name == "none":
        yield None
        return
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # trackio prints seven lines
            tracker = Tracker(*_OPENED[name](run), name)
    except Exception as error:
        hint = "log in with `wandb login`, or set WANDB_MODE=offline" if name == "wandb" else "repair it"
        raise ConfigError(
            f'training.report_to is "{name}", which does not start ({type(error).__name__}: {error}): {hint}, or train '
            "with training.report_to=none"
        ) from error
    try:
        yield tracker
    finally:
        with contextlib.redirect_stdout(io.StringIO()):
            tracker.close()


def step_numbers(record: StepRecord) -> dict[str, float]:
    """A step's numbers by their names in a tracker."""
    numbers = {**record.metrics, **{name: of(record) for name, (_, of) in STEP_COLUMNS.items()}}
    numbers |= {f"seconds/{phase}": seconds for phase, seconds in record.seconds.items()}
    return {f"train/{_plain(name)}": float(value) for name, value in numbers.items()}


def eval_numbers(record: EvalRecord) -> dict[str, float]:
    """An evaluation's numbers: who was measured on which problems at which temperature stands in their names."""
    numbers = {
        "accuracy": record.accuracy,
        "readable": record.readable_share,
        "cut_off": record.truncated_share,
        "mean_tokens": mean_tokens(record),
        "repetition": record.repetition,
        "grader_failures": len(record.failures),
        "seconds": record.seconds,
    }
    if record.samples > 1:
        numbers[f"pass_at_{record.samples}"] = mean_pass_at_k(record, record.samples)
    where = f"eval/{_plain(record.model)}/{_plain(record.split)}-{len(record.problems)}/T{record.temperature:g}"
    return {f"{where}/{name}": float(value) for name, value in numbers.items()}


def _tensorboard(run: Run) -> tuple[Send, Callable[[], object]]:
    from torch.utils.tensorboard import SummaryWriter

    # A resumed run writes its later steps again: the first ones are no longer shown.
    writer = SummaryWriter(str(run.path / "tensorboard"), purge_step=run.status.step + 1)
    writer.add_text("recipe", "\n".join(f"    {key} = {value}" for key, value in _config(run).items()), 0)

    def send(numbers: Mapping[str, float], step: int) -> None:
        for name, value in numbers.items():
            writer.add_scalar(name, value, step)
        writer.flush()

    return send, writer.close


def _wandb(run: Run) -> tuple[Send, Callable[[], object]]:
    import wandb

    quiet = wandb.Settings(
        silent=True, console="off", disable_git=True, save_code=False, disable_job_creation=True,
        x_disable_meta=True, x_disable_machine_info=True,
    )  # fmt: skip
    made = hashlib.blake2b(f"{run.manifest.name} {run.manifest.created}".encode(), digest_size=8).hexdigest()
    begun = wandb.init(
        project=os.environ.get("WANDB_PROJECT", PROJECT),
        name=run.manifest.name,
        id=made,  # a resumed run goes on in its own chart
        resume="allow",
        dir=str(run.path),
        config=_config(run),
        settings=quiet,
    )
    begun.define_metric("*", step_metric="step")
    return lambda numbers, step: begun.log({**numbers, "step": step}), begun.finish


def _trackio(run: Run) -> tuple[Send, Callable[[], object]]:
    import trackio

    if "TRACKIO_DIR" not in os.environ:
        # It takes its folder from the environment alone, once: TRL's trainers or an earlier run may have loaded it.
        for name, module in list(sys.modules.items()):
            if name.startswith("trackio.") and hasattr(module, "TRACKIO_DIR"):
                vars(module)["TRACKIO_DIR"] = run.path.resolve() / "trackio"
    begun = trackio.init(
        project=os.environ.get("TRACKIO_PROJECT", PROJECT), name=run.manifest.name, config=_config(run),
        resume="allow", embed=False, auto_log_gpu=False, auto_log_cpu=False,
    )  # fmt: skip
    return lambda numbers, step: begun.log(dict(numbers), step=step), trackio.finish


_OPENED: dict[str, Callable[[Run], tuple[Send, Callable[[], object]]]] = {
    "tensorboard": _tensorboard,
    "wandb": _wandb,
    "trackio": _trackio,
}
assert set(_OPENED) == set(TRACKERS[1:])


def _config(run: Run) -> dict[str, Any]:
    """The recipe by dotted keys, without addresses: one may hold a password, or the name of a private machine."""
    settings = {"created": run.manifest.created, **dotted(run.recipe.as_dict())}
    return {
        key: list(value) if isinstance(value, tuple) else value
        for key, value in settings.items()
        if not key.endswith(".api_base")
    }


def _plain(name: str) -> str:
    """Trackers make folders of / and take letters, digits, . _ and -."""
    return re.sub(r"[^\w./-]+", "_", name)
