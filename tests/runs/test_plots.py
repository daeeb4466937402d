"""The figures of one run show what its records say."""

from __future__ import annotations

from pathlib import Path

import pytest

from omniopd.config import load_recipe
from omniopd.embedded import recorded
from omniopd.errors import RunError
from omniopd.records import StepRecord
from omniopd.runs import create_run


def test_a_run_is_drawn_from_its_records() -> None:
    run = recorded("labels")
    steps = run.steps()
    total, chunk, _ = run.plot().data
    assert total.x == tuple(record.step for record in steps)
    assert total.y == tuple(record.loss for record in steps)
    assert (total.name, chunk.name) == ("loss", "chunk")
    assert [line.name for line in run.plot("accuracy").data] == ["student before", "student after", "teacher"]
    assert [figure.layout.title.text for figure in run.plots()] == ["Loss", "Entropy of the student", "Right answers"]


def test_a_scan_has_its_own_curves(tmp_path: Path) -> None:
    run = create_run(tmp_path, load_recipe("labels"), "scan")
    for step, (agrees, texts) in enumerate([(0.9, 5.5), (0.95, 3.0)], 1):
        scan = {"scan/acceptance": agrees, "scan/texts_per_answer": texts, "entropy/forks": 0.1}
        run.append(StepRecord(step, 0.5, 0.5, 0.0, scan))
    shown = {figure.layout.title.text: figure.data[0] for figure in run.plots()}
    assert list(shown) == ["Loss", "Entropy of the student", "Agreement with the teacher", "Texts of the teacher"]
    assert shown["Entropy of the student"].name == "where texts begin"
    agreement, texts = shown["Agreement with the teacher"], shown["Texts of the teacher"]
    assert (agreement.name, agreement.y) == ("teacher agrees", (0.9, 0.95))
    assert (texts.name, texts.y) == ("texts an answer", (5.5, 3.0))


def test_what_was_not_recorded_is_left_out_and_an_unknown_figure_is_one_sentence(tmp_path: Path) -> None:
    run = create_run(tmp_path, load_recipe("labels"), "new")
    assert run.plots() == []
    with pytest.raises(RunError, match="there is no figure 'lost' of a run: take one of loss, entropy, accuracy"):
        run.plot("lost")
