"""One name of a fork: what Python writes is what the page writes, and all views of an answer number its forks alike."""

from __future__ import annotations

import json
import shutil
import subprocess
from dataclasses import replace

import pytest

from omniopd.teachers.local import LocalTeacher
from omniopd.types import Fork
from omniopd_widgets import AuditPanel, PosteriorPlot, RolloutView, UpdateLedger
from omniopd_widgets._parts import assets
from omniopd_widgets._parts.fork_names import fork_name, fork_short, numbered
from tests.builders import tiny_model, tiny_tokenizer
from tests.widgets.records import rollout_record
from tests.widgets.scanned import scanned
from tests.widgets.test_workbench import workbench


@pytest.mark.skipif(shutil.which("node") is None, reason="no node to run the page's functions with")
def test_the_page_names_a_fork_as_python_does() -> None:
    places = [((2, 4), 25, 31, False), ((0, 1), 7, 8, False), ((9, 12), 0, 96, True)]
    code = (assets.STATIC / "_common.js").read_text(encoding="utf-8")
    code += f"const places = {json.dumps(places)}.map(([nth, start, stop, run]) => [nth, {{ start, stop, run }}]);"
    code += "console.log(JSON.stringify(places.map(([nth, f]) => [forkName(...nth, f), forkShort(...nth, f)])));"
    done = subprocess.run(["node", "--input-type=module", "-"], input=code, capture_output=True, text=True, check=True)
    assert json.loads(done.stdout) == [[fork_name(*place), fork_short(*place[:3])] for place in places]
    assert fork_name(*places[0]) == "Fork 3 of 4 (tokens 25–30)"
    assert fork_short(*places[1][:3]) == "1 of 1 (7)"


def test_every_view_of_an_answer_counts_its_forks_without_a_text_and_its_planned_ones() -> None:
    record = rollout_record()  # a fork without an answer behind two with texts
    planned = [Fork(0, 2, 0.1), Fork(record.audits[0].start, record.audits[0].stop, 1.3)]
    view = RolloutView(record, forks=planned)
    expected = {fork["start"]: (k, 4) for k, fork in enumerate(view.forks)}
    assert numbered(record, planned) == expected
    panel, posterior, ledger = AuditPanel(record), PosteriorPlot(record), UpdateLedger(record)
    panel.show(record, planned)
    posterior.show(record, forks=planned)
    ledger.show(record, forks=planned)
    asked = {audit.start: expected[audit.start] for audit in record.audits}
    for shown in (panel.forks, posterior.forks, ledger.rows):
        assert {fork["start"]: tuple(fork["nth"]) for fork in shown} == asked
    for found in (panel, posterior, ledger, view):
        assert f"2 of 4 ({'tokens ' * (found is panel)}2–" in found.fallback_html()


def test_answers_of_several_steps_have_their_own_numbers() -> None:
    """Rows repeat from step to step."""
    record = rollout_record()
    later = replace(record, step=record.step + 4, audits=record.audits[1:])
    ledger = UpdateLedger([record, later])
    assert numbered(record) != numbered(later)
    expected = [numbered(one)[audit.start] for one in (record, later) for audit in one.audits]
    assert sorted(tuple(row["nth"]) for row in ledger.rows) == sorted(expected)


def test_a_fork_that_alone_was_asked_about_has_its_number_everywhere_in_the_workbench() -> None:
    bench = workbench(LocalTeacher(tiny_model(1, context=512), tiny_tokenizer()))
    try:
        planned = len(bench.rollout.forks)
        bench.ask(bench.rollout.forks[-1]["start"])
        bench.wait()
        assert planned == len(bench.rollout.forks) > 1
        for shown in (bench.panel.forks, bench.posterior.forks, bench.ledger.rows):
            assert [tuple(fork["nth"]) for fork in shown] == [(planned - 1, planned)]
    finally:
        bench.close()


def test_forks_of_several_answers_are_numbered_in_each() -> None:
    several = [replace(rollout_record(), row=row) for row in (0, 3)]
    assert [fork["nth"] for fork in AuditPanel(several).forks] == [[0, 3], [1, 3]] * 2
    assert "answer 3, 1 of 3 (2–" in UpdateLedger(several).fallback_html()


def test_a_run_is_named_by_all_its_tokens_where_its_last_one_is_shown() -> None:
    record = scanned()
    posterior = PosteriorPlot(record)
    assert [(fork["nth"], fork["first"], fork["start"]) for fork in posterior.forks] == [
        ([0, 3], 0, 7), ([1, 3], 8, 9), ([2, 3], 10, 12),
    ]  # fmt: skip
    assert "Run 2 of 3 (tokens 8–9): the teacher " in AuditPanel(record).fallback_html()
    assert numbered(record)[9] == (1, 3)
