"""What a provider says a call took, in one form, and what of it goes onto the ledger.

Providers count alike in words only. Where they differ (paper and pen: tests/teachers/test_usage.py):

    reasoning   inside completion_tokens (OpenAI, Anthropic, DeepSeek) or beside them (xAI, some gateways): the total
                says which
    cache       cached and kept tokens are inside prompt_tokens as litellm hands them on, or beside them: likewise
    a word      that is not known here (another modality, tools that were not requested, another service tier): counts
                as the most that the call can cost
    no number   negative, endless, more than the request can take, or none although there are texts: likewise

So what is entered is never below 0 nor above what was set aside for the call. Knows the forms that litellm passes on;
prices are `prices.py`'s.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

from omniopd.config.settings import PARTED_COSTS
from omniopd.teachers.hosted.calls import Call
from omniopd.teachers.spending.prices import STANDARD, Price
from omniopd.types import Usage

_, COSTS_MOST, COSTS_WRITTEN = PARTED_COSTS
_LOG = logging.getLogger(__name__)
_PLAIN = {"", "none", "default", "standard", "auto", "on_demand", "global", "not_available"}
# Parts of a prompt or an answer that a request for text has no use for, and whose price is not known here.
_OTHER_PARTS = ("audio_tokens", "image_tokens", "video_tokens", "tool_use_tokens", "google_maps_grounding_requests")
_TOOLS = ("web_search_requests", "tool_search_requests", "browser_open_requests")


@dataclass(frozen=True, slots=True)
class Taken:
    """What a call took by the provider's word. `read` are all tokens of the prompt, of which the provider had `cached`
    before and put `kept` into its cache for minutes, `hour` for an hour; `written` are all of the answer, `thought`
    among them. `usd` is what the provider says that it bills, 0 if nothing.

    `is_told` is False where it gave no counts, or impossible ones (`written` may be a count made here then);
    `is_known` is False where it counts something whose price is not known here. `is_parted`: its stream was left before
    the end.
    """

    read: int = 0
    written: int = 0
    cached: int = 0
    kept: int = 0
    hour: int = 0
    thought: int = 0
    tier: str = STANDARD
    usd: float = 0.0
    is_told: bool = True
    is_known: bool = True
    is_parted: bool = False


UNTOLD = Taken(is_told=False)


def read_usage(answer: Any) -> Taken:
    """What an answer of litellm's says that it took."""
    usage = _part(answer, "usage")
    if usage is None:
        return UNTOLD
    try:
        return _read(answer, usage)
    except _NoNumber as error:
        _warn(str(error))
        return UNTOLD


def billed(
    taken: Taken, price: Price | None, call: Call, parted_costs: str = COSTS_MOST
) -> tuple[Usage, bool]:
    """What goes onto the ledger for a call, and whether that is the most it can cost, for want of better counts.

    The tokens of a stream that was left before its end are those that were written until then, by the provider's count
    or by ours. Whether it stopped there, or wrote on and bills that too, no answer says: the most that the call can
    cost is entered in dollars, unless `parted_costs` says that what was written is what is billed.
    """
    most = Usage(call.input_tokens, call.output_tokens, cost_usd=call.most_usd or 0.0, calls=1)
    if not taken.is_told and not taken.written:
        return most, True
    read, written = min(taken.read, call.input_tokens), min(taken.written, call.output_tokens)
    counted = Usage(read, written, min(taken.cached, read), call.most_usd or 0.0, 1)
    if taken.is_parted and parted_costs == COSTS_WRITTEN:
        usd = 0.0 if price is None else price.cost(read, written, taken.cached, taken.kept, taken.hour)
        return replace(counted, cost_usd=usd if call.most_usd is None else min(usd, call.most_usd)), False
    if taken.is_parted or not taken.is_told:
        return counted, True
    is_too_much = (read, written) != (taken.read, taken.written)
    if is_too_much:
        _warn(f"more tokens read or written for {call.model} than its calls can take")
    if is_too_much or not taken.is_known:
        return counted, True
    if price is None:
        return Usage(read, written, taken.cached, 0.0, 1), False
    own = price.cost(read, written, taken.cached, taken.kept, taken.hour, taken.thought, taken.tier)
    usd = max(own, taken.usd)
    if call.most_usd is not None and usd > call.most_usd * (1 + 1e-9):
        return counted, True
    return Usage(read, written, taken.cached, usd, 1), False


