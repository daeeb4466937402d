"""Why a call brought no reply, from what the network saw and what litellm raised: a kind, and the provider's own words.

Knows statuses and the ways in which providers write an error; who tries again is `retry.py`. No message made here
holds a key.
"""

from __future__ import annotations

import email.utils
import math
import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC
from typing import Any

from omniopd.teachers.access.guard import Traffic
from omniopd.teachers.hosted.finish import parsed, words

RATE_LIMITED, OVERLOADED, SERVER_ERROR, CONNECTION = "rate limited", "overloaded", "server error", "connection lost"
NO_ANSWER, UNREADABLE, OUT_OF_QUOTA = "no answer in time", "unreadable answer", "out of quota"
# Nothing that is sent again helps here: the first three concern this request, the others every request.
REFUSED_REQUEST, FORBIDDEN, TOO_LONG = "bad request", "forbidden", "context"
UNAUTHORISED, UNKNOWN_MODEL, REDIRECTED, UNGUARDED = "unauthorised", "unknown model", "a redirect", "unguarded"
UNSTREAMED = "not as a stream"
FOR_ALL = (UNAUTHORISED, UNKNOWN_MODEL, OUT_OF_QUOTA, REDIRECTED, UNGUARDED, UNSTREAMED)

# An account without money, in codes (OpenAI, Azure, Moonshot, DashScope) and in sentences (Anthropic, DeepSeek).
_NO_MONEY = {"insufficient_quota", "insufficient_user_quota", "billing_hard_limit_reached", "billing_not_active",
             "exceeded_current_quota_error", "insufficient_balance", "Arrearage"}  # fmt: skip
_NO_MONEY_SAID = ("your credit balance is too low", "insufficient balance", "insufficient credits")
# A gateway that gave up may have been answered behind it.
_PERHAPS_ANSWERED = (502, 504, *range(520, 528))
_LOOKED_AT, _SAID = 4096, 300
_IDS = re.compile(
    r"\(?\brequest[ _-]?ids?\b\W{0,3}[\w-]+\)?|\breq_\w+|\b[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f-]{22}\b", re.IGNORECASE
)


@dataclass(frozen=True, slots=True)
class Failure:
    """A call without a reply. `unsure`: it may have been answered, and billed, all the same.

    `retry_after_s` is how long the provider asked to wait; `said` is its message without anything like a key.
    """

    reason: str
    is_final: bool = False
    retry_after_s: float | None = None
    unsure: bool = False
    said: str = ""

    def __str__(self) -> str:
        """Kind and words, alike for calls that failed alike: numbers of requests are left out."""
        said = " ".join(_IDS.sub("", self.said).split())
        return f"{self.reason}: {said}" if said else self.reason


def failure_of(error: Exception | None, traffic: Traffic, hide: Callable[[str], str]) -> Failure:
    """What a call without an answer is. The network's word comes first: litellm makes statuses up.

    `hide` takes keys out of a text. `error` is what litellm raised, None where it made an answer of a failed response.
    """
    status = traffic.status
    if traffic.redirected:
        return Failure(
            REDIRECTED, is_final=True,
            said=hide(f"{status} to {_line(traffic.redirected)!r}, where neither key nor question is sent: if that is "
                      "the right address, give it as api_base (teacher.api_base)"),
        )  # fmt: skip
    if traffic.unsent and 200 <= status < 300:
        return Failure(UNGUARDED, is_final=True, unsure=True, said=hide(_line(traffic.unsent)))
    if traffic.broken:
        return Failure(UNREADABLE, unsure=True, said=hide(_line(traffic.broken)))
    if not traffic.requests and traffic.unsent:
        return Failure(UNGUARDED, is_final=True, said=hide(_line(traffic.unsent)))
    if not traffic.requests:
        return _of_litellm(error, hide)
    if not status or (traffic.lost and status < 400):
        return Failure(CONNECTION, unsure=True, said=hide(_line(traffic.lost)))
    if 200 <= status < 300:
        return Failure(UNREADABLE, unsure=True)
    said = hide(_words(traffic.body) or f"HTTP {status}")
    return of_status(status, said, error, traffic)


