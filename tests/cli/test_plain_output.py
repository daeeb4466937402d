"""What a command prints is shown and not obeyed, and its exports are not formulas, whatever names and texts hold."""

from __future__ import annotations

import csv
import io
import json
import logging
import re
import subprocess
import sys
from pathlib import Path

import pandas
import pytest
from hypothesis import given
from hypothesis import strategies as st

from omniopd.cli.main import main
from omniopd.config import Recipe
from omniopd.errors import RunError, TeacherError
from omniopd.evaluation.tables import as_text
from omniopd.io.terminal import Plain
from omniopd.io.texts import encoded, inert, one_line, visible, whole
from omniopd.records import StepRecord
from omniopd.reports.export import write_table
from omniopd.runs import create_run, open_run
from omniopd.runs.progress import Progress
from omniopd.runs.signals import status_kept

HOSTILE = (
    "\x1b[2J", "\x1b]0;owned\x07", "\x9b31m", "\x08\x08", "\r", "\x7f", "\u202e", "\u2066", "\u2069", "\u200b",
    "\u200f", "\ufeff", "\u2028", "\x00", "\ud83d", "\udc80", "\U000e0041", "\u061c",
)  # fmt: skip
OBEYED = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff\u061c]")
EVERYTHING = "".join(HOSTILE)


