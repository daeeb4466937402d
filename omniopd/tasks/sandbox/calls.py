"""A program's functions, called from another process: both halves run in a sandbox of their own and share two pipes.

`serve` holds the program and answers calls; `test` holds the tests and asks. Only plain data crosses, as JSON: the
program cannot hand over an object that equals everything, and reaches neither the tests nor their verdict. This file's
text is put before the call of one of the two (`judging.py`); standard library only.
"""

from __future__ import annotations

import builtins
import contextlib
import json
import os
import sys
from typing import Any

LONGEST = 100_000  # items of an iterator that a program returns
DEEPEST = 100_000  # calls inside each other: more than programs of contests need


def serve(requests: int, replies: int, program: str, entry: str) -> None:
    """Run `program` and answer calls of its function `entry` (or of that method of its class `Solution`)."""
    sys.setrecursionlimit(DEEPEST)
    namespace: dict[str, Any] = {"__name__": "solution"}
    try:
        exec(compile(program, "solution.py", "exec", dont_inherit=True), namespace)
        function: Any = namespace[entry] if entry in namespace else getattr(namespace["Solution"](), entry)
    except KeyError:
        _send(replies, {"problem": f"the program defines no {entry}"})
        return
    except Exception as error:
        _send(replies, {"problem": f"{type(error).__name__}: {error}"[:300]})
        return
    _send(replies, {"ready": True})
    for line in os.fdopen(requests):
        arguments, named = (decoded(part) for part in json.loads(line))
        try:
            value = function(*arguments, **named)
        except Exception as error:
            _send(replies, {"error": type(error).__name__, "text": str(error)[:300]})
            continue
        try:
            # A function that works in place returns nothing; one that returns a value keeps its arguments to itself.
            reply = {"value": encoded(value), "arguments": encoded(arguments) if value is None else None}
        except Exception as error:
            reply = {"problem": f"its answer cannot be compared ({type(error).__name__}: {error})"[:300]}
        _send(replies, reply)


def test(requests: int, replies: int, token: str, context: str, tests: str, entry: str) -> None:
    """Run `tests` against the other process's `entry`; write `token` and the verdict as the last line of stdout.

    `context` is what the tests may use (the problem's own helpers). Tests that define `check` get the function passed;
    others find it under its name. Tests that never call it prove nothing and fail.
    """
    sys.setrecursionlimit(DEEPEST)
    report = os.dup(1)
    os.dup2(os.open("/dev/null", os.O_WRONLY), 1)
    function = _Remote(requests, replies)
    passed, reason = False, ""
    try:
        function.ready()
        namespace: dict[str, Any] = {"__name__": "tests"}
        exec(compile(context, "context.py", "exec", dont_inherit=True), namespace)
        namespace[entry] = function
        exec(compile(tests, "tests.py", "exec", dont_inherit=True), namespace)
        if callable(namespace.get("check")):
            namespace["check"](function)
        passed = function.calls > 0 and not function.problem
        reason = function.problem or ("" if passed else "the tests never called the program")
    except BaseException as error:
        reason = function.problem or _told(error, tests)
    verdict = json.dumps({"passed": passed, "reason": reason})
    os.write(report, f"\n{token} {verdict}\n".encode())
    os._exit(0)


class _Remote:
    """Stands for the program's function. What ends its process ends the tests: no test can catch it away."""

    def __init__(self, requests: int, replies: int) -> None:
        self.calls = 0
        self.problem = ""
        self._requests, self._replies = requests, os.fdopen(replies)

    def ready(self) -> None:
        self._reply()

    def __call__(self, *arguments: Any, **named: Any) -> Any:
        self.calls += 1
        if self.problem:
            raise _Ended(self.problem)
        with contextlib.suppress(OSError):  # its end is seen below
            _send(self._requests, [encoded(list(arguments)), encoded(named)])
        reply = self._reply()
        if "error" in reply:
            kind = getattr(builtins, str(reply["error"]), None)
            if not (isinstance(kind, type) and issubclass(kind, Exception)):
                kind = RuntimeError
            raise kind(str(reply.get("text")))
        try:
            # Here, too: a program that writes replies by itself may not change what its value is compared with.
            if reply["value"] is None and reply["arguments"] is not None:
                for mine, theirs in zip(arguments, decoded(reply["arguments"]), strict=True):
                    _become(mine, theirs)
            return decoded(reply["value"])
        except Exception as error:
            raise self._ended(f"its answer is not plain data ({type(error).__name__})") from None

    def _reply(self) -> dict[str, Any]:
        try:
            reply = json.loads(self._replies.readline())
        except (ValueError, RecursionError):
            raise self._ended("the program ended before it answered") from None
        if not isinstance(reply, dict) or "problem" in reply:
            raise self._ended(str(reply["problem"]) if isinstance(reply, dict) else "its reply is not an answer")
        return reply

    def _ended(self, problem: str) -> _Ended:
        self.problem = self.problem or problem
        return _Ended(problem)


