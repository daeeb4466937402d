"""A notebook's parameters as a form; its runs started, watched, ended and resumed, in processes of their own.

    Launcher("train")

Everything is in the runs' folders: a kernel that was restarted, or another notebook, finds the same runs going on. The
runs end with this machine (or container), not with a kernel. Keys are read from the environment by the run, and only
the names of the variables are seen here.
"""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from concurrent.futures import Future
from pathlib import Path
from typing import Any

from traitlets import Dict, List, Unicode, observe

from omniopd.costs.launch import estimate
from omniopd.errors import ConfigError
from omniopd.launch import attach, launch, notebook_path, parameters_of, resume
from omniopd.launch.devices import NONE, card_of, device_named
from omniopd.launch.parameters import MORE, SETTINGS, Parameter, all_values, checked, recipe_with, type_words
from omniopd.launch.queue import length, ordinal
from omniopd.teachers.model_traits import runs_here
from omniopd_widgets._parts.launched_runs import LaunchedRuns
from omniopd_widgets._parts.polling_view import PollingView
from omniopd_widgets._parts.safe import JsonObject, SafeHTML, element, table, to_json
from omniopd_widgets._parts.worker import Worker

ACTIONS = ("start", "stop", "interrupt", "kill", "resume")
ACCEPTED = "accept_usd"  # the parameter by which a notebook knows that its price was seen
OWN = ("run", "folder", ACCEPTED)  # parameters that the launcher answers itself
KEYS = {
    "anthropic": "ANTHROPIC_API_KEY", "deepseek": "DEEPSEEK_API_KEY", "gemini": "GEMINI_API_KEY",
    "huggingface": "HF_TOKEN", "mistral": "MISTRAL_API_KEY", "openai": "OPENAI_API_KEY",
    "openrouter": "OPENROUTER_API_KEY", "together_ai": "TOGETHERAI_API_KEY",
}  # fmt: skip


