"""How the processes of a run share the weights: whole in each (ddp), or in pieces (fsdp2, zero3), as accelerate was
told; and which of these wrote a checkpoint. Knows accelerate's environment and files, no run."""

from __future__ import annotations

import importlib.util
import os
from pathlib import Path
from typing import Any

from torch import nn

from omniopd.errors import ConfigError

WHOLE, FSDP2, ZERO3 = "ddp", "fsdp2", "zero3"


def strategy() -> str:
    """The one of this process. Raises ConfigError for what accelerate may be told and this package cannot do."""
    if _told("USE_FSDP"):
        version = os.environ.get("FSDP_VERSION", "1")
        if version != "2":
            raise ConfigError(f"accelerate was told to use FSDP of version {version}: use the strategy {FSDP2}")
        return FSDP2
    if _told("USE_DEEPSPEED"):
        require_deepspeed()
        if (stage := os.environ.get("ACCELERATE_DEEPSPEED_ZERO_STAGE", "2")) != "3":
            raise ConfigError(f"accelerate was told to use ZeRO of stage {stage}: use the strategy {ZERO3} or {WHOLE}")
        return ZERO3
    if _told("USE_MEGATRON_LM"):
        raise ConfigError(f"accelerate was told to use Megatron-LM: use the strategy {WHOLE}, {FSDP2} or {ZERO3}")
    return WHOLE


def require_deepspeed() -> None:
    if importlib.util.find_spec("deepspeed") is None:
        raise ConfigError(
            f"the strategy {ZERO3} needs deepspeed, which is not installed: pip install deepspeed, or use {FSDP2}"
        )


def require_own(checkpoint: Path) -> None:
    """Raises ConfigError for a checkpoint that another strategy wrote: its pieces, or its optimizer, are others."""
    wrote, now = _writer(checkpoint), strategy()
    if wrote == now:
        return
    way_out = "any number of processes" if wrote == WHOLE else "--processes N"
    if wrote != WHOLE:
        way_out += f" --strategy {wrote}"
    raise ConfigError(
        f"{checkpoint} was written by the strategy {wrote}, and this is {now}: resume the run with {way_out}"
    )


def shard_on_a_cpu() -> None:
    """From now on accelerate shares weights out on CPUs too, as torch does: for itself it does so on accelerators only.

    In this process, and before its first `Accelerator`.
    """
    from accelerate.state import AcceleratorState
    from accelerate.utils import DistributedType

    made = AcceleratorState.__init__
    if getattr(made, "shards_on_a_cpu", False):
        return

    def with_pieces(state: Any, *arguments: Any, **options: Any) -> None:
        made(state, *arguments, **options)
        plugin = options.get("fsdp_plugin") or state.__dict__.get("fsdp_plugin")
        if plugin is not None:
            state.distributed_type, state.fsdp_plugin = DistributedType.FSDP, plugin

    with_pieces.shards_on_a_cpu = True  # type: ignore[attr-defined]
    AcceleratorState.__init__ = with_pieces


def pieces_of(checkpoint: Path) -> Path | None:
    """Where the strategy fsdp2 wrote the weights of a checkpoint; None for a checkpoint of another one."""
    from transformers.trainer import FSDP_MODEL_NAME

    found = checkpoint / f"{FSDP_MODEL_NAME}_0"
    return found if found.is_dir() else None


def with_pieces(model: nn.Module, pieces: Path) -> nn.Module:
    """A model that is whole, with the weights that several processes have written in pieces; each reads all of them."""
    from torch.distributed.checkpoint import FileSystemReader, load

    weights = {"model": model.state_dict()}
    load(weights, storage_reader=FileSystemReader(pieces), no_dist=True)
    model.load_state_dict(weights["model"])
    return model


def _writer(checkpoint: Path) -> str:
    if pieces_of(checkpoint) is not None:
        return FSDP2
    return ZERO3 if any(checkpoint.glob("global_step*")) else WHOLE


def _told(what: str) -> bool:
    return os.environ.get(f"ACCELERATE_{what}", "false").lower() == "true"