class _Ended(BaseException):
    """The program is gone; no `except Exception` of a test shall hide it."""


# Plain data as JSON: what JSON has stands for itself, the rest is {"kind": …, "of": …} -------------------------------


def encoded(value: Any) -> Any:
    """Raises TypeError for what is not plain data."""
    if value is None or isinstance(value, bool):
        return value
    if isinstance(value, int):
        return int(value) if abs(value) < 1 << 60 else {"kind": "int", "of": hex(value)}
    if isinstance(value, float):
        return float(value)
    if isinstance(value, str):
        return str(value)
    if isinstance(value, list):
        return [encoded(item) for item in value]
    if isinstance(value, dict):
        return {"kind": "dict", "of": [[encoded(key), encoded(item)] for key, item in value.items()]}
    for kind in (tuple, set, frozenset):
        if isinstance(value, kind):
            return {"kind": kind.__name__, "of": [encoded(item) for item in value]}
    if isinstance(value, (bytes, bytearray)):
        return {"kind": "bytes", "of": value.hex()}
    if isinstance(value, complex):
        return {"kind": "complex", "of": [value.real, value.imag]}
    if isinstance(value, range):
        return {"kind": "range", "of": [value.start, value.stop, value.step]}
    if hasattr(value, "__next__"):
        items = [item for _, item in zip(range(LONGEST), value, strict=False)]
        return {"kind": "iterator", "of": [encoded(item) for item in items]}
    raise TypeError(f"a {type(value).__name__} is not plain data: return numbers, texts, lists, tuples, dicts or sets")


def decoded(data: Any) -> Any:
    """The value that `encoded` gave; always of a builtin type. Raises ValueError, TypeError or KeyError for others."""
    if isinstance(data, list):
        return [decoded(item) for item in data]
    if not isinstance(data, dict):
        return data
    kind, of = data["kind"], data["of"]
    if kind == "dict":
        return {decoded(key): decoded(item) for key, item in of}
    if kind == "int":
        return int(of, 16)
    if kind == "bytes":
        return bytes.fromhex(of)
    if kind == "complex":
        return complex(*of)
    if kind == "range":
        return range(*of)
    makers: dict[str, Any] = {"tuple": tuple, "set": set, "frozenset": frozenset, "iterator": iter}
    return makers[kind]([decoded(item) for item in of])


def _become(mine: Any, theirs: Any) -> None:
    """What a function did to a list, a dict or a set that it was given is done to the caller's as well."""
    if type(mine) is not type(theirs) or mine == theirs:
        return
    if isinstance(mine, list):
        mine[:] = theirs
    elif isinstance(mine, (dict, set)):
        mine.clear()
        mine.update(theirs)


def _send(descriptor: int, message: Any) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(descriptor, data) :]


def _told(error: BaseException, tests: str) -> str:
    """An exception of the tests with its line of them."""
    where, trace = "", error.__traceback__
    while trace is not None:
        if trace.tb_frame.f_code.co_filename == "tests.py":
            lines = tests.split("\n")
            line = lines[trace.tb_lineno - 1].strip() if trace.tb_lineno <= len(lines) else ""
            where = f", line {trace.tb_lineno} of the tests: {line}"
        trace = trace.tb_next
    text = str(error).strip()
    return f"{type(error).__name__}{': ' + text if text else ''}{where}"[:500]
