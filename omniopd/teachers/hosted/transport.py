"""One call to a provider through litellm, and what came back: a Reply, or a Failure with its kind.

litellm is a thin transport here: none of its retries, caches, budgets and dropped parameters. Knows one call at a time;
who retries, waits and counts is `fetch.py`. No message made here holds a key.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any
from urllib.parse import urlsplit
from weakref import WeakKeyDictionary

from omniopd.io.redaction import holds_secret, redact
from omniopd.teachers.access.guard import Traffic, prepare, watching
from omniopd.teachers.access.keys import CLOUDS
from omniopd.teachers.hosted.failures import NO_ANSWER, UNGUARDED, UNREADABLE, Failure, failure_of
from omniopd.teachers.hosted.finish import LENGTH, STOP, UNSAID, Ending, endings, read
from omniopd.teachers.hosted.litellm_executor import building
from omniopd.teachers.hosted.streamed import Streamed, StreamedAnswer
from omniopd.teachers.spending.usage import UNTOLD, Taken, read_usage

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
_UNWATCHED = "aiohttp_openai/"  # the one way of litellm's that passes by httpx, and follows every redirect
# No tokenizer has longer tokens; a text that has more is cut before anything looks at it.
TOKEN_CHARACTERS = 256
_FRAME_BYTES, _CHOICE_BYTES, _TOKEN_BYTES, _UNLIMITED = 64 * 1024, 4 * 1024, 64, 1 << 16
_STREAMED_TOKEN_BYTES = 4 * 1024  # a token in a frame of its own, with names, numbers and counts around it
_CLIENTS: WeakKeyDictionary[asyncio.AbstractEventLoop, dict[tuple[str, str | None], Any]] = WeakKeyDictionary()


@dataclass(frozen=True, slots=True)
class Choice:
    """One text of a reply; None where the provider sent none.

    `finish` is one of the kinds of `finish.py` ("stop", "length", …), `word` what the provider called it, `index` which
    of the texts asked for it is, by the provider's count (None: it does not say).
    """

    text: str | None
    finish: str
    thought: bool = False
    word: str = ""
    index: int | None = None


@dataclass(frozen=True, slots=True)
class Reply:
    """What a provider answered, as it came, and what it says that it took. `streamed`: it came piece by piece."""

    choices: tuple[Choice, ...]
    served_model: str
    fingerprint: str
    taken: Taken = UNTOLD
    streamed: bool = False


async def send(
    parameters: Mapping[str, Any], timeout_s: float, enough: Callable[[str], bool] | None = None
) -> Reply | Failure:
    """One call with litellm's `parameters` ("messages" for a chat, "prompt" for a completion), given up after
    `timeout_s`. Never raises for what a provider or a network did.

    With `enough`, the one text is asked for as a stream, which is left once `enough(what has been written)`; a server
    that does not stream answers as ever."""
    litellm = prepare()
    model = str(parameters["model"])
    if model.startswith(_UNWATCHED):
        instead = model.replace(_UNWATCHED, "openai/")
        return Failure(UNGUARDED, is_final=True, said=f"its calls cannot be kept to one address: name it {instead!r}")
    entrance = litellm.atext_completion if "prompt" in parameters else litellm.acompletion
    most_tokens = int(parameters.get("max_tokens") or 0)
    stream = None if enough is None else Streamed(enough)
    most_bytes = _most_bytes(parameters, most_tokens, _TOKEN_BYTES if stream is None else _STREAMED_TOKEN_BYTES)
    traffic = Traffic(most_bytes, read, _host(model, parameters.get("api_base")), stream)
    if stream is not None:
        parameters = {**parameters, "stream": True}
    try:
        if "prompt" in parameters and "api_base" in parameters:
            parameters = {**parameters, "client": _completion_client(parameters["api_base"], parameters.get("api_key"))}
        with building(at_once=model.startswith(_BUILT_AT_ONCE)), watching(traffic):
            # litellm's own timeout does not cover every way of hanging.
            call = entrance(**parameters, max_retries=0, timeout=timeout_s + 5, drop_params=False)
            answer = await asyncio.wait_for(call if stream is None else _begun(call, traffic), timeout_s)
    except TimeoutError:
        return Failure(NO_ANSWER, unsure=True)
    except Exception as error:
        if not isinstance(traffic.answer, StreamedAnswer):
            return failure_of(error, traffic, without_secrets)
    if traffic.answer is None:
        return failure_of(None, traffic, without_secrets)  # litellm makes answers of some errors
    if isinstance(traffic.answer, StreamedAnswer):
        return _reply(traffic.answer, traffic.answer.ends, most_tokens, traffic.answer.taken)
    if stream is not None:
        return _unstreamed(traffic.answer, most_tokens)
    return _reply(answer, endings(traffic.answer) or [], most_tokens)


async def _begun(call: Awaitable[Any], traffic: Traffic) -> Any:
    """litellm's answer to a call that streams, which is nothing but the sign that the guard has read it: some of its
    ways send the request only when somebody asks for the first piece."""
    answer = await call
    if not traffic.requests:
        async for _ in answer:
            pass
    return answer


def _unstreamed(answer: Any, most_tokens: int) -> Reply | Failure:
    """The whole answer of a server that was asked for a stream, and that litellm has not read."""
    if "choices" not in answer:
        return Failure(UNREADABLE, unsure=True, said="a whole answer where a stream was asked for")
    choices = [
        SimpleNamespace(text=choice.get("text")) if choice.get("message") is None
        else SimpleNamespace(message=SimpleNamespace(**{"content": None, **choice["message"]}))
        for choice in answer["choices"]
    ]  # fmt: skip
    names = {name: answer.get(name) for name in ("model", "system_fingerprint", "usage", "service_tier")}
    return _reply(SimpleNamespace(choices=choices, **names), endings(answer) or [], most_tokens)


def _host(model: str, address: str | None) -> str:
    """The only host that may be asked; "" where none is said, and for clouds, whose keys are fetched elsewhere."""
    is_cloud = model.partition("/")[0] in CLOUDS
    return "" if is_cloud or not address else (urlsplit(address).hostname or "").rstrip(".")


def _most_bytes(parameters: Mapping[str, Any], most_tokens: int, token_bytes: int) -> int:
    """What an honest answer can take: its texts, escaped and with their thoughts, and whatever is put around them."""
    texts = int(parameters.get("n") or 1)
    return _FRAME_BYTES + texts * (_CHOICE_BYTES + (most_tokens or _UNLIMITED) * token_bytes)


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


def without_secrets(text: str) -> str:
    """The first 300 characters of the text, without anything that is or looks like a key."""
    return redact(text[:2400])[:300]


def _reply(answer: Any, ends: Sequence[Ending], most_tokens: int, counted: Taken | None = None) -> Reply | Failure:
    """`counted`: of a streamed answer, what it took by the provider's count or by ours."""
    try:
        taken = counted or read_usage(answer)
        if len(ends) != len(answer.choices):
            return Failure(UNREADABLE, unsure=True, said=f"{len(ends)} texts of which {len(answer.choices)} were read")
        used_up = 0 < most_tokens * len(ends) <= taken.written
        choices = tuple(
            _choice(choice, end, used_up, (most_tokens or _UNLIMITED) * TOKEN_CHARACTERS)
            for choice, end in zip(answer.choices, ends, strict=True)
        )
        return Reply(
            choices, answer.model or "", getattr(answer, "system_fingerprint", None) or "", taken, counted is not None
        )
    except (AttributeError, TypeError) as error:
        return Failure(UNREADABLE, unsure=True, said=type(error).__name__)


