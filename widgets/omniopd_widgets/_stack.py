"""Views below each other that are shown, and left inert, as one."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import ipywidgets

from omniopd_widgets._base import View


class Stack(ipywidgets.VBox):
    """A box with a fixed repr and an inert picture: those of its views, one after the other.

    `children` may be other boxes; `views` says which of them (or of what they hold) have something to leave behind.
    """

    @property
    def views(self) -> Sequence[View]:
        return [child for child in self.children if isinstance(child, View)]

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(map(repr, self.views))})"

    def _repr_mimebundle_(self, **options: Any) -> Any:
        bundle = super()._repr_mimebundle_(**options)
        data = dict(bundle[0] if isinstance(bundle, tuple) else bundle or {})
        data["text/plain"] = repr(self)
        data["text/html"] = "".join(str(view.fallback_html()) for view in self.views)
        return (data, bundle[1]) if isinstance(bundle, tuple) else data
