"""A secret is struck out however it is written, cut or wrapped; what is none stays; time grows with the text alone."""

from __future__ import annotations

import base64
import html
import json
import logging
import random
import string
import subprocess
import sys
import time
import urllib.parse

import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniopd.config import Recipe
from omniopd.io import redaction
from omniopd.io.redaction import hide_kept, holds_secret, is_secret, keep, redact, redacted, struck_out
from omniopd.launch.portable import cleaned
from omniopd.runs.manifest import collect
from omniopd.runs.status import changed, first_status
from omniopd.teachers.hosted.transport import without_secrets
from omniopd_widgets._parts import safe as _safe

CANARY = "Canary+7f/29==quick_brown.fox~4711"
LONG = "zq-" + "".join(random.Random(0).choices(string.ascii_letters + string.digits, k=160))


@pytest.fixture(autouse=True)
def nothing_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    """What other tests have read as keys is forgotten, and so is what is read here."""
    monkeypatch.setattr(redaction, "_KEPT", {})


def writings(key: str) -> dict[str, str]:
    """A key as servers, clients and encoders write it."""
    data = key.encode()
    return {
        "plain": key,
        "quoted": urllib.parse.quote(key, safe=""),
        "quoted, but for /": urllib.parse.quote(key),
        "quoted in a form": urllib.parse.quote_plus(key),
        "quoted in small letters": urllib.parse.quote(key, safe="").replace("%2B", "%2b").replace("%3D", "%3d"),
        "JSON": json.dumps(key),
        "JSON, slashes too": json.dumps(key).replace("/", "\\/"),
        "HTML": html.escape(key),
        "repr": repr({"api_key": key}),
        "bearer": f"Authorization: Bearer {key}",
        "base64": base64.b64encode(data).decode(),
        "basic": "Basic " + base64.b64encode(b":" + data).decode(),
        "basic, a name": "Basic " + base64.b64encode(b"me:" + data).decode(),
        "base64 for URLs": base64.urlsafe_b64encode(b"ab" + data + b"c").decode(),
        "hexadecimal": data.hex(),
        "wrapped": "\n".join(key[i : i + 10] for i in range(0, len(key), 10)),
        "wrapped and indented": "\r\n    ".join(key[i : i + 5] for i in range(0, len(key), 5)),
        "wrapped in JSON": json.dumps("\n".join(key[i : i + 7] for i in range(0, len(key), 7))),
        "head": key[:12] + "…",
        "tail": "…" + key[-9:],
        "head and tail": key[:9] + "****" + key[-9:],
    }


@pytest.mark.parametrize("key", ["sk-no-key-required", "anything", "placeholder", "no-key-is-necessary"])
def test_a_text_that_uses_a_word_of_a_servers_placeholder_is_a_text(key: str) -> None:
    keep(key)
    for text in ("The force required is 3 N.", "Is there anything else?", "placeholders are necessary here"):
        assert not holds_secret(text), text


@pytest.mark.parametrize("key", ["sk-no-key-required", CANARY, "correcthorsebattery", "zq81mint-teaspoon-77"])
def test_a_text_that_repeats_a_key_is_none_though_the_key_has_words(key: str) -> None:
    keep(key)
    assert holds_secret(f"The answer is {key}.")
    assert holds_secret(f"{key[:10]}\n{key[10:]}")


