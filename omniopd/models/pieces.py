"""A model whose weights several processes share out, each with a piece of every one (torch's FSDP2, DeepSpeed's
ZeRO-3), made whole in all of them for what one does alone: to sample as many tokens as its own rows take, to be saved.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import Any

from torch import Tensor, distributed, nn


@contextmanager
def whole(model: nn.Module) -> Iterator[None]:
    """Inside, every weight of `model` is whole in every process, and a forward waits for nobody; a no-op for a model
    that is whole already. All processes enter and leave it together."""
    with ExitStack() as made:
        if groups := _groups(model):
            made.enter_context(_gathered(groups))
        elif in_pieces := [p for p in model.parameters() if hasattr(p, "ds_id")]:
            import deepspeed

            made.enter_context(deepspeed.zero.GatheredParameters(in_pieces))
        yield


def whole_weights(model: nn.Module) -> dict[str, Tensor] | None:
    """The weights by their names for `save_pretrained`, inside `whole`; None for a model that is whole by itself, whose
    own `state_dict` they are. That of a model in pieces would take it to pieces again."""
    if not _groups(model) and not any(hasattr(p, "ds_id") for p in model.parameters()):
        return None
    kept = [
        (f"{prefix}.{name}" if prefix else name, buffer)
        for prefix, module in model.named_modules()
        for name, buffer in module.named_buffers(recurse=False)
        if name not in module._non_persistent_buffers_set
    ]
    return {name: value.detach() for name, value in [*model.named_parameters(), *kept]}


@contextmanager
def _gathered(groups: list[Any]) -> Iterator[None]:
    # What a group does after a forward is asked for by no public name, and some keep their weights by design.
    before = [[part.post_forward_mesh_info for part in _parts(group)] for group in groups]
    for group in groups:
        group.set_reshard_after_forward(False, recurse=False)
        group.unshard()
    try:
        yield
    finally:
        for group, infos in zip(groups, before, strict=True):
            group.reshard()
            for part, info in zip(_parts(group), infos, strict=True):
                part.post_forward_mesh_info = info


def _groups(model: nn.Module) -> list[Any]:
    if not (distributed.is_available() and distributed.is_initialized()):
        return []
    from torch.distributed.fsdp import FSDPModule

    return [module for module in model.modules() if isinstance(module, FSDPModule)]


def _parts(group: Any) -> list[Any]:
    return list(group._get_fsdp_state()._fsdp_param_groups)