@pytest.mark.parametrize(
    "words",
    [
        ["train", f"nowhere{EVERYTHING}"],
        ["train", "embedded", f"audit.{EVERYTHING}=4"],
        ["train", "--resume", "nowhere\x1b[2J"],
        ["runs", f"nowhere{EVERYTHING[:-7]}"],
        ["stop", "no\u202ewhere"],
        ["evaluate", f"/no/where{EVERYTHING}", "--quiet"],
        ["recipes", EVERYTHING],
        ["report", "\x1b[31m"],
        ["run", "\x1b[31m.ipynb"],
        ["sweep", "\x1b[31m.ipynb", "--seeds", "0"],
        ["notebooks"],
    ],
)
def test_a_mistake_is_told_in_signs(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = [word.replace("\x00", "") for word in words]  # no word of a command line holds one
    if words == ["notebooks"]:
        words = [*words, "--\x1b[2J"]
        with pytest.raises(SystemExit):  # argparse
            main(words)
    else:
        assert main(words) == 2
    out, err = capsys.readouterr()
    assert err
    assert not OBEYED.search(out + err)


def test_a_list_of_runs_shows_names_and_messages_in_one_line_each(tmp_path: Path, capsys) -> None:
    run = create_run(tmp_path, Recipe(), "mine", command=())
    manifest = json.loads((run.path / "manifest.json").read_text())
    manifest["recipe"]["objective"]["target"] = f"labels{EVERYTHING}\nfake  finished"
    (run.path / "manifest.json").write_text(json.dumps(manifest))
    run.set_status(state="failed", message=f"said{EVERYTHING}\nnothing")
    assert main(["runs", str(tmp_path)]) == 0
    out = capsys.readouterr().out
    assert not OBEYED.search(out)
    assert out.count("\n") == 2
    assert "⟨ESC⟩[2J" in out
    assert "⟨U+202E⟩" in out


def test_warnings_and_what_libraries_print_are_escaped_in_a_real_process(tmp_path: Path) -> None:
    code = (
        "import sys, logging\nimport omniopd.cli.recipes as recipes\n"
        "def run(options):\n    print('out\\x1b[2J\\ud83d')\n    print('err\\u202e', file=sys.stderr)\n"
        "    logging.getLogger('x').warning('logged %s', '\\x1b]0;t\\x07\\udc80')\n    raise SystemError('x')\n"
        "recipes.run = run\nfrom omniopd.cli.main import main\nmain(['recipes'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, cwd=Path(__file__).parents[2], check=False)
    assert b"out\xe2\x9f\xa8ESC" in done.stdout
    for part in (b"err\xe2\x9f\xa8U+202E", b"logged \xe2\x9f\xa8ESC", b"BEL"):
        assert part in done.stderr
    assert b"\x1b" not in done.stdout + done.stderr


def test_a_progress_line_moves_no_cursor_but_its_own() -> None:
    lines: list[str] = []

    class PartialResults:
        def update(self, done: int, doing: str, facts: str) -> None:
            lines.append(f"{doing} {facts}")

        def close(self) -> None: ...

    progress = Progress(3, sink=PartialResults())
    progress.doing("plain")
    progress.show(StepRecord(1, 0.5, 0.5, 0.0, {"step_time": 1.0}))
    progress.close("finished")
    assert lines
    raw = io.StringIO()
    raw.isatty = lambda: False  # type: ignore[method-assign]
    stream = Plain(raw)
    assert stream.write(EVERYTHING) == len(EVERYTHING)
    assert not OBEYED.search(raw.getvalue())


def test_a_table_keeps_its_lines() -> None:
    table = pandas.DataFrame({"a\nb": ["x\x1b[2J\ty"]}, index=["who\r\nelse"])
    text = as_text(table, "title")
    assert text.count("\n") == 3
    assert not OBEYED.search(text)


# ── spreadsheets ─────────────────────────────────────────────────────────────────────────────────────────────────────

FORMULAS = ("=1+1", "=cmd|' /C calc'!A0", "+1+cmd", "-2+3", "@SUM(A1)", "\t=1", "\r=1", "\n=1", "＝1+1", "=\x1b[2J")


@pytest.mark.parametrize("formula", FORMULAS)
def test_an_exported_table_holds_no_formula(formula: str, tmp_path: Path) -> None:
    table = pandas.DataFrame({formula: [formula, "plain", 1.5], "n": [-1.5, 2, 3]}, index=[formula, "b", "c"])
    table.index.name = formula
    write_table(table, tmp_path / "t.csv")
    rows = list(csv.reader(io.StringIO((tmp_path / "t.csv").read_text(encoding="utf-8"))))
    cells = [cell for row in rows for cell in row]
    assert sum(cell.startswith("'") for cell in cells) == 4
    begins = ("=", "+", "@", "\t", "\r", "\n", "＝")
    assert not [c for c in cells if c.startswith(begins) or (c[:1] == "-" and c != "-1.5")]
    assert not OBEYED.search("".join(cells))
    assert rows[1][2] == "-1.5"  # a number stays one


def test_numbers_as_texts_stay_as_they_are() -> None:
    numbers = ["-3.5", "+2", "1e-3", "-1.5e+10", 4, None]
    assert list(map(inert, numbers)) == numbers
    assert inert("+60.0 [+58.0, +62.0]") == "'+60.0 [+58.0, +62.0]"


HALVES = ["\ud83d", "a \udc80", "a\udfffb\ud800"]

# ── one encoder ──────────────────────────────────────────────────────────────────────────────────────────────────────


@given(st.text(st.characters(codec=None)))
def test_every_text_can_be_written_and_printed(text: str) -> None:
    assert whole(text).encode().decode() == whole(text)
    assert encoded(text).decode() == whole(text)
    assert visible(visible(text)) == visible(text)
    assert not OBEYED.search(visible(text))
    assert "\n" not in one_line(text)
    # In JSON the escape is the character again.
    assert json.loads(encoded(json.dumps(text, ensure_ascii=False))) == text


@pytest.mark.parametrize("half", HALVES)
@pytest.mark.parametrize("kind", [TeacherError, RuntimeError, UnicodeDecodeError, KeyboardInterrupt])
def test_an_error_with_half_a_character_ends_a_run_as_any_does(half: str, kind: type, tmp_path: Path, capsys) -> None:
    run = create_run(tmp_path, Recipe(), "run", command=())
    error = UnicodeDecodeError("utf-8", b"x", 0, 1, half) if kind is UnicodeDecodeError else kind(f"said {half}")
    with pytest.raises(kind), status_kept(run, None):
        raise error
    status = open_run(run.path).status
    assert status.state == ("interrupted" if kind is KeyboardInterrupt else "failed")
    assert json.loads((run.path / "status.json").read_text(encoding="utf-8"))["state"] == status.state
    run.append(StepRecord(1, 0.5, 0.4, 0.1, failures={half: 1}))
    assert open_run(run.path).steps()[0].failures == {half: 1}
    assert main(["runs", str(tmp_path)]) == 0
    assert not OBEYED.search(capsys.readouterr().out)
    str(RunError(half)).encode()


def test_a_log_with_half_a_character_is_written(tmp_path: Path) -> None:
    with open(tmp_path / "log", "w", encoding="utf-8") as file:
        handler = logging.StreamHandler(Plain(file))
        handler.emit(logging.LogRecord("x", logging.WARNING, "", 0, "said %s", ("\ud83d",), None))
    assert (tmp_path / "log").read_text(encoding="utf-8") == "said ⟨U+D83D⟩\n"
