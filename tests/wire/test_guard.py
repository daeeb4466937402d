"""Redirects, floods and second tries, on every way that litellm has to a provider: none gets past the guard."""

from __future__ import annotations

import gzip
import json
import subprocess
import sys
import time
import zlib
from typing import Any

import psutil
import pytest

from omniopd.errors import TeacherError
from omniopd.teachers.access.guard import Stopped, Traffic, prepare, watching
from omniopd.teachers.hosted.background import run
from omniopd.teachers.hosted.failures import REDIRECTED, UNGUARDED, Failure, retry_after
from omniopd.teachers.hosted.retry import RetryPolicy
from omniopd.teachers.hosted.transport import Reply, send
from tests.builders import request
from tests.wire.breaking import Breaking, bomb, redirect, response
from tests.wire.saying import WIRES, Said, chat, keys

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")
STATUSES = (300, 301, 302, 303, 307, 308)


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    keys(monkeypatch)


@pytest.mark.parametrize("name", WIRES)
def test_a_redirect_is_an_error_and_takes_the_key_nowhere(name: str) -> None:
    """To another port, to the same server, to another scheme and to a name: nothing is sent after the first request."""
    wire = WIRES[name]
    good = response(json.dumps(wire.body(Said(words=[wire.stop]))).encode())
    with Breaking(lambda body: good) as thief:
        here: dict[str, Any] = {}
        with Breaking(lambda body: redirect(*here["to"])) as server:
            targets = [
                thief.url + "/v1/x",
                server.url + "/other",
                thief.url.replace("http", "https"),
                "//localhost/",
                "",
            ]
            cases = [(status, thief.url) for status in STATUSES] + [(307, to) for to in targets]
            for number, case in enumerate(cases, 1):
                here["to"] = case
                with pytest.raises(TeacherError, match=rf"answers a redirect: {case[0]} to .*api_base"):
                    wire.teacher(server.url).continue_from([request("", 1, 8)])
                assert len(server.requests) == number
        assert thief.requests == []


def test_no_provider_of_litellms_is_led_away() -> None:
    """All of them that take an address: what is asked of one server reaches no other, whoever follows redirects."""
    ran = subprocess.run(
        [sys.executable, "-W", "ignore", "-m", "tests.wire.survey"], capture_output=True, text=True, check=True
    )
    found = json.loads(ran.stdout.splitlines()[-1])
    assert found.pop("") == [0, ""]
    reached = {provider for provider, (requests, _) in found.items() if requests}
    assert len(reached) > 80
    assert {"openai", "anthropic", "gemini", "deepseek", "mistral", "hosted_vllm", "groq", "openrouter"} <= reached
    assert {found[provider][1] for provider in reached} == {REDIRECTED}


def test_the_one_way_that_passes_by_the_guard_is_not_taken() -> None:
    with Breaking(lambda body: redirect(307, "http://127.0.0.1:9")) as server:
        words = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 8, "api_base": server.url}
        found = run(lambda desk: send({"model": "aiohttp_openai/m", **words}, 5))
    assert isinstance(found, Failure)
    assert (found.reason, found.is_final, server.requests) == (UNGUARDED, True, [])
    assert "openai/m" in found.said


@pytest.mark.parametrize("model", ["nlp_cloud/@localhost:{port}/m", "replicate/a/b"])
def test_an_address_and_a_models_name_together_lead_to_no_other_host(model: str) -> None:
    """litellm puts some names behind the address as they are (http://127.0.0.1:1@localhost…), or has one of its own."""
    with Breaking(lambda body: response(b"{}")) as there:
        port = there.url.rpartition(":")[2]
        words = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 8, "api_key": "a-key-of-nobody"}
        words |= {"model": model.format(port=port), "api_base": "http://127.0.0.1:1"}
        found = run(lambda desk: send(words, 5))
    assert isinstance(found, Failure)
    assert (found.reason, found.is_final, there.requests) == (UNGUARDED, True, [])
    assert "its address is at 127.0.0.1" in found.said