def _choice(choice: Any, end: Ending, used_up: bool, most_characters: int) -> Choice:
    """`used_up`: the texts took all the tokens there were, and were cut, unless their provider says that they ended:
    servers count the token that ends a turn."""
    message = getattr(choice, "message", None)
    text = choice.text if message is None else message.content
    thought = bool(getattr(message, "reasoning_content", None))
    text = text if isinstance(text, str) else None
    is_longer = text is not None and len(text) > most_characters
    kind = LENGTH if (is_longer and end.kind in (STOP, UNSAID)) or (used_up and end.kind == UNSAID) else end.kind
    return Choice(None if text is None else text[:most_characters], kind, thought, end.word, end.index)


def without_keys(reply: Reply) -> Reply:
    """The reply without any key that a server has sent back: a text that holds one is dropped, a name is shown without
    it."""
    return replace(
        reply,
        choices=tuple(replace(c, text=None) if c.text and holds_secret(c.text) else c for c in reply.choices),
        served_model=_name(reply.served_model), fingerprint=_name(reply.fingerprint),
    )  # fmt: skip


def _name(said: object) -> str:
    """A name as a provider gives it, short, in one line, without characters that have no shape."""
    text = "".join(c for c in str(said or "")[:200] if c.isprintable())
    return redact(text)
