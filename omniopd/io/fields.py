"""A dataclass from what a JSON file holds: every field of the type that it is annotated with, or a ValueError.

Files of strangers, of other versions and of failing disks hold anything that is JSON; what comes through here holds
what its annotations say.
"""

from __future__ import annotations

import math
import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from functools import lru_cache
from typing import Any, TypeVar, Union, get_args, get_origin, get_type_hints

_T = TypeVar("_T")
_MOST = 2**63  # a whole number beyond it is not a count, and tables cannot hold it
_NAMES: dict[Any, str] = {int: "a whole number", float: "a number", str: "a text", bool: "true or false"}
_Reader = Callable[[Any, str], Any]  # a value and the name of its field → the value as it is annotated


def read_fields(cls: type[_T], data: object) -> _T:
    """A `cls` of the fields in `data`. Unknown ones are ignored, missing ones take their default; null is NaN where a
    number is expected, since JSON has none. Raises ValueError, which names the field."""
    key: Any = cls
    made: _T = _reader(key)(data, "")
    return made


@lru_cache(maxsize=256)
def _reader(hint: Any) -> _Reader:
    """What reads a value of this annotation; made once, because a run holds a hundred thousand records."""
    origin, inner = get_origin(hint), get_args(hint)
    if hint is Any:
        return lambda value, name: value
    if origin in (Union, types.UnionType):
        read = _reader(next(i for i in inner if i is not type(None)))
        return lambda value, name: None if value is None else read(value, name)
    if is_dataclass(hint) and isinstance(hint, type):
        return _of_class(hint)
    if origin is tuple:
        return _of_many(inner[0]) if len(inner) == 2 and inner[1] is Ellipsis else _of_each(inner)
    if origin is not None and issubclass(origin, Mapping):
        return _of_names(inner[1])
    return _of_one(hint)


def _of_class(cls: Any) -> _Reader:
    hints = get_type_hints(cls)
    plan = [
        (each.name, _reader(hints[each.name]), each.default is MISSING and each.default_factory is MISSING)
        for each in fields(cls)
    ]

    def read(data: Any, _: str) -> Any:
        if not isinstance(data, Mapping):
            raise ValueError(f"{_short(data)} stands where {cls.__name__} was expected")
        values = {}
        for name, of, required in plan:
            if name in data:
                values[name] = of(data[name], name)
            elif required:
                raise ValueError(f"{name} is missing")
        return cls(**values)

    return read


def _of_many(hint: Any) -> _Reader:
    of, plain = _reader(hint), {hint} if hint in (str, float) else set()

    def read(value: Any, name: str) -> tuple[Any, ...]:
        _require_list(value, name)
        # Thousands of numbers or texts are the common case.
        if plain.issuperset(map(type, value)) and (hint is str or all(map(math.isfinite, value))):
            return tuple(value)
        return tuple(of(item, name) for item in value)

    return read


def _of_each(hints: tuple[Any, ...]) -> _Reader:
    each = [_reader(hint) for hint in hints]

    def read(value: Any, name: str) -> tuple[Any, ...]:
        _require_list(value, name)
        if len(value) != len(each):
            raise ValueError(f"{name} holds {len(value)} values: {len(each)} were expected")
        return tuple(of(item, name) for of, item in zip(each, value, strict=True))

    return read


def _of_names(hint: Any) -> _Reader:
    of = _reader(hint)

    def read(value: Any, name: str) -> dict[str, Any]:
        if not isinstance(value, Mapping):
            raise ValueError(f"{name} is {_short(value)}: names with values were expected")
        return {str(key): of(item, f"{name}.{key}") for key, item in value.items()}

    return read


def _of_one(hint: Any) -> _Reader:
    def read(value: Any, name: str) -> Any:
        if type(value) is hint and (hint is str or hint is bool or (hint is float and math.isfinite(value))):
            return value
        if hint is float and value is None:
            return math.nan
        if hint is int and isinstance(value, bool):
            return int(value)  # what a comparison gave to who counted
        if _fits(value, hint):
            return value
        raise ValueError(f"{name} is {_short(value)}: {_NAMES.get(hint, hint)} was expected")

    return read


def _require_list(value: Any, name: str) -> None:
    if not isinstance(value, (list, tuple)):
        raise ValueError(f"{name} is {_short(value)}: a list was expected")


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
