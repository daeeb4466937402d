"""A preflight says whether a teacher streams, how soon a call is left, and what is known of the bill."""

from __future__ import annotations

import itertools
import time
from typing import Any

import pytest

from omniopd.teachers.checks.preflight import STREAM_TOKENS, check_teacher
from omniopd.teachers.checks.probes import KNOWN, OPEN
from omniopd.teachers.checks.report import TeacherReport
from omniopd.teachers.model_traits import ModelTraits
from tests.teachers.faulty_server import Served
from tests.teachers.streams import Streams
from tests.wire.saying import KEY

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")
MODEL = "openai/gpt-4.1"


class GoesOn:
    """Copies, counts and spells; what is open it writes about at length, never twice alike."""

    def __init__(self) -> None:
        self.count = itertools.count()

    def __call__(self, body: dict[str, Any], seed: int) -> str:
        question, last = body["messages"][0]["content"], body["messages"][-1]
        if question.startswith(OPEN.question):
            cold = body.get("temperature") == 0
            return "The ship" + " sails on" * 40 if cold else f"{next(self.count)} ships" + " sail on" * 40
        begun = last["content"] if last["role"] == "assistant" else ""
        asked = (k for k in KNOWN if question.startswith(k.question) and k.prefix.rstrip() == begun.rstrip())
        return next(asked).expected


def checked(server: Served, model: str = MODEL, **settings: Any) -> TeacherReport:
    traits = ModelTraits(model, handover="prefill")
    return check_teacher(model, api_base=server.url, traits=traits, parameters={"api_key": KEY}, **settings)


@pytest.mark.parametrize(("counts", "said"), [("always", "by its own count"), ("end", "counted here")])
def test_it_streams_and_stops_when_it_is_left(counts: str, said: str) -> None:
    with Served(answer=GoesOn(), streams=Streams(0.02, counts)) as server:
        report = checked(server)
        time.sleep(0.3)
        [seen] = [s for s in server.seen if s.body.get("stream")]
        assert seen.written < 10 < STREAM_TOKENS  # the server stopped: what it was asked for are 64
        assert (report.usable, report.stream.streamed, report.stream.parted) == (True, True, True), str(report)
        assert 1 <= report.stream.written <= seen.written
    for words in ("streams", f"of {STREAM_TOKENS} tokens ({said}", "the most that it can, unsure"):
        assert words in str(report)
    with Served(answer=GoesOn(), streams=Streams(0.02, counts)) as server:
        assert "costs what was written until then" in str(checked(server, parted_costs="written"))


def test_each_way_of_streaming_may_be_refused_before_whole_texts_are_asked_for() -> None:
    with Served(answer=GoesOn(), streams=Streams(refuses=True)) as server:
        report = checked(server, "hosted_vllm/m")
        assert report.stream.problem == ""
        ways = [seen.body for seen in server.seen if seen.body.get("stream")]
        assert len(ways) == 3
        assert "no: a scan asks for whole texts" in str(report)


@pytest.mark.parametrize("streams", [None, Streams(refuses=True)])
def test_one_that_does_not_stream_is_told_and_refused_only_where_a_stream_is_demanded(streams: Any) -> None:
    with Served(answer=GoesOn(), streams=streams) as server:
        report = checked(server)
        assert report.usable
        assert "no: a scan asks for whole texts" in str(report)
        demanded = checked(server, stream="always")
        assert (demanded.usable, demanded.exit_status) == (False, 1)
        assert 'teacher.stream is "always"' in demanded.problem
