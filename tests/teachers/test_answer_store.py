"""The file of a teacher's answers: whatever became of it, its texts are those that were written, or there are none."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from omniopd.errors import ConfigError, TeacherError
from omniopd.teachers.cache.answer_store import AnswerStore, StoredAnswer
from omniopd.teachers.cache.cached import CachedTeacher
from omniopd.teachers.scripted import ScriptedTeacher
from tests.builders import request

WRITTEN = {
    f"{n:064x}": {k: StoredAnswer(f" text {n}.{k}, a long one 🙂" * 9, k > 0, "m", "raw", True, k) for k in range(3)}
    for n in range(30)
}
# Files of the first release, statement by statement.
OLD_TABLES = """
CREATE TABLE draws (question TEXT, number INTEGER, answer TEXT, PRIMARY KEY (question, number)) WITHOUT ROWID;
CREATE TABLE teachers (teacher TEXT PRIMARY KEY, served_model TEXT) WITHOUT ROWID;
"""


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """A closed file of 90 texts."""
    return written(tmp_path_factory.mktemp("whole") / "a.sqlite").read_bytes()


def written(file: Path) -> Path:
    answers = AnswerStore(file)
    for question, draws in WRITTEN.items():
        answers.add(question, draws)
    answers.close()
    return file


def old_file(file: Path, rows: list[tuple[str, int, str]]) -> Path:
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as db:
        db.execute("PRAGMA journal_mode=WAL")
        for statement in OLD_TABLES.strip().splitlines():
            db.execute(statement)
        db.execute("PRAGMA user_version=1")
        db.executemany("INSERT INTO draws VALUES (?, ?, ?)", rows)
        db.execute("INSERT INTO teachers VALUES ('t', 'm')")
    return file


def changed(file: Path, *statements: str) -> None:
    with contextlib.closing(sqlite3.connect(file, isolation_level=None)) as db:
        for statement in statements:
            db.execute(statement)


def files_of(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@contextlib.contextmanager
def folder_of_nobody() -> Iterator[Path]:
    """A folder that everybody may read, in which this process may write nothing once its mode says so."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o755)
    try:
        yield folder
    finally:
        folder.chmod(0o755)
        shutil.rmtree(folder)


@contextlib.contextmanager
def without_a_superusers_rights() -> Iterator[None]:
    was = os.geteuid()
    if was == 0:
        os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(was)


@pytest.mark.parametrize(
    "answer",
    [
        "null", "5", "[]", '"a text"', "{}", "not JSON", "[" * 9999, '{"text": "a"}', None, 7, 1.5, b"\xff\x00",
        json.dumps(asdict(StoredAnswer("another text", False, "m", "raw", True))),
        json.dumps({**asdict(StoredAnswer("a", False, "m", "raw", True)), "text": None}),
        json.dumps({**asdict(StoredAnswer("a", False, "m", "raw", True)), "stopped": "yes"}),
        json.dumps({**asdict(StoredAnswer("a", False, "m", "raw", True)), "more": 1}),
    ],
)  # fmt: skip
@pytest.mark.parametrize("is_old", [False, True], ids=["checksums", "none"])
def test_a_damaged_row_is_no_answer_and_is_written_anew(tmp_path: Path, answer: object, is_old: bool) -> None:
    good = StoredAnswer("kept", False, "m", "raw", True)
    file = tmp_path / "a.sqlite"
    if is_old:
        if isinstance(answer, str) and "another text" in answer:
            return  # without checksums a row of the right shape cannot be told from what was written
        old_file(file, [("q", n, json.dumps(asdict(good))) for n in range(3)])
    else:
        answers = AnswerStore(file)
        answers.add("q", dict.fromkeys(range(3), good))
        answers.close()
    with contextlib.closing(sqlite3.connect(file)) as db:
        db.execute("UPDATE draws SET answer = ? WHERE number = 1", (answer,))
        db.commit()
    replayed = AnswerStore(file, read_only=True)
    assert replayed.of("q") == {0: good, 2: good}
    assert replayed.damaged == {"q"}
    replayed.close()
    answers = AnswerStore(file)
    assert answers.of("q") == {0: good, 2: good}
    new = StoredAnswer("new", True, "m", "raw", True)
    answers.add("q", dict.fromkeys(range(4), new))
    assert answers.of("q") == {0: good, 1: new, 2: good, 3: new}
    answers.close()


