"""Right or wrong, above the answer."""

from __future__ import annotations

from dataclasses import replace

from omniopd_widgets import RolloutView
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
