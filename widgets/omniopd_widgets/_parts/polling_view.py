"""What the views of runs share: they poll while they are open, and open others beneath themselves."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

from traitlets import Bool, List, observe

from omniopd.errors import OmniOPDError
from omniopd_widgets._parts.base import View
from omniopd_widgets._parts.poller import Poller


class PollingView(View):
    """A view whose `_poll` is called every `interval_s` while `live`, until it returns False.

    It rests once the page that showed it shows it no longer, and resumes with the next one that does; so do the views
    that it has opened `beneath` itself.

    `_lock` is held by whoever changes what is shown: the polling thread, and the page.
    """

    live = Bool(False).tag(sync=True)
    beneath: List[Any] = List().tag(sync=True)  # the class and the model of each, from top to bottom
    _activity = "looking"  # what stopped, when an error ends it
    # Set here too: a view that could not be made is closed as well.
    _poller: Poller | None = None
    _opened: tuple[View, ...] = ()

    def __init__(self, interval_s: float, **traits: Any) -> None:
        self._lock = threading.RLock()
        self._poller = Poller(self._poll, self._failed, interval_s)
        super().__init__(**{"_view_count": 0} | traits)  # 0: ipywidgets counts from now on

    @property
    def opened_views(self) -> tuple[View, ...]:
        """What is open beneath, from top to bottom."""
        return self._opened

    @property
    def inner_views(self) -> Mapping[str, View]:
        """What is open beneath, and beneath that, by the names of the models."""
        found: dict[str, View] = {}
        for view in self._opened:
            found |= {str(view.model_id): view, **view.inner_views}
        return found

    def _open_beneath(self, *views: View) -> None:
        """These, and no others; whoever made them closes them."""
        self._opened = views
        self.beneath = [{"view": type(view).__name__, "model": view.model_id} for view in views]

    def close(self) -> None:
        """Stop polling, and take the view off the page; what is open beneath it is its owner's to close."""
        if self._poller is not None:
            self._poller.stop()
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
        for view in (self, *self.inner_views.values()):
            is_elsewhere = view is not self and bool(view._view_count)  # in a cell of its own
            if isinstance(view, PollingView) and view.live and view._poller is not None and not is_elsewhere:
                view._poller.follow(change["old"], change["new"])