def test_a_text_under_another_number_or_question_is_damage_too(tmp_path: Path) -> None:
    file = tmp_path / "a.sqlite"
    answers = AnswerStore(file)
    for question in "qr":
        answers.add(question, {n: StoredAnswer(f"{question}{n}", False, "m", "raw", True) for n in range(2)})
    answers.close()
    changed(file, "UPDATE draws SET number = 9 WHERE question = 'q' AND number = 1")
    changed(file, "UPDATE draws SET question = 'p' WHERE question = 'r' AND number = 0")
    answers = AnswerStore(file)
    assert {q: sorted(answers.of(q)) for q in "pqr"} == {"p": [], "q": [0], "r": [1]}
    answers.close()


BLOWS = st.lists(
    st.tuples(
        st.sampled_from(["flip", "flip", "byte", "hole", "cut", "page"]),
        st.floats(0, 1, exclude_max=True) | st.floats(0, 0.005),
        st.integers(0, 255),
    ),
    min_size=1,
    max_size=4,
)


def struck(whole: bytes, blows: list[tuple[str, float, int]]) -> bytes:
    damaged = bytearray(whole)
    for kind, share, value in blows:
        at = int(share * len(damaged))
        if kind == "flip":
            damaged[at] ^= 1 << value % 8
        elif kind == "byte":
            damaged[at] = value
        elif kind == "hole":
            damaged[at : at + value] = bytes(len(damaged[at : at + value]))
        elif kind == "page":
            start = at // 4096 * 4096
            damaged[start : start + 4096] = whole[value % (len(whole) // 4096) * 4096 :][:4096]
        else:
            del damaged[max(1, at) :]
    return bytes(damaged)


@pytest.mark.parametrize("mode", ["record", "replay"])
@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(BLOWS)
def test_of_a_flipped_or_cut_file_every_text_is_right_or_missing(mode: str, whole: bytes, blows: list) -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "answers.sqlite"
        file.write_bytes(struck(whole, blows))
        answers = None
        with contextlib.suppress(TeacherError), named(file):
            answers = AnswerStore(file, read_only=mode == "replay")
        if answers is None:
            return
        with contextlib.suppress(*[TeacherError] * (mode == "record")), named(file):
            for question, draws in WRITTEN.items():
                assert answers.of(question).items() <= draws.items()
                if mode == "record":
                    answers.add(question, draws)
                    assert answers.of(question) == draws
        answers.close()


@contextlib.contextmanager
def named(file: Path) -> Iterator[None]:
    """What goes wrong inside goes wrong in the file's name."""
    try:
        yield
    except TeacherError as error:
        if str(file) not in str(error):
            raise AssertionError(f"{file} is not named") from error
        raise


def test_a_cache_of_the_first_release_is_read_and_brought_up_to_date(tmp_path: Path) -> None:
    good = StoredAnswer("old", True, "m", "raw", True)
    rows = [("q", 0, json.dumps(asdict(good))), ("q", 1, json.dumps({**asdict(good), "text": "\ud800"}))]
    rows += [("r", 0, json.dumps({name: value for name, value in asdict(good).items() if name != "echoes"}))]
    file = old_file(tmp_path / "a.sqlite", rows)
    before = files_of(tmp_path)
    replayed = AnswerStore(file, read_only=True)
    # Half of a surrogate pair is no text: it counts as missing.
    assert (replayed.of("q"), replayed.of("r")) == ({0: good}, {0: good})
    replayed.close()
    assert files_of(tmp_path) == before
    answers = AnswerStore(file)
    assert (answers.of("q"), answers.of("r"), len(answers)) == ({0: good}, {0: good}, 3)
    with pytest.raises(TeacherError, match="holds answers of 'm', and 'other' answers now"):
        answers.add_soon("s", {0: good}, "t", "other").result()
    answers.close()
    changed(file, "UPDATE draws SET answer = replace(answer, 'old', 'OLD')")
    answers = AnswerStore(file)
    assert (answers.of("q"), answers.of("r")) == ({}, {})
    answers.close()


@pytest.mark.parametrize("journal", ["DELETE", "WAL"])
@pytest.mark.parametrize("mark", ["user_version=0", "user_version=1", "user_version=2", "application_id=77"])
@pytest.mark.parametrize("mode", ["record", "replay"])
def test_a_database_of_another_program_is_not_touched(tmp_path: Path, journal: str, mark: str, mode: str) -> None:
    file = tmp_path / "theirs.sqlite"
    changed(file, f"PRAGMA journal_mode={journal}", "CREATE TABLE draws (a, b)", f"PRAGMA {mark}")
    before = files_of(tmp_path)
    with pytest.raises(TeacherError, match=r"theirs\.sqlite is a database of another program"):
        CachedTeacher(ScriptedTeacher(["a"]), file, mode)
    assert files_of(tmp_path) == before


@pytest.mark.parametrize("mode", ["record", "replay"])
def test_what_is_no_file_of_answers_is_one_sentence(tmp_path: Path, mode: str) -> None:
    (folder := tmp_path / "folder").mkdir()
    os.mkfifo(pipe := tmp_path / "pipe")
    (text := tmp_path / "text").write_text("no database, but a text that is long enough to be looked at as one " * 20)
    newer = written(tmp_path / "newer")
    changed(newer, "PRAGMA user_version=3")
    odd = written(tmp_path / "odd")
    changed(odd, "DROP TABLE teachers")
    for file, words in (
        (folder, "is a folder or a device"), (pipe, "is a folder or a device"), (text, "cannot be opened"),
        (newer, r"newer omniopd \(schema 3\)"), (odd, "is damaged"),
    ):  # fmt: skip
        with pytest.raises(TeacherError, match=f"{file.name} ?.*{words}"):
            CachedTeacher(ScriptedTeacher(["a"]), file, mode)
    with pytest.raises((TeacherError, ConfigError), match="below"):
        CachedTeacher(ScriptedTeacher(["a"]), text / "below" / "a.sqlite", mode)


def test_an_empty_file_can_be_recorded_into_and_holds_nothing_to_replay(tmp_path: Path) -> None:
    (file := tmp_path / "a.sqlite").touch()
    with pytest.raises(TeacherError, match="is empty and holds no answers: record a run first"):
        CachedTeacher(ScriptedTeacher(["a"]), file, mode="replay")
    [answer] = CachedTeacher(ScriptedTeacher(["a"]), file).continue_from([request("a", 1)])
    assert (answer.texts, answer.problem) == (("a",), None)


@pytest.mark.parametrize("is_old", [False, True], ids=["new", "old"])
@pytest.mark.parametrize("is_killed", [False, True], ids=["closed", "killed"])
def test_a_recording_on_a_medium_that_cannot_be_written_is_replayed(is_old: bool, is_killed: bool) -> None:
    good = StoredAnswer("a text", True, "m", "raw", True)
    with folder_of_nobody() as folder:
        file = folder / "a.sqlite"
        if is_old:
            old_file(file, [("q", 0, json.dumps(asdict(good)))])
        else:
            AnswerStore(file).add("q", {0: good})
        if is_killed:
            insert = "INSERT INTO draws SELECT question, 1, answer" + ("" if is_old else ", checksum") + " FROM draws"
            script = f"import os, sqlite3; db = sqlite3.connect({str(file)!r}); db.execute({insert!r}); "
            subprocess.run([sys.executable, "-c", script + "db.commit(); os.kill(os.getpid(), 9)"], check=False)
            assert Path(f"{file}-wal").stat().st_size
            Path(f"{file}-shm").unlink()
        for path in folder.iterdir():
            path.chmod(0o444)
        folder.chmod(0o555)
        before = files_of(folder)
        with without_a_superusers_rights():
            answers = AnswerStore(file, read_only=True)
            # What only the log of a killed writer holds is found as well; copied as another draw, it is damage.
            assert (answers.of("q"), len(answers)) == (
                {0: good} | ({1: good} if is_old and is_killed else {}),
                1 + is_killed,
            )
            answers.close()
            with pytest.raises(TeacherError, match=r"a\.sqlite cannot be opened .*(readonly|unable)"):
                AnswerStore(file)
        assert files_of(folder) == before
        folder.chmod(0o755)
        file.chmod(0)
        with without_a_superusers_rights(), pytest.raises(TeacherError, match=r"a\.sqlite cannot be opened"):
            AnswerStore(file, read_only=True)


def test_a_replay_leaves_nothing_beside_the_file_and_sees_what_another_program_adds(tmp_path: Path) -> None:
    good = StoredAnswer("a text", True, "m", "raw", True)
    file = tmp_path / "a.sqlite"
    AnswerStore(file).add("q", {0: good})
    replayed = AnswerStore(file, read_only=True)
    assert set(replayed.of("q")) == {0}
    assert [path.name for path in tmp_path.iterdir()] == ["a.sqlite"]
    recording = AnswerStore(file)
    recording.add("q", {1: good})
    assert set(replayed.of("q")) == {0, 1}
    replayed.close()
    recording.close()
    assert [path.name for path in tmp_path.iterdir()] == ["a.sqlite"]


def test_half_of_a_surrogate_pair_is_never_stored(tmp_path: Path) -> None:
    answers = AnswerStore(tmp_path / "a.sqlite")
    half, good = (StoredAnswer(text, False, "m", "raw", True) for text in ("\ud800", "good"))
    answers.add("q", {0: half, 1: good})
    assert set(answers.of("q")) == {1}
    answers.close()
