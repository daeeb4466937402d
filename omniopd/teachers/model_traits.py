"""What is known of models behind an API, from the table models.toml: how each takes a prefix, what its calls may hold.

The table is a first guess: preflight tries it out, and the user's setting overrides it. Knows no wire format and sends
nothing.
"""

from __future__ import annotations

import os
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from fnmatch import fnmatchcase
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any

from omniopd.config.handovers import AUTO, HANDOVERS, HandoverEntry
from omniopd.errors import ConfigError

COMPLETION_ROUTE = "text-completion-openai/"
SERVERS = ("hosted_vllm/", "vllm/", COMPLETION_ROUTE)  # of one's own: they need an address, and send no bill
LOCAL, EMBEDDED = "local:", "embedded:"


@dataclass(frozen=True, slots=True)
class ModelTraits:
    """How a model takes a prefix, and what may be sent with it (models.toml says what each field means).

    A model that the table does not know is instructed, one text per call, without a seed: that works anywhere.
    """

    model: str
    handover: str = "instruction"
    most_samples: int = 1
    takes_seed: bool = True
    takes_sampling: bool = True
    one_sampling_setting: bool = False
    trailing_whitespace: bool = True
    takes_ids: bool = False
    returns_prefix: bool = False
    prefill_mark: str = ""
    thinking_tokens: int = 0
    parted_costs: str = "most"
    parameters: Mapping[str, Any] = field(default_factory=dict)
    note: str = ""

    def handover_entry(self, name: str = "") -> HandoverEntry:
        """The handover of this name, or the table's ("" or "auto"). Raises ConfigError for one that there is not."""
        name = self.handover if name in ("", AUTO) else name
        if name not in HANDOVERS:
            raise ConfigError(f"teacher.handover is {name!r}: it must be one of {', '.join(HANDOVERS)}")
        return HANDOVERS[name]

    @property
    def completion_model(self) -> str:
        """The name under which litellm sends a raw prompt to /v1/completions of `api_base`.

        Under "hosted_vllm/" it refuses token ids.
        """
        _, slash, name = self.model.partition("/")
        return COMPLETION_ROUTE + (name if slash else self.model)


def check_sampling(temperature: float, top_p: float) -> None:
    """Raises ConfigError for what no teacher can sample at."""
    if temperature < 0 or not 0 < top_p <= 1:
        raise ConfigError(
            f"a teacher's temperature is {temperature} and its top_p {top_p}: use at least 0, and above 0 up to 1"
        )


def own_server(model: str, api_base: str | None) -> str | None:
    """The address given, or vLLM's own variable for a model that it serves."""
    if not api_base and model.startswith(("hosted_vllm/", "vllm/")):
        return os.environ.get("HOSTED_VLLM_API_BASE")
    return api_base


def runs_here(teacher: str) -> bool:
    """Whether a teacher of this name runs on this machine: a shipped one, a folder, or a hub's with `local:` before."""
    return teacher.startswith((LOCAL, EMBEDDED)) or Path(teacher).is_dir()


def traits_of(model: str) -> ModelTraits:
    """The traits of a model by its name as litellm writes it ("anthropic/claude-haiku-4-5", "hosted_vllm/Qwen/…")."""
    for entry in _table():
        if any(fnmatchcase(model.lower(), pattern) for pattern in entry["patterns"]):
            return ModelTraits(model, **{key: value for key, value in entry.items() if key != "patterns"})
    return ModelTraits(model, takes_seed=False, note="not in the table: instructed, one text per call")


@lru_cache(maxsize=1)
def _table() -> tuple[dict[str, Any], ...]:
    text = files("omniopd.teachers").joinpath("models.toml").read_text(encoding="utf-8")
    entries = tuple(tomllib.loads(text)["model"])
    known = {f.name for f in fields(ModelTraits)} - {"model"} | {"patterns"}
    for entry in entries:
        unknown = set(entry) - known
        if unknown or entry.get("handover") not in HANDOVERS:
            raise ValueError(f"models.toml, {entry.get('patterns')}: unknown handover, or unknown keys {unknown}")
    return entries
