"""Arrays of either kind: a trainer's are torch tensors, a view's are numpy arrays, and each equation stands once.

The modules that views import load no torch. Their formulas use operators, methods and functions that torch and numpy
have under the same names, so that the order of the operations, and with it every bit of a training run, is one.
"""

from __future__ import annotations

import sys
from typing import Any

Array = Any  # a torch.Tensor or a numpy.ndarray


def namespace(array: Array) -> Any:
    """The module whose functions take this array: torch or numpy."""
    return sys.modules[type(array).__module__.partition(".")[0]]


def detached(value: Array) -> Array:
    """Without its gradient, where it can have one."""
    return value.detach() if hasattr(value, "detach") else value
