"""A stranger's chat template ends, or is refused; and what it writes is what transformers writes."""

from __future__ import annotations

import copy
import sys
import threading
import time

import pytest
from jinja2.exceptions import TemplateError

from omniopd.errors import ConfigError, DataError
from omniopd.models import rendering
from omniopd.models.chat import prompt_ids
from omniopd.models.rendering import Endless, check_template, rendered
from omniopd.teachers.handover import ChatTemplate, Unaskable
from tests.builders import tiny_tokenizer
from tests.wire.families import TEMPLATES, family

QUESTION = [{"role": "user", "content": "2 plus 3?"}]
LOOPS = {
    "nested": "{% for a in range(99999) %}{% for b in range(99999) %}{% endfor %}{% endfor %}",
    "with words": "{% for a in range(99999) %}{% for b in range(99999) %}{{ b }}{% endfor %}{% endfor %}",
    "in a macro": "{% macro f(n) %}{% for a in range(99999) %}{{ f(n - 1) if n else '' }}{% endfor %}{% endmacro %}"
    "{{ f(3) }}",
    "by a namespace": "{% set n = namespace(x=0) %}{% for a in range(99999) %}{% for b in range(99999) %}"
    "{% set n.x = n.x + 1 %}{% endfor %}{% endfor %}{{ n.x }}",
}


def with_template(template: str):
    tokenizer = copy.deepcopy(tiny_tokenizer())
    tokenizer.chat_template = template
    return tokenizer


@pytest.fixture(autouse=True)
def _sooner(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "DEADLINE_S", 0.2)


@pytest.mark.parametrize("name", LOOPS)
def test_a_template_that_loops_is_refused_before_anything_is_asked(name: str) -> None:
    since = time.thread_time()
    with pytest.raises(ConfigError, match=r"not done after 0.2 s: take a tokenizer from a source that you trust"):
        ChatTemplate(with_template(LOOPS[name]))
    with pytest.raises(DataError, match="not done after"):
        prompt_ids(with_template(LOOPS[name]), QUESTION)
    assert time.thread_time() - since < 3


def test_one_that_loops_over_some_conversations_leaves_those_unasked() -> None:
    tokenizer = with_template("{% if 'loop' in messages[0].content %}" + LOOPS["nested"] + "{% endif %}hello")
    template = ChatTemplate(tokenizer)
    assert template.text(QUESTION, "") == "hello"
    with pytest.raises(Unaskable, match="not done after"):
        template.text([{"role": "user", "content": "loop"}], "")


@pytest.mark.parametrize(
    "template",
    ["{{ 1 / 0 }}", "{{ messages[9].content }}", "{{ range(10 ** 9) }}", "{{ 'a' + 1 }}", "{{ raise_exception('no') }}",
     "{% macro f() %}{{ f() }}{% endmacro %}{{ f() }}", "{{ messages.append }}{{ messages.append(1) }}"],
)  # fmt: skip
def test_whatever_a_template_does_is_one_kind_of_error(template: str) -> None:
    tokenizer = with_template(template)
    check_template(tokenizer)
    with pytest.raises(TemplateError):
        rendered(tokenizer, QUESTION)
    with pytest.raises(DataError, match="refuses the conversation"):
        prompt_ids(tokenizer, QUESTION)


@pytest.mark.parametrize("name", TEMPLATES)
def test_what_is_written_is_what_transformers_writes(name: str) -> None:
    tokenizer = family(name)
    by_hand = tokenizer.apply_chat_template(QUESTION, add_generation_prompt=True, tokenize=False)
    assert rendered(tokenizer, QUESTION) == by_hand


def test_a_debuggers_own_tracing_goes_on_afterwards_and_other_threads_are_left_alone() -> None:
    seen: list[str] = []

    def own(frame, event, argument):
        return None

    def elsewhere() -> None:
        seen.append(str(sys.gettrace()))

    before = sys.gettrace()
    sys.settrace(own)
    try:
        rendered(tiny_tokenizer(), QUESTION)
        assert sys.gettrace() is own
        with pytest.raises(Endless):
            rendered(with_template(LOOPS["nested"]), QUESTION)
        assert sys.gettrace() is own
    finally:
        sys.settrace(before)
    thread = threading.Thread(target=elsewhere)
    thread.start()
    thread.join()
    assert seen == ["None"]
