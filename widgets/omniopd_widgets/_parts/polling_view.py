"""What the views of runs share: they poll while they are open, and show what is opened beneath them."""

from __future__ import annotations

import threading
from typing import Any

import ipywidgets
from traitlets import Bool, observe

from omniopd.errors import OmniOPDError
from omniopd_widgets._parts.base import WIDGET_VIEW, View
from omniopd_widgets._parts.poller import Poller


class PollingView(View):
    """A view whose `_poll` is called every `interval_s` while `live`, until it returns False; `beneath` is shown below.

    It rests once the page that showed it shows it no longer, and resumes with the next one that does.

    `_lock` is held by whoever changes what is shown: the polling thread, and the page.
    """

    live = Bool(False).tag(sync=True)
    _activity = "looking"  # what stopped, when an error ends it
    # Set here too: a view that could not be made is closed as well.
    _poller: Poller | None = None
    _whole: ipywidgets.VBox | None = None

    def __init__(self, interval_s: float, beneath: ipywidgets.Box | None = None, **traits: Any) -> None:
        self._lock = threading.RLock()
        self._poller = Poller(self._poll, self._failed, interval_s)
        self._beneath = beneath
        super().__init__(**{"_view_count": 0} | traits)  # 0: ipywidgets counts from now on

    @property
    def whole(self) -> ipywidgets.Widget:
        """The view and what is opened beneath it, as one widget to place elsewhere."""
        if self._whole is None and self._beneath is not None:
            self._whole = ipywidgets.VBox([self, self._beneath])
        return self._whole or self

    def close(self) -> None:
        """Stop polling, and take the view off the page; what is open beneath it is its owner's to close."""
        if self._poller is not None:
            self._poller.stop()
        if self._whole is not None:
            self._whole.close()
        super().close()

    def _poll(self) -> bool:
        """Read once; returns whether it is worth reading again."""
        raise NotImplementedError

    def _failed(self, error: Exception) -> None:
        self.problem = f"{self._activity} stopped: {error if isinstance(error, OmniOPDError) else repr(error)}"
        self.live = False

    @observe("live")
    def _on_live(self, change: Any) -> None:
        assert self._poller is not None
        (self._poller.start if change["new"] else self._poller.stop)()

    @observe("_view_count")
    def _on_views(self, change: Any) -> None:
        assert self._poller is not None
        if self.live:
            self._poller.follow(change["old"], change["new"])

    def _repr_mimebundle_(self, **more: Any) -> tuple[dict[str, Any], dict[str, Any]]:
        """The view with what is opened beneath it."""
        data, metadata = super()._repr_mimebundle_(**more)
        if WIDGET_VIEW in data:
            data[WIDGET_VIEW]["model_id"] = self.whole.model_id
        return data, metadata
