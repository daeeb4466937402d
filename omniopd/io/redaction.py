"""The one place that knows what a secret looks like: struck out of everything that is written or printed.

    by value    what was read as a key in this process (`keep`), and environment variables that are named like secrets:
                as it is, quoted for URLs, escaped for JSON and HTML, in base64 or hexadecimal, over several lines;
                of what was read as a key any eight characters in a row, since servers echo and cut
    by form     what providers' keys begin with, "Bearer …", "Basic …", passwords inside URLs, values after `api_key=`

`redact` is for messages: errors, logs, statuses, commands, notebooks. `hide` strikes out values alone, for what may not
be changed because it merely looks like something. Time grows with the text's length, not with what stands in it.
"""

from __future__ import annotations

import base64
import binascii
import html
import json
import logging
import os
import re
import sys
import traceback
import urllib.parse
from collections.abc import Iterable, Mapping
from functools import lru_cache
from types import TracebackType
from typing import Any

HIDDEN = "(hidden)"
_RUN, _ENCODED_RUN = 8, 15  # characters of a key in a row that are too many; of its encodings
_SETTING = re.compile(r"(^|[._-])(api[_-]?key|key|secret|password|passwd|token|credentials?)$", re.IGNORECASE)
_VARIABLE = re.compile(r"(^|_)(API_?KEY|KEY|TOKEN|SECRET|PASSW(OR)?D|PASSPHRASE|CREDENTIALS?)(_|\d|$)", re.IGNORECASE)
_NO_VARIABLE = re.compile(r"_(FILE|PATH|DIR|URL|HOME|SOCK|ID|NAME)$", re.IGNORECASE)
_PREFIXES = (
    "sk-", "sk_", "pk-", "pk_", "rk_", "gsk_", "xai-", "hf_", "ghp_", "gho_", "ghu_", "ghs_", "ghr_", "github_pat_",
    "glpat-", "xoxa-", "xoxb-", "xoxe-", "xoxo-", "xoxp-", "xoxr-", "xoxs-", "r8_", "pplx-", "nvapi-", "fw_", "tgp_v1_",
    "csk-", "dop_v1_", "npm_", "pypi-", "jina_", "shpat_", "esecret_", "lsv2_", "dapi", "ya29.", "aiza", "sg.",
    "akia", "asia", "eyj",
)  # fmt: skip
_NAMES = ("authorization", "api-key", "api_key", "apikey", "access-token", "access_token", "client-secret",
          "client_secret", "password", "passwd", "?key", "&key", "token=", "sig=", "signature=")  # fmt: skip
# Without one of these, in small letters, no text has any of the forms: looked for first, since that is quick.
_SIGNS = (*_PREFIXES, *_NAMES, "bearer", "basic", "://")
_FORM = re.compile(
    rf"(?<![A-Za-z0-9])(?:(?:{'|'.join(map(re.escape, _PREFIXES[:-6]))}|AIza|SG\.)[A-Za-z0-9_.-]{{12,}}"
    r"|(?:AKIA|ASIA)[A-Z0-9]{12,}|eyJ[\w-]{8,}\.[\w-]{8,}(?:\.[\w-]*)?)"
    r"|(?P<before>(?i:\bbearer)\s+|[?&](?:key|token|sig|signature)=|(?i:\b(?:authorization|(?:x-|x-goog-)?api[-_]?key"
    r"|access[-_]token|client[-_]secret|passw(?:or)?d)[\"']?\s*[:=]\s*[\"']?(?!bearer\b|basic\b)))"
    r"(?P<value>[^\s\"',;&}\])]+)"
    r"|(?P<basic>(?i:\bbasic)\s+)(?P<pair>[A-Za-z0-9+/_-]{4,}=*)"
    r"|(?P<url>://(?:[^\s/@:]*:)?)[^\s/]+@"
)
_KEY_WORD = re.compile(r"(?<![A-Za-z0-9])[a-z]{8,12}(?![A-Za-z0-9])")
_TEXT_WORD = re.compile(r"(?<![A-Za-z0-9])[A-Za-z]{8,}(?![A-Za-z0-9])")
_GAP = re.compile(r"(?:\s|\\[nrt])+")
_KEPT: dict[str, None] = {}