def of_status(status: int, said: str, error: Exception | None, traffic: Traffic) -> Failure:
    """A response that says it failed."""
    wait = retry_after(traffic.headers)
    if status == 402 or (status < 500 and _has_no_money(parsed(traffic.body))):
        return Failure(OUT_OF_QUOTA, is_final=True, said=said)
    if status == 429:
        return Failure(RATE_LIMITED, retry_after_s=wait, said=said)
    if status in _FINAL:
        return Failure(_FINAL[status], is_final=True, said=said)
    if type(error).__name__ == "ContextWindowExceededError":
        return Failure(TOO_LONG, is_final=True, said=said)
    if status == 408:
        return Failure(NO_ANSWER, retry_after_s=wait, unsure=True, said=said)
    if 400 <= status < 500 and status not in (409, 425):
        return Failure(REFUSED_REQUEST, is_final=True, said=said)
    if status in (503, 529):
        return Failure(OVERLOADED, retry_after_s=wait, said=said)
    return Failure(SERVER_ERROR, retry_after_s=wait, unsure=status in _PERHAPS_ANSWERED, said=said)


_FINAL = {401: UNAUTHORISED, 403: FORBIDDEN, 404: UNKNOWN_MODEL, 413: TOO_LONG}


def _of_litellm(error: Exception | None, hide: Callable[[str], str]) -> Failure:
    """Nothing was sent: litellm lacks a key, does not know the model, or does not take a parameter."""
    if error is None:
        return Failure(UNGUARDED, is_final=True, unsure=True, said="its answers come by a way that is not watched here")
    status = getattr(error, "status_code", None)
    # Some of its messages go on with the lines of code that they come from.
    said = hide(_line(str(error).partition("Traceback (most recent call last)")[0]) or type(error).__name__)
    known = status if isinstance(status, int) and 400 <= status < 500 else 400
    return Failure(_FINAL.get(known, REFUSED_REQUEST), is_final=True, said=said)


def _words(body: bytes) -> str:
    """The provider's own sentence; "" where there is none."""
    found, start = words(parsed(body)), _start(body)
    if not found and not start.lstrip().startswith(("<", "{", "[")):
        found = start.strip().split("\n", 1)[0]
    return _line(found)


def _has_no_money(answer: Any) -> bool:
    """By the fields that name an error, and not by texts in it, which may be the student's."""
    told = answer[0] if isinstance(answer, list) and answer else answer
    error = told.get("error", told) if isinstance(told, Mapping) else None
    if not isinstance(error, Mapping):
        return False
    codes = {str(error.get(name)) for name in ("type", "code", "status")}
    if codes & _NO_MONEY or str(error.get("message")).lower().startswith(_NO_MONEY_SAID):
        return True
    # Gemini says the same of a minute's limit and of a day's: only the name of the quota tells them apart.
    return "RESOURCE_EXHAUSTED" in codes and "PerDay" in str(error.get("details"))[:_LOOKED_AT]


def retry_after(headers: Mapping[str, str]) -> float | None:
    """Seconds that the provider asks to wait: `retry-after-ms`, or `retry-after` as seconds or as a date; None where
    neither is a time. Never negative, always finite."""
    lower = {str(name).lower(): str(value) for name, value in headers.items()}
    for name, unit in (("retry-after-ms", 0.001), ("retry-after", 1.0)):
        try:
            seconds = float(lower[name]) * unit
        except (KeyError, ValueError):
            continue
        if math.isfinite(seconds):
            return max(0.0, seconds)
    try:
        at = email.utils.parsedate_to_datetime(lower["retry-after"])
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(0.0, at.timestamp() - time.time())
    except (KeyError, TypeError, ValueError, OverflowError, OSError):
        return None


def _start(body: bytes) -> str:
    return body[:_LOOKED_AT].decode("utf-8", "replace")


def _line(text: str) -> str:
    """Somebody's words on one line: no control characters, nothing that cannot be written down, not too long."""
    text = text[:_LOOKED_AT].encode("utf-8", "replace").decode()
    return " ".join("".join(c if c.isprintable() else " " for c in text).split())[: _SAID * 2]
