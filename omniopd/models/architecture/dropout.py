"""A student that is trained must be the student that is scored: whatever is random in training mode is taken out.

Architectures keep dropout as layers, as numbers that a function reads in the forward, in their configuration, or in
dictionaries of an adapter; some drop whole layers, some shake the router of their experts. Knows no trainer.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import PretrainedConfig

from omniopd.errors import ConfigError
from omniopd.models.architecture.backbone import sequence_hidden
from omniopd.models.architecture.probing import kind, probe_ids

# One of these is in the name of every such number: attention_dropout, resid_pdrop, layerdrop, router_jitter_noise.
_RANDOM = ("drop", "jitter")
_PROBE = (2, 24)


def remove_dropout(model: nn.Module) -> None:
    """Set every probability of dropping, and every jitter, in the model, its adapters and its configuration to 0."""
    configs: dict[int, PretrainedConfig] = {}
    for module in model.modules():
        _zero(vars(module))
        if "dropout" in type(module).__name__.lower() and isinstance(getattr(module, "p", None), float):
            vars(module)["p"] = 0.0
        _collect(getattr(module, "config", None), configs)
    for config in configs.values():
        _zero(vars(config))


@torch.no_grad()
def check_still(model: nn.Module) -> None:
    """Prove on a few tokens that the model says the same in training mode, twice, as in evaluation mode.

    Raises ConfigError. Costs three tiny forwards, and leaves random generators as they were.
    """
    weight = next(p for p in model.parameters() if p.is_floating_point())
    ids = probe_ids(model, *_PROBE)
    was_training = model.training
    devices = [weight.device] if weight.device.type == "cuda" else []
    with torch.random.fork_rng(devices):
        found = [_states(model.train(mode), ids) for mode in (False, True, True)]
    model.train(was_training)
    still, *training = found
    # Kernels may add up in another order from call to call, but no further than rounding.
    tolerance = (1e-3 if weight.dtype == torch.float32 else 2e-2) * still.abs().max()
    worst = max(float((states - still).abs().max()) for states in training)
    if not worst <= tolerance:
        raise ConfigError(
            f"models of type {kind(model)} say something else in training mode (states differ by "
            f"{worst:.3g} of {float(still.abs().max()):.3g}) though every dropout that they name is 0, so that another "
            "student would be scored than the one that learns: choose another student, or set allow_off_policy"
        )


def _states(model: nn.Module, ids: Tensor) -> Tensor:
    return sequence_hidden(model, ids, torch.ones_like(ids)).float()


def _zero(values: dict[str, Any]) -> None:
    for name, value in values.items():
        if not any(part in name.lower() for part in _RANDOM):
            continue
        if isinstance(value, float):
            values[name] = 0.0
        elif isinstance(value, dict):  # an adapter's, by its name
            value.update({key: 0.0 for key, number in value.items() if isinstance(number, float)})


def _collect(config: Any, found: dict[int, PretrainedConfig]) -> None:
    """The configuration and those inside it, each once."""
    if isinstance(config, PretrainedConfig) and id(config) not in found:
        found[id(config)] = config
        for inner in vars(config).values():
            _collect(inner, found)
