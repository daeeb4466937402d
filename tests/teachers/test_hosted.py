"""A hosted teacher loses nothing and counts nothing that is not an answer, whatever a server does."""

from __future__ import annotations

import asyncio
import itertools
import logging
import os
import subprocess
import sys
import threading
import time
from typing import Any

import psutil
import pytest

from omniopd.errors import ConfigError, TeacherError
from omniopd.teachers.hosted.pacing import Limits, Pacer, pacer_for
from omniopd.teachers.hosted.retry import RetryPolicy
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.model_traits import ModelTraits
from omniopd.teachers.spending.prices import per_million, price_of
from omniopd.types import Usage
from tests.builders import request
from tests.teachers.faulty_server import FAULTS, RETRY_AFTER_S, Served, some_faults

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")

QUICK = RetryPolicy(pause_s=0.01, longest_pause_s=0.05)
ONE_EACH = ModelTraits("hosted_vllm/m", "instruction")


def hosted(server: Served, **more: Any) -> HostedTeacher:
    """A teacher on the server; one text per call unless `traits` say otherwise."""
    settings: dict[str, Any] = {"handover": "instruction", "traits": ONE_EACH, "patience": QUICK, "call_timeout_s": 10}
    return HostedTeacher("hosted_vllm/m", api_base=server.url, **settings | more)


def first_calls(kind: str, calls: int = 1):
    return lambda number, body: kind if number < calls else None


ASKED = [request("the cat", 4, seed=1), request("a dog", 4, seed=2), request("", 2, seed=3)]


@pytest.mark.parametrize("kind", FAULTS)
def test_a_fault_changes_no_text_and_loses_none(kind: str) -> None:
    several = ModelTraits("hosted_vllm/m", "instruction", most_samples=4)
    with Served() as server:
        expected = [a.texts for a in hosted(server, traits=several).continue_from(ASKED)]
    # From the third call on: which model is the right one shows by then.
    with Served(faults=lambda number, body: kind if number == 2 else None) as server:
        answers = hosted(server, traits=several, call_timeout_s=1, concurrency=1).continue_from(ASKED)
        assert [a.texts for a in answers] == expected
        assert all(a.problem is None for a in answers)
        assert [s.fault for s in server.seen].count(kind) == 1
        assert sum(a.usage.calls for a in answers) == len(server.seen) == 4


def test_faults_on_a_third_of_the_calls_change_nothing_and_cost_few_calls() -> None:
    asked = [request(f"prefix {n}", 4, seed=n) for n in range(25)]
    with Served() as server:
        expected = [a.texts for a in hosted(server).continue_from(asked)]
    kinds = tuple(kind for kind in FAULTS if kind not in ("hang", "429"))
    with Served(faults=some_faults(0.3, kinds=kinds)) as server:
        answers = hosted(server).continue_from(asked)
        assert [a.texts for a in answers] == expected
        assert 100 < len(server.seen) < 1.6 * 100