def test_what_litellm_says_is_told_without_its_code() -> None:
    words = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 8, "api_key": "a-key-of-nobody"}
    found = run(lambda desk: send({**words, "model": "triton/m", "api_base": "http://127.0.0.1:1"}, 5))
    assert isinstance(found, Failure)
    assert "Invalid Triton API base" in found.said
    assert "Traceback" not in found.said


@pytest.mark.parametrize("name", WIRES)
@pytest.mark.parametrize("fault", ["reset", "reset after a while", "no HTTP"])
def test_a_call_is_one_request_and_every_request_is_counted(name: str, fault: str) -> None:
    """litellm tries again by itself where a connection breaks: each of those would be billed, and seen by nobody."""
    sent = {"reset": [None], "reset after a while": [0.05, None], "no HTTP": [b"SSH-2.0\r\n\r\n"]}[fault]
    with Breaking(lambda body: sent) as server:
        [answer] = WIRES[name].teacher(server.url).continue_from([request("", 1, 8)])
    assert len(server.requests) == answer.usage.calls == 2  # by our own patience
    assert answer.problem is not None
    assert answer.problem.startswith("connection lost")


def test_a_result_that_is_fetched_later_is_fetched_where_it_was_ordered() -> None:
    """Some providers answer with an address to come back to: another origin would get the key."""
    import httpx

    prepare()
    with Breaking(lambda body: response(b"{}")) as here, Breaking(lambda body: response(b"{}")) as there:

        async def ask(*addresses: str) -> list[int]:
            with watching(Traffic(100, lambda body: ({}, body))):
                async with httpx.AsyncClient() as client:
                    return [(await client.get(url)).status_code for url in addresses]

        assert run(lambda desk: ask(here.url, here.url + "/later")) == [200, 200]
        for other in (there.url, here.url.replace("http", "https"), here.url.replace("127.0.0.1", "localhost")):
            with pytest.raises(Stopped, match="pointed to"):
                run(lambda desk, other=other: ask(here.url, other))
        assert there.requests == []


def test_other_requests_of_the_process_are_left_alone() -> None:
    import httpx

    prepare()
    wide = response(gzip.compress(b" " * 10**6), content_encoding="gzip")
    with Breaking(lambda body: wide) as server, Breaking(lambda body: redirect(302, server.url)) as first:
        assert len(httpx.get(first.url, follow_redirects=True).content) == 10**6


@pytest.mark.parametrize("name", WIRES)
@pytest.mark.parametrize("how", ["plain", "gzip", "deflate", "raw deflate"])
def test_a_packed_answer_is_read(name: str, how: str) -> None:
    wire = WIRES[name]
    plain = json.dumps(wire.body(Said(words=[wire.stop]))).encode()
    wide = {"gzip": zlib.MAX_WBITS | 16, "deflate": zlib.MAX_WBITS, "raw deflate": -zlib.MAX_WBITS}
    encoding = {"content_encoding": how.split()[-1]} if how in wide else {}
    if how in wide:
        pack = zlib.compressobj(wbits=wide[how])
        plain = pack.compress(plain) + pack.flush()
    with Breaking(lambda body: response(plain, **encoding)) as server:
        [answer] = wire.teacher(server.url).continue_from([request("", 1, 8)])
    assert (answer.texts, answer.stopped) == ((" 7",), (True,))
    assert "accept-encoding: gzip, deflate\r\n" in server.heads[0].lower()


@pytest.mark.parametrize("status", ["200 OK", "500 No", "400 No", "429 No"])
def test_floods_and_bombs_cost_neither_time_nor_memory(status: str) -> None:
    """256 MB in 256 KB, packed; 2 MB of an error page; both on each wire, while clock and memory are watched."""
    packed, page = bomb("gzip", 256), b"sorry " * 350_000
    process = psutil.Process()
    once = RetryPolicy(attempts=1, rate_limits=1, redraws=1)
    for wire in WIRES.values():
        sent = iter([response(packed, status, content_encoding="gzip"), response(page, status, "text/plain")])
        with Breaking(lambda body, sent=sent: next(sent)) as server:
            teacher = wire.teacher(server.url, patience=once)
            before, since = process.memory_info().rss, time.process_time()
            answers = teacher.continue_from([request("", 1, 8)]) + teacher.continue_from([request("", 1, 8)])
        assert time.process_time() - since < 1
        assert process.memory_info().rss - before < 30 * 2**20
        assert all(a.problem is not None and len(a.problem) < 400 for a in answers)


