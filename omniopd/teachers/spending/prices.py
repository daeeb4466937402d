"""What a model's tokens cost: from the price table that litellm ships, or as the user says. None where it is not known.

Reads litellm's table as a file, so that asking for a price imports nothing and reaches no network. Prices change: the
table is as old as the installed litellm, and the provider's bill is what counts.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from omniopd.config import TeacherConfig
from omniopd.teachers.model_traits import SERVERS
from omniopd.types import Usage

STANDARD = ""
# Ways of serving that a provider may bill without being asked: a project's or a workspace's own default.
UNASKED = ("priority", "us")
_SUFFIXES = {"priority": "_priority", "flex": "_flex", "batch": "_batches", "ultrafast": "_ultrafast",
             "balanced": "_balanced"}  # fmt: skip
_TABLE = "model_prices_and_context_window_backup.json"
_ABOVE = re.compile(r"input_cost_per_token_above_(\d+)(k?)_tokens$")
_MILLION = 1_000_000
_KEEPING = ("kept_usd", "hour_usd")
_BY_TOKEN = ("input_usd", "output_usd", "cached_usd", "thought_usd", "long_input", "long_output", *_KEEPING)


@dataclass(frozen=True, slots=True)
class Price:
    """Dollars per token read, written, and read from the provider's own cache.

    Prompts of more than `long_from` tokens cost `long_input` and `long_output` (0: the same), and what is cached dearer
    in the same measure. `kept_usd` is a token read that the provider puts into its cache for minutes, `hour_usd` for an
    hour, `thought_usd` one of a thought (None: as any other that is read, or written); `call_usd` comes on top of each
    call. `steps` are prices from more than so many tokens read, `tiers` those of other ways of being served.
    """

    input_usd: float
    output_usd: float
    cached_usd: float | None = None
    long_from: int = 0
    long_input: float = 0.0
    long_output: float = 0.0
    kept_usd: float | None = None
    hour_usd: float | None = None
    thought_usd: float | None = None
    call_usd: float = 0.0
    steps: tuple[tuple[int, Price], ...] = ()
    tiers: tuple[tuple[str, Price], ...] = ()

    def of(self, usage: Usage) -> float:
        """Dollars for what was read and written; `usage.cached_tokens` are part of `usage.input_tokens`."""
        return self.cost(usage.input_tokens, usage.output_tokens, usage.cached_tokens)

    def cost(
        self, read: int, written: int, cached: int = 0, kept: int = 0, hour: int = 0, thought: int = 0,
        tier: str = STANDARD,
    ) -> float:  # fmt: skip
        """Dollars of a call. `cached`, `kept` and `hour` are different parts of `read`, `thought` is one of `written`.

        A tier of unknown price costs the most that any does.
        """
        if tier != STANDARD:
            known = dict(self.tiers)
            return max(
                price.cost(read, written, cached, kept, hour, thought)
                for price in ([known[tier]] if tier in known else [self, *known.values()])
            )
        p = self._for(read)
        cached_usd = p.input_usd if p.cached_usd is None else min(p.cached_usd, p.input_usd)
        fresh = max(read - cached - kept - hour, 0)
        read_usd = fresh * p.input_usd + cached * cached_usd + kept * p._kept_usd + hour * p._hour_usd
        return p.call_usd + read_usd + max(written - thought, 0) * p.output_usd + thought * p._thought_usd

    def most(self, read: int, written: int, tier: str = STANDARD) -> float:
        """Dollars that such a call can cost at most, in the tier asked for or one that a provider may choose."""
        served = [self, *(price for name, price in self.tiers if name in (*UNASKED, tier))]
        if tier != STANDARD and tier not in dict(self.tiers):
            served = [self, *(price for _, price in self.tiers)]
        return max(
            p.call_usd + read * max(p.input_usd, p._kept_usd, p._hour_usd) + written * max(p.output_usd, p._thought_usd)
            for price in served
            for p in (price, *(step for begins, step in price.steps if begins < read), price._for(read))
        )

    def _for(self, read: int) -> Price:
        """The price of a prompt of so many tokens, without further steps."""
        begun = [step for begins, step in self.steps if read > begins]
        price = begun[-1] if begun else self
        if not (self.long_from and read > self.long_from):
            return price
        dearer = max(self.long_input / self.input_usd, 1.0) if self.input_usd else 1.0
        return replace(
            self, **_scaled(self, dearer, "cached_usd", *_KEEPING),
            input_usd=max(self.long_input, self.input_usd), output_usd=max(self.long_output, self.output_usd),
        )  # fmt: skip

    @property
    def _kept_usd(self) -> float:
        return self.input_usd if self.kept_usd is None else self.kept_usd

    @property
    def _hour_usd(self) -> float:
        return self._kept_usd if self.hour_usd is None else self.hour_usd

    @property
    def _thought_usd(self) -> float:
        return self.output_usd if self.thought_usd is None else self.thought_usd


def per_million(input_usd: float, output_usd: float) -> Price:
    """A price as providers print it: dollars per million tokens read and written."""
    return Price(input_usd / _MILLION, output_usd / _MILLION)


def price_of(model: str) -> Price | None:
    """The price of a model by its name as litellm writes it; None where the table lacks it."""
    entry = _entry(model)
    if entry is None:
        return None
    price = _read(entry, "")
    if price is None:
        return None
    tiers = [(name, _read(entry, suffix)) for name, suffix in _SUFFIXES.items()
             if f"input_cost_per_token{suffix}" in entry]  # fmt: skip
    factors = entry.get("provider_specific_entry") or {}
    dearer = {name: float(factors[name]) for name in ("us", "fast") if name in factors}
    tiers += [(name, replace(price, **_scaled(price, times, *_BY_TOKEN))) for name, times in dearer.items()]
    known = tuple((name, tier) for name, tier in tiers if tier is not None)
    if "fast" not in dict(known) and "priority" in dict(known):
        known += (("fast", dict(known)["priority"]),)  # OpenAI's word for the same
    return replace(price, tiers=known)


def context_of(model: str) -> int | None:
    """How many tokens the model reads at most, by its name as litellm writes it; None where the table lacks it."""
    limit = (_entry(model) or {}).get("max_input_tokens")
    return limit if isinstance(limit, int) and limit > 0 else None


def price_for(teacher: TeacherConfig) -> Price | None:
    """The price of a recipe's teacher: its own word, or the table's; a server of one's own that neither knows sends no
    bill. None where it is not known."""
    known = price_of(teacher.model)
    if teacher.usd_per_million_input or teacher.usd_per_million_output:
        own = per_million(teacher.usd_per_million_input, teacher.usd_per_million_output)
        if known is None or not known.input_usd:
            return own
        # What a provider keeps costs more than what it reads, in the table's measure.
        dearer = own.input_usd / known.input_usd
        return replace(own, **_scaled(known, dearer, *_KEEPING))
    return known or (per_million(0, 0) if teacher.model.startswith(SERVERS) else None)


def _entry(model: str) -> Mapping[str, Any] | None:
    table = _table()
    provider, slash, name = model.partition("/")
    found: Any = table.get(model)
    if found is None and slash:
        # "anthropic/claude-…" stands in the table as "claude-…" with its provider beside it.
        bare = table.get(name)
        found = bare if bare and str(bare.get("litellm_provider", "")).startswith(provider) else None
    return found if isinstance(found, Mapping) else None


def _read(entry: Mapping[str, Any], suffix: str) -> Price | None:
    """The price in an entry of the table, under keys that end in `suffix` where it has them."""
    steps = [
        (int(step["range"][0]), _read({k: v for k, v in step.items() if k != "range"}, ""))
        for step in entry.get("tiered_pricing") or ()
        if "range" in step
    ]
    known = tuple((begins, step) for begins, step in steps if step is not None)
    if known and "input_cost_per_token" not in entry:
        return replace(known[0][1], steps=known[1:])
    read, written = (_usd(entry, f"{way}_cost_per_token", suffix) for way in ("input", "output"))
    if read is None or written is None:
        return None
    long_from, long_input, long_output = _long(entry, suffix)
    return Price(
        read, written, _usd(entry, "cache_read_input_token_cost", suffix), long_from, long_input, long_output,
        # 0 stands for a provider that keeps without being asked, and bills it as read.
        kept_usd=_usd(entry, "cache_creation_input_token_cost", suffix) or None,
        hour_usd=_usd(entry, "cache_creation_input_token_cost_above_1hr", suffix) or None,
        thought_usd=_usd(entry, "output_cost_per_reasoning_token", suffix),
        call_usd=_call_usd(entry), steps=known[1:],
    )  # fmt: skip


def _usd(entry: Mapping[str, Any], name: str, suffix: str) -> float | None:
    value = entry.get(name + suffix, entry.get(name))
    usable = isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value) and value >= 0
    return float(value) if usable else None


def _call_usd(entry: Mapping[str, Any]) -> float:
    """What each call costs beside its tokens: Perplexity's models always search, as little as they can unless asked."""
    usd = _usd(entry, "input_cost_per_request", "") or 0.0
    searches = entry.get("search_context_cost_per_query")
    if str(entry.get("litellm_provider", "")) == "perplexity" and isinstance(searches, Mapping):
        usd += _usd(searches, "search_context_size_low", "") or 0.0
    return usd


def _long(entry: Mapping[str, Any], suffix: str) -> tuple[int, float, float]:
    """The first step of prices that rise with the length of the prompt: from how many tokens, read, written."""
    found = sorted((int(m[1]) * (1000 if m[2] else 1), key) for key in entry if (m := _ABOVE.match(key)))
    for begins, key in found:
        read, written = _usd(entry, key, suffix), _usd(entry, key.replace("input_", "output_", 1), suffix)
        if read is not None:
            # xAI's long prompts begin with the number itself.
            return begins - (entry.get("litellm_provider") == "xai"), read, written or 0.0
    return 0, 0.0, 0.0


def _scaled(price: Price, times: float, *names: str) -> dict[str, Any]:
    """These fields of a price, `times` as dear; None stays None."""
    return {name: None if (usd := getattr(price, name)) is None else usd * times for name in names}


@lru_cache(maxsize=1)
def _table() -> Mapping[str, Any]:
    spec = find_spec("litellm")
    file = Path(spec.origin).parent / _TABLE if spec and spec.origin else None
    if file is None or not file.is_file():
        return {}
    table = json.loads(file.read_text(encoding="utf-8"))
    return table if isinstance(table, dict) else {}
