"""Right or wrong, above the answer."""

from __future__ import annotations

from dataclasses import replace

from omniopd.embedded import recorded
from omniopd_widgets import RolloutView
from tests.widgets import watched
from tests.widgets.records import rollout_record


def test_it_says_whether_the_answer_is_right_and_what_was_expected(mount) -> None:
    wrong = replace(rollout_record(), answer="<b>29", right=False)
    mounted = mount(RolloutView(wrong))
    assert mounted.text(".oopd-verdict") == "✗ wrong, expected <b>29"
    assert "✗ wrong, expected &lt;b&gt;29" in mounted.view.fallback_html()
    mounted.view.show(replace(wrong, right=True))
    mounted.settle()
    assert mounted.text(".oopd-verdict") == "✓ right"
    mounted.view.show(replace(wrong, right=None))
    mounted.settle()
    assert mounted.find(".oopd-verdict").is_hidden()


def test_the_monitor_says_it_of_each_answer_and_along_one_prompt(mount, follow, tmp_path) -> None:
    run = watched.with_steps(watched.run_in(tmp_path), 1, 20, recorded=0)
    for step, right in ((1, False), (10, None), (20, True)):
        followed = watched.rollout(step, 4, "test-0", probe=True, right=right)
        others = [watched.rollout(step, row, right=row == 1) for row in range(2)]
        run.write_rollouts(step, [*others, followed])
    view = follow(run)
    view.step = 20
    mounted = mount(view)
    heads = mounted.find(".oopd-grid-table thead th").all_inner_texts()
    column = heads.index("right") + 1
    rows = mounted.find(".oopd-grid-table tbody tr")
    said = [rows.nth(i).locator(f":nth-child({column})").first.inner_text() for i in range(rows.count())]
    assert sorted(said) == ["✓", "✓", "✗"]
    assert mounted.find(".oopd-strips button").all_inner_texts() == ["step 1 ✗", "step 10", "step 20 ✓"]


def test_the_recorded_runs_carry_grades() -> None:
    for name in ("embedded", "paper", "labels"):
        run = recorded(name)
        grades = {record.right for step in run.rollout_steps() for record in run.rollouts(step)}
        assert grades == {True, False}, name
