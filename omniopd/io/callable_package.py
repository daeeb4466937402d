"""A package that can be called: `omniopd.runs(folder)` is promised, and `omniopd.runs` is also where modules live."""

from __future__ import annotations

import sys
from collections.abc import Callable
from types import ModuleType
from typing import Any


def make_callable(package: str, function: Callable[..., Any]) -> None:
    """Let `package(...)` be `function(...)`. Python has no other way: importing a package's module puts the package in
    the place of any function of its name, and calls look at a class, never at a module."""

    class CallablePackage(ModuleType):
        __call__ = staticmethod(function)

    sys.modules[package].__class__ = CallablePackage
