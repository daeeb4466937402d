"""How several processes share the rollouts of a step: `training.rollouts` counts those of all of them."""

from __future__ import annotations

from omniopd.errors import ConfigError


def micro_batches(rollouts: int, micro_batch: int, processes: int) -> tuple[int, int]:
    """Rollouts of one process per micro-batch, and its micro-batches per step; the first is `micro_batch`, or fewer
    where a process has fewer. Raises ConfigError, with the numbers that do, where it does not come out even."""
    if processes < 1:
        raise ConfigError(f"processes is {processes}: give at least 1")
    found = _shared(rollouts, micro_batch, processes)
    if found is None:
        who = f"{processes} processes cannot share" if processes > 1 else "one process cannot take"
        enough = [n for n in range(1, rollouts + 1) if _shared(rollouts, micro_batch, n)]
        some = ", ".join(map(str, enough[:8])) + (", …" if len(enough) > 8 else "")
        even = processes * micro_batch
        near = sorted({max(even, rollouts // even * even), (rollouts // even + 1) * even})
        raise ConfigError(
            f"training.rollouts is {rollouts}, which {who} in micro-batches of {micro_batch} (training.micro_batch): "
            f"take {some} processes, or {' or '.join(map(str, near))} rollouts"
        )
    return found


def check_waves(waves: int, micro_batches: int) -> None:
    """Raises ConfigError where the micro-batches of one process's step do not come out even in waves: each is scored
    as it will be learnt from."""
    if micro_batches % waves:
        some = ", ".join(str(n) for n in range(1, micro_batches + 1) if micro_batches % n == 0)
        raise ConfigError(
            f"training.waves is {waves}, and a step has {micro_batches} micro-batches in each process: take {some}, or "
            "a smaller training.micro_batch"
        )


def _shared(rollouts: int, micro_batch: int, processes: int) -> tuple[int, int] | None:
    own, rest = divmod(rollouts, processes)
    own_micro_batch = min(micro_batch, own)
    return None if rest or not own or own % own_micro_batch else (own_micro_batch, own // own_micro_batch)
