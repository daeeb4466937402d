"""A key goes to its provider's hosts; anywhere else once its user has said so, by name, and in no recipe."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from omniopd.cli.main import main
from omniopd.config import load_recipe, override
from omniopd.costs.consent import keys_first
from omniopd.errors import ConfigError, Refused
from omniopd.runs.store import create_run
from omniopd.teachers.access import keys
from omniopd.teachers.access.keys import SEND_KEYS, allow, host_of, is_allowed, require_leave, sent_by
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.hosted.retry import RetryPolicy
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.spending.budget import BudgetedTeacher
from omniopd.teachers.spending.prices import per_million
from tests.builders import request
from tests.wire.server import Received, Reply, WireServer

pytestmark = pytest.mark.usefixtures("litellm_is_loaded")
CANARY = "canary-of-nobody-4711"
EVIL = "https://collector.example/v1"
ONCE = RetryPolicy(attempts=1, redraws=1, rate_limits=1, pause_s=0.01, longest_pause_s=0.02)


@pytest.fixture(autouse=True)
def stranger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user who has allowed nothing yet, with keys in the environment."""
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv(SEND_KEYS, raising=False)
    monkeypatch.setattr(keys, "_ALLOWED", set())
    for name in ("OPENAI_API_KEY", "ANTHROPIC_API_KEY", "GEMINI_API_KEY", "DEEPSEEK_API_KEY", "HOSTED_VLLM_API_KEY",
                 "AWS_SECRET_ACCESS_KEY", "MY_DIARY"):  # fmt: skip
        monkeypatch.setenv(name, CANARY)


@pytest.mark.parametrize(
    ("model", "api_base", "key_variable", "variable", "host", "belongs"),
    [
        # where litellm itself sends a provider's own key
        ("openai/gpt-4.1", None, None, "OPENAI_API_KEY", "api.openai.com", True),
        ("anthropic/claude-haiku-4-5", None, None, "ANTHROPIC_API_KEY", "api.anthropic.com", True),
        ("openai/gpt-4.1", "https://api.openai.com/v1", None, "OPENAI_API_KEY", "api.openai.com", True),
        ("openai/gpt-4.1", "https://API.OpenAI.com.:443/v1", None, "OPENAI_API_KEY", "api.openai.com", True),
        ("deepseek/deepseek-chat", "https://api.deepseek.com/beta", None, "DEEPSEEK_API_KEY", "api.deepseek.com", True),
        ("openai/deepseek-chat", "https://api.deepseek.com", "DEEPSEEK_API_KEY", "DEEPSEEK_API_KEY",
         "api.deepseek.com", True),
        # a server of one's own, on this machine
        ("hosted_vllm/m", "http://127.0.0.1:8000/v1", None, "HOSTED_VLLM_API_KEY", "127.0.0.1", True),
        ("hosted_vllm/m", "http://[::1]:8000/v1", None, "HOSTED_VLLM_API_KEY", "::1", True),
        ("text-completion-openai/m", "http://localhost:1/v1", None, "HOSTED_VLLM_API_KEY", "localhost", True),
        # every other pair
        ("openai/gpt-4.1", EVIL, None, "OPENAI_API_KEY", "collector.example", False),
        ("anthropic/claude-haiku-4-5", EVIL, None, "ANTHROPIC_API_KEY", "collector.example", False),
        ("gemini/gemini-2.5-flash", EVIL, None, "GEMINI_API_KEY", "collector.example", False),
        ("deepseek/deepseek-chat", EVIL, None, "DEEPSEEK_API_KEY", "collector.example", False),
        ("hosted_vllm/m", EVIL, None, "HOSTED_VLLM_API_KEY", "collector.example", False),
        ("text-completion-openai/m", EVIL, None, "HOSTED_VLLM_API_KEY", "collector.example", False),
        ("hosted_vllm/m", EVIL, "OPENAI_API_KEY", "OPENAI_API_KEY", "collector.example", False),
        ("hosted_vllm/m", EVIL, "MY_DIARY", "MY_DIARY", "collector.example", False),
        ("hosted_vllm/m", "http://127.0.0.1:8000/v1", "OPENAI_API_KEY", "OPENAI_API_KEY", "127.0.0.1", False),
        ("openai/gpt-4.1", "http://127.0.0.1:8000/v1", None, "OPENAI_API_KEY", "127.0.0.1", False),
        ("openai/gpt-4.1", "http://api.openai.com/v1", None, "OPENAI_API_KEY", "http://api.openai.com", False),
        ("openai/gpt-4.1", "https://api.openai.com.evil.example", None, "OPENAI_API_KEY",
         "api.openai.com.evil.example", False),
        ("openai/gpt-4.1", None, "MY_DIARY", "MY_DIARY", "api.openai.com", False),
        ("openai/gpt-4.1", None, "ANTHROPIC_API_KEY", "ANTHROPIC_API_KEY", "api.openai.com", False),
        ("openai/gpt-4.1", "https://openai/v1", None, "OPENAI_API_KEY", "openai", False),
        ("bedrock/anthropic.claude-v2", EVIL, None, "BEDROCK_CREDENTIALS", "collector.example", False),
        ("vertex_ai/gemini-2.5-pro", EVIL, None, "VERTEX_AI_CREDENTIALS", "collector.example", False),
    ],
)  # fmt: skip
def test_every_pair_of_a_variable_and_a_host(
    model: str, api_base: str | None, key_variable: str | None, variable: str, host: str, belongs: bool
) -> None:
    sent = sent_by(model, api_base, key_variable)
    assert (sent.variable, sent.host, sent.belongs) == (variable, host, belongs)
    if belongs:
        assert require_leave(sent, model) is sent
        return
    with pytest.raises(
        Refused, match=rf"would send the key in {variable} to {host}, .*teacher allow {variable} {host}"
    ):
        require_leave(sent, model)
    allow(variable, host)
    assert require_leave(sent, model) is sent
    assert not is_allowed(variable, "other.example")
    assert not is_allowed("OTHER_KEY", host)


