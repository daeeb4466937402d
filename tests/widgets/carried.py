"""A view's model on a page of the harness: values travel as they do in Jupyter, as strict JSON and buffers."""

from __future__ import annotations

import base64
import json
from typing import Any

from playwright.sync_api import Page


class Carried:
    """A view whose model is on a page: what either side assigns, the other one gets."""

    def __init__(self, page: Page, view: Any, key: str) -> None:
        self.page, self.view, self.id = page, view, key
        self._changed: set[str] = set()
        view.observe(self._note)

    def carry(self) -> bool:
        """Take what the page assigned, give it what Python did; whether there was any."""
        taken = self.page.evaluate("id => harness.models[id].model.take()", self.id)
        if taken:
            self.view.set_state({name: _unpack(value) for name, value in taken.items()})
            # What came from the page goes back only where Python made something else of it.
            state = self.view.get_state(list(taken))
            self._changed -= {name for name in taken if _pack(state[name]) == taken[name]}
        self._meet()
        changed, self._changed = self._changed, set()
        if changed:
            values = {name: _pack(value) for name, value in self.view.get_state(sorted(changed)).items()}
            script = "([id, values]) => harness.models[id].model.receive(harness.revive(values))"
            self.page.evaluate(script, [self.id, strict(values)])
        return bool(taken or changed)

    def _meet(self) -> None:
        """Before Python's changes are given: bring what they name."""

    def _note(self, change: Any) -> None:
        if self.view.trait_metadata(change["name"], "sync"):
            self._changed.add(change["name"])


def packed(view: Any) -> Any:
    """The view's state as the page gets it."""
    state = {k: v for k, v in view.get_state().items() if k not in ("_esm", "_css", "layout")}
    return strict({name: _pack(value) for name, value in state.items()})


def strict(value: Any) -> Any:
    """`value`, or the error that Jupyter's JSON would meet: NaN, half a surrogate pair, an object."""
    json.dumps(value, ensure_ascii=False, allow_nan=False).encode("utf-8")
    return value


def _pack(value: Any) -> Any:
    if isinstance(value, (bytes, bytearray, memoryview)):
        return {"__bytes__": base64.b64encode(bytes(value)).decode()}
    if isinstance(value, dict):
        return {k: _pack(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_pack(v) for v in value]
    return value


def _unpack(value: Any) -> Any:
    if isinstance(value, dict) and "__bytes__" in value:
        return base64.b64decode(value["__bytes__"])
    return value