class Launcher(PollingView):
    """A form for a notebook, and the runs that were launched into `folder`.

    `texts` holds what was typed, by parameter; `problems` a sentence for each field that cannot work. `pressed` is
    `{"action": …, "run": path, "count": n}`; `start`, `stop`, `interrupt`, `kill`, `resume` are the same from Python.
    `selected` is the path of the run that the buttons are about. `wait()` returns when what was pressed is done.
    """

    notebook = Unicode("").tag(sync=True)
    folder = Unicode("").tag(sync=True)
    fields: List[Any] = List().tag(sync=True)
    texts = Dict().tag(sync=True)
    problems = Dict().tag(sync=True)
    device = Unicode("auto").tag(sync=True)
    estimated = Dict().tag(sync=True)
    variables: List[Any] = List().tag(sync=True)
    runs: List[Any] = List().tag(sync=True)
    selected = Unicode("").tag(sync=True)
    busy = Unicode("").tag(sync=True)
    pressed = Dict({"action": "", "run": "", "count": 0}).tag(sync=True)

    def __init__(
        self, notebook: str | Path = "train", runs: str | Path = "runs", interval_s: float = 0.5, **traits: Any
    ) -> None:
        self._source = notebook_path(notebook)
        found = parameters_of(self._source)
        self._parameters: list[Parameter] = [p for p in found if p.name not in OWN]
        self._accepts = any(p.name == ACCEPTED for p in found)
        self._folder = Path(runs)
        self._found = LaunchedRuns(self._folder)
        self._worker = Worker(self, "launcher", after=self._poll)
        self._started: Future[None] | None = None
        fields = [_field(p) for p in self._parameters]
        super().__init__(interval_s, notebook=self._source.stem, folder=str(runs), fields=fields, **traits)
        self._check()
        self._poll()
        self.live = True

    @property
    def values(self) -> dict[str, Any]:
        """The parameters as the notebook will get them, of the fields that are right."""
        return checked(self._parameters, self.texts)[0]

    def use(
        self, settings: Mapping[str, Any], recipe: str | None = None, instead_of: Collection[str] = ()
    ) -> None:
        """Fill the form from settings of a recipe by their dotted names, and with the recipe's own name, as the
        workbench does. Settings named in `instead_of` that the form held before are taken out of it."""
        names = {setting: name for name, setting in SETTINGS.items()}
        texts, more = dict(self.texts), []
        known = {p.name for p in self._parameters}
        if recipe is not None:
            texts["recipe"] = recipe
        for setting, value in settings.items():
            if names.get(setting) in known:
                texts[names[setting]] = _text(value)
            else:
                more.append(f"{setting}={_toml(value)}")
        replaced = {*settings, *instead_of}
        words = [word for word in self.values.get(MORE, []) if word.partition("=")[0] not in replaced] + more
        if more and MORE not in known:
            raise ConfigError(f"{self._source.name} has no parameter {MORE!r} to put {more[0]} into")
        if MORE in known:
            # Commas part the words, unless they stand in a list as Python writes it.
            texts[MORE] = repr(words) if any("," in word for word in words) else ", ".join(words)
        self.texts = texts

    def start(self, name: str | None = None, price: str | None = None) -> None:
        """Launch the notebook with what the form says; the run becomes the selected one. Errors go to `problem`.

        Whoever calls this accepts the price in `estimated`; the page asks twice if there is one, and passes as `price`
        the one it showed: if it has changed since, nothing is started.
        """
        values: dict[str, Any] = dict(self.texts)
        now = self.estimated["price"]
        if self._accepts and self.estimated["paid"]:
            values[ACCEPTED] = self.estimated["usd"] or 0.0
        device = self.device

        def work() -> None:
            if self.problems:
                raise ConfigError(next(iter(self.problems.values())))
            if price not in (None, now):
                raise ConfigError(f"Start was pressed at {price!r}, and the price is now {now!r}: press it again")
            self._select(launch(self._source, values, self._folder, name, device).path)

        self._worker.do("starting …", work)

    def stop(self, path: str = "") -> None:
        """End the selected run (or the one at `path`) after its step, with a checkpoint."""
        self._worker.do("asking it to stop …", lambda: attach(path or self.selected).stop())

    def interrupt(self, path: str = "") -> None:
        """End it now; its traceback is kept."""
        self._worker.do("interrupting …", lambda: attach(path or self.selected).interrupt())

    def kill(self, path: str = "") -> None:
        """End it by force, kernel first."""
        self._worker.do("killing …", lambda: attach(path or self.selected).kill())

    def resume(self, path: str = "") -> None:
        """Continue a run that has ended, from its newest checkpoint."""
        self._worker.do("resuming …", lambda: self._select(resume(path or self.selected).path))

    def wait(self) -> None:
        """Wait until what was pressed is done."""
        self._worker.wait()
        self._poll()

    def close(self) -> None:
        """Take the launcher off the page. The runs continue."""
        self._worker.close(drop=False)
        super().close()

    def summary(self) -> str:
        return f"{self.notebook}, {len(self.fields)} parameters"

    def fallback(self) -> Sequence[SafeHTML]:
        rows = [[f["name"], self.texts.get(f["name"], f["default"]), f["type"], f["help"]] for f in self.fields]
        return [
            table(["parameter", "value", "type", "meaning"], rows),
            element("p", "Runs are started where the notebook runs, or with: omniopd run " + self.notebook),
        ]

    @observe("texts", "device")
    def _changed(self, change: Any) -> None:
        self._check()

    @observe("pressed")
    def _pressed(self, change: Any) -> None:
        action, path = change["new"].get("action"), str(change["new"].get("run", ""))
        if action == "start":
            # A press that waited for a busy kernel beside another one is the same press.
            if self._started is None or self._started.done():
                self.start(price=change["new"].get("price"))
                self._started = self._worker.pending
        elif action in ACTIONS:
            getattr(self, action)(path)

    def _check(self) -> None:
        values, problems = checked(self._parameters, self.texts)
        try:
            device_named(self.device)
        except ConfigError as error:
            problems = problems | {"device": str(error)}
        if not problems:
            try:
                recipe_with(all_values(self._parameters, values))
            except ConfigError as error:
                problems = {"": str(error)}
        self.problems = to_json(problems)
        self.variables = _keys(all_values(self._parameters, values).get("teacher"))
        self._estimate(values)

    def _estimate(self, values: Mapping[str, Any]) -> None:
        found = estimate(self._folder, self._source, self._parameters, values)
        self.estimated = to_json(
            {"time": found.time, "price": found.price, "paid": found.is_paid, "usd": found.usd, "queue": self._queue()}
        )

    def _queue(self) -> str:
        try:
            device, before = device_named(self.device), length(card_of(self.device))
        except ConfigError:
            return ""
        if not before:
            return "" if device == NONE else f"{device} is free"
        return f"{device} is busy: a run started now is {ordinal(before + 1)} in the queue"

    def _select(self, path: Path) -> None:
        self._poll()
        self.selected = str(path)

    def _poll(self) -> bool:
        with self._lock:
            rows = self._found.look()
            if rows != self.runs:
                self.runs = rows
            queue = self._queue()
            if self.estimated and queue != self.estimated.get("queue"):
                self.estimated = {**self.estimated, "queue": queue}
            going_on = [str(row["path"]) for row in rows if row["going_on"]]
            if not self.selected and going_on:
                self.selected = going_on[0]
        return True

    def _failed(self, error: Exception) -> None:
        self.live = False
        self.problem = f"the runs in {self.folder} can no longer be read ({error}): create this view again"


def _field(parameter: Parameter) -> JsonObject:
    """One row of the form. A default that the cell computes is shown as its source."""
    kind = "choice" if parameter.choices else "check" if parameter.type in ("bool", "bool | None") else "text"
    default = _text(parameter.default) if parameter.constant else parameter.source
    return to_json(
        {
            "name": parameter.name, "type": type_words(parameter.type), "kind": kind, "default": default,
            "help": parameter.help, "choices": list(parameter.choices),
        }
    )  # fmt: skip


def _text(value: object) -> str:
    """A value as one would type it."""
    if value is None:
        return "none"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, list | tuple):
        return ", ".join(map(_text, value))
    return str(value)


def _toml(value: object) -> str:
    """A value as the right side of a setting."""
    return json.dumps(list(value)) if isinstance(value, list | tuple) else _text(value)


def _keys(teacher: object) -> list[JsonObject]:
    """Which variables that hold keys are set, names only; `needed` is the one of this teacher's provider."""
    provider = str(teacher or "").partition("/")[0]
    needed = "" if not teacher or runs_here(str(teacher)) else KEYS.get(provider, "")
    names = sorted({*KEYS.values(), *(name for name in os.environ if name.endswith("_API_KEY"))})
    return [{"name": n, "set": bool(os.environ.get(n)), "needed": n == needed} for n in names]