@pytest.mark.parametrize("asked", [3, 7])
def test_draws_are_numbered_whether_bought_together_or_alone(asked: int) -> None:
    several = ModelTraits("hosted_vllm/m", "instruction", most_samples=asked)
    with Served() as server:
        [alone] = hosted(server).continue_from([request("a", 10)])
        [together] = hosted(server, traits=several).continue_from([request("a", 10)])
        assert together.texts == alone.texts
        assert len({s.seed for s in server.seen[:10]}) == 10
        assert sorted(s.samples for s in server.seen[10:]) == sorted([asked] * (10 // asked) + [10 % asked])


def test_without_seeds_every_sample_is_a_call_of_its_own() -> None:
    seedless = ModelTraits("hosted_vllm/m", "instruction", takes_seed=False)
    with Served() as server:
        [answer] = hosted(server, traits=seedless).continue_from([request("a", 6)])
        assert len(server.seen) == 6
        assert all(s.seed is None for s in server.seen)
        assert len(set(answer.texts)) > 1


def test_a_draw_that_stays_refused_is_a_problem_and_never_a_smaller_count() -> None:
    with Served(answer=lambda body, seed: "I can't help with that." if "dog" in str(body) else " fine") as server:
        cat, dog = hosted(server).continue_from([request("cat", 3), request("dog", 3)])
        assert (cat.problem, len(cat.texts)) == (None, 3)
        assert (dog.problem, dog.texts) == ("refusal", ())


@pytest.mark.parametrize(("status", "problem"), [("400", "bad request"), ("403", "forbidden")])
def test_what_a_provider_forbids_is_not_asked_again(status: str, problem: str) -> None:
    with Served(faults=lambda number, body: status) as server:
        [answer] = hosted(server).continue_from([request("a", 1)])
        said = f"{problem}: told to fail with {status}"
        assert (answer.problem, answer.texts, len(server.seen)) == (said, (), 1)


@pytest.mark.parametrize("status", ["401", "404"])
def test_a_wrong_key_or_model_stops_at_once(status: str) -> None:
    with Served(faults=lambda number, body: status) as server, pytest.raises(TeacherError, match="hosted_vllm/m"):
        hosted(server, concurrency=1).continue_from(ASKED)
    assert len(server.seen) == 1


def test_a_provider_that_never_recovers_is_given_up() -> None:
    with Served(faults=lambda number, body: "500") as server:
        [answer] = hosted(server, patience=RetryPolicy(attempts=3, pause_s=0.01)).continue_from([request("a", 1)])
        assert (answer.problem, len(server.seen)) == ("server error: told to fail with 500", 3)


def test_no_retry_comes_before_retry_after() -> None:
    with Served(faults=first_calls("429", 8)) as server:
        hosted(server).continue_from([request("a", 8)])
        asked: dict[int | None, list[float]] = {}
        for seen in server.seen:
            asked.setdefault(seen.seed, []).append(seen.came)
            if len(asked[seen.seed]) > 1:
                assert asked[seen.seed][-1] - asked[seen.seed][-2] >= RETRY_AFTER_S
        assert len(server.seen) == 16


def test_another_model_in_mid_run_stops_it_within_one_call() -> None:
    with Served(faults=lambda number, body: "other model" if number >= 5 else None) as server:
        teacher = hosted(server, concurrency=1)
        heard: list[int] = []
        with pytest.raises(TeacherError, match=r"'served-1' and is now served by 'another-model'"):
            teacher.continue_from([request(f"{n}", 1) for n in range(40)], lambda index, answer: heard.append(index))
        assert len(server.seen) <= 7
        assert heard == [0, 1, 2, 3, 4]


def test_a_changed_fingerprint_is_recorded_and_stops_only_a_strict_run(caplog: pytest.LogCaptureFixture) -> None:
    with Served(fingerprint="fp_1") as server:
        lax, strict = hosted(server), hosted(server, strict=True)
        for teacher in (lax, strict):
            [before] = teacher.continue_from([request("a", 1)])
            assert before.served_model == "served-1 (fp_1)"
        server.fingerprint = "fp_2"
        with caplog.at_level(logging.WARNING):
            [after] = lax.continue_from([request("b", 1)])
        assert after.served_model == "served-1 (fp_2)"
        assert lax.endpoint.fingerprints == ["fp_1", "fp_2"]
        assert "fp_1 to fp_2" in caplog.text
        with pytest.raises(TeacherError, match="run is strict"):
            strict.continue_from([request("b", 1)])


def test_it_runs_inside_a_running_loop_and_from_many_threads() -> None:
    with Served() as server:
        teacher = hosted(server)
        plain = [a.texts for a in teacher.continue_from(ASKED)]

        async def cell() -> list[tuple[str, ...]]:
            return [a.texts for a in teacher.continue_from(ASKED)]

        assert asyncio.run(cell()) == plain
        found: list[list[tuple[str, ...]]] = []
        threads = [
            threading.Thread(target=lambda: found.append([a.texts for a in teacher.continue_from(ASKED)]))
            for _ in range(8)
        ]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(30)
        assert found == [plain] * 8


def test_results_are_told_in_the_calling_thread_and_what_that_raises_ends_the_batch() -> None:
    with Served() as server:
        heard: list[str] = []
        hosted(server).continue_from(ASKED, lambda *_: heard.append(threading.current_thread().name))
        assert heard == [threading.current_thread().name] * 3
        with pytest.raises(ZeroDivisionError):
            hosted(server).continue_from(ASKED, lambda index, answer: index / 0)


def test_no_more_calls_are_in_flight_than_allowed_and_no_fewer() -> None:
    with Served(latency_s=0.1) as server:
        started = time.monotonic()
        hosted(server, concurrency=8).continue_from([request(f"{n}", 2) for n in range(16)])
        times = sorted([(s.came, 1) for s in server.seen] + [(s.answered or 0.0, -1) for s in server.seen])
        assert max(itertools.accumulate(change for _, change in times)) == 8
        assert time.monotonic() - started < 3


def test_a_minute_holds_no_more_calls_than_allowed() -> None:
    with Served() as server:
        hosted(server, requests_per_minute=1200).continue_from([request("a", 9)])
        came = [s.came for s in server.seen]
        late = 0.08  # a call that opens a connection comes later than those after it
        assert came[-1] - came[0] >= 8 * 60 / 1200 - late
        tokens = hosted(server, tokens_per_minute=200_000)
        server.seen.clear()
        tokens.continue_from([request("a", 4, max_tokens=200)])
        assert server.seen[-1].came - server.seen[0].came >= 3 * 200 * 60 / 200_000 - late


def test_the_lowest_limit_of_all_teachers_of_a_model_holds_while_its_teacher_lives() -> None:
    slow = Limits(600, 0)
    pacer = pacer_for("a/model", "http://here/v1", slow)
    for other in (Limits(), Limits(6000, 9000), Limits(0, 30_000)):
        assert pacer_for("a/model", "http://here/v1/", other) is pacer
        assert pacer.requests_per_minute == 600
    assert pacer_for("a/model", "http://there/v1", Limits()) is not pacer
    other = Limits(6000, 9000)
    pacer.keep(other)
    assert (pacer.requests_per_minute, pacer.tokens_per_minute) == (600, 9000)
    del slow
    assert (pacer.requests_per_minute, pacer.tokens_per_minute) == (6000, 9000)
    with Served() as server:
        slow_one, fast_one = hosted(server, requests_per_minute=1200), hosted(server)
        fast_one.continue_from([request("a", 5)])
        assert server.seen[-1].came - server.seen[0].came >= 4 * 60 / 1200 - 0.08
        del slow_one
        server.seen.clear()
        fast_one.continue_from([request("a", 5)])
        assert server.seen[-1].came - server.seen[0].came < 4 * 60 / 1200 - 0.08


@pytest.mark.parametrize("limits", [{"requests_per_minute": -1}, {"tokens_per_minute": float("nan")}])
def test_a_limit_that_is_none_is_refused(limits: dict[str, float]) -> None:
    with pytest.raises(ConfigError, match="0 for no limit"):
        HostedTeacher("hosted_vllm/m", api_base="http://here", handover="instruction", **limits)


def test_a_batch_that_is_over_leaves_its_places_in_the_line_to_the_next_one() -> None:
    limits = Limits(requests_per_minute=1200, tokens_per_minute=12_000)
    pacer = Pacer(limits)

    async def places() -> None:
        waiting = [asyncio.ensure_future(pacer.wait(10)) for _ in range(200)]
        await asyncio.sleep(0)
        for one in waiting:
            one.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await asyncio.wait_for(pacer.wait(10), 3)  # behind the others it would be ten seconds

    asyncio.run(places())


def test_connections_that_never_answer_are_let_go_by_the_deadline() -> None:
    with Served(faults=lambda number, body: "hang") as server:
        teacher = hosted(server, concurrency=100, call_timeout_s=30, batch_deadline_s=4)
        started = time.monotonic()
        answers = teacher.continue_from([request(f"{n}", 10) for n in range(10)])
        assert time.monotonic() - started < 5
        assert {a.problem for a in answers} == {"deadline"}
        assert server.most_open == 100
        wait_until(lambda: not open_to(server.port))
        wait_until(lambda: server.open_now == 0)


def test_an_interrupt_ends_the_calls() -> None:
    with Served(latency_s=0.2) as server:

        def interrupted(index: int, answer: object) -> None:
            raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            hosted(server, concurrency=2).continue_from([request(f"{n}", 1) for n in range(50)], interrupted)
        time.sleep(0.5)  # what is on its way arrives, and nothing after it
        assert len(server.seen) <= 6


def test_what_was_paid_is_counted_though_it_was_thrown_away() -> None:
    with Served(faults=first_calls("refusal", 2)) as server:
        [answer] = hosted(server, concurrency=1, price=per_million(1, 10)).continue_from([request("a", 2, 8)])
        read = sum(len(s.question) // 4 for s in server.seen)
        assert answer.usage.calls == len(server.seen) == 4
        assert answer.usage.input_tokens == read
        assert answer.usage.cost_usd == pytest.approx((read + 10 * answer.usage.output_tokens) / 1e6)


def test_no_key_stands_in_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOSTED_VLLM_API_KEY", "canary-8d1f4c5e")
    faults = iter(["401", "400"])
    with Served(faults=lambda number, body: next(faults)) as server:
        with pytest.raises(TeacherError) as told:
            hosted(server).continue_from([request("canary-8d1f4c5e", 1)])
        assert "canary" not in f"{told.value!r} {told.value.__cause__!r} {told.value.__context__!r}"


def test_settings_that_the_model_cannot_take_are_refused() -> None:
    with pytest.raises(ConfigError, match="temperature or top_p, not both"):
        HostedTeacher("anthropic/claude-haiku-4-5", temperature=0.7, top_p=0.9)
    with pytest.raises(ConfigError, match="leave both at 1"):
        HostedTeacher("openai/gpt-5", temperature=0.7)
    with pytest.raises(ConfigError, match="concurrency 0"):
        HostedTeacher("openai/gpt-4.1", concurrency=0)


def test_prices_come_from_the_shipped_table_and_unknown_ones_are_none() -> None:
    haiku = price_of("anthropic/claude-haiku-4-5")
    assert haiku is not None
    assert haiku.of(Usage(1_000_000, 1_000_000)) == pytest.approx(6)
    assert price_of("claude-haiku-4-5") == haiku
    assert haiku.of(Usage(1_000_000, 0, cached_tokens=1_000_000)) < haiku.of(Usage(1_000_000, 0))
    assert price_of("hosted_vllm/somebody/some-model") is None


def test_a_price_is_known_and_a_teacher_made_without_importing_litellm() -> None:
    script = (
        "import sys; from omniopd.teachers.hosted.teacher import HostedTeacher as H;"
        "t = H('anthropic/claude-haiku-4-5');"
        "assert t.price is not None; assert 'litellm' not in sys.modules"
    )
    subprocess.run([sys.executable, "-c", script], check=True, env=dict(os.environ))


def open_to(port: int) -> int:
    """Sockets of this process that are connected to a server's port."""
    return sum(
        bool(c.raddr and c.raddr.port == port and c.status == psutil.CONN_ESTABLISHED)
        for c in psutil.Process().net_connections("tcp")
    )


def wait_until(true: Any, seconds: float = 1.0) -> None:
    until = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < until
        time.sleep(0.01)