def test_what_is_not_set_needs_no_leave_and_no_other_key_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HOSTED_VLLM_API_KEY")
    for model, variable in (("hosted_vllm/m", None), ("hosted_vllm/m", "NOT_SET"), ("custom_openai/m", None)):
        sent = require_leave(sent_by(model, EVIL, variable), model)
        assert (sent.variable, sent.value) == ("", "none")


def test_an_address_in_the_users_own_environment_belongs_to_its_key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_BASE_URL", "https://gateway.example/openai")
    assert sent_by("openai/gpt-4.1", "https://gateway.example/v1", None).belongs
    assert not sent_by("openai/gpt-4.1", "https://gateway.example/v1", "ANTHROPIC_API_KEY").belongs
    monkeypatch.setenv("HOSTED_VLLM_API_BASE", "http://gpu.example:8000/v1")
    assert sent_by("hosted_vllm/m", "http://gpu.example:8000/v1", None).belongs


@pytest.mark.parametrize(
    "address",
    [
        "", "host", "ftp://host", "https://", "https:///v1", "https://a b/", "https://evil.example\\@api.openai.com/v1",
        "https://me:pw@api.openai.com", "https://api.openai.com@evil.example/", "https://ápi.example", "https://[::1",
        "https://host:port/", "https://host:99999/", "//host/v1", "file:///etc/passwd", "https://h\n/", "https://h\0/",
        "javascript:alert(1)", "https://<host>/",
    ],
)  # fmt: skip
def test_an_address_that_could_mean_another_is_refused(address: str) -> None:
    with pytest.raises(ConfigError) as told:
        host_of(address)
    assert "pw" not in str(told.value)


def test_a_model_with_an_address_in_its_name_and_a_key_for_a_variable_are_refused() -> None:
    with pytest.raises(ConfigError, match="has an address in its name"):
        HostedTeacher("huggingface/https://evil.example/x")
    key = "sk-" + "a1" * 20
    for call in (lambda: HostedTeacher("openai/gpt-4.1", key_variable=key), lambda: allow(key, "host.example")):
        with pytest.raises(ConfigError) as told:
            call()
        assert key[:12] not in str(told.value)


class Listening:
    """A server that says what it was sent, wherever an answer has room for it."""

    def __call__(self, received: Received) -> Reply:
        said = received.headers.get("Authorization", "")
        message = {"role": "assistant", "content": f" {said}"}
        choices = [{"index": 0, "message": message, "text": f" {said}", "finish_reason": "length"}]
        usage = {"prompt_tokens": 9, "completion_tokens": 2, "total_tokens": 11}
        return Reply(
            {"id": said, "object": "chat.completion", "created": 1, "model": said, "system_fingerprint": said[7:20],
             "choices": choices, "usage": usage}
        )  # fmt: skip


