"""A conversation as its chat template writes it. A template comes with a model: it is a stranger's program.

jinja's sandbox keeps it from files and from Python; it may still loop, or fill the memory inside a single expression,
where nothing in this process could stop it. So it runs in a process of its own (`template_process.py`), with a limit of
time and of memory. Knows no models.
"""

from __future__ import annotations

import atexit
import json
import os
import subprocess
import sys
import threading
from collections.abc import Sequence
from typing import Any

from jinja2.exceptions import TemplateError
from transformers import PreTrainedTokenizerBase

from omniopd.errors import ConfigError, RunError
from omniopd.models.text.template_process import TOO_LARGE
from omniopd.types import Message

DEADLINE_S = 5.0  # of processor time; a template takes some thousandths


class Endless(TemplateError):
    """A template that was not done by the deadline, or that filled the memory."""


def rendered(tokenizer: PreTrainedTokenizerBase, messages: Sequence[Message]) -> str:
    """The conversation up to where the assistant begins to write. Raises TemplateError, whatever a template did."""
    said = [dict(message) for message in messages]
    if type(tokenizer).apply_chat_template is not PreTrainedTokenizerBase.apply_chat_template:
        return str(tokenizer.apply_chat_template(said, add_generation_prompt=True, tokenize=False))  # code, no template
    try:
        template = tokenizer.get_chat_template()
    except ValueError as error:  # none, or several and none of them the default
        raise TemplateError(str(error)) from error
    return _process.render({"template": template, "messages": said, "names": tokenizer.special_tokens_map})


def begin() -> None:
    """Have the process of templates start meanwhile; the first conversation waits for it."""
    _process.begin()


def check_template(tokenizer: PreTrainedTokenizerBase) -> None:
    """Raises ConfigError for a chat template that never ends. One that refuses some conversations is sound."""
    try:
        rendered(tokenizer, [{"role": "user", "content": "?"}])
    except Endless as error:
        raise ConfigError(
            f"the chat template of the tokenizer {tokenizer.name_or_path or 'of this model'!r} is {error}: take a "
            "tokenizer from a source that you trust"
        ) from error
    except TemplateError:
        pass


class _Process:
    """The process that renders: started at the first request, and anew after one that was not done in time."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._process: subprocess.Popen[str] | None = None
        self._owner = 0  # a fork of this process needs one of its own
        self._is_ready = False

    def render(self, request: dict[str, Any]) -> str:
        with self._lock:
            try:
                answer = _asked(self._started(), json.dumps(request | {"seconds": DEADLINE_S}))
                if not answer:
                    raise Endless(f"not done after {DEADLINE_S:g} s")
            except BaseException:  # also Ctrl-C: an answer that nobody read would be taken for the next one's
                self.end()
                raise
        found = json.loads(answer)
        if "error" in found:
            raise (Endless if found["error"] == TOO_LARGE else TemplateError)(found["error"])
        return str(found["text"])

    def end(self) -> None:
        if self._process is not None and self._owner == os.getpid():
            self._process.kill()
            self._process.communicate()
        self._process = None

    def begin(self) -> None:
        with self._lock:
            self._begun()

    def _begun(self) -> subprocess.Popen[str]:
        if self._process is None or self._owner != os.getpid() or self._process.poll() is not None:
            self.end()
            self._owner, self._is_ready = os.getpid(), False
            self._process = subprocess.Popen(
                [sys.executable, "-m", "omniopd.models.text.template_process"],
                text=True,
                encoding="utf-8",
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                # Nothing of the environment but where modules are: no key is in a process that strangers program.
                env={"PATH": os.environ.get("PATH", ""), "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
                start_new_session=True,  # Ctrl-C is for those who ask
            )
        return self._process

    def _started(self) -> subprocess.Popen[str]:
        process = self._begun()
        if not self._is_ready:
            if _line(process) != "ready\n":  # no template runs before: importing is not on its time
                raise RunError(f"{sys.executable} does not start the process that renders chat templates "
                               "(python -m omniopd.models.text.template_process says why)")  # fmt: skip
            self._is_ready = True
        return process


_process = _Process()
atexit.register(_process.end)


def _asked(process: subprocess.Popen[str], request: str) -> str:
    """The line that answers a request; empty where the process has ended."""
    try:
        process.stdin.write(request + "\n")  # type: ignore[union-attr]
        process.stdin.flush()  # type: ignore[union-attr]
    except BrokenPipeError:
        return ""
    return _line(process)


def _line(process: subprocess.Popen[str]) -> str:
    return process.stdout.readline()  # type: ignore[union-attr]
