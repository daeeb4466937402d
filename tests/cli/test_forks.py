"""`omniopd forks`: what it prints for a reader, what it writes for a program, and that a model's text does nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pandas
import pytest

from omniopd.cli.main import main
from omniopd.config import load_recipe
from omniopd.embedded import RECORDED
from omniopd.records import RolloutRecord
from omniopd.runs import forks
from omniopd.runs.fork_table import FORK_COLUMNS
from omniopd.runs.store import create_run
from tests.widgets.records import audit_at

LABELS = str(RECORDED / "labels")
WHERE = "entropy > .5 and agreement < .3"


def said(capsys, *words):
    code = main(["forks", *words])
    out, err = capsys.readouterr()
    return code, out, err


def test_a_reader_gets_a_table_and_the_words_that_differ(capsys):
    code, out, _ = said(capsys, LABELS, "--where", WHERE, "--sort", "entropy", "--limit", "3")
    lines = out.splitlines()
    assert (code, lines[0]) == (0, f"{len(forks(LABELS, WHERE))} of 864 forks of 1 run")
    assert lines[2].split()[:4] == ["step", "answer", "tokens", "kind"]
    entropies = [float(line.split()[4]) for line in lines[3:6]]
    assert entropies == sorted(entropies, reverse=True)
    assert lines[6].startswith("… ")
    assert "wrote" in out
    assert "writes" in out


def test_a_program_gets_every_column_by_its_name(capsys):
    words = ["--where", WHERE, "--sort", "agreement", "--ascending", "--limit", "0", "--json"]
    code, out, _ = said(capsys, LABELS, *words)
    found = json.loads(out)
    expected = forks(LABELS, WHERE).sort_values("agreement", kind="stable")
    assert (code, found["forks"], found["matching"], found["where"]) == (0, 864, len(expected), WHERE)
    assert found["runs"] == [LABELS]
    assert list(found["rows"][0]) == list(FORK_COLUMNS)
    assert [row["entropy"] for row in found["rows"]] == expected.entropy.tolist()
    assert found["pairs"][0].keys() >= {"wrote", "writes", "forks", "prompts"}


def test_groups_are_counted(capsys):
    _, out, _ = said(capsys, LABELS, "--by", "kind", "--json")
    assert {row["kind"]: row["forks"] for row in json.loads(out)["rows"]} == forks(LABELS).kind.value_counts().to_dict()
    _, out, _ = said(capsys, LABELS, "--by", "pair", "--limit", "2")
    assert out.splitlines()[2].split()[:3] == ["wrote", "writes", "forks"]
    assert len(out.splitlines()) == 6


def test_files_hold_all_rows(capsys, tmp_path):
    table, sheet = tmp_path / "forks.parquet", tmp_path / "forks.csv"
    code, out, _ = said(capsys, LABELS, "--where", WHERE, "--parquet", str(table), "--csv", str(sheet))
    count = len(forks(LABELS, WHERE))
    assert (code, out) == (0, f"{sheet}: {count} rows\n{table}: {count} rows\n")
    assert pandas.read_parquet(table).entropy.tolist() == forks(LABELS, WHERE).entropy.tolist()
    assert len(pandas.read_csv(sheet)) == count


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--where", "entrpy > 1"], "the nearest is entropy"),
        (["--sort", "entrpy"], "'entrpy' is not a column: the nearest is entropy"),
        (["--by", "kindd"], "'kindd' is not a column: the nearest is kind"),
        (["--by", "kind", "--sort", "token"], "'token' is not a column"),
        (["--limit", "-1"], "--limit is -1"),
        (["--csv", "x.txt"], "x.txt does not end in .csv"),
    ],
)
def test_a_mistake_is_told_before_records_are_read(capsys, tmp_path, words, sentence):
    code, out, err = said(capsys, str(tmp_path / "none"), *words)
    assert (code, out) == (2, "")
    assert sentence in err
    assert err.count("\n") == 1


def test_a_place_without_a_run_is_one_sentence(capsys, tmp_path):
    assert said(capsys, str(tmp_path))[2].startswith(f"omniopd: {tmp_path} holds no run: give a run's folder")


def test_texts_of_models_are_shown_and_not_obeyed(capsys, tmp_path):
    run = create_run(tmp_path, load_recipe("embedded"), "one")
    texts = ("\x1b]0;title\x07\u202e=cmd()", "\x1b[2J")
    audit = audit_at(0, "\x1b[31m\u202ex", texts, text_pieces=())
    run.write_rollouts(1, [RolloutRecord(0, 1, "\x9b1m", (), ("\x1b", "a"), (-1.0,) * 2, (0.5,) * 2, audits=(audit,))])
    run.set_status(state="finished")
    for more in ((), ("--json",), ("--by", "prompt"), ("--by", "token")):
        code, out, _ = said(capsys, str(run.path), *more)
        assert code == 0
        assert not {"\x1b", "\x07", "\u202e", "\x9b"} & set(out)
    said(capsys, str(run.path), "--csv", str(tmp_path / "t.csv"))
    written = (tmp_path / "t.csv").read_text()
    assert not {"\x1b", "\u202e"} & set(written)


def test_the_documentation_has_every_column():
    page = (Path(__file__).parents[2] / "docs" / "command-line.md").read_text(encoding="utf-8")
    for name, (_, says) in FORK_COLUMNS.items():
        assert f"| `{name}` | {says} |" in page
