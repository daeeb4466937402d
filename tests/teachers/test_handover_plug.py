"""A handover is its file and its entry: one that this test writes is asked for, offered, priced and tried out."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from omniopd.cli.main import main
from omniopd.config import HANDOVERS, HandoverEntry, load_recipe
from omniopd.costs.recipe import estimate_of
from omniopd.errors import ConfigError
from omniopd.pipeline.build import build_hosted_teacher
from omniopd.teachers.checks.probes import KNOWN
from omniopd.types import ContinuationRequest
from tests.builders import prompt
from tests.wire.server import Received, Reply, WireServer

_COUNT = itertools.count()
pytestmark = pytest.mark.usefixtures("litellm_is_loaded")

# What somebody would write into omniopd/teachers/handover/underlined.py.
FILE = '''
from omniopd.teachers.handover.base import ParsedText, ProviderRequest
from omniopd.teachers.handover.chat import ChatHandover


class Underlined(ChatHandover):
    name = "underlined"
    exact = False

    def render(self, request):
        messages = self.turns(request)
        messages[-1]["content"] += "\\n___" + request.prefix
        return ProviderRequest(tuple(messages), prefix=request.prefix, exact=False)

    def parse(self, rendered, text):
        return ParsedText(text.removesuffix("___"))
'''


@pytest.fixture
def underlined(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "underlined.py").write_text(FILE)
    monkeypatch.syspath_prepend(tmp_path)
    entry = HandoverEntry("underlined", "underlined:Underlined", extra_input=500.0)
    monkeypatch.setitem(HANDOVERS, entry.name, entry)
    monkeypatch.setenv("OPENAI_API_KEY", "a-key-for-a-local-server")


def goes_on(received: Received) -> Reply:
    """A model that knows what the probes ask for, and ends what it writes in a line."""
    question, _, begun = received.body["messages"][-1]["content"].partition("\n___")
    drawn = f" text {next(_COUNT)}"
    expected = next((k.expected for k in KNOWN if (k.question, k.prefix) == (question, begun)), drawn)
    message = {"role": "assistant", "content": f"{expected}___"}
    choices = [{"index": 0, "message": message, "finish_reason": "length"}]
    usage = {"prompt_tokens": 40, "completion_tokens": 10, "total_tokens": 50}
    kind = {"id": "c", "object": "chat.completion", "created": 1, "model": "m"}
    return Reply({**kind, "choices": choices, "usage": usage})


def test_a_handover_is_added_by_its_file_and_its_entry(underlined: None, capsys: pytest.CaptureFixture[str]) -> None:
    with WireServer(goes_on) as server:
        teacher = {"model": "openai/m", "handover": "underlined", "api_base": f"{server.url}/v1"}
        recipe = load_recipe("labels", **{f"teacher.{name}": value for name, value in teacher.items()})
        [answer] = build_hosted_teacher(recipe).continue_from(
            [ContinuationRequest(prompt(KNOWN[5].question), KNOWN[5].prefix, 1, 16)]
        )
        assert (answer.texts, answer.handover, answer.exact) == ((" jumps over",), "underlined", False)
        words = [f"teacher.{name}={value}" for name, value in teacher.items() if name != "model"]
        assert main(["teacher", "check", "openai/m", *words]) == 0
        said = " ".join(capsys.readouterr().out.split())
        assert "handover underlined not exact; 12 of 12 known beginnings go on" in said
    assert main(["recipes", "--settings", "teacher"]) == 0
    assert "auto, raw, prefill, instruction, underlined" in " ".join(capsys.readouterr().out.split())
    plain = load_recipe("labels", **{"teacher.model": "openai/m", "teacher.handover": "prefill"})
    longer, shorter = estimate_of(recipe), estimate_of(plain)
    assert longer.input_tokens - shorter.input_tokens == 500 * longer.calls


def test_a_name_without_an_entry_is_refused_with_the_nearest(underlined: None) -> None:
    with pytest.raises(ConfigError, match="did you mean 'underlined'"):
        load_recipe("labels", **{"teacher.handover": "underline"})
