"""Through litellm's own adapters to servers with the providers' rules: what comes back continues the very bytes."""

from __future__ import annotations

import os

import pytest

from omniopd.types import ContinuationRequest, Prompt
from tests.wire.providers import NEWER, PROVIDERS, Provider
from tests.wire.server import WireServer
from tests.wire.truth import KINDS, TOKEN_CHARACTERS, Case, cases

MAX_TOKENS = 16
# A thousand of each take a minute of a free core: `make bench ONLY=prefixes`.
COUNT = int(os.environ.get("OMNIOPD_PREFIXES", "210"))


def asked(case: Case, samples: int = 1) -> ContinuationRequest:
    prompt = Prompt(case.question, ({"role": "user", "content": case.question},))
    return ContinuationRequest(prompt, case.prefix, samples, MAX_TOKENS)


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    for provider in (PROVIDERS | NEWER).values():
        monkeypatch.setenv(provider.key_variable, "no-key-at-all")


def check(provider: Provider, count: int) -> None:
    """Prefix and text together are the beginning of the true answer, in every single one of `count` cases."""
    known = cases(count)
    assert {case.kind for case in known} == set(KINDS)
    with WireServer(provider.answer) as server:
        answers = provider.teacher(server.url).continue_from([asked(case) for case in known])
        assert len(server.received) == count, "every prefix is sent once, and none has to be drawn again"
    for case, answer in zip(known, answers, strict=True):
        assert answer.problem is None, (case, answer)
        [text] = answer.texts
        assert case.answer.startswith(case.prefix + text), (case, text)
        assert len(text) >= TOKEN_CHARACTERS * MAX_TOKENS or case.answer == case.prefix + text
        assert len(case.prefix) < 24 or case.prefix not in text


@pytest.mark.parametrize("name", PROVIDERS)
def test_prefixes_of_every_kind_are_continued_byte_for_byte(name: str) -> None:
    check(PROVIDERS[name], COUNT)


@pytest.mark.parametrize("name", NEWER)
def test_so_are_those_of_models_that_take_no_prefill_and_of_servers_that_take_no_ids(name: str) -> None:
    check(NEWER[name], min(COUNT, 1000) // 2)