def left_of(key: str, text: str) -> int:
    """The longest run of the key that stands in a text without its gaps, in any of the codes above."""
    flat = "".join(text.replace("\\n", "").replace("\\r", "").split())
    plain = urllib.parse.unquote(html.unescape(flat.replace("\\/", "/")))
    data = key.encode()
    encoded = {data.hex(): 2.0}
    for offset in range(3):
        # Three bytes are four characters; the first and the last of them depend on what stands around the key.
        whole = base64.b64encode(b"\0" * offset + data).decode().rstrip("=")
        inner = whole[-(-offset * 8 // 6) : len(whole) - 1]
        encoded |= {inner: 4 / 3, inner.replace("+", "-").replace("/", "_"): 4 / 3}
    return max(_run(key, plain), *(int(_run(way, flat) / width) for way, width in encoded.items()))


def _run(way: str, text: str) -> int:
    """The most characters in a row that both have."""
    longest = 0
    while any(way[i : i + longest + 1] in text for i in range(len(way) - longest)):
        longest += 1
    return longest


@pytest.mark.parametrize("key", [CANARY, LONG, "sk-proj-" + "A1b2" * 9, "short-8c", '{"a": "b\\c"}<&>ü!'], ids=len)
def test_what_was_read_as_a_key_is_struck_out_however_it_is_written(key: str) -> None:
    keep(key)
    for name, text in writings(key).items():
        if len(key) < 16 and name in ("head", "tail", "head and tail", "wrapped and indented"):
            continue
        clean = redact(f"before {text} after")
        assert clean.startswith("before "), name
        assert clean.endswith("after"), name
        assert redaction.HIDDEN in clean, (name, clean)
        assert left_of(key, clean) < 8, (name, clean)


@given(st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=8, max_size=60), st.data())
def test_any_eight_characters_of_a_key_in_a_row_are_too_many(key: str, data: st.DataObject) -> None:
    redaction._KEPT.clear()
    keep(key)
    start = data.draw(st.integers(0, len(key) - 8))
    stop = data.draw(st.integers(start + 8, len(key)))
    around = data.draw(st.text(st.sampled_from("ab \n:\"'"), max_size=5))
    clean = hide_kept(f"{around}{key[start:stop]}{around}")
    assert key[start:stop] not in clean
    assert holds_secret(key[start:stop])


@given(st.text(max_size=300))
def test_texts_without_a_key_stay_as_they_are(text: str) -> None:
    redaction._KEPT.clear()
    keep(LONG)
    assert hide_kept(text) == text


FORMS = [
    "sk-" + "a1" * 10, "sk-ant-api03-" + "a1_" * 10, "gsk_" + "a1" * 10, "xai-" + "a1" * 10, "AIza" + "Sy0-" * 8,
    "hf_" + "aB" * 10, "ghp_" + "a1" * 18, "github_pat_" + "a1_" * 10, "AKIAIOSFODNN7EXAMPLE", "ASIA" + "A2" * 8,
    "xoxb-123456789012-abcdef", "r8_" + "a1" * 18, "pplx-" + "a1" * 20, "nvapi-" + "a1" * 20, "glpat-" + "a1" * 10,
    "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxIn0.c2lnbmF0dXJl",
]  # fmt: skip


@pytest.mark.parametrize("key", FORMS)
def test_what_looks_like_a_providers_key_is_struck_out_everywhere(key: str) -> None:
    for text in (key, f"key:{key},", f"'{key}'", f"({key})", f"Bearer {key}", f"https://x/?key={key}&y=1", f"a={key}"):
        for shown in (
            redact(text), without_secrets(text), _safe.redact(text), struck_out([text])[0],
            redacted({"a": [text]})["a"][0], changed(first_status(1), message=text).message,
            collect(Recipe(name=text), command=[text]).recipe["name"],
            cleaned({"metadata": {}, "cells": [{"metadata": {}, "outputs": [{"text": [text]}]}]}, {})["cells"][0][
                "outputs"
            ][0]["text"][0],
        ):  # fmt: skip
            assert key[4:] not in shown
            assert key[:12] not in shown
        assert is_secret("word", text)


@pytest.mark.parametrize(
    ("text", "clean"),
    [
        ("https://me:pa55@host/v1", "https://me:(hidden)@host/v1"),
        ("https://me:p@ss@host/v1", "https://me:(hidden)@host/v1"),
        ("http://a-token@host", "http://(hidden)@host"),
        ("Basic " + base64.b64encode(b"me:pw").decode(), "Basic (hidden)"),
        ('{"api_key": "abcd"}', '{"api_key": "(hidden)"}'),
        ("x-goog-api-key: abcd", "x-goog-api-key: (hidden)"),
        ("password=abcd&user=me", "password=(hidden)&user=me"),
    ],
)
def test_passwords_and_headers(text: str, clean: str) -> None:
    assert redact(text) == clean


@pytest.mark.parametrize(
    "text",
    [
        "http://127.0.0.1:8000/v1", "https://host/a@b", "a basic understanding of bears", "mask-making",
        "the key is under the mat; token 7 of 512, max_tokens: 512", "teacher.model=anthropic/claude-haiku-4-5",
        "sk-learn", "risk-averse-investments-are-fine", "hf_hub", "me@example.org", "Asia-Pacific", "runs/2026/step_1",
        "Unexpected token < in JSON at position 0", "git@host:a/b.git", "top-k sampling", "PYTHONPATH=/a:/b",
    ],
)  # fmt: skip
def test_what_is_no_secret_stays(text: str) -> None:
    assert redact(text) == text
    assert not is_secret("word", text)


def test_a_short_key_is_struck_out_as_a_word() -> None:
    keep("abc4")
    assert redact("abc4 xabc4 abc4: 'abc4'") == "(hidden) xabc4 (hidden): '(hidden)'"
    keep("")
    keep(None)
    keep("  ")
    assert redact("a  b") == "a  b"


def test_the_environment_is_known_by_its_names(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SOME_API_KEY", "SOME_TOKEN", "OPENAI_API_KEY_2", "AWS_SECRET_ACCESS_KEY", "DB_PASSWORD"):
        monkeypatch.setenv(name, "very-own-value")
        assert redact("a very-own-value.") == "a (hidden)."
        monkeypatch.delenv(name)
    for name in ("KEYBOARD", "TOKENIZERS_PARALLELISM", "TOKEN_FILE", "MONKEY"):
        monkeypatch.setenv(name, "very-own-value")
        assert redact("a very-own-value.") == "a very-own-value.", name


def test_logs_of_everybody_are_redacted_where_they_are_made(caplog: pytest.LogCaptureFixture) -> None:
    keep(CANARY)
    caplog.set_level(logging.DEBUG)
    log = logging.getLogger("somebody.else")
    log.debug("sent %s", {"api_key": CANARY})
    log.warning("100%% of %s", "nothing")
    try:
        raise ValueError(f"no, not {CANARY}")
    except ValueError:
        log.exception("failed")
    assert CANARY not in caplog.text
    assert "100% of nothing" in caplog.text
    assert "ValueError: no, not (hidden)" in caplog.text
    assert CANARY not in "".join(logging.Formatter().format(record) for record in caplog.records)


def test_a_traceback_that_ends_a_process_is_redacted() -> None:
    program = (
        "from omniopd.io.redaction import guard_tracebacks, keep\nkeep('a-canary-4711')\nguard_tracebacks()\n"
        "raise ValueError('a-canary' + '-4711')"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "ValueError: (hidden)" in done.stderr
    assert "a-canary-4711" not in done.stderr


HOSTILE = [
    "the cat sat on the mat. ", "x", CANARY, CANARY[:-1], CANARY[:8] + " ", CANARY[14:18], "://", "://a:", "://a@",
    "bearer ", "basic aaaa", "eyJ", "eyJaaaaaaaa.", "sk-", "api_key", "api_key=", " ", "\\n", "password" + " " * 100,
    'password"' + ":" * 9,
]  # fmt: skip


@pytest.mark.parametrize("piece", HOSTILE, ids=repr)
def test_time_grows_with_the_length_of_a_text_and_not_faster(piece: str) -> None:
    keep(CANARY)
    keep(LONG)

    def seconds(length: int) -> float:
        since = time.process_time()
        redact(piece * (length // len(piece)))
        return time.process_time() - since

    redact(piece)
    short, long = min(seconds(50_000) for _ in range(3)), min(seconds(400_000) for _ in range(2))
    assert long < 24 * short + 0.02  # eight times as long; squared it would be 64
    assert long < 1.0
