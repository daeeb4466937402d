"""Programming problems: prompts from a data set, answers graded by running them in the sandbox.

Off unless switched on twice, because an answer is a program that nobody has read (`tasks/sandbox`). Programs are judged
by what they answer or print; what they are compared with never enters their process.
"""

from __future__ import annotations

import functools
import logging
import re
import textwrap
from dataclasses import dataclass
from pathlib import Path

from omniopd.config import TaskConfig
from omniopd.errors import ConfigError, DataError
from omniopd.tasks.code_problems import Problem, problem_of
from omniopd.tasks.jsonl import draw
from omniopd.tasks.sandbox import require_sandbox
from omniopd.tasks.sandbox.judging import Limits, Verdict, judge_function, judge_streams
from omniopd.tasks.sources import rows_of
from omniopd.types import Prompt

_log = logging.getLogger(__name__)
_CODE = re.compile(
    r"^(?:import \w|from \w+ import|def \w+\(|class \w|print\(|\s+return\b|\w+(?:, ?\w+)* = )", re.MULTILINE
)


@dataclass(frozen=True, slots=True)
class Code:
    """Problems of one of the shapes in `code_problems.py`; `prompt.answer` is None, since a grade needs the tests.

    `path_or_id` is a data set's id on the hub, a folder with ``<split>.jsonl`` for each split, or one such file, the
    split of its name. `config` is the part of a data set on the hub. `run_programs` is the first of two switches, the
    environment's OMNIOPD_RUN_PROGRAMS=1 the second: without them `grade` raises Refused. `timeout_s` and `memory_mb`
    limit each run of a program. Problems without tests are left out, and counted in the log.
    """

    path_or_id: str | Path = "openai/openai_humaneval"
    run_programs: bool = False
    config: str | None = None
    timeout_s: float = 10.0
    memory_mb: int = 1024
    name: str = "code"

    def require(self) -> tuple[str, ...]:
        """The layers that answers will run in. Raises Refused where they may not or cannot run."""
        return require_sandbox(self.run_programs)

    def prompts(self, split: str, count: int | None = None, seed: int = 0) -> list[Prompt]:
        """`count` prompts of a split in a seeded order (None: all); a longer list begins with the shorter one."""
        problems = _problems(str(self.path_or_id), split, self.config)
        prompts = [
            Prompt(f"{self.name}/{split}/{number}", ({"role": "user", "content": problem.question},))
            for number, problem in problems.items()
        ]
        return draw(prompts, count, seed, f"split {split!r} of {self.path_or_id}")

    def grade(self, prompt: Prompt, response: str) -> bool:
        return self.verdict(prompt, response).passed

    def verdict(self, prompt: Prompt, response: str) -> Verdict:
        """Whether the program in a response passes the problem's tests, and if not, why.

        Raises Refused where programs may not or cannot run, DataError for a prompt that is not this task's.
        """
        problem = self._problem(prompt)
        code = extract_code(response, problem.entry_point)
        if not code.strip():
            return Verdict(False, "there is no program in the answer")
        limits = Limits(self.run_programs, self.timeout_s, self.memory_mb)
        if problem.cases:
            return judge_streams(code, problem.cases, limits)
        program = whole_program(problem.stub, code, problem.entry_point)
        return judge_function(
            program, problem.tests, problem.entry_point, limits, helpers(problem.stub, problem.entry_point)
        )

    def readable(self, prompt: Prompt, response: str) -> bool:
        """Whether a program is in the response: a fenced block that was closed, or, without fences, code."""
        answer = _after_thinking(response)
        return bool(_blocks(answer)) or (not _blocks(answer, truncated=True) and bool(_CODE.search(answer)))

    def _problem(self, prompt: Prompt) -> Problem:
        name, _, number = prompt.id.rpartition("/")
        split = name.removeprefix(f"{self.name}/")
        problem = _problems(str(self.path_or_id), split, self.config).get(number)
        if problem is None:
            raise DataError(f"prompt {prompt.id!r} is none of {self.path_or_id}: take prompts from the task itself")
        return problem


def build(settings: TaskConfig) -> Code:
    """The task of a recipe. Raises ConfigError for limits that no program fits in, Refused where none may or can run.
    """
    if settings.timeout_s <= 0 or settings.memory_mb < 64:
        raise ConfigError(
            f"task.timeout_s is {settings.timeout_s} and task.memory_mb {settings.memory_mb}: a program needs time, "
            "and 64 MiB for its interpreter"
        )
    subset = settings.subset or None
    code = Code(settings.path or "openai/openai_humaneval", settings.run_programs, subset, settings.timeout_s,
                settings.memory_mb)  # fmt: skip
    code.require()  # in the first seconds, not after hours of training
    return code


def extract_code(response: str, entry_point: str = "") -> str:
    """The program in a response: the last fenced block (that defines `entry_point`, if any does), else all of it.

    What stands before ``</think>`` is not part of the answer. A block that was never closed ends with the response.
    """
    answer = _after_thinking(response)
    blocks = _blocks(answer, truncated=True)
    if not blocks:
        return answer
    defining = [block for block in blocks if _defines(block, entry_point)]
    return (defining or blocks)[-1]


def whole_program(stub: str, code: str, entry_point: str) -> str:
    """A function's program: `code` after the stub's imports and helpers, or as the body that the stub waits for."""
    if not stub or _defines(code, entry_point):
        return f"{helpers(stub, entry_point)}\n{code}"
    body = code.strip("\n")
    return f"{stub.rstrip()}\n{body if body[:1].isspace() else textwrap.indent(body, '    ')}\n"


def helpers(stub: str, entry_point: str) -> str:
    """What stands in a stub before the function itself."""
    lines = stub.splitlines()
    first = next((at for at, line in enumerate(lines) if _defines(line, entry_point)), len(lines))
    return "\n".join(lines[:first])


@functools.lru_cache(maxsize=8)
def _problems(path_or_id: str, split: str, config: str | None) -> dict[str, Problem]:
    """Problems by their row, counted from 1; read once a process."""
    rows, place = rows_of(path_or_id, split, config)
    every = {str(number): problem_of(row, f"{place}, row {number}") for number, row in enumerate(rows, start=1)}
    problems = {number: problem for number, problem in every.items() if problem.has_tests}
    if missing := len(every) - len(problems):
        _log.warning("%s: %d of %d problems have no tests and are left out", place, missing, len(every))
    return problems


def _after_thinking(response: str) -> str:
    return response.rpartition("</think>")[2]


def _defines(code: str, entry_point: str) -> bool:
    words = [line.split("(")[0].split() for line in code.splitlines()]
    return bool(entry_point) and any(line[-2:] == ["def", entry_point] for line in words)


def _blocks(text: str, truncated: bool = False) -> list[str]:
    """What stands between fences (three or more ` or ~), in order; `truncated`: also in one that was never closed."""
    blocks: list[str] = []
    fence, held = "", list[str]()
    for line in text.splitlines():
        bare = line.strip()
        if not fence and bare[:3] in ("```", "~~~"):
            fence, held = bare[: len(bare) - len(bare.lstrip(bare[0]))], []
        elif fence and bare.startswith(fence) and not bare.strip(fence[0]):
            blocks.append("\n".join(held))
            fence = ""
        elif fence:
            held.append(line)
    if fence and truncated:
        blocks.append("\n".join(held))
    return blocks
