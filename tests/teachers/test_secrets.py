"""A key from the environment is in nothing that is left behind: no file, record, notebook, log or traceback.

The server is one that tells: it puts the key that it was sent into every error. Runs have a home of their own, so that
caches are searched too.
"""

from __future__ import annotations

import base64
import binascii
import gzip
import logging
import os
import signal
import traceback
import urllib.parse
import zipfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from omniopd.errors import TeacherError
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.spending.budget import BudgetedTeacher
from tests.builders import request
from tests.cli.terminal import only_run, start
from tests.small_runs import as_words
from tests.wire.providers import PROVIDERS
from tests.wire.server import Received, Reply, WireServer

# Nothing like a known provider's keys: hiding what looks like "sk-…" would not be enough.
CANARY = "Canary+7f/29==quick_brown.fox~4711"


def spellings(key: str) -> set[bytes]:
    """The key as it may stand in a file: as it is, escaped for JSON and URLs, in hexadecimal, inside base64."""
    quoted = {urllib.parse.quote(key), urllib.parse.quote(key, safe=""), urllib.parse.quote_plus(key)}
    plain = {key, key[::-1], key.replace("/", "\\/"), *quoted}
    found = {text.encode() for text in plain} | {binascii.hexlify(key.encode())}
    for offset in range(3):
        # What comes before the key shifts its base64; characters that depend on neighbours are left out.
        encoded = base64.b64encode(b"x" * offset + key.encode()).rstrip(b"=")
        inner = encoded[-(-offset * 8 // 6) : -1]
        found |= {inner, inner.replace(b"+", b"-").replace(b"/", b"_")}
    return found


def leaks(folder: Path, *texts: str) -> list[str]:
    """Where the key stands: files below the folder (packed ones unpacked), and texts by number."""
    wanted = spellings(CANARY)
    hits = [f"text {number}" for number, text in enumerate(texts) if any(w in text.encode() for w in wanted)]
    for path in folder.rglob("*"):
        if path.is_file():
            hits += [str(name) for name, data in _contents(path) if any(w in data for w in wanted)]
        if any(w in os.fsencode(path.name) for w in wanted):
            hits.append(f"the name {path}")
    return hits


def _contents(path: Path) -> Iterator[tuple[str, bytes]]:
    data = path.read_bytes()
    yield str(path), data
    if data[:2] == b"\x1f\x8b":
        yield f"{path}, unpacked", gzip.decompress(data)
    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as packed:
            for name in packed.namelist():
                yield f"{path}, {name}", packed.read(name)


class Telling:
    """Answers " 7" to every question; from call number `until` on an error that holds the key, or what `then` does."""

    def __init__(self, until: int = 10**9, status: int = 401) -> None:
        self.calls, self.until, self.status = 0, until, status
        self.kill: int | None = None

    def __call__(self, received: Received) -> Reply:
        self.calls += 1
        if self.calls > self.until:
            if self.kill is not None:
                os.kill(self.kill, signal.SIGKILL)
            said = f"Incorrect API key provided: {received.headers.get('Authorization')}. Sent: {received.headers}"
            return Reply({"error": {"message": said, "type": "invalid_request_error", "code": "x"}}, self.status)
        count = received.body.get("n", 1)
        message = {"role": "assistant", "content": " 7"}
        choices = [{"index": index, "message": message, "finish_reason": "length"} for index in range(count)]
        usage = {"prompt_tokens": 9, "completion_tokens": count, "total_tokens": 9 + count}
        return Reply(
            {
                "id": "c",
                "object": "chat.completion",
                "created": 1,
                "model": "gpt-4.1",
                "choices": choices,
                "usage": usage,
            }
        )


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home and a folder for temporary files, both below what is searched; the key in the environment."""
    for name in ("HOME", "TMPDIR", "XDG_CACHE_HOME", "IPYTHONDIR", "JUPYTER_RUNTIME_DIR"):
        folder = tmp_path / name.lower()
        folder.mkdir()
        monkeypatch.setenv(name, str(folder))
    for provider in PROVIDERS.values():
        monkeypatch.setenv(provider.key_variable, CANARY)
    return tmp_path


def words(command: str, url: str, runs: Path, **more: object) -> list[str]:
    settings = {"teacher__model": "openai/gpt-4.1", "teacher__api_base": url + "/v1", "training__steps": 2}
    settings |= {"training__max_equal_share": 1.0} | more  # the server has one text
    return [command, *([] if command == "demo" else ["embedded"]), *as_words(**settings), "--runs", str(runs)]


def test_a_search_finds_the_key_however_it_is_written(tmp_path: Path) -> None:
    for number, data in enumerate(spellings(CANARY)):
        (tmp_path / f"{number}").write_bytes(b"before" + data + b"after")
    for offset in range(5):
        (tmp_path / f"base64 {offset}").write_bytes(base64.b64encode(b"a" * offset + CANARY.encode() + b"after"))
    (tmp_path / "packed").write_bytes(gzip.compress(CANARY.encode()))
    with zipfile.ZipFile(tmp_path / "archive", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("member", CANARY * 3)
    everything = list(tmp_path.iterdir())
    assert len(leaks(tmp_path, "harmless", CANARY)) == len(everything) + 1
    (tmp_path / "own").mkdir()
    assert leaks(tmp_path / "own", "harmless") == []


def test_a_run_that_ends_well_leaves_no_key_though_everything_is_logged(
    home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("LITELLM_LOG", "DEBUG")
    with WireServer(Telling()) as server:
        process = start(words("train", server.url, home / "runs"))
        out, err = process.communicate(timeout=300)
        assert any(CANARY in received.headers["Authorization"] for received in server.received)
    assert process.returncode == 0, err
    assert only_run(home / "runs").state == "finished"
    assert leaks(home, out, err) == []


def test_a_notebook_that_fails_leaves_no_key_in_its_traceback(home: Path) -> None:
    with WireServer(Telling(until=20)) as server:
        process = start(words("demo", server.url, home / "runs"))
        out, err = process.communicate(timeout=300)
    run = only_run(home / "runs")
    assert (process.returncode, run.state) == (2, "failed")
    assert "unauthorised" in err
    assert "Traceback" in (run.path / "train.ipynb").read_text(encoding="utf-8")
    assert leaks(home, out, err) == []


def test_a_run_that_is_killed_in_a_call_leaves_no_key(home: Path) -> None:
    telling = Telling(until=20)
    with WireServer(telling) as server:
        process = start(words("train", server.url, home / "runs"))
        telling.kill = process.pid
        out, err = process.communicate(timeout=300)
    assert process.returncode == -signal.SIGKILL
    assert list((home / "runs").glob("*/manifest.json"))
    assert leaks(home, out, err) == []


@pytest.mark.parametrize("name", PROVIDERS)
def test_no_error_of_any_provider_shows_the_key(
    name: str, home: Path, caplog: pytest.LogCaptureFixture, capfd: pytest.CaptureFixture[str]
) -> None:
    caplog.set_level(logging.DEBUG)
    told: list[str] = []
    for status in (400, 401, 403, 404, 429, 500, 529):
        with WireServer(Telling(until=0, status=status)) as server:
            teacher = PROVIDERS[name].teacher(server.url)
            stored = CachedTeacher(BudgetedTeacher(teacher, 100, allow_unknown_price=True), home / "answers.sqlite")
            try:
                told.append(repr(stored.continue_from([request("the cat", 1)])))
            except TeacherError:
                told.append(traceback.format_exc())
            told += [repr(vars(teacher)), repr(stored)]
            assert CANARY in " ".join(server.received[0].headers.values())
    shown = capfd.readouterr()
    assert leaks(home, *told, caplog.text, shown.out, shown.err) == []
