"""A ledger's file: one process spends on it, what it says is never less than what was spent, damage is named."""

from __future__ import annotations

import random
import subprocess
import sys
from pathlib import Path

import pytest

from omniopd.errors import TeacherError
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.spending.budget import BudgetedTeacher
from omniopd.teachers.spending.ledger import Ledger, Spend, spent
from omniopd.types import Usage
from tests.builders import tiny_model, tiny_tokenizer
from tests.teachers.test_hosted import wait_until

SPEND = """
import sys
from omniopd.errors import TeacherError
from omniopd.teachers.spending.ledger import Ledger, Spend, spent
try:
    ledger = Ledger(sys.argv[1])
except TeacherError as error:
    print(error, flush=True)
    sys.exit(2)
print("spending", flush=True)
while ledger.reserve("m", 1.0, 8.0):
    pass
sys.stdin.read()
"""


def test_two_processes_do_not_spend_on_one_ledger(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    words = [sys.executable, "-c", SPEND, str(file)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as first:
        assert first.stdout.readline() == "spending\n"
        second = subprocess.run(words, capture_output=True, text=True, check=False, stdin=subprocess.DEVNULL)
        assert second.returncode == 2
        assert f"another process ({first.pid}) is spending on the ledger {file}" in second.stdout
        with pytest.raises(TeacherError, match="another process"):
            BudgetedTeacher(LocalTeacher(tiny_model(), tiny_tokenizer()), 1.0, file)
        wait_until(lambda: [s.usd for s in spent(file)] == [8.0])
        first.kill()
    ledger = Ledger(file)  # whoever is killed holds nothing
    assert ledger.spent_usd == 8.0


def test_ledgers_of_one_file_in_one_process_are_one(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    first, second = Ledger(file), Ledger(tmp_path / "." / "ledger.jsonl")
    assert first.reserve("m", 6.0, 10.0) is not None
    assert second.reserved_usd == 6.0
    assert second.reserve("m", 6.0, 10.0) is None
    file.unlink()  # and a file that was thrown away is begun anew
    assert Ledger(file).reserve("m", 6.0, 10.0) is not None


def written(file: Path) -> list[str]:
    """The lines of a ledger with three calls, the last of them unsettled."""
    ledger = Ledger(file)
    for usd in (1.5, 2.25):
        ledger.settle(ledger.reserve("m", 3.0, 99.0) or "", Usage(10, 5, 2, usd, 1))
    ledger.remember("m", 3)
    ledger.reserve("m", 4.0, 99.0)
    return file.read_text().split("\n")[1:]


def read(file: Path) -> object:
    try:
        return spent(file)
    except TeacherError as error:
        return str(error)


def test_a_damaged_ledger_is_named_and_never_read_as_less(tmp_path: Path) -> None:
    lines = written(tmp_path / "ledger.jsonl")
    right, caught = spent(tmp_path / "ledger.jsonl"), 0
    assert sum(s.usd for s in right) == 7.75
    damaged = tmp_path / "damaged.jsonl"
    chance = random.Random(0)
    for number, line in enumerate(lines):
        for at in range(len(line)):
            # At a line's end, where a kill may have torn it, every byte.
            for byte in range(256) if at == len(line) - 1 else (chance.randrange(256), 0, ord("9"), ord('"')):
                broken = bytearray(line.encode())
                if broken[at] == byte:
                    continue
                broken[at] = byte
                rest = [part.encode() for part in lines]
                damaged.write_bytes(b"\n".join([b"", *rest[:number], bytes(broken), *rest[number + 1 :]]))
                if byte == ord("\n"):
                    continue
                said = read(damaged)
                if isinstance(said, str):
                    assert f"damaged.jsonl is damaged in line {number + 2} " in said
                caught += isinstance(said, str)
                assert isinstance(said, str) or said == right  # another space, the last brace, the word "check"
    assert caught > 2000


def test_a_line_that_a_kill_has_torn_anywhere_is_no_damage(tmp_path: Path) -> None:
    lines = written(tmp_path / "ledger.jsonl")
    torn = tmp_path / "torn.jsonl"
    for number, line in enumerate(lines):
        for at in range(1, len(line)):
            torn.write_text("\n".join(["", *lines[:number], line[:at]]))
            less = tmp_path / "less.jsonl"
            is_whole = at == len(line) - 1  # but for its brace
            less.write_text("\n".join(["", *lines[: number + is_whole]]))
            assert spent(torn) == spent(less)


@pytest.mark.parametrize(
    "line",
    [
        "\0" * 100, "null", "[]", "7", "{}", '{"model": 3}', '{"model": "m", "usd": -1}', '{"model": "m", "usd": NaN}',
        '{"model": "m", "usd": 1e999}', '{"model": "m", "usd": 1e300}',
        '{"model": "m", "usd": "1"}', '{"model": "m", "usd": true}', "x", "{",
        '{"model": "m", "calls": null}', '{"settled": "a"}', '{"reserved": "a", "model": "m"}', '{"model": "é"}',
        '{"reserved": [1], "model": "m", "usd": 1}', "<html>", "[" * 100_000,
    ],
)  # fmt: skip
def test_what_no_ledger_says_is_named(line: str, tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    file.write_text("\n" + line)
    if line == "{":  # the beginning of a line
        assert spent(file) == ()
        return
    with pytest.raises(TeacherError, match=r"ledger.jsonl is damaged in line 2 "):
        spent(file)


def test_ledgers_of_before_are_read(tmp_path: Path) -> None:
    file = tmp_path / "ledger.jsonl"
    file.write_text(
        '\n{"reserved": "a-1", "model": "m", "usd": 2.0}\n'
        '{"settled": "a-1", "model": "m", "usd": 1.0, "unsure": false, "calls": 1, "input_tokens": 10, '
        '"output_tokens": 5, "cached_tokens": 0}\n{"model": "m", "remembered": 4}'
    )
    assert spent(file) == (Spend("m", 1, 10, 5, 0, 1.0, 0.0, 4),)
