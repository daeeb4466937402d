"""What a model's tokens cost: from the price table that litellm ships, or as the user says. None where nobody knows.

Reads litellm's table as a file, so that asking for a price imports nothing and reaches no network. Prices change: the
table is as old as the installed litellm, and the provider's bill is what counts.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omniopd.config import TeacherConfig
from omniopd.teachers.catalogue import SERVERS
from omniopd.types import Usage

_TABLE = "model_prices_and_context_window_backup.json"
_MILLION = 1_000_000


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per token read, written, and read from the provider's own cache.

    Prompts of more than `long_from` tokens cost `long_input` and `long_output` (0: the same).
    """

    input_usd: float
    output_usd: float
    cached_usd: float | None = None
    long_from: int = 0
    long_input: float = 0.0
    long_output: float = 0.0

    def of(self, usage: Usage) -> float:
        """Dollars for what was read and written; `usage.cached_tokens` are part of `usage.input_tokens`."""
        is_long = bool(self.long_from) and usage.input_tokens > self.long_from
        read = max(self.long_input, self.input_usd) if is_long else self.input_usd
        written = max(self.long_output, self.output_usd) if is_long else self.output_usd
        cached = read if self.cached_usd is None else min(self.cached_usd, read)
        fresh = max(usage.input_tokens - usage.cached_tokens, 0)
        return fresh * read + usage.cached_tokens * cached + usage.output_tokens * written


def per_million(input_usd: float, output_usd: float) -> Price:
    """A price as providers print it: dollars per million tokens read and written."""
    return Price(input_usd / _MILLION, output_usd / _MILLION)


def price_of(model: str) -> Price | None:
    """The price of a model by its name as litellm writes it; None where the table lacks it."""
    entry = _entry(model)
    if entry is None or "input_cost_per_token" not in entry or "output_cost_per_token" not in entry:
        return None
    long_from, long_input, long_output = _long(entry)
    cached = entry.get("cache_read_input_token_cost")
    return Price(
        float(entry["input_cost_per_token"]),
        float(entry["output_cost_per_token"]),
        None if cached is None else float(cached),
        long_from,
        long_input,
        long_output,
    )


def price_for(teacher: TeacherConfig) -> Price | None:
    """The price of a recipe's teacher: its own word, or the table's; a server of one's own that neither knows sends no
    bill. None where nobody knows."""
    if teacher.usd_per_million_input or teacher.usd_per_million_output:
        return per_million(teacher.usd_per_million_input, teacher.usd_per_million_output)
    return price_of(teacher.model) or (per_million(0, 0) if teacher.model.startswith(SERVERS) else None)


def _entry(model: str) -> Mapping[str, Any] | None:
    table = _table()
    provider, slash, name = model.partition("/")
    found: Any = table.get(model)
    if found is None and slash:
        # "anthropic/claude-…" stands in the table as "claude-…" with its provider beside it.
        bare = table.get(name)
        found = bare if bare and str(bare.get("litellm_provider", "")).startswith(provider) else None
    return found if isinstance(found, Mapping) else None


def _long(entry: Mapping[str, Any]) -> tuple[int, float, float]:
    """The first step of prices that rise with the length of the prompt: from how many tokens, read, written."""
    for thousands in (32, 128, 200, 256, 272, 512):
        read = entry.get(f"input_cost_per_token_above_{thousands}k_tokens")
        if read is not None:
            written = entry.get(f"output_cost_per_token_above_{thousands}k_tokens", 0.0)
            return thousands * 1000, float(read), float(written or 0.0)
    return 0, 0.0, 0.0


@lru_cache(maxsize=1)
def _table() -> Mapping[str, Any]:
    spec = find_spec("litellm")
    file = Path(spec.origin).parent / _TABLE if spec and spec.origin else None
    if file is None or not file.is_file():
        return {}
    table = json.loads(file.read_text(encoding="utf-8"))
    return table if isinstance(table, dict) else {}
