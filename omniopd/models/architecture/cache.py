"""A key-value cache with room to grow: a new token is written in place, where transformers' own copies everything.

Copying took a quarter of the time of sampling on a CPU. Knows nothing of models beyond their configuration.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn
from transformers import DynamicCache
from transformers.cache_utils import DYNAMIC_LAYER_TYPE_MAPPING, DynamicIndexedLayer, DynamicLayer

from omniopd.models.architecture.probing import text_config

_ROOM = 64
# All tokens, the last ones, a state of them.
_KNOWN = {*DYNAMIC_LAYER_TYPE_MAPPING.values()} - {DynamicIndexedLayer}


def sees_all(model: nn.Module) -> bool:
    """Whether every layer keeps and sees all earlier tokens: no sliding window, no recurrent state."""
    layers = _layers(model)
    return bool(layers) and all(type(layer) is DynamicLayer for layer in layers)


def selects_tokens(model: nn.Module) -> bool:
    """Whether a layer chooses what it looks at, by an index or in blocks. Padding, width and caches change its choice,
    in texts that are longer than it only (thousands of tokens), so that a short text does not tell."""
    return any(type(layer) not in _KNOWN for layer in _layers(model))


def roomy_cache(model: nn.Module) -> DynamicCache | None:
    """An empty cache for `model`; None where its layers need another kind, which the model then makes itself."""
    if not sees_all(model):
        return None
    cache = DynamicCache(config=text_config(model, decoder=True))
    cache.layers = [_RoomyLayer() for _ in cache.layers]
    return cache


def _layers(model: nn.Module) -> list[Any]:
    try:
        layers: list[Any] = DynamicCache(config=text_config(model, decoder=True)).layers
    except (AttributeError, KeyError, TypeError, ValueError):  # a configuration that transformers' cache does not know
        return []
    return layers


class _RoomyLayer(DynamicLayer):
    """`keys` and `values` are the filled parts of larger buffers."""

    def lazy_initialization(self, key_states: Tensor, value_states: Tensor) -> None:
        super().lazy_initialization(key_states, value_states)
        self._buffers = [key_states[..., :0, :], value_states[..., :0, :]]
        self._filled = 0

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        start, stop = self._filled, self._filled + key_states.shape[-2]
        for place, states in enumerate((key_states, value_states)):
            if stop > self._buffers[place].shape[-2]:
                larger = states.new_empty(*states.shape[:-2], stop + _ROOM, states.shape[-1])
                larger[..., :start, :] = self._buffers[place][..., :start, :]
                self._buffers[place] = larger
            self._buffers[place][..., start:stop, :] = states
        self._filled = stop
        return self._show()

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Take these rows of the batch; a row may be taken more than once."""
        self._buffers = [buffer.index_select(0, beam_idx) for buffer in self._buffers]
        self._show()

    def _show(self) -> tuple[Tensor, Tensor]:
        self.keys, self.values = (buffer[..., : self._filled, :] for buffer in self._buffers)
        return self.keys, self.values


class Reread:
    """In the place of a cache: the text so far, which is read again for every token."""

    def __init__(self) -> None:
        self.ids: Tensor | None = None

    def add(self, ids: Tensor) -> Tensor:
        """The whole text, with these columns behind it."""
        self.ids = ids if self.ids is None else torch.cat([self.ids, ids], dim=1)
        return self.ids

    def reorder_cache(self, beam_idx: Tensor) -> None:
        """Take these rows of the batch; a row may be taken more than once."""
        if self.ids is not None:
            self.ids = self.ids.index_select(0, beam_idx)
