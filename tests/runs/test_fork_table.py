"""Facts about the table of forks: one row a fork, of chunks and of scans; pairs that disagree are counted."""

from __future__ import annotations

import math
from pathlib import Path

import pandas
import pytest

from omniopd.config import load_recipe
from omniopd.embedded import recorded
from omniopd.errors import ConfigError, RunError
from omniopd.method.disagreement import first_difference, self_agreement
from omniopd.records import RolloutRecord
from omniopd.runs import forks
from omniopd.runs.fork_table import FORK_COLUMNS, KINDS, grouped, rows_of, table_of
from omniopd.runs.store import Run, create_run
from tests.widgets.records import audit_at, rollout_record
from tests.widgets.scanned import PIECES, scanned


def run_with(folder: Path, *rollouts: RolloutRecord, name: str = "one", step: int = 3) -> Run:
    run = create_run(folder, load_recipe("embedded"), name)
    run.write_rollouts(step, rollouts)
    run.set_status(state="finished")
    return run


def test_a_row_says_what_the_record_holds(tmp_path: Path) -> None:
    record = rollout_record()
    table = run_with(tmp_path, record).forks()
    first, second, unanswered = table.to_dict("records")
    audit = record.audits[0]
    assert (first["step"], first["rollout"], first["prompt"], first["start"], first["stop"]) == (3, 0, "p0", 2, 18)
    assert (first["kind"], first["texts"], first["different"], first["scan"]) == ("differs", 6, 5, False)
    assert first["agreement"] == pytest.approx(audit.soft_count / 6)
    assert first["posterior_mean"] == audit.posterior_mean
    assert first["probability"] == pytest.approx(math.exp(record.logprobs[2]))
    assert (first["wrote"], first["writes"], first["teacher_token"]) == ("3", "13", " then")
    assert first["teacher_share"] == pytest.approx(4 / 6)
    assert (second["kind"], second["exact"], second["handover"]) == ("split", False, "instruction")
    assert (unanswered["kind"], unanswered["problem"], unanswered["texts"]) == ("unanswered", "rate limit", 0)
    assert math.isnan(unanswered["agreement"])


def test_a_row_of_a_scan_is_about_the_last_token_of_its_run(tmp_path: Path) -> None:
    record = scanned()
    parted, doubted, agreed = run_with(tmp_path, record).forks().to_dict("records")
    assert (parted["start"], parted["stop"], parted["scan"], parted["kind"]) == (0, 8, True, "differs")
    assert (parted["token"], parted["teacher_token"], parted["teacher_share"]) == (PIECES[7], "2", 1.0)
    assert (parted["wrote"], parted["writes"]) == ("41", "42")  # the word that the token belongs to
    assert parted["entropy"] == record.entropies[7]
    assert parted["probability"] == pytest.approx(math.exp(record.logprobs[7]))
    assert parted["prior"] == parted["probability"]
    assert parted["posterior_mean"] == pytest.approx(0.3 * parted["prior"] / 3.3)
    assert (doubted["kind"], doubted["agreement"]) == ("split", pytest.approx(2 / 3))
    assert (agreed["kind"], agreed["token"], agreed["agreement"], agreed["writes"]) == ("agreed", "", 1.0, "")


def test_a_fork_inside_a_number_is_told_with_the_whole_number() -> None:
    pieces = ("it", " is", " ", "4", "1", " books")
    audit = audit_at(4, "1", ("2", "2", "1"), text_pieces=(("2",), ("2",), ("1",)))
    record = RolloutRecord(0, 1, "p", (), pieces, (-1.0,) * 6, (0.5,) * 6, audits=(audit,))
    [row] = table_of(rows_of(Path("run"), [record])).to_dict("records")
    assert (row["wrote"], row["writes"], row["token"], row["teacher_token"]) == ("41", "42", "1", "2")


@pytest.mark.parametrize(
    ("chunk", "text", "pair"),
    [
        ("31 stamps", "29 stamps", ("31", "29")),
        ("so 1,200", "so 1,300", ("1,200", "1,300")),
        ("the same", "the same", ("", "")),
        ("it ends.", "it ends", (".", "")),
        ("a\n", "a ", ("\n", " ")),
        ("", "more", ("", "more")),
    ],
)
def test_the_first_difference_is_a_word(chunk: str, text: str, pair: tuple[str, str]) -> None:
    assert first_difference(chunk, text) == pair


def test_self_agreement_is_the_share_of_equal_pairs() -> None:
    for texts in (("a",) * 3, ("a", "a", "b"), ("a", "b", "c", "a", "b"), ()):
        pairs = [a == b for i, a in enumerate(texts) for b in texts[i + 1 :]]
        expected = sum(pairs) / len(pairs) if pairs else math.nan
        assert self_agreement(texts) == pytest.approx(expected, nan_ok=True)


def test_forks_of_several_runs_stand_in_one_table_and_their_pairs_are_counted(tmp_path: Path) -> None:
    for name in ("a", "b"):
        run_with(tmp_path / "study", scanned(), rollout_record(), name=name)
    table = forks(tmp_path)
    assert list(table.columns) == list(FORK_COLUMNS)
    assert table.run.value_counts().to_dict() == {str(tmp_path / "study" / n): 6 for n in ("a", "b")}
    pairs = grouped(table, "pair")
    assert ("41", "42", 2) in set(zip(pairs.wrote, pairs.writes, pairs.forks, strict=True))
    assert grouped(table, "entropy").forks.sum() == len(table)  # a column that is a mean elsewhere
    kinds = grouped(table, "kind").set_index("kind").forks
    assert kinds.to_dict() == table.kind.value_counts().to_dict()
    assert set(kinds.index) <= set(KINDS)
    with pytest.raises(ConfigError, match="the nearest is token"):
        grouped(table, "tokn")


def test_the_recorded_runs_have_as_many_rows_as_audits() -> None:
    run = recorded("labels")
    audits = [a for step in run.rollout_steps() for r in run.rollouts(step) for a in r.audits]
    table = run.forks()
    assert table.entropy.tolist() == [a.entropy for a in audits]
    hard = run.forks("entropy > .5 and agreement < .3")
    assert hard.index.tolist() == [i for i, a in enumerate(audits) if a.entropy > 0.5 and a.soft_count / 8 < 0.3]


def test_columns_and_types_are_the_same_without_rows_and_half_characters_are_kept(tmp_path: Path) -> None:
    empty = table_of(())
    audit = audit_at(2, "half \ud83d", ("half \ud83d", "x"), text_pieces=())
    pieces = ("a", "b", "half", " ", "\ud83d")
    broken = RolloutRecord(0, 1, "p\udcff", (), pieces, (-1.0,) * 5, (0.5,) * 5, audits=(audit,))
    table = table_of(rows_of(Path("run"), [broken]))
    assert empty.dtypes.to_dict() == table.dtypes.to_dict()
    assert table.chunk.tolist() == ["half \\ud83d"]
    table.to_parquet(tmp_path / "t.parquet")
    assert pandas.read_parquet(tmp_path / "t.parquet").prompt.tolist() == ["p\\udcff"]


def test_a_damaged_step_is_named(tmp_path: Path) -> None:
    run = run_with(tmp_path, scanned())
    (run.path / "rollouts" / "step_000004.jsonl").write_text("{broken\n")
    with pytest.raises(RunError, match=r"line 1 of .*step_000004"):
        run.forks()