def test_a_strangers_recipe_gets_no_key_before_its_user_has_said_so(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    with WireServer(Listening()) as server:
        settings = [
            "teacher.model=hosted_vllm/m", f"teacher.api_base={server.url}/v1", "teacher.handover=instruction",
            "teacher.key_variable=MY_DIARY", "teacher.budget_usd=0.001", "teacher.usd_per_million_output=0.0001",
        ]  # fmt: skip
        commands = (
            ["train", "embedded", *settings, "--runs", str(tmp_path / "runs"), "--yes"],
            ["demo", *settings, "--runs", str(tmp_path / "runs"), "--yes"],
            ["teacher", "check", "hosted_vllm/m", *settings[1:]],
        )
        for command in commands:
            assert main(command) == 2
            assert "would send the key in MY_DIARY to 127.0.0.1" in capsys.readouterr().err
        recipe = override(load_recipe("labels"), settings)
        with pytest.raises(Refused, match="MY_DIARY"):
            keys_first(recipe)  # as a notebook does
        with pytest.raises(Refused, match="MY_DIARY"):
            HostedTeacher("hosted_vllm/m", api_base=server.url, key_variable="MY_DIARY", handover="instruction")
        assert server.received == []
        assert not (tmp_path / "runs").exists()
        assert main(["teacher", "allow", "MY_DIARY", "127.0.0.1"]) == 0
        assert json.loads(keys.file().read_text()) == {"MY_DIARY": ["127.0.0.1"]}
        keys_first(recipe)
        teacher = HostedTeacher(
            "hosted_vllm/m", api_base=server.url + "/v1", key_variable="MY_DIARY", handover="instruction", patience=ONCE
        )
        teacher.continue_from([request("the cat", 1)])
        assert server.received[0].headers["Authorization"] == f"Bearer {CANARY}"
        # What was allowed stands in no recipe: taken back, it is asked for again, even by a teacher at work.
        keys.file().unlink()
        monkeypatch.setattr(keys, "_ALLOWED", set())
        with pytest.raises(Refused, match="MY_DIARY"):
            teacher.continue_from([request("the dog", 1)])


def test_at_a_terminal_it_is_asked_once(monkeypatch: pytest.MonkeyPatch) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    recipe = override(load_recipe("labels"), ["teacher.model=openai/gpt-4.1", f"teacher.api_base={EVIL}"])
    for said, leave in (("n\n", False), ("\n", False), ("y\n", True), ("n\n", True)):
        monkeypatch.setattr(sys, "stdin", Terminal(said))
        monkeypatch.setattr(sys, "stderr", Terminal())
        if leave:
            keys_first(recipe)
        else:
            with pytest.raises(Refused):
                keys_first(recipe)
    assert is_allowed("OPENAI_API_KEY", "collector.example")


@pytest.mark.parametrize("command", [["train", "embedded"], ["demo"], ["train", "--resume"]])
def test_the_commands_ask_before_they_refuse(
    command: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    settings = ["teacher.model=openai/gpt-4.1", f"teacher.api_base={EVIL}"]
    if command[-1] == "--resume":
        run = create_run(tmp_path, override(load_recipe("labels"), settings), "run")
        run.set_status(state="interrupted")
        command, settings = [*command, str(run.path)], []
    monkeypatch.setattr(sys, "stdin", Terminal("n\n"))
    monkeypatch.setattr(sys, "stderr", screen := Terminal())
    assert main([*command, *settings]) == 2
    assert "sends the key in OPENAI_API_KEY to collector.example" in screen.getvalue()
    assert "May it go there" in screen.getvalue()


def test_a_host_is_allowed_as_the_question_names_it_and_as_an_address() -> None:
    for said, host in (
        ("::1", "::1"), ("[::1]:8000", "::1"), ("Host.Example:8000", "host.example"), ("https://h.org/v1", "h.org"),
        ("http://h.example/v1", "http://h.example"), ("127.0.0.1", "127.0.0.1"),
    ):  # fmt: skip
        allow("A_KEY", said)
        assert is_allowed("A_KEY", host)
    for said in ("", "a b", "me:pw@host", "ftp://h"):
        with pytest.raises(ConfigError):
            allow("A_KEY", said)


def test_the_environment_allows_pairs_and_a_damaged_file_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(SEND_KEYS, "A_KEY@one.example, OPENAI_API_KEY@collector.example")
    assert is_allowed("OPENAI_API_KEY", "collector.example")
    assert not is_allowed("A_KEY", "collector.example")
    keys.file().parent.mkdir(parents=True)
    for damage in (b"", b"{", b"[]", b"\xff", b'{"A_KEY": 7}', b'{"A_KEY": null}', b"[" * 10_000):
        keys.file().write_bytes(damage)
        assert not is_allowed("A_KEY", "7")
        assert not is_allowed("A_KEY", "n")


def test_a_key_that_a_server_sends_back_is_nowhere(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    allow("OPENAI_API_KEY", "127.0.0.1")
    with WireServer(Listening()) as server:
        teacher = HostedTeacher(
            "openai/gpt-4.1",
            api_base=server.url + "/v1",
            patience=ONCE,
            price=per_million(1, 1),
            handover="instruction",
        )
        stored = CachedTeacher(BudgetedTeacher(teacher, 1.0, tmp_path / "ledger.jsonl"), tmp_path / "a.sqlite")
        [answer] = stored.continue_from([request("the cat", 1)])
        assert f"Bearer {CANARY}" in server.received[0].headers.values()
    assert answer.problem is not None
    shown = [repr(answer), repr(vars(teacher)), *capfd.readouterr()]
    shown += [path.read_bytes().decode(errors="replace") for path in tmp_path.rglob("*") if path.is_file()]
    assert not any(CANARY[i : i + 8] in text for text in shown for i in range(len(CANARY) - 7))


def test_passwords_belong_into_no_recipe() -> None:
    for address in ("https://me:pa55word@host.example/v1", "https://host.example/v1?api-key=abcdefgh"):
        with pytest.raises(ConfigError, match=r"teacher.api_base .* holds a key or a password") as told:
            override(load_recipe("labels"), [f"teacher.api_base={address}"])
        assert "pa55word" not in str(told.value)
        assert "abcdefgh" not in str(told.value)
    with pytest.raises(ConfigError, match="holds a password"):
        HostedTeacher("hosted_vllm/m", api_base="https://me:pa55word@host.example/v1", handover="instruction")
