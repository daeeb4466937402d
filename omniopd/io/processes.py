"""The processes that execute one run together: which of them this is, and what they tell each other.

`torchrun` and `accelerate launch` start N processes with the same command. Number 0 is the main one, which alone
writes, asks and pays. In a single process everything here is the plain call, and no torch is loaded. What they tell
each other goes through the CPU (gloo), also beside GPUs: there a process that ends is noticed at once.
"""

from __future__ import annotations

import importlib
import os
import pickle
import re
from collections.abc import Callable, Sequence
from datetime import timedelta
from typing import Any, TypeVar

T = TypeVar("T")
_LOST = re.compile(r"gloo|nccl|connection (closed|reset|refused)|broken pipe|socket", re.IGNORECASE)


def count() -> int:
    """How many processes execute this program together, on all machines."""
    return int(os.environ.get("WORLD_SIZE") or 1)


def number() -> int:
    """Which of them this is, from 0."""
    return int(os.environ.get("RANK") or 0)


def on_this_machine() -> int:
    """How many of them this machine executes."""
    return int(os.environ.get("LOCAL_WORLD_SIZE") or 1)


def is_main() -> bool:
    """Whether this is the one that writes, asks and pays; the only one is."""
    return number() == 0


def join(on_cpu: bool, patience_s: float) -> None:
    """Meet the other processes: each calls it before the first thing that they do together; later calls do nothing.

    `patience_s` is how long one waits for another that is alive.
    """
    if count() == 1 or _group() is not None:
        return
    from accelerate import PartialState

    backend = {} if on_cpu else {"backend": "cuda:nccl,cpu:gloo"}
    PartialState(cpu=on_cpu, timeout=timedelta(seconds=patience_s), **backend)


def leave() -> None:
    """Part from the other processes where all has gone well; who fails just ends."""
    if (group := _group()) is not None:
        group.destroy_process_group()


def gathered(own: Sequence[T]) -> list[T]:
    """The lists of all processes as one, in the order of their numbers, in every process."""
    if (group := _group()) is None:
        return list(own)
    lists: list[Any] = [None] * count()
    group.all_gather_object(lists, list(own))
    return [item for each in lists for item in each]


def on_main(compute: Callable[[], T]) -> T:
    """What the main process computes, in every process; its error is every process's error, so that none waits."""
    if (group := _group()) is None:
        return compute()
    box: list[Any] = [None, None]
    if is_main():
        try:
            box[0] = compute()
        except BaseException as error:  # travels to the other processes, which would wait for ever otherwise
            box[1] = _portable(error)
            group.broadcast_object_list(box)
            raise
    group.broadcast_object_list(box)
    if box[1] is not None:
        box[1].is_told_by_main = True
        raise box[1]
    result: T = box[0]
    return result


def own_share(items: Sequence[T]) -> Sequence[T]:
    """This process's part of what all have: runs of equal length, the first ones one longer where it does not come out
    even. `gathered` puts them together again."""
    each, more = divmod(len(items), count())
    start = number() * each + min(number(), more)
    return items[start : start + each + (number() < more)]


def is_lost_contact(error: BaseException) -> bool:
    """Whether an error says no more than that another process is gone."""
    return count() > 1 and isinstance(error, RuntimeError) and _LOST.search(str(error)) is not None


def _portable(error: BaseException) -> BaseException:
    """The error, or its words where it cannot travel."""
    try:
        pickle.loads(pickle.dumps(error))
    except Exception:
        return RuntimeError(f"{type(error).__name__}: {error}")
    return error


def _group() -> Any:
    """torch.distributed, where this process has joined others; else None."""
    if count() == 1:
        return None
    # By its name, because views read runs, and views know no torch.
    distributed = importlib.import_module("torch.distributed")
    return distributed if distributed.is_available() and distributed.is_initialized() else None
