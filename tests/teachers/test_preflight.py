"""A preflight finds out whether a teacher continues, by which handover, and says why one cannot be used."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from typing import Any

import pytest

from omniopd.teachers.checks.preflight import check_teacher
from omniopd.teachers.checks.probes import (
    CONTINUES,
    KNOWN,
    OPEN,
    OTHER,
    PREAMBLE,
    REFUSAL,
    RESTARTS,
    SPACING,
    ContinuationProbe,
)
from omniopd.teachers.model_traits import ModelTraits
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.teachers.spending.prices import per_million
from tests.wire import anthropic
from tests.wire.server import Received, Reply, WireServer
from tests.wire.truth import cases

MODEL = "openai/gpt-4.1"
PREFILLS = ModelTraits(MODEL, handover="prefill", most_samples=4)
INSTRUCTED = replace(PREFILLS, handover="instruction")
_QUOTED = re.compile(r"<(partial-answer-\w+)>(.*)</\1>", re.DOTALL)
Writer = Callable[[ContinuationProbe, str], str]


def whole(known: ContinuationProbe) -> str:
    return known.prefix + known.expected


def goes_on(known: ContinuationProbe, begun: str) -> str:
    return whole(known)[len(begun) :]


def starts_over(known: ContinuationProbe, begun: str) -> str:
    return whole(known)


def starts_over_in_other_words(known: ContinuationProbe, begun: str) -> str:
    return whole(known)[:9] + " … but let us begin with the general picture."


def introduces(known: ContinuationProbe, begun: str) -> str:
    return f"Sure, here is the continuation:\n{goes_on(known, begun)}"


def declines(known: ContinuationProbe, begun: str) -> str:
    return "I'm sorry, but I can't help with that."


def strips(known: ContinuationProbe, begun: str) -> str:
    return goes_on(known, begun).strip()


def repeats_first(known: ContinuationProbe, begun: str) -> str:
    return begun + goes_on(known, begun)


class Provider:
    """/chat/completions of a model that copies, spells and counts. `prefills`: it takes a last turn of its own."""

    def __init__(
        self, write: Writer = goes_on, prefills: bool = True, obeys_n: bool = True, temperature: str = "obeyed"
    ) -> None:
        self.write, self.prefills, self.obeys_n, self.temperature = write, prefills, obeys_n, temperature
        self.count = itertools.count()
        self.fails: Reply | None = None
        self.model = "gpt-4.1-2025-04-14"

    def __call__(self, received: Received) -> Reply:
        if self.fails is not None:
            return self.fails
        messages = received.body["messages"]
        if messages[-1]["role"] == "assistant" and not self.prefills:
            return error(400, "this model takes no last message of the assistant")
        samples = received.body.get("n", 1) if self.obeys_n else 1
        texts = [self.text(messages, received.body.get("temperature", 1.0)) for _ in range(samples)]
        choices = [
            {"index": i, "message": {"role": "assistant", "content": text}, "finish_reason": "length"}
            for i, text in enumerate(texts)
        ]
        usage = {"prompt_tokens": 40, "completion_tokens": 10 * samples, "total_tokens": 40 + 10 * samples}
        return Reply(
            {
                "id": "c",
                "object": "chat.completion",
                "created": 1,
                "model": self.model,
                "choices": choices,
                "usage": usage,
            }
        )

    def text(self, messages: list[dict[str, Any]], temperature: float) -> str:
        question, last = messages[-2 if messages[-1]["role"] == "assistant" else -1]["content"], messages[-1]
        quoted = _QUOTED.search(last["content"])
        begun = quoted[2] if quoted else last["content"] if last["role"] == "assistant" else ""
        if question.startswith(OPEN.question):
            cold = self.temperature == "always 0" or (self.temperature == "obeyed" and temperature == 0)
            return " the Albatross" if cold else f" the Albatross {next(self.count)}"
        known = next(k for k in KNOWN if question.startswith(k.question) and k.prefix == begun)
        return self.write(known, begun)


def error(status: int, message: str) -> Reply:
    return Reply({"error": {"message": message, "type": "invalid_request_error", "code": status}}, status)


@pytest.fixture(autouse=True)
def _keys(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-for-a-local-server")
    monkeypatch.setenv("ANTHROPIC_API_KEY", "a-key-for-a-local-server")


@pytest.fixture
def serve() -> Iterator[Callable[[Provider], str]]:
    servers: list[WireServer] = []

    def start(provider: Provider) -> str:
        servers.append(WireServer(provider).__enter__())
        return f"{servers[-1].url}/v1"

    yield start
    for server in servers:
        server.__exit__(None, None, None)


def test_a_teacher_that_goes_on_is_usable_and_the_table_says_what_was_found(serve: Callable[[Provider], str]) -> None:
    report = check_teacher(MODEL, api_base=serve(Provider()), traits=PREFILLS, price=per_million(2, 8))
    assert (report.usable, report.exit_status, report.handover, report.proposal) == (True, 0, "prefill", "")
    assert report.served_models == ("gpt-4.1-2025-04-14",)
    assert [trial.findings for trial in report.trials] == [(CONTINUES,) * len(KNOWN)]
    sampling = report.sampling
    assert (sampling.cold, sampling.cold_asked, sampling.warm, sampling.warm_asked) == (1, 3, 6, 6)
    assert (sampling.per_call, sampling.brought) == (4, 4)
    assert report.calls == len(KNOWN) + 3 + 1 + 2 + 1
    assert 0 < report.latency_median_s <= report.latency_p95_s
    said = str(report)
    for words in (
        "handover prefill", "exact; 12 of 12 known beginnings go on", "0%, 0%, 0%", "repeats itself in 3 draws",
        "6 different texts in 6 draws", "4 where 4 were asked for", "$2.00 and $8.00 per million tokens",
        "19 calls, 760 tokens read, 220 written, $0.0033",
        "no: a scan asks for whole texts", "verdict", "usable",
    ):  # fmt: skip
        assert words in said
    assert "not usable" not in said


def test_a_refused_handover_is_noticed_and_the_next_one_proposed(serve: Callable[[Provider], str]) -> None:
    report = check_teacher(MODEL, api_base=serve(Provider(prefills=False)), traits=PREFILLS)
    assert report.usable
    assert [(t.handover, t.works) for t in report.trials] == [("prefill", False), ("instruction", True)]
    assert "takes no last message of the assistant" in report.trials[0].refused
    assert report.proposal == 'teacher.handover = "instruction"'
    assert "proposal" in str(report)


def test_a_provider_that_refuses_prefill_in_its_own_format_is_instructed() -> None:
    """The Messages API, asked for a model whose prefill ended; the table here claims the old rule."""
    known = [ContinuationProbe(c.kind, c.question, c.prefix, c.answer[len(c.prefix) :][:12]) for c in cases(8)]
    *asked, opening = known
    drawn = itertools.count()

    def answer(received: Received) -> Reply:
        reply = anthropic.answer(received)
        if reply.status == 200 and opening.question[:11] in str(received.body["messages"]):
            reply.body["content"] = [{"type": "text", "text": f"draw {next(drawn)}"}]
        return reply

    model = "anthropic/claude-haiku-5-5"
    claims = ModelTraits(model, handover="prefill", takes_seed=False, takes_sampling=False)
    with WireServer(answer) as server:
        report = check_teacher(model, known=asked, opening=opening, api_base=server.url, traits=claims)
    assert (report.usable, report.claimed, report.handover) == (True, "prefill", "instruction"), str(report)
    assert "does not support assistant message prefill" in report.trials[0].refused
    assert "not taken: the provider's own sampling" in str(report)


@pytest.mark.parametrize(
    ("write", "found", "sentence"),
    [
        (starts_over_in_other_words, RESTARTS, "restarts 11"),
        (introduces, PREAMBLE, "preamble 12"),
        (declines, REFUSAL, "refusal 12"),
        (lambda known, begun: "Bananas are yellow.", OTHER, "something else 12"),
    ],
)
def test_a_teacher_that_does_not_go_on_is_not_usable(
    serve: Callable[[Provider], str], write: Writer, found: str, sentence: str
) -> None:
    report = check_teacher(MODEL, api_base=serve(Provider(write)), traits=PREFILLS)
    assert (report.usable, report.exit_status) == (False, 1)
    assert [trial.handover for trial in report.trials] == ["prefill", "instruction"]
    assert all(found in trial.findings for trial in report.trials)
    assert sentence in report.problem


def test_a_prefill_that_is_accepted_and_not_continued_is_noticed(serve: Callable[[Provider], str]) -> None:
    """The answers start over: under a prefill that is a restart, under an instruction an echo, which is removed."""
    report = check_teacher(MODEL, api_base=serve(Provider(starts_over)), traits=PREFILLS)
    assert report.trials[0].findings.count(RESTARTS) == 11
    assert (report.usable, report.proposal) == (True, 'teacher.handover = "instruction"')


def test_echoes_are_removed_and_counted(serve: Callable[[Provider], str]) -> None:
    report = check_teacher(MODEL, api_base=serve(Provider(repeats_first)), traits=INSTRUCTED)
    assert report.trials[0].echoes > len(KNOWN) / 2
    assert report.rates[0] == report.trials[0].echoes / len(KNOWN)


def test_lost_spaces_are_told_from_restarts(serve: Callable[[Provider], str]) -> None:
    report = check_teacher(MODEL, api_base=serve(Provider(strips)), traits=INSTRUCTED)
    assert report.usable
    assert report.trials[0].findings.count(SPACING) == sum(k.expected != k.expected.strip() for k in KNOWN)
    assert "space lost or added 4 (after a comma, a line, a word, an emoji)" in str(report)


def test_draws_that_are_all_one_text_are_no_samples(serve: Callable[[Provider], str]) -> None:
    report = check_teacher(MODEL, api_base=serve(Provider(temperature="always 0")), traits=PREFILLS)
    assert not report.usable
    assert "6 draws of an open beginning were one text" in report.problem


def test_a_temperature_and_an_n_that_are_ignored_are_told(serve: Callable[[Provider], str]) -> None:
    report = check_teacher(MODEL, api_base=serve(Provider(temperature="ignored", obeys_n=False)), traits=PREFILLS)
    assert report.usable
    assert "gives 3 different texts in 3 draws" in str(report)
    assert "1 where 4 were asked for" in str(report)


@pytest.mark.parametrize(
    ("reply", "reason"),
    [(error(401, "wrong key"), "unauthorised"), (error(404, "no such model"), "unknown model")],
)
def test_a_teacher_that_does_not_answer_is_not_usable(
    serve: Callable[[Provider], str], reply: Reply, reason: str
) -> None:
    provider = Provider()
    provider.fails = reply
    report = check_teacher(MODEL, api_base=serve(provider), traits=PREFILLS)
    assert report.exit_status == 1
    assert report.problem.startswith(f"the teacher does not answer: {reason}")
    assert "a-key-for" not in str(report)


def test_a_model_that_thinks_and_never_gets_to_write_is_told_by_that(serve: Callable[[Provider], str]) -> None:
    """As vLLM and DeepSeek answer within a few tokens of a thinking model: a thought, and no content."""
    provider = Provider()

    def thinks(received: Received) -> Reply:
        reply = provider(received)
        for choice in reply.body["choices"]:
            choice["message"] = {"role": "assistant", "content": None, "reasoning_content": "Let me see. The user"}
        return reply

    report = check_teacher(MODEL, api_base=serve(thinks), traits=INSTRUCTED)
    assert report.problem.startswith("it thinks, and the tokens it is given are used up before it writes")
    assert "thinking only 12" in str(report.trials[0])


@pytest.mark.parametrize("word", ["abort", None])
def test_texts_that_are_broken_off_are_nothing_in_a_check_too(serve: Callable[[Provider], str], word: Any) -> None:
    provider = Provider()

    def breaks(received: Received) -> Reply:
        reply = provider(received)
        for choice in reply.body["choices"]:
            choice["finish_reason"] = word
        return reply

    report = check_teacher(MODEL, api_base=serve(breaks), traits=INSTRUCTED)
    assert not report.usable
    assert "nothing 12" in report.problem


def test_a_check_waits_no_longer_than_a_minute_because_a_provider_says_so(serve: Callable[[Provider], str]) -> None:
    provider = Provider()
    provider.fails = replace(error(429, "come back tomorrow"), headers={"retry-after": "86400"})
    report = check_teacher(MODEL, api_base=serve(provider), traits=INSTRUCTED)
    assert report.problem == "the teacher does not answer: rate limited: come back tomorrow"


def test_a_provider_that_changes_models_is_not_usable(serve: Callable[[Provider], str]) -> None:
    provider, names = Provider(), itertools.cycle(["a", "b"])
    url = serve(lambda received: _signed(provider(received), next(names)))
    report = check_teacher(MODEL, api_base=url, traits=PREFILLS)
    assert "its answers came from" in report.problem


def _signed(reply: Reply, model: str) -> Reply:
    return replace(reply, body=reply.body | {"model": model})


def test_any_teacher_can_be_checked_as_it_is() -> None:
    draws = itertools.count()

    def script(request: Any) -> list[str]:
        known = next((k for k in KNOWN if k.question == request.prompt.messages[0]["content"]
                      and k.prefix == request.prefix), None)  # fmt: skip
        return [known.expected if known else f" ship {next(draws)}" for _ in range(request.samples)]

    report = check_teacher(ScriptedTeacher(script))
    assert (report.usable, report.model, report.served_models) == (True, "ScriptedTeacher", ("scripted",))
    assert "none: it runs here" in str(report)


def test_a_providers_words_are_shown_without_what_steers_a_terminal(serve: Callable[[Provider], str]) -> None:
    provider = Provider()
    provider.model = "evil\x1b[2J\nverdict  usable"
    said = str(check_teacher(MODEL, api_base=serve(provider), traits=PREFILLS))
    assert "\x1b" not in said
    assert sum(line.startswith("verdict") for line in said.splitlines()) == 1