def keep(value: str | None) -> None:
    """From now on `value` is a secret: it was read as a key, or is a password. None and blank texts are ignored."""
    if value and value.strip():
        _KEPT[value.strip()] = None
        _guard_logs()


def redact(text: str, mark: str = HIDDEN) -> str:
    """The text with `mark` in the place of each secret, by value and by form."""
    text = hide(text, mark)
    short = [value for value in _KEPT if 2 < len(value) < _RUN]
    if short:
        # Shorter than a run: as a word of its own only.
        words = "|".join(map(re.escape, short))
        text = re.sub(rf"(?<![A-Za-z0-9])(?:{words})(?![A-Za-z0-9])", lambda _: mark, text)
    small = text.lower()
    if not any(sign in small for sign in _SIGNS):
        return text
    return _FORM.sub(lambda found: _struck(found, mark), text)


def hide(text: str, mark: str = HIDDEN) -> str:
    """The text with `mark` in the place of what is known to be a secret, eight characters or longer."""
    text = hide_kept(text, mark)
    for whole in _wholes(tuple(named_like_secrets())):
        if whole in text:
            text = text.replace(whole, mark)
    return text


def hide_kept(text: str, mark: str = HIDDEN) -> str:
    """The text with `mark` in the place of what was read as a key, and of nothing else."""
    kept = tuple(value for value in _KEPT if len(value) >= _RUN)
    if not kept:
        return text
    for whole in _wholes(kept):  # a key that begins like an escape (\\n…) would lose its first letter as a gap
        text = text.replace(whole, mark)
    return _without_runs(text, _short_runs(kept), mark)


def holds_secret(text: str) -> bool:
    """Whether something that was read as a key stands in the text. A plain word of it does not count: local servers
    take "anything" and "sk-no-key-required" for a key, and texts use such words."""
    words = {word for value in _KEPT for word in _KEY_WORD.findall(value)}
    if words:
        text = _TEXT_WORD.sub(lambda m: "\0" if any(word in m[0] for word in words) else m[0], text)
    return hide_kept(text) != text


