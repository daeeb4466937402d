"""One call to a provider through litellm, and what came back: a Reply, or a Failure with its kind.

litellm is a thin transport here: none of its retries, caches, budgets and dropped parameters. Knows one call at a time;
who retries, waits and counts is `buying.py`. No message made here holds a key.
"""

from __future__ import annotations

import asyncio
import email.utils
import os
import re
import sys
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from omniopd.errors import ConfigError
from omniopd.redaction import redact
from omniopd.teachers.inline import building
from omniopd.teachers.usage import UNTOLD, Taken, read_usage

RATE_LIMITED, OVERLOADED, SERVER_ERROR, CONNECTION = "rate limited", "overloaded", "server error", "connection lost"
NO_ANSWER, UNREADABLE, OUT_OF_QUOTA = "no answer in time", "unreadable answer", "out of quota"
# Nothing that is sent again helps here: the first three concern this request, the others every request.
REFUSED_REQUEST, FORBIDDEN, TOO_LONG = "bad request", "forbidden", "context"
UNAUTHORISED, UNKNOWN_MODEL = "unauthorised", "unknown model"
# Providers whose requests are built without a look at a disk or a network (credentials of clouds need both).
_BUILT_AT_ONCE = (
    "anthropic/",
    "deepseek/",
    "gemini/",
    "hosted_vllm/",
    "mistral/",
    "openai/",
    "text-completion-openai/",
)
FOR_ALL = (UNAUTHORISED, UNKNOWN_MODEL, OUT_OF_QUOTA)
_CLIENTS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str | None], Any]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Choice:
    """One text of a reply; None where the provider sent none. `finish` is "stop", "length" or what it called it."""

    text: str | None
    finish: str
    thought: bool = False


@dataclass(frozen=True, slots=True)
class Reply:
    """What a provider answered, as it came, and what it says that it took."""

    choices: tuple[Choice, ...]
    served_model: str
    fingerprint: str
    taken: Taken = UNTOLD

    @property
    def input_tokens(self) -> int:
        return self.taken.read

    @property
    def output_tokens(self) -> int:
        return self.taken.written

    @property
    def cached_tokens(self) -> int:
        return self.taken.cached

    @property
    def is_counted(self) -> bool:
        """Whether the provider said what it took: a gateway may leave that out, and litellm fills in zeros."""
        return self.taken.is_told


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


def prepare() -> Any:
    """litellm, imported so that it fetches nothing and prints nothing. Raises ConfigError where it is missing."""
    os.environ.setdefault("LITELLM_LOCAL_MODEL_COST_MAP", "True")
    # How many calls are in flight is decided here, not by a pool that lets some of them wait unseen.
    os.environ.setdefault("AIOHTTP_CONNECTOR_LIMIT", "65536")
    os.environ.setdefault("AIOHTTP_CONNECTOR_LIMIT_PER_HOST", "65536")
    try:
        import litellm
    except ImportError as error:
        raise ConfigError("a hosted teacher needs litellm, which is not installed: pip install litellm") from error
    litellm.suppress_debug_info = True
    return litellm


def knows_provider(model: str, api_base: str = "") -> bool:
    """Whether litellm would know where to send a model's calls."""
    litellm = prepare()
    try:
        litellm.get_llm_provider(model, api_base=api_base or None)
    except litellm.BadRequestError:
        return False
    return True


async def send(parameters: Mapping[str, Any], timeout_s: float) -> Reply | Failure:
    """One call with litellm's `parameters` ("messages" for a chat, "prompt" for a completion), given up after
    `timeout_s`. Never raises for what a provider or a network did."""
    litellm = prepare()
    entrance = litellm.atext_completion if "prompt" in parameters else litellm.acompletion
    try:
        if "prompt" in parameters and "api_base" in parameters:
            parameters = {**parameters, "client": _completion_client(parameters["api_base"], parameters.get("api_key"))}
        with building(at_once=str(parameters["model"]).startswith(_BUILT_AT_ONCE)):
            # litellm's own timeout does not cover every way of hanging.
            answer = await asyncio.wait_for(
                entrance(**parameters, max_retries=0, timeout=timeout_s + 5, drop_params=False), timeout_s
            )
        return _reply(answer)
    except TimeoutError:
        return Failure(NO_ANSWER, unsure=True)
    except Exception as error:
        return _failure(error)


