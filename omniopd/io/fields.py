"""A dataclass from what a JSON file holds: every field of the type that it is annotated with, or a ValueError.

Files of strangers, of other versions and of failing disks hold anything that is JSON; what comes through here holds
what its annotations say.
"""

from __future__ import annotations

import math
import types
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, is_dataclass
from functools import lru_cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

_T = TypeVar("_T")
_MOST = 2**63  # a whole number beyond it is not a count, and tables cannot hold it
_NAMES: dict[Any, str] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}


def read_fields(cls: type[_T], data: object) -> _T:
    """A `cls` of the fields in `data`. Unknown ones are ignored, missing ones take their default; null is NaN where a
    number is expected, since JSON has none. Raises ValueError, which names the field."""
    if not isinstance(data, Mapping):
        raise ValueError(f"{_short(data)} stands where {cls.__name__} was expected")
    key: Any = cls
    hints, values = _hints(key), {}
    for each in _fields(key):
        if each.name in data:
            values[each.name] = _read(data[each.name], hints[each.name], each.name)
        elif each.default is MISSING and each.default_factory is MISSING:
            raise ValueError(f"{each.name} is missing")
    return cls(**values)


def _read(value: Any, hint: Any, name: str) -> Any:
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return value
    if origin in (Union, types.UnionType):
        return None if value is None else _read(value, next(i for i in inner if i is not type(None)), name)
    if is_dataclass(hint) and isinstance(hint, type):
        return read_fields(hint, value)
    if origin is tuple:
        return _tuple(value, inner, name)
    if origin is not None and issubclass(origin, Mapping):
        if isinstance(value, Mapping):
            return {str(key): _read(item, inner[1], f"{name}.{key}") for key, item in value.items()}
        raise ValueError(f"{name} is {_short(value)}: names with values were expected")
    if hint is float and value is None:
        return math.nan
    if hint is int and isinstance(value, bool):
        return int(value)  # what a comparison gave to who counted
    if _fits(value, hint):
        return value
    raise ValueError(f"{name} is {_short(value)}: {_NAMES.get(hint, hint)} was expected")


def _tuple(value: Any, inner: tuple[Any, ...], name: str) -> tuple[Any, ...]:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name} is {_short(value)}: a list was expected")
    if len(inner) == 2 and inner[1] is Ellipsis:
        # Thousands of numbers or texts are the common case.
        if inner[0] is str and all(type(item) is str for item in value):
            return tuple(value)
        if inner[0] is float and all(type(item) is float for item in value) and all(map(math.isfinite, value)):
            return tuple(value)
        return tuple(_read(item, inner[0], name) for item in value)
    if len(value) != len(inner):
        raise ValueError(f"{name} holds {len(value)} values: {len(inner)} were expected")
    return tuple(_read(item, hint, name) for item, hint in zip(value, inner, strict=True))


def _fits(value: Any, hint: Any) -> bool:
    if isinstance(value, int) and hint is not bool:
        return not isinstance(value, bool) and hint in (int, float) and -_MOST <= value < _MOST
    return isinstance(value, hint) and (hint is not float or math.isfinite(value))


def _short(value: Any) -> str:
    try:
        text = repr(value)
    except (RecursionError, ValueError):  # nested too deep; a number of more digits than Python prints
        return f"a {type(value).__name__}"
    return text if len(text) <= 80 else f"{text[:80]}…"


@lru_cache(maxsize=64)
def _hints(cls: Any) -> dict[str, Any]:
    return get_type_hints(cls)


@lru_cache(maxsize=64)
def _fields(cls: Any) -> tuple[Field[Any], ...]:
    return fields(cls)