def redacted(value: Any, mark: str = HIDDEN) -> Any:
    """What JSON can hold, every text in it redacted."""
    if isinstance(value, Mapping):
        return {key: redacted(inner, mark) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [redacted(inner, mark) for inner in value]
    return redact(value, mark) if isinstance(value, str) else value


def is_secret(name: str, value: Any = None) -> bool:
    """Whether a setting is named like a key or a password, or its value is or looks like one."""
    return bool(_SETTING.search(name)) or (isinstance(value, str) and redact(value) != value)


def struck_out(words: Iterable[str], mark: str = HIDDEN) -> list[str]:
    """The words of a command without what is set under names like secrets (`--api-key abc`, `api_key=abc`)."""
    kept: list[str] = []
    for word in words:
        name, equals, _ = word.partition("=")
        after = bool(kept) and kept[-1].startswith("--") and bool(_SETTING.search(kept[-1]))
        if equals and _SETTING.search(name):
            kept.append(f"{name}={mark}")
        else:
            kept.append(mark if after else redact(word, mark))
    return kept


def guard_tracebacks() -> None:
    """The traceback of an error that ends this process is redacted like any message."""

    def shown(kind: type[BaseException], error: BaseException, trace: TracebackType | None) -> None:
        print(redact("".join(traceback.format_exception(kind, error, trace))), end="", file=sys.stderr)

    sys.excepthook = shown


def _guard_logs() -> None:
    """Redacts what this process logs from now on, whoever logs it, where it is made: handlers are many."""
    factory = logging.getLogRecordFactory()
    if getattr(factory, "redacts", False):
        return

    def redacting(*words: Any, **more: Any) -> logging.LogRecord:
        record = factory(*words, **more)
        try:
            said = record.getMessage()
        except Exception:  # whoever handles the record says so
            return record
        if (clean := redact(said)) != said:
            record.msg, record.args = clean, ()
        if record.exc_info and record.exc_info[1] is not None:
            trace = "".join(traceback.format_exception(*record.exc_info)).rstrip()
            if (clean := redact(trace)) != trace:
                record.exc_info, record.exc_text = None, clean
        return record

    redacting.redacts = True  # type: ignore[attr-defined]
    logging.setLogRecordFactory(redacting)


def _struck(found: re.Match[str], mark: str) -> str:
    if found["before"] is not None:
        return found[0] if mark.startswith(found["value"]) else found["before"] + mark
    if found["url"] is not None:
        return f"{found['url']}{mark}@"
    if found["basic"] is not None:
        return found["basic"] + mark if _is_pair(found["pair"]) else found[0]
    return mark


def _is_pair(text: str) -> bool:
    """Whether it is a name and a password in base64, and not a word that follows "basic"."""
    try:
        return b":" in base64.urlsafe_b64decode(text.replace("+", "-").replace("/", "_") + "=" * (-len(text) % 4))
    except (binascii.Error, ValueError):
        return False


def named_like_secrets() -> dict[str, str]:
    """Values of environment variables that are named like secrets, with their names, but for paths."""
    return {
        value: name
        for name, value in os.environ.items()
        if len(value) >= _RUN and _VARIABLE.search(name) and not _NO_VARIABLE.search(name) and value[0] not in "/~."
    }


@lru_cache(maxsize=64)
def _wholes(values: tuple[str, ...]) -> tuple[str, ...]:
    """Every way of writing the values, the longest first."""
    return tuple(sorted({way for value in values for ways in _ways(value) for way in ways}, key=len, reverse=True))


def _ways(value: str) -> tuple[set[str], set[str]]:
    """How a value can be written: so that it can be read, and encoded."""
    quoted = {urllib.parse.quote(value), urllib.parse.quote(value, safe=""), urllib.parse.quote_plus(value)}
    quoted |= {re.sub(r"%[0-9A-F]{2}", lambda m: m[0].lower(), text) for text in quoted}
    escaped = json.dumps(value)[1:-1]
    plain = {value, escaped, escaped.replace("/", "\\/"), html.escape(value), *quoted}
    data, encoded = value.encode("utf-8", "surrogatepass"), set[str]()
    encoded.add(data.hex())
    for offset in range(3):
        # What stands before it (a user's name, "Bearer ") shifts its base64; what depends on neighbours is left out.
        inner = base64.b64encode(b"\0" * offset + data).decode().rstrip("=")[-(-offset * 8 // 6) : -1]
        encoded |= {inner, inner.replace("+", "-").replace("/", "_")}
    return plain, {way for way in encoded if len(way) >= _RUN}


@lru_cache(maxsize=64)
def _short_runs(values: tuple[str, ...]) -> dict[int, frozenset[str]]:
    """By their length, all runs of characters that are too long, of all ways of writing the values, without gaps."""
    runs: dict[int, set[str]] = {}
    for value in values:
        plain, encoded = _ways(value)
        for ways, run in ((plain, _RUN), (encoded, _ENCODED_RUN)):
            for way in (_GAP.sub("", text) for text in ways):
                size = min(run, len(way))
                if 2 * size >= run:
                    runs.setdefault(size, set()).update(way[i : i + size] for i in range(len(way) - size + 1))
    return {size: frozenset(some) for size, some in runs.items()}


def _without_runs(text: str, runs: Mapping[int, frozenset[str]], mark: str) -> str:
    """The text without these runs, wherever lines are broken in between; runs that overlap are one."""
    flat = _GAP.sub("", text)
    spans: list[tuple[int, int]] = []
    for start, stop in sorted(
        (i, i + size) for size, some in runs.items() for i in range(len(flat) - size + 1) if flat[i : i + size] in some
    ):
        if spans and start < spans[-1][1]:
            start, stop = spans[-1][0], max(stop, spans.pop()[1])
        spans.append((start, stop))
    if not spans:
        return text
    places, end = list[int](), 0  # where each character of the flat text stands in the text
    for gap in _GAP.finditer(text):
        places += range(end, gap.start())
        end = gap.end()
    places += range(end, len(text))
    pieces, done = [], 0
    for start, stop in spans:
        pieces += [text[done : places[start]], mark]
        done = places[stop - 1] + 1
    return "".join([*pieces, text[done:]])
