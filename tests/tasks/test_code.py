"""Programs are graded by what they do, whatever the shape of the problem and of the answer; none can fake a pass."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from omniopd.errors import DataError, Refused
from omniopd.tasks.code import Code, extract_code, whole_program
from omniopd.tasks.code_problems import problem_of
from omniopd.tasks.jsonl import read_rows
from omniopd.tasks.sandbox import calls, running
from omniopd.tasks.sandbox.judging import Limits, judge_function, judge_streams, same_output
from omniopd.types import Prompt, Task

DATA = Path(__file__).parent / "data"
SHAPES = ["code_functions", "code_streams", "code_contests"]
LIMITS = Limits(allowed=True, timeout_s=10)


@pytest.fixture(autouse=True)
def switched_on(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(running.SWITCH, "1")


def task(shape: str) -> Code:
    return Code(DATA / shape, run_programs=True)


def solutions(shape: str) -> dict[str, str]:
    """The right answer to each prompt, by id."""
    found = {}
    for number, row in enumerate(read_rows(DATA / shape / "test.jsonl"), start=1):
        held = row.get("solutions")
        text = row.get("canonical_solution") or (json.loads(held)[0] if isinstance(held, str) else held["solution"][0])
        found[f"code/test/{number}"] = text
    return found


@pytest.mark.parametrize("shape", SHAPES)
def test_right_programs_pass_and_those_of_other_problems_do_not(shape: str) -> None:
    own, right = task(shape), solutions(shape)
    prompts = own.prompts("test")
    assert isinstance(own, Task)
    assert len(prompts) == len(right) >= 10
    for prompt, other in zip(prompts, prompts[1:] + prompts[:1], strict=True):
        good = right[prompt.id] if shape == "code_functions" else f"So:\n```python\n{right[prompt.id]}```\nDone."
        verdict = own.verdict(prompt, good)
        assert verdict.passed, (prompt.id, verdict.reason)
        wrong = own.verdict(prompt, right[other.id])
        assert not wrong.passed
        assert wrong.reason


def test_prompts_come_in_a_seeded_order_and_hold_the_question() -> None:
    own = task("code_streams")
    assert own.prompts("test", 4, seed=1) == own.prompts("test", 9, seed=1)[:4]
    texts = {prompt.id: prompt.messages[0]["content"] for prompt in own.prompts("test")}
    assert texts["code/test/1"].startswith("Read two whole numbers and print their sum.\n\nWrite a Python program that")
    assert "class Solution:\n    def ordered" in texts["code/test/11"]
    with pytest.raises(DataError, match="ask for 1 to 11"):
        own.prompts("test", 12)


def test_programs_run_only_where_they_were_switched_on_twice(monkeypatch: pytest.MonkeyPatch) -> None:
    off = Code(DATA / "code_streams")
    prompt = off.prompts("test", 1)[0]
    with pytest.raises(Refused, match=r"task\.run_programs = true"):
        off.grade(prompt, "print(1)")
    monkeypatch.delenv(running.SWITCH)
    with pytest.raises(Refused, match="OMNIOPD_RUN_PROGRAMS=1"):
        task("code_streams").require()


def test_the_reason_of_a_failure_is_told() -> None:
    own = task("code_streams")
    prompt = next(p for p in own.prompts("test") if p.id == "code/test/1")
    reasons = {
        "print(7)": "case 1 of 2: '5\\n' was expected, '7\\n' came",
        "print(1 / 0)": "case 1 of 2: 'ZeroDivisionError: division by zero'",
        "import sys; sys.exit(0)": "case 1 of 2: '5\\n' was expected, '' came",
        "print(5); raise SystemExit(3)": "case 1 of 2: exit code 3",
        "while True: print('x' * 10000)": "case 1 of 2: it wrote more than is read",
        "": "there is no program in the answer",
    }
    assert {code: own.verdict(prompt, code).reason for code in reasons} == reasons
    slow = Code(DATA / "code_streams", run_programs=True, timeout_s=0.3)
    assert slow.verdict(prompt, "while True: pass").reason == "case 1 of 2: no answer within 0.3 s"


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ("Here:\n```python\nx = 1\n```\nand\n```py\nx = 2\n```\n", "x = 2"),
        ("```\nx = 1\n", "x = 1"),
        ("x = 1\n", "x = 1\n"),
        ("<think>```python\nbad\n```</think>Text\n~~~~\nx = 1\n```\n~~~~", "x = 1\n```"),
        ("```python\ndef f(): pass\n```\nUse it:\n```python\nf()\n```", "def f(): pass"),
        ("  ```python\n  x = 1\n  ```", "  x = 1"),
    ],
)
def test_the_program_of_an_answer(answer: str, code: str) -> None:
    assert extract_code(answer, "f") == code


def test_a_completion_continues_the_stub_and_a_whole_function_replaces_it() -> None:
    stub = "import math\n\ndef f(n):\n    'Doc.'\n"
    for code in ("    return 2 * n", "return 2 * n", "def f(n):\n    return 2 * n", "\n    return 2 * n\n"):
        namespace: dict[str, object] = {}
        exec(whole_program(stub, code, "f"), namespace)
        assert namespace["f"](3) == 6  # type: ignore[operator]
        assert "math" in namespace


def test_a_program_is_readable_where_there_is_one() -> None:
    own = task("code_functions")
    prompt = own.prompts("test", 1)[0]
    for response, there in (
        ("```python\nx = 1\n```", True), ("```python\nx = 1", False), ("I do not know.", False), ("import sys\n", True),
        ("    return x + 1", True), ("", False),
    ):  # fmt: skip
        assert own.readable(prompt, response) is there, response


def test_tests_that_prove_nothing_do_not_pass() -> None:
    right = "def f(x):\n    return x"
    assert judge_function(right, "pass", "f", LIMITS).reason == "the tests never called the program"
    assert judge_function(right, "def check(f):\n    f(1)\n    import os; os._exit(0)", "f", LIMITS).passed is False
    assert judge_streams("print(1)", [], LIMITS).reason == "the problem has no cases"
    caught = "def check(f):\n    for x in (1, 2):\n        try: f(x)\n        except: pass\n"
    left = judge_function("import sys\ndef f(x): sys.exit(0)", caught, "f", LIMITS)
    assert not left.passed
    # Its way out is cut short where the tests are over before it has gone.
    assert left.reason.startswith("the program ended before it answered (e")


def test_a_function_cannot_reach_the_tests_through_its_arguments() -> None:
    tests = "def check(f):\n    x = [3, 1, 2]\n    assert f(x) == sorted(x)\n"
    assert not judge_function("def f(x):\n    x.clear()\n    return []", tests, "f", LIMITS).passed
    assert judge_function("def f(x):\n    return sorted(x)", tests, "f", LIMITS).passed
    # One that has found the pipe of the replies writes the honest half's lines itself.
    forged = 'b\'{"value": [], "arguments": [[]]}\\n\''
    finds = f"import sys, os\nR = sys._getframe(1).f_locals['replies']\ndef f(x):\n    os.write(R, {forged})"
    assert not judge_function(finds, tests, "f", LIMITS).passed
    works_in_place = "def check(f):\n    x = [3, 1, 2]\n    f(x)\n    assert x == [1, 2, 3]\n"
    assert judge_function("def f(x):\n    x.sort()", works_in_place, "f", LIMITS).passed
    raising = "def check(f):\n    try: f(1)\n    except TypeError: return\n    assert False\n"
    strange = judge_function("class A: pass\ndef f(x): return A()", raising, "f", LIMITS)
    assert strange.reason.startswith("its answer cannot be compared (TypeError: a A is not plain data")


def test_plain_data_crosses_unchanged() -> None:
    values = [
        None, True, 3, -(10**80), 2.5, "ä\n", b"\x00\xff", 1j, [1, [2]], (1, (2,)), {1: "a", (2, 3): [4]}, {1, 2},
        frozenset({3}), range(2, 9, 3),
    ]  # fmt: skip
    back = calls.decoded(json.loads(json.dumps(calls.encoded(values))))
    assert back == values
    assert list(map(type, back)) == list(map(type, values))
    assert list(calls.decoded(calls.encoded(iter([1, (2,)])))) == [1, (2,)]


def test_outputs_are_compared_as_judges_do() -> None:
    assert same_output("1 \n2\n\n", "1\n2")
    assert same_output("1 2\n", "1\n2\n")
    assert same_output("0.3333333", "0.33333333")
    assert not same_output("0.3333", "0.33333333")
    assert not same_output("3.0", "3")
    assert not same_output("12", "1 2")
    assert not same_output("YES", "Yes")


def test_bad_rows_are_told_with_their_place(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="here has the columns 'text', and a programming problem has prompt, test and"):
        problem_of({"text": "x"}, "here")
    with pytest.raises(DataError, match=r"here: input_output has 1 inputs and 2 outputs"):
        problem_of({"question": "q", "input_output": '{"inputs": ["1"], "outputs": ["1", "2"]}'}, "here")
    with pytest.raises(DataError, match="here: input_output is no JSON object"):
        problem_of({"question": "q", "input_output": "{"}, "here")
    with pytest.raises(DataError, match="entry_point is 'a b', which names no function"):
        problem_of({"prompt": "def", "test": "x", "entry_point": "a b"}, "here")
    stranger = Prompt("code/test/99", ({"role": "user", "content": "?"},))
    with pytest.raises(DataError, match="take prompts from the task itself"):
        task("code_streams").grade(stranger, "x")


def test_problems_without_tests_are_left_out_and_counted(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    rows = [
        {"question": "q", "input_output": ""},
        {"question": "r", "input_output": '{"inputs": ["1"], "outputs": ["1"]}'},
    ]
    (tmp_path / "test.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    assert [prompt.id for prompt in Code(tmp_path).prompts("test")] == ["code/test/2"]
    assert "1 of 2 problems have no tests and are left out" in caplog.text


def test_a_judgement_that_is_refused_leaves_nothing_open(monkeypatch: pytest.MonkeyPatch) -> None:
    descriptors = Path("/proc/self/fd")
    if not descriptors.is_dir():
        pytest.skip("needs a system that lists what a process has open")
    for allowed, switch in ((False, "1"), (True, "0")):
        monkeypatch.setenv("OMNIOPD_RUN_PROGRAMS", switch)
        before = len(list(descriptors.iterdir()))
        for _ in range(5):
            with pytest.raises(Refused, match="is off"):
                judge_function("def f(): pass", "pass", "f", Limits(allowed))
        assert len(list(descriptors.iterdir())) == before
