"""What a recipe names: each target, similarity, scheduler and control is declared once, beside its function.

The settings' bounds, help texts and the widgets' menus read these registries, so that a name is known everywhere or
nowhere.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Protocol, TypeVar, runtime_checkable

from omniopd.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Choice:
    """What may be named: `label` says in a menu what it does."""

    name: str
    label: str


@runtime_checkable
class Named(Protocol):
    """What a registry holds."""

    @property
    def name(self) -> str: ...


Entry = TypeVar("Entry", bound=Named)


class Registry(dict[str, Entry]):
    """Entries by name, in the order of their declaration; `setting` is the recipe's key that names one."""

    def __init__(self, setting: str, *entries: Entry) -> None:
        super().__init__()
        self.setting = setting
        for entry in entries:
            self.add(entry)

    def add(self, entry: Entry) -> None:
        """Declare one more. Raises ConfigError where the name is taken."""
        if entry.name in self:
            raise ConfigError(f"{self.setting} {entry.name!r} is declared already: choose another name")
        self[entry.name] = entry

    def __missing__(self, name: str) -> Entry:
        raise ConfigError(f"{self.setting} is {name!r}: it must be one of {', '.join(self)}")
