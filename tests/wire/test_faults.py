"""Fault × wire: what the audit, the ledger, the files and the clock show, whatever a server does.

Each wire's table is gone through at once, a server for each fault. The right outcomes stand in the tables, by hand: no
text that counts, nothing lost, nothing free that may have been billed, and time that ends.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from omniopd.auditing import audit
from omniopd.errors import TeacherError
from omniopd.method.tensors import edit_similarity
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.hosted import failures
from omniopd.teachers.hosted.background import run
from omniopd.teachers.hosted.failures import Failure
from omniopd.teachers.hosted.retry import RetryPolicy
from omniopd.teachers.hosted.transport import send
from omniopd.teachers.spending.budget import BudgetedTeacher
from omniopd.teachers.spending.prices import per_million
from omniopd.types import HALF_CHARACTER, Fork
from tests.builders import request, rollout
from tests.wire.breaking import Breaking, faults, response
from tests.wire.saying import KEY, WIRES, Said, Wire, keys

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")

TRIES = 2
UNREADABLE, LOST, SILENT, BUSY = "unreadable answer", "connection lost", "no answer in time", "server error"
OUTCOMES = {
    "broken JSON": UNREADABLE, "a list": UNREADABLE, "a number": UNREADABLE, "another form": UNREADABLE,
    "choices of another form": UNREADABLE, "nested JSON": UNREADABLE, "not UTF-8": UNREADABLE, "empty 200": UNREADABLE,
    "204": UNREADABLE, "HTML 200": UNREADABLE, "an error as 200": "unreadable answer: told to fail",
    "a flood": UNREADABLE, "a gzip bomb": UNREADABLE, "a deflate bomb": UNREADABLE, "a raw deflate bomb": UNREADABLE,
    "gzip twice": UNREADABLE, "gzip, cut": UNREADABLE, "gzip that is none": UNREADABLE, "br": UNREADABLE,
    "zstd": UNREADABLE,
    "no HTTP": LOST, "cut": LOST, "chunked, cut": LOST, "reset": LOST, "reset in mid-body": LOST,
    "a flood of headers": LOST,
    "silence": SILENT, "silence in mid-head": SILENT, "silence in mid-body": SILENT, "a drip": SILENT,
    "a flood of errors": BUSY, "a bomb in an error": BUSY,
}  # fmt: skip
FREE = (BUSY,)  # the server says itself that it brought nothing


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    keys(monkeypatch)


def good(wire: Wire, **more: Any) -> bytes:
    return json.dumps(wire.body(Said(words=[wire.stop], **more))).encode()


def ask(teacher: Any) -> Any:
    """One fork of a rollout, audited."""
    [audited] = audit([rollout()], [[Fork(0, 2, 1.0)]], teacher, edit_similarity, samples=1)
    return audited


def wrong(name: str, fault: str, folder: Path) -> list[str]:
    """What is not as it has to be, in words."""
    wire, outcome, found = WIRES[name], OUTCOMES[fault], []
    state: dict[str, Callable] = {"now": faults(good(wire))[fault]}
    folder.mkdir()
    with Breaking(lambda body: state["now"](body)) as server:
        patience = RetryPolicy(attempts=TRIES, pause_s=0.01, longest_pause_s=0.02)
        timeout_s = 4.0 if outcome == SILENT else 15.0
        hosted = wire.teacher(server.url, patience=patience, call_timeout_s=timeout_s, price=per_million(1, 1))
        cached = CachedTeacher(hosted, folder / "answers.sqlite")
        teacher = BudgetedTeacher(cached, 1.0, folder / "ledger.jsonl")
        since = time.monotonic()
        audited = ask(teacher)
        took, [spend] = time.monotonic() - since, teacher.ledger
        if audited.audits or not audited.unanswered[0].problem.startswith(outcome):
            found.append(f"audit: {audited}")
        if not len(server.requests) == spend.calls == TRIES:
            found.append(f"{len(server.requests)} requests, {spend.calls} calls on the ledger")
        if (spend.usd == 0.0) != (outcome in FREE) or spend.usd != spend.unsure_usd or not 0 <= spend.usd < 0.01:
            found.append(f"ledger: {spend}")
        if took > TRIES * timeout_s + 5:
            found.append(f"{took:.1f} s")
        if len(cached.answers):
            found.append("something was kept")
        if any(KEY.encode() in path.read_bytes() for path in folder.iterdir()):
            found.append("a file holds the key")
        state["now"] = lambda body: response(good(wire))
        [text] = teacher.continue_from([request("", 1, 4)])
        if (text.texts, len(cached.answers)) != ((" 7",), 1):
            found.append(f"afterwards: {text}")
    return found


def go_through(pairs: list[tuple[str, str]], folder: Path) -> None:
    with ThreadPoolExecutor(8 if len(pairs) < 30 else 32) as pool:
        found = pool.map(lambda n: wrong(*pairs[n], folder / str(n)), range(len(pairs)))
        assert {pair: what for pair, what in zip(pairs, found, strict=True) if what} == {}


@pytest.mark.parametrize("name", WIRES)
def test_a_broken_server_brings_no_evidence_costs_what_it_may_and_loses_nothing(name: str, tmp_path: Path) -> None:
    assert faults(b"").keys() == OUTCOMES.keys()
    go_through([(name, fault) for fault, outcome in OUTCOMES.items() if outcome != SILENT], tmp_path)


def test_nor_does_a_silent_one_on_any_wire(tmp_path: Path) -> None:
    go_through([(name, fault) for name in WIRES for fault, how in OUTCOMES.items() if how == SILENT], tmp_path)


@pytest.mark.parametrize("name", WIRES)
def test_a_text_that_cannot_be_written_down_is_none_and_is_not_kept(name: str, tmp_path: Path) -> None:
    wire = WIRES[name]
    bodies = iter([good(wire, texts=["a\ud800b"]), good(wire, texts=["\udc00"]), good(wire)])
    with Breaking(lambda body: response(next(bodies))) as server:
        patience = RetryPolicy(redraws=3, pause_s=0.01)
        teacher = CachedTeacher(wire.teacher(server.url, patience=patience), tmp_path / "a.sqlite")
        [answer] = teacher.continue_from([request("", 1, 8)])
        assert (answer.texts, answer.usage.calls) == ((" 7",), 3)
    with Breaking(lambda body: response(good(wire, texts=["a\ud800b"]))) as server:
        other = CachedTeacher(wire.teacher(server.url), tmp_path / "b.sqlite")
        assert [a.problem for a in other.continue_from([request("", 1, 8)])] == [HALF_CHARACTER]
        assert len(other.answers) == 0


@pytest.mark.parametrize("name", WIRES)
def test_words_of_an_error_can_be_written_and_printed(name: str) -> None:
    """Half a surrogate pair, what steers a terminal, what turns a line around; and no number that differs each time."""
    told = "no \ud800 \x1b[2J \u202e room, request id: req_011CSHoEeqs5C35K2UUqR7Fy"
    body = json.dumps({"error": {"message": told, "type": "invalid_request_error"}}).encode()
    with Breaking(lambda _: response(body, "400 No")) as server:
        [answer] = WIRES[name].teacher(server.url).continue_from([request("", 1, 8)])
    assert answer.problem == "bad request: no ? [2J room,"
    answer.problem.encode()


@pytest.mark.parametrize("name", WIRES)
def test_another_models_answers_stop_the_run_within_one_call_more(name: str) -> None:
    wire = WIRES[name]
    models = iter(["m", "m", "another"])
    with Breaking(lambda body: response(good(wire, model=next(models, "another")))) as server:
        teacher = wire.teacher(server.url, concurrency=1)
        with pytest.raises(TeacherError, match="is now served by"):
            teacher.continue_from([request("", 1, 8, seed=n) for n in range(9)])
        assert len(server.requests) == 4


# Status: what it is called, whether it is final, and whether the call may have been billed.
STATUSES = {
    400: (failures.REFUSED_REQUEST, True, False), 401: (failures.UNAUTHORISED, True, False),
    402: (failures.OUT_OF_QUOTA, True, False), 403: (failures.FORBIDDEN, True, False),
    404: (failures.UNKNOWN_MODEL, True, False), 408: (failures.NO_ANSWER, False, True),
    409: (failures.SERVER_ERROR, False, False), 413: (failures.TOO_LONG, True, False),
    418: (failures.REFUSED_REQUEST, True, False), 422: (failures.REFUSED_REQUEST, True, False),
    425: (failures.SERVER_ERROR, False, False), 429: (failures.RATE_LIMITED, False, False),
    500: (failures.SERVER_ERROR, False, False), 501: (failures.SERVER_ERROR, False, False),
    502: (failures.SERVER_ERROR, False, True), 503: (failures.OVERLOADED, False, False),
    504: (failures.SERVER_ERROR, False, True), 520: (failures.SERVER_ERROR, False, True),
    524: (failures.SERVER_ERROR, False, True), 529: (failures.OVERLOADED, False, False),
    599: (failures.SERVER_ERROR, False, False),
}  # fmt: skip


def failure(wire: Wire, url: str) -> Failure:
    words: dict[str, Any] = {"model": wire.model, "max_tokens": 8, "api_base": url + wire.api_base}
    asked = {"prompt": "a"} if wire.handover == "raw" else {"messages": [{"role": "user", "content": "a"}]}
    if wire.model.startswith("hosted_vllm") and wire.handover == "raw":
        words["model"] = "text-completion-openai/m"
    found = run(lambda desk: send({**words, **asked, "api_key": KEY}, 10))
    assert isinstance(found, Failure), found
    return found


@pytest.mark.parametrize("name", WIRES)
def test_a_status_means_the_same_on_every_wire(name: str) -> None:
    state = {"status": 0}
    told = json.dumps({"error": {"message": "told to fail", "type": "some_error", "code": "some_code"}}).encode()
    with Breaking(lambda body: response(told, f"{state['status']} No", retry_after="7")) as server:
        for state["status"], (reason, final, unsure) in STATUSES.items():
            found = failure(WIRES[name], server.url)
            assert (found.reason, found.is_final, found.unsure) == (reason, final, unsure), state
            assert found.said == "told to fail"
            assert found.retry_after_s in ((7.0,) if not final else (None,))


# An account without money, as providers say it, and a limit of a minute, which passes.
GEMINI = "You exceeded your current quota, please check your plan and billing details."
QUOTAS: list[tuple[int, Any, str]] = [
    (429, {"error": {"message": GEMINI, "type": "insufficient_quota", "code": "insufficient_quota"}}, "out of quota"),
    (429, {"error": {"message": "Rate limit reached for gpt-4.1", "type": "requests", "code": "rate_limit_exceeded"}},
     "rate limited"),
    (429, {"error": {"message": "A request about insufficient_quota", "type": "tokens"}}, "rate limited"),
    (429, {"error": {"message": "no", "type": "exceeded_current_quota_error"}}, "out of quota"),
    (403, {"error": {"message": "no", "code": "billing_not_active"}}, "out of quota"),
    (400, {"type": "error", "error": {"type": "invalid_request_error", "message":
           "Your credit balance is too low to access the Anthropic API. Please go to Plans & Billing."}},
     "out of quota"),
    (400, {"error": {"message": "the text 'your credit balance is too low' was refused"}}, "bad request"),
    (402, {"error": {"message": "Insufficient Balance", "type": "unknown_error"}}, "out of quota"),
    (429, {"error": {"code": 429, "message": GEMINI, "status": "RESOURCE_EXHAUSTED", "details": [
        {"violations": [{"quotaId": "GenerateRequestsPerDayPerProjectPerModel-FreeTier"}]}]}}, "out of quota"),
    (429, {"error": {"code": 429, "message": GEMINI, "status": "RESOURCE_EXHAUSTED", "details": [
        {"violations": [{"quotaId": "GenerateRequestsPerMinutePerProjectPerModel-FreeTier"}]}]}}, "rate limited"),
    (429, "insufficient_quota", "rate limited"),
    (429, [], "rate limited"),
]  # fmt: skip


@pytest.mark.parametrize("name", WIRES)
def test_an_account_without_money_is_told_at_once_from_a_limit_that_passes(name: str) -> None:
    state: dict[str, bytes] = {}
    with Breaking(lambda body: state["now"]) as server:
        for status, body, reason in QUOTAS:
            state["now"] = response(json.dumps(body).encode(), f"{status} No")
            assert (failure(WIRES[name], server.url).reason, body) == (reason, body)


def test_it_ends_the_run_in_one_sentence_after_one_call() -> None:
    body = json.dumps(QUOTAS[0][1]).encode()
    with Breaking(lambda _: response(body, "429 No")) as server:
        teacher = WIRES["OpenAI, chat"].teacher(server.url, concurrency=1)
        with pytest.raises(TeacherError, match="answers out of quota: You exceeded your current quota"):
            teacher.continue_from([request("", 1, 8, seed=n) for n in range(5)])
        assert len(server.requests) == 1
