"""A stranger's chat template ends, or is refused; and what it writes is what transformers writes."""

from __future__ import annotations

import copy
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import psutil
import pytest
from jinja2.exceptions import TemplateError

from omniopd.errors import ConfigError, DataError
from omniopd.models.text import rendering
from omniopd.models.text.chat import prompt_ids
from omniopd.models.text.rendering import check_template, rendered
from omniopd.teachers.handover.base import UnsupportedRequest
from omniopd.teachers.handover.template import ChatTemplate
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
    "in one filter": "{{ (range(99999)|list * 300)|sort|length }}",
    "in one number": "{{ 9 ** (9 ** 9) }}",
}
BOMBS = {
    "a product": "{{ 'a' * 10 ** 10 }}",
    "a doubling": "{% set n = namespace(x='a') %}{% for i in range(60) %}{% set n.x = n.x ~ n.x %}{% endfor %}",
    "a format": "{{ '%10000000000d' % 1 }}",
    "a filter": "{{ 'a'|center(10 ** 12) }}",
    "a long text": "{{ 'a' * 10 ** 8 }}",
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
    since = time.monotonic()
    with pytest.raises(ConfigError, match=r"not done after 0.2 s: take a tokenizer from a source that you trust"):
        ChatTemplate(with_template(LOOPS[name]))
    with pytest.raises(DataError, match=r"not done after 0\.2 s: take a tokenizer from a source that you trust"):
        prompt_ids(with_template(LOOPS[name]), QUESTION)
    assert time.monotonic() - since < 15


@pytest.mark.parametrize("name", BOMBS)
def test_a_template_that_fills_the_memory_is_refused(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rendering, "DEADLINE_S", 20.0)
    with pytest.raises(ConfigError, match=r"not done in 2 GiB of memory: take a tokenizer from a source that you"):
        ChatTemplate(with_template(BOMBS[name]))


def test_one_that_loops_over_some_conversations_leaves_those_unasked() -> None:
    tokenizer = with_template("{% if 'loop' in messages[0].content %}" + LOOPS["nested"] + "{% endif %}hello")
    template = ChatTemplate(tokenizer)
    assert template.text(QUESTION, "") == "hello"
    with pytest.raises(UnsupportedRequest, match="not done after"):
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


def test_a_render_that_is_interrupted_leaves_no_answer_for_the_next_one(monkeypatch: pytest.MonkeyPatch) -> None:
    line = rendering._line
    rendered(with_template("before"), QUESTION)

    def interrupted(process) -> str:
        raise KeyboardInterrupt

    monkeypatch.setattr(rendering, "_line", interrupted)
    with pytest.raises(KeyboardInterrupt):
        rendered(with_template("nobody reads this"), QUESTION)
    monkeypatch.setattr(rendering, "_line", line)
    assert rendered(with_template("after"), QUESTION) == "after"


def test_threads_get_their_own_texts() -> None:
    with ThreadPoolExecutor(8) as pool:
        said = [str(number) for number in range(200)]
        found = pool.map(
            lambda text: rendered(with_template("{{ messages[0].content }}"), [{"role": "user", "content": text}]), said
        )
        assert list(found) == said


def test_a_process_that_was_killed_is_started_again_and_none_outlives_who_asks() -> None:
    program = (
        "import os, signal, sys; from omniopd.models.text import rendering; from tests.builders import tiny_tokenizer;"
        "show = lambda: rendering.rendered(tiny_tokenizer(), [{'role': 'user', 'content': '2 plus 3?'}]);"
        "text = show(); rendering._process._process.kill(); rendering._process._process.wait();"
        "assert show() == text; print(rendering._process._process.pid, flush=True);"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    asked = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert asked.returncode == -signal.SIGKILL, asked.stderr
    pid, until = int(asked.stdout), time.monotonic() + 10
    while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
        assert time.monotonic() < until
        time.sleep(0.05)


def test_a_step_that_ends_with_its_job_is_answered_though_all_its_processes_were_told_to_end() -> None:
    before = rendered(tiny_tokenizer(), QUESTION)
    process = rendering._process._process
    process.send_signal(signal.SIGTERM)
    assert rendered(tiny_tokenizer(), QUESTION) == before
    assert rendering._process._process is process
    assert process.poll() is None


def test_no_key_is_in_the_process_that_a_stranger_programs(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", "sk-secret")
    rendering._process.end()
    rendered(tiny_tokenizer(), QUESTION)
    assert set(psutil.Process(rendering._process._process.pid).environ()) <= {"PATH", "PYTHONPATH", "LC_CTYPE"}
