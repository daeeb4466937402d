"""Settings that a user turns: what they were in the recipe, what they are now, and the way back."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from omniopd_widgets._parts.safe import JsonObject, to_json


class Changes:
    """`recipe` holds the values to begin with, by dotted names; `note` is told of all values after each change."""

    def __init__(self, recipe: Mapping[str, Any]) -> None:
        self.recipe = dict(recipe)
        self._past: list[dict[str, Any]] = [dict(recipe)]

    def note(self, values: Mapping[str, Any]) -> None:
        """These are the values now. A value that goes on being turned is one change."""
        now = dict(values)
        if now == self._past[-1]:
            return
        if len(self._past) > 1 and _names(self._past[-1], now) == _names(self._past[-2], self._past[-1]):
            self._past.pop()
        if now != self._past[-1]:
            self._past.append(now)

    def undone(self) -> dict[str, Any]:
        """The values before the last change."""
        if len(self._past) > 1:
            self._past.pop()
        return dict(self._past[-1])

    def differences(self) -> list[JsonObject]:
        """What differs from the recipe."""
        now = self._past[-1]
        return [
            to_json({"name": name, "was": self.recipe.get(name), "now": now[name]})
            for name in sorted(_names(self.recipe, now))
        ]


def _names(one: Mapping[str, Any], other: Mapping[str, Any]) -> set[str]:
    return {name for name in other if one.get(name) != other[name]}