@lru_cache(maxsize=100)
def _warn(what: str) -> None:
    """Once for each kind: a provider that counts so does it in every call."""
    _LOG.warning("a provider counts %s: such a call is entered as the most that it can cost", what)


class _NoNumber(ValueError):
    """Something that counts nothing; the message is its name."""


def _read(answer: Any, usage: Any) -> Taken:
    read = _count(usage, "prompt_tokens") or _count(usage, "input_tokens")
    written = _count(usage, "completion_tokens") or _count(usage, "output_tokens")
    total = _count(usage, "total_tokens")
    if not (read or written or total):
        return UNTOLD
    prompt, completion = _part(usage, "prompt_tokens_details"), _part(usage, "completion_tokens_details")
    cached = _first(
        (prompt, "cached_tokens"), (usage, "cache_read_input_tokens"), (usage, "prompt_cache_hit_tokens"),
        (usage, "cached_tokens"),
    )  # fmt: skip
    kept = _first(
        (prompt, "cache_write_tokens"), (prompt, "cache_creation_tokens"), (usage, "cache_creation_input_tokens")
    )
    by_time = _part(prompt, "cache_creation_token_details") or _part(usage, "cache_creation")
    kept = kept or sum(_count(by_time, f"ephemeral_{time}_input_tokens") for time in ("5m", "1h"))
    thought = _first((completion, "reasoning_tokens"), (usage, "reasoning_tokens"))
    beside = max(total - read - written, 0)
    if beside and beside == cached + kept and beside != thought:
        read += beside
    else:
        # Thoughts beside the answer, as the total says, or for want of one; or what has no name, which costs as much.
        written += max(beside, thought if thought > written or not total else 0)
    kept = min(kept, read)
    hour = min(_count(by_time, "ephemeral_1h_input_tokens"), kept)
    others = [_count(part, name) for part in (prompt, completion) for name in _OTHER_PARTS]
    others += [_count(part, name) for part in (prompt, _part(usage, "server_tool_use")) for name in _TOOLS]
    return Taken(
        read, written, min(cached, read - kept), kept - hour, hour, min(thought, written), _tier(answer, usage),
        _said_usd(usage), is_known=not any(others) and (written > 0 or not _has_text(answer)),
    )  # fmt: skip


def _has_text(answer: Any) -> bool:
    """Whether there is a text, which somebody has written."""
    choices = _part(answer, "choices") or ()
    return any(_part(choice, "text") or _part(_part(choice, "message"), "content") for choice in choices)


def _tier(answer: Any, usage: Any) -> str:
    """How the call was served, in the provider's word; STANDARD where it says nothing else."""
    words = [(answer, "service_tier"), (usage, "service_tier"), (usage, "speed"), (usage, "inference_geo")]
    said = {str(_part(part, name) or "").lower() for part, name in words}
    return "+".join(sorted(said - _PLAIN))


def _said_usd(usage: Any) -> float:
    said = _part(usage, "cost")
    if isinstance(said, Mapping):
        said = said.get("total_cost")
    usable = isinstance(said, (int, float)) and not isinstance(said, bool) and math.isfinite(said) and said > 0
    return float(said) if usable else 0.0


def _first(*places: tuple[Any, str]) -> int:
    """The first count above 0 among several names of one thing."""
    return next((count for part, name in places if (count := _count(part, name))), 0)


def _count(part: Any, name: str) -> int:
    """A count of tokens; 0 where there is none. Raises _NoNumber for what cannot be one."""
    value = _part(part, name)
    if value is None:
        return 0
    try:
        number = float(value) if not isinstance(value, bool) else math.nan
    except (TypeError, ValueError, OverflowError):
        number = math.nan
    if not (math.isfinite(number) and number >= 0):
        raise _NoNumber(f"{name} in a way that is not a number of tokens")
    return math.ceil(number)


def _part(whole: Any, name: str) -> Any:
    return whole.get(name) if isinstance(whole, Mapping) else getattr(whole, name, None)