def _completion_client(base: str, key: str | None) -> Any:
    """The client that all completions of an address share: litellm makes one for each call, and leaves it open."""
    import httpx
    from openai import AsyncOpenAI, DefaultAsyncHttpxClient

    loop = asyncio.get_running_loop()
    clients = _CLIENTS.setdefault(loop, {})
    if (base, key) not in clients:
        no_limits = httpx.Limits(max_connections=None, max_keepalive_connections=256)
        clients[base, key] = AsyncOpenAI(
            api_key=key or "none", base_url=base, max_retries=0, http_client=DefaultAsyncHttpxClient(limits=no_limits)
        )
    return clients[base, key]


async def close_connections() -> None:
    """Closes what calls have left open for the next ones, which open them anew."""
    for client in _CLIENTS.pop(asyncio.get_running_loop(), {}).values():
        await client.close()
    litellm = sys.modules.get("litellm")
    if litellm is not None:
        await litellm.close_litellm_async_clients()
        litellm.in_memory_llm_clients_cache.flush_cache()


def without_secrets(text: str, limit: int = 300) -> str:
    """The beginning of the text, at most `limit` characters, without anything that is or looks like a key."""
    return redact(text[: 8 * limit])[:limit]


def _reply(answer: Any) -> Reply | Failure:
    try:
        return Reply(
            choices=tuple(_choice(choice) for choice in answer.choices),
            served_model=answer.model or "",
            fingerprint=getattr(answer, "system_fingerprint", None) or "",
            taken=read_usage(answer),
        )
    except (AttributeError, TypeError) as error:
        return Failure(UNREADABLE, unsure=True, said=type(error).__name__)


def _choice(choice: Any) -> Choice:
    message = getattr(choice, "message", None)
    text = choice.text if message is None else message.content
    thought = bool(getattr(message, "reasoning_content", None))
    return Choice(text if isinstance(text, str) else None, choice.finish_reason or "", thought)


def _failure(error: Exception) -> Failure:
    """litellm turns lost connections and unreadable answers into errors of status 500 or 200, without headers."""
    status = getattr(error, "status_code", None)
    headers = getattr(error, "litellm_response_headers", None)
    said = without_secrets(_first_line(error))
    wait = _retry_after(headers)
    kind = type(error).__name__
    if status == 429:
        quota = "insufficient_quota" in str(error)
        return Failure(OUT_OF_QUOTA if quota else RATE_LIMITED, quota, wait, said=said)
    if status == 401:
        return Failure(UNAUTHORISED, is_final=True, said=said)
    if status == 403:
        return Failure(FORBIDDEN, is_final=True, said=said)
    if status == 404:
        return Failure(UNKNOWN_MODEL, is_final=True, said=said)
    if kind == "ContextWindowExceededError":
        return Failure(TOO_LONG, is_final=True, said=said)
    if status == 408:
        return Failure(NO_ANSWER, retry_after_s=wait, unsure=True, said=said)
    if isinstance(status, int) and 400 <= status < 500 and status not in (409, 425):
        return Failure(REFUSED_REQUEST, is_final=True, said=said)
    if status in (503, 529):
        return Failure(OVERLOADED, retry_after_s=wait, said=said)
    if headers is not None and status != 200:
        return Failure(SERVER_ERROR, retry_after_s=wait, said=said)
    unreadable = status == 200 or not _CONNECTION.search(f"{kind} {error}")
    return Failure(UNREADABLE if unreadable else CONNECTION, unsure=True, said=said)


_CONNECTION = re.compile(r"connect|disconnect|reset|broken pipe|ssl|timeout", re.IGNORECASE)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0] if lines else type(error).__name__


def _retry_after(headers: Any) -> float | None:
    """Seconds that the provider asks to wait: `retry-after-ms`, or `retry-after` as seconds or as a date."""
    if not hasattr(headers, "get"):
        return None
    milliseconds, said = headers.get("retry-after-ms"), headers.get("retry-after") or headers.get("Retry-After")
    try:
        if milliseconds is not None:
            return float(milliseconds) / 1000
        return None if said is None else max(0.0, float(said))
    except ValueError:
        pass
    try:
        return max(0.0, email.utils.parsedate_to_datetime(str(said)).timestamp() - time.time())
    except (TypeError, ValueError):
        return None