def test_many_long_errors_at_once_keep_the_deadline() -> None:
    """64 calls get error pages of 2 MB, again and again: looking through them would take minutes of the loop."""
    page = response(json.dumps({"error": {"message": "busy " * 400_000}}).encode(), "503 Busy")
    with Breaking(lambda body: page) as server:
        wire = WIRES["Anthropic"]
        teacher = wire.teacher(server.url, patience=RetryPolicy(pause_s=0.2), concurrency=64, batch_deadline_s=4)
        since = time.monotonic()
        answers = teacher.continue_from([request("", 1, 8, seed=n) for n in range(64)])
        assert time.monotonic() - since < 6
    assert {a.problem.split(":")[0] for a in answers if a.problem} <= {"deadline", "overloaded"}


ALLOW = 1_800_000_000.0
WAITS = [
    ({"retry-after": "3"}, 3.0),
    ({"Retry-After": "2.5"}, 2.5),
    ({"retry-after-ms": "250", "retry-after": "9"}, 0.25),
    ({"retry-after": "-5"}, 0.0),
    ({"retry-after-ms": "-5"}, 0.0),
    ({"retry-after": "nan"}, None),
    ({"retry-after-ms": "nan"}, None),
    ({"retry-after": "inf"}, None),
    ({"retry-after": "-inf"}, None),
    ({"retry-after": "1e400"}, None),
    ({"retry-after-ms": "nan", "retry-after": "4"}, 4.0),
    ({"retry-after": "1e300"}, 1e300),
    ({"retry-after": "Fri, 15 Jan 2027 08:00:10 GMT"}, 10.0),
    ({"retry-after": "Fri, 15 Jan 2027 08:00:10 -0000"}, 10.0),
    ({"retry-after": "Fri, 15 Jan 2027 09:00:10 +0100"}, 10.0),
    ({"retry-after": "Fri, 15 Jan 1999 08:00:10 GMT"}, 0.0),
    ({"retry-after": "Fri, 99 Foo 2027 08:00:10 GMT"}, None),
    ({"retry-after": "soon"}, None),
    ({"retry-after": ""}, None),
    ({}, None),
]


@pytest.mark.parametrize(("headers", "right"), WAITS)
def test_a_time_to_wait_is_finite_or_none(
    headers: dict[str, str], right: float | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(time, "time", lambda: ALLOW)  # Fri, 15 Jan 2027 08:00:00 GMT
    assert retry_after(headers) == right


@pytest.mark.parametrize("value", ["nan", "inf", "-inf", "1e300", "-7", "Fri, 31 Dec 9999 23:59:59 GMT"])
@pytest.mark.parametrize("header", ["retry-after", "retry-after-ms"])
def test_no_time_to_wait_outlasts_the_deadline(header: str, value: str) -> None:
    busy = response(b"{}", "429 No", **{header.replace("-", "_"): value})
    with Breaking(lambda body: busy) as server:
        teacher = WIRES["OpenAI, chat"].teacher(server.url, batch_deadline_s=1, patience=RetryPolicy(pause_s=0.2))
        since = time.monotonic()
        [answer] = teacher.continue_from([request("", 1, 8)])
        assert time.monotonic() - since < 2
    assert answer.problem is not None


def test_an_answer_that_went_well_is_a_reply() -> None:
    with Breaking(lambda body: response(json.dumps(chat(Said(words=["stop"]))).encode())) as server:
        words = {"messages": [{"role": "user", "content": "a"}], "max_tokens": 8, "api_base": server.url + "/v1"}
        found = run(lambda desk: send({"model": "openai/m", **words}, 5))
    assert isinstance(found, Reply)
