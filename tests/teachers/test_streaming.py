"""A request with a draft is streamed and left where its text has parted from the draft: nothing is lost or uncounted.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from omniopd.errors import ConfigError, Refused, TeacherError
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.hosted.retry import RetryPolicy
from omniopd.teachers.hosted.slots import Slots
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.model_traits import ModelTraits
from omniopd.teachers.spending.budget import BudgetedTeacher
from omniopd.teachers.spending.ledger import spent
from omniopd.teachers.spending.prices import per_million
from omniopd.types import ContinuationRequest
from tests.builders import request
from tests.teachers.faulty_server import Served
from tests.teachers.streams import Streams
from tests.wire.saying import KEY

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")

TEXT = " we have 12 apples and then many more words come here until it ends"
DRAFT = " we have 13 pears and then"
UNTIL_THEN = " we have 12 apples"
PRICE = per_million(1, 10)


def served(streams: Streams | None = None, **more: Any) -> Served:
    return Served(**{"answer": lambda body, seed: TEXT, "streams": streams or Streams(0.02)} | more)


def hosted(server: Served, model: str = "hosted_vllm/m", **more: Any) -> HostedTeacher:
    settings: dict[str, Any] = {
        "handover": "instruction", "traits": ModelTraits(model, "instruction", most_samples=4), "call_timeout_s": 10,
        "patience": RetryPolicy(pause_s=0.01, longest_pause_s=0.05), "price": PRICE, "parameters": {"api_key": KEY},
    }  # fmt: skip
    return HostedTeacher(model, api_base=server.url, **settings | more)


def asked(
    prefix: str = "the cat", draft: str | None = DRAFT, samples: int = 1, max_tokens: int = 30
) -> ContinuationRequest:
    return replace(request(prefix, samples, max_tokens), draft=draft)


def test_a_call_is_left_where_the_text_has_parted_and_the_server_stops_writing() -> None:
    with served() as server:
        [answer] = hosted(server).continue_from([asked()])
        time.sleep(0.2)
        [seen] = server.seen
        assert (answer.texts, answer.stopped, answer.problem) == ((UNTIL_THEN,), (False,), None)
        assert seen.written < 8 < len(TEXT.split())
        assert server.open_now == 0


def test_a_text_that_agrees_is_read_to_its_end_and_counted_by_the_server() -> None:
    with served() as server:
        [answer] = hosted(server).continue_from([asked(draft=TEXT)])
        assert (answer.texts, answer.usage.output_tokens) == ((TEXT,), len(TEXT.split()))
        assert answer.usage.cost_usd == pytest.approx(PRICE.of(answer.usage))


def test_streamed_texts_are_those_of_whole_answers_up_to_where_they_part() -> None:
    """By seed: each draw is a call of its own, and its text begins as the text of that number does elsewhere."""
    requests = [asked(f"prefix {n}", " so we have 19 apples left", 5) for n in range(12)]
    with Served(words=12, streams=Streams()) as server:
        whole = hosted(server, stream="never").continue_from(requests)
        calls = len(server.seen)
        streamed = hosted(server).continue_from(requests)
        assert (calls, len(server.seen) - calls) == (24, 60)
        assert all(s.body.get("stream") for s in server.seen[calls:])
        assert not any("stream" in s.body for s in server.seen[:calls])
    pairs = [(a, b) for x, y in zip(streamed, whole, strict=True) for a, b in zip(x.texts, y.texts, strict=True)]
    assert len(pairs) == 60
    assert all(full.startswith(part) for part, full in pairs)


def test_a_request_without_a_draft_is_sent_as_ever() -> None:
    with served() as server:
        hosted(server).continue_from([asked(draft=None, samples=3)])
        assert [set(s.body) & {"stream", "stream_options"} for s in server.seen] == [set()]
        assert server.seen[0].samples == 3


@pytest.mark.parametrize(
    ("streams", "ways"),
    [
        (Streams(options=False), [{"include_usage", "continuous_usage_stats"}, {"include_usage"}, set()]),
        (Streams(refuses=True), [{"include_usage", "continuous_usage_stats"}, {"include_usage"}, set(), None]),
    ],
)
def test_a_server_that_takes_less_is_asked_for_less_and_only_once(streams: Streams, ways: list[Any]) -> None:
    with served(streams) as server:
        teacher = hosted(server)
        [answer] = teacher.continue_from([asked()])
        assert answer.problem is None
        assert answer.texts[0].startswith(UNTIL_THEN)
        assert [_way(s.body) for s in server.seen] == ways
        assert answer.usage.calls == len(ways)
        teacher.continue_from([asked("another")])
        assert _way(server.seen[-1].body) == ways[-1]
        assert len(server.seen) == len(ways) + 1


def test_a_refusal_that_streaming_is_not_the_reason_of_changes_nothing() -> None:
    with served(faults=lambda number, body: "400" if "bad" in str(body) else None) as server:
        teacher = hosted(server)
        [refused] = teacher.continue_from([asked("bad")])
        assert refused.problem == "bad request: told to fail with 400"
        [answer] = teacher.continue_from([asked()])
        assert answer.texts == (UNTIL_THEN,)
        before = len(server.seen)
        assert teacher.continue_from([asked("bad again")])[0].problem == refused.problem
        assert len(server.seen) == before + 1


def test_a_server_that_passes_over_the_word_gives_whole_texts() -> None:
    with served(streams=None) as server:
        server.streams = None
        teacher = hosted(server)
        answers = [teacher.continue_from([asked(f"{n}")])[0] for n in range(2)]
        assert [a.texts for a in answers] == [(TEXT,), (TEXT,)]
        assert [_way(s.body) is None for s in server.seen] == [False, True]


@pytest.mark.parametrize("refuses", [True, False])
def test_where_a_stream_is_demanded_a_server_without_one_ends_the_run(refuses: bool) -> None:
    with served(Streams(refuses=refuses)) as server:
        if not refuses:
            server.streams = None
        with pytest.raises(TeacherError, match=r'not as a stream: .*set it to "auto"'):
            hosted(server, stream="always", concurrency=1).continue_from([asked(f"{n}") for n in range(5)])
        assert len(server.seen) <= 3
    with pytest.raises(ConfigError, match="how 'bedrock' streams is not known"):
        HostedTeacher("bedrock/m", stream="always")
    with pytest.raises(ConfigError, match=r"teacher\.stream is 'perhaps'"):
        HostedTeacher("hosted_vllm/m", api_base="http://here", handover="instruction", stream="perhaps")


@pytest.mark.parametrize("fault", ["truncated", "ends early", "garbage", "error frame", "stalls"])
def test_a_stream_that_breaks_is_asked_again_and_both_are_counted(fault: str, tmp_path: Path) -> None:
    ledger = tmp_path / "ledger.jsonl"
    with served(Streams(), faults=lambda number, body: fault if number == 0 else None) as server:
        teacher = BudgetedTeacher(hosted(server, call_timeout_s=1), 1, ledger)
        [answer] = teacher.continue_from([asked(draft=TEXT)])
        assert (answer.texts, answer.problem) == ((TEXT,), None)
        assert len({s.seed for s in server.seen}) == 1
    [spend] = spent(ledger)
    assert spend.calls == len(server.seen) == answer.usage.calls == 2
    assert spend.usd == pytest.approx(spend.unsure_usd + PRICE.of(_last_usage(server)))
    assert spend.unsure_usd > 0


@pytest.mark.parametrize(
    ("counts", "parted_costs", "is_sure"),
    [("always", "written", True), ("end", "written", True), ("always", "auto", False), ("never", "most", False)],
)
def test_what_a_call_that_was_left_has_written_is_entered_and_its_cost_is_the_most_unless_known(
    counts: str, parted_costs: str, is_sure: bool, tmp_path: Path
) -> None:
    with served(Streams(0.02, counts)) as server:
        inner = hosted(server, "openai/gpt-4.1", parted_costs=parted_costs)
        teacher = BudgetedTeacher(inner, 1, tmp_path / "ledger.jsonl")
        [answer] = teacher.continue_from([asked(max_tokens=20)])
    [spend] = teacher.ledger
    assert 4 <= spend.output_tokens == answer.usage.output_tokens <= 6
    assert 100 < spend.input_tokens < 200
    most = inner.endpoint.call_for(inner.endpoint.sample_batches(0, asked(max_tokens=20))[0], 1).most_usd
    assert spend.usd == pytest.approx(PRICE.of(answer.usage) if is_sure else most)
    assert spend.unsure_usd == (0 if is_sure else spend.usd)


def test_a_budget_is_not_passed_by_calls_that_were_left() -> None:
    with served(Streams(0.01)) as server:
        teacher = BudgetedTeacher(hosted(server, "openai/gpt-4.1"), 0.004)
        with pytest.raises(Refused, match=r"budget of \$0\.004 is used up"):
            teacher.continue_from([asked(f"{n}", samples=2) for n in range(20)])
        assert 0 < teacher.spent_usd <= 0.004
        assert 1 <= len(server.seen) <= 5


def test_an_answer_is_found_again_by_its_draft_and_one_without_a_draft_as_before(tmp_path: Path) -> None:
    with served() as server:
        teacher = CachedTeacher(hosted(server), tmp_path / "answers.sqlite")
        [answer] = teacher.continue_from([asked()])
        assert teacher.continue_from([asked()])[0] == replace(answer, usage=answer.usage.__class__(), cached=True)
        assert len(server.seen) == 1
        teacher.continue_from([asked(draft=DRAFT + " more"), asked(draft=None)])
        assert len(server.seen) == 3
    replayed = CachedTeacher(hosted(server), tmp_path / "answers.sqlite", "replay")
    assert replayed.continue_from([asked(), asked(draft="")])[0].texts == (UNTIL_THEN,)
    assert replayed.continue_from([asked(draft="")])[0].problem == "not recorded"
    plain = CachedTeacher(_Named(), tmp_path / "other.sqlite")
    assert plain.question(request("the cat", 1, 30)) == _QUESTION


def test_an_instructed_model_is_not_left_before_its_text_is_known_to_be_none_of_its_remarks() -> None:
    texts = {
        "remark": "Sure, here is the continuation of it:\n 12",
        "refusal": "I'm sorry, but I can't help with that.",
        "echo": "we count all the red apples 12 apples and then some more of them",
    }
    for kind, text in texts.items():
        with served(answer=lambda body, seed, text=text: text) as server:
            prefix = "so we count all the red apples"
            [answer] = hosted(server).continue_from([asked(prefix, " 13 pears")])
            if kind == "echo":
                assert (answer.texts, answer.echoes) == ((" 12 apples",), 1)
            else:
                assert answer.texts == ()
                assert answer.problem in ("preamble", "refusal")


def test_the_places_in_flight_are_free_again_as_soon_as_a_call_is_left() -> None:
    with served(Streams(0.05)) as server:
        started = time.monotonic()
        answers = hosted(server, concurrency=4).continue_from([asked(f"{n}") for n in range(16)])
        assert {a.texts for a in answers} == {(UNTIL_THEN,)}
        assert time.monotonic() - started < 0.5 * 4 * 0.05 * len(TEXT.split())


def test_a_process_that_is_killed_in_mid_stream_has_spent_what_the_call_may_cost(tmp_path: Path) -> None:
    ledger, file = tmp_path / "ledger.jsonl", tmp_path / "answers.sqlite"
    with served(Streams(0.3)) as server:
        script = KILLED.format(url=server.url, ledger=str(ledger), file=str(file))
        process = subprocess.Popen([sys.executable, "-c", script], env=dict(os.environ))
        for _ in range(3000):  # a slow machine loads its libraries for minutes
            if server.seen and server.seen[0].written:
                break
            time.sleep(0.1)
        process.kill()
        process.wait()
        time.sleep(0.8)
        assert 0 < server.seen[0].written < len(TEXT.split())  # the server has noticed, too
        [lost] = spent(ledger)
        assert (lost.calls, lost.output_tokens, lost.usd) == (1, 0, lost.unsure_usd)
        server.streams = Streams()
        resumed = BudgetedTeacher(CachedTeacher(hosted(server), file), 1, ledger)
        assert resumed.continue_from([asked(draft=TEXT)])[0].texts == (TEXT,)
        [after] = resumed.ledger
        assert after.calls == len(server.seen) == 2
        assert after.usd == pytest.approx(lost.usd + PRICE.of(_last_usage(server)))


KILLED = """
from tests.teachers.test_streaming import *
server = type("Server", (), dict(url={url!r}))
teacher = BudgetedTeacher(CachedTeacher(hosted(server), {file!r}), 1, {ledger!r})
teacher.continue_from([asked(draft=TEXT)])
"""


@pytest.mark.parametrize("given_up", [False, True])
def test_the_longest_draft_goes_first_and_nobodys_place_is_lost(given_up: bool) -> None:
    entered: list[str] = []

    async def lead() -> None:
        slots = Slots(1)

        async def call(draft: str | None) -> None:
            async with slots.place(draft):
                entered.append(draft or "-")
                await asyncio.sleep(0)

        async with slots.place(None):
            waiting = [asyncio.ensure_future(call(draft)) for draft in (None, "ab", "abcd", "xy", None)]
            await asyncio.sleep(0)
            if given_up:
                waiting[2].cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        async with asyncio.timeout(1), slots.place("again"):
            entered.append("again")

    asyncio.run(lead())
    assert entered == (["abcd"] if not given_up else []) + ["ab", "xy", "-", "-", "again"]


class _Named:
    def __init__(self) -> None:
        self.identity = {"kind": "named"}

    def continue_from(self, requests: Any, on_result: Any = None) -> list[Any]:
        raise AssertionError("nobody asks")


_QUESTION = "8150fdddc6053d47884febbd704834386c74876bbf9d2754d2c67badf81c252a"  # of before there were drafts


def _way(body: dict[str, Any]) -> set[str] | None:
    return set(body.get("stream_options", {})) if body.get("stream") else None


def _last_usage(server: Served) -> Any:
    from omniopd.types import Usage

    return Usage(len(server.seen[-1].question) // 4, server.seen[-1].written)
