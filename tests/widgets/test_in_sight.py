"""What is selected stays in sight inside the box that scrolls it, and the page stays where it is."""

from __future__ import annotations

import pytest

from omniopd_widgets import PosteriorPlot, RolloutView, UpdateLedger
from tests.widgets import watched
from tests.widgets.audited import rollout
from tests.widgets.records import long_record

# Whether the first element that fits the second selector lies whole inside the one that fits the first, below its
# table's head and above its foot.
IN_SIGHT = """([box, chosen]) => {
  const [a, b] = [box, chosen].map((s) => document.querySelector(s));
  const height = (s) => a.querySelector(s)?.offsetHeight ?? 0;
  const [outer, inner] = [a, b].map((e) => e.getBoundingClientRect());
  return inner.top >= outer.top + height("thead") - 1 && inner.bottom <= outer.bottom - height("tfoot") + 1;
}"""
STRIP = [".oopd-strip", ".oopd-on"]
POSTERIOR = [".oopd-posterior-list", ".oopd-posterior-list .oopd-chosen"]
LEDGER = [".oopd-ledger-table", ".oopd-ledger-table .oopd-chosen"]


def wide(mounted, pixels: int) -> None:
    mounted.root.evaluate("(root, wide) => { root.style.width = `${wide}px`; }", pixels)
    mounted.frame()
    mounted.frame()


@pytest.fixture
def answer(mount):
    """3,000 tokens in a row that fills later: the token 1,700 selected at 1,400 px."""
    mounted = mount(RolloutView(long_record(3_000), selected=1_700))
    mounted.root.evaluate("root => { root.style.maxWidth = 'none'; }")
    mounted.page.wait_for_selector(".oopd-strip[data-complete]")
    wide(mounted, 1_400)
    assert mounted.page.evaluate(IN_SIGHT, STRIP)
    return mounted


def test_a_narrower_place_keeps_the_selected_token_in_sight(answer) -> None:
    for pixels in (700, 1_100, 420):
        wide(answer, pixels)
        assert answer.page.evaluate(IN_SIGHT, STRIP), pixels


def test_a_narrower_place_leaves_what_was_scrolled_by_hand(answer) -> None:
    strip = answer.find(".oopd-strip")
    strip.hover()
    answer.page.mouse.wheel(0, -600)
    answer.frame()
    answer.frame()
    before = strip.evaluate("e => e.scrollTop")
    assert not answer.page.evaluate(IN_SIGHT, STRIP)
    wide(answer, 900)
    assert not answer.page.evaluate(IN_SIGHT, STRIP)
    answer.press("n")
    assert answer.page.evaluate(IN_SIGHT, STRIP)
    wide(answer, 600)
    assert answer.page.evaluate(IN_SIGHT, STRIP)
    assert before > 0


def test_the_selected_fork_is_in_sight_in_the_list_under_the_answer(mount) -> None:
    record = rollout(2, forks=60)
    mounted = mount(RolloutView(record, selected=0))
    for start in (record.audits[-1].start, record.audits[0].start, record.audits[40].start):
        mounted.assign(selected=start)
        mounted.frame()
        assert mounted.page.evaluate(IN_SIGHT, [".oopd-forks", ".oopd-forks [aria-current]"]), start


@pytest.mark.parametrize(("view", "boxes"), [(PosteriorPlot, POSTERIOR), (UpdateLedger, LEDGER)])
def test_a_fork_that_is_selected_elsewhere_is_in_sight_in_the_table(mount, view, boxes) -> None:
    record = rollout(2, forks=30)
    mounted = mount(view(record))
    starts = [audit.start for audit in record.audits]
    mounted.page.evaluate("() => window.scrollTo(0, 0)")
    for start in (starts[26], starts[0], starts[-1], starts[13]):
        mounted.assign(selected=start)
        mounted.frame()
        assert mounted.page.evaluate(IN_SIGHT, boxes), start
        assert mounted.page.evaluate("() => window.scrollY") == 0
    for key in ("p", "n", "n"):
        mounted.press(key)
        mounted.frame()
        assert mounted.page.evaluate(IN_SIGHT, boxes), key


def test_a_table_that_was_hidden_shows_what_was_selected_meanwhile(mount) -> None:
    record = rollout(2, forks=30)
    mounted = mount(PosteriorPlot(record))
    mounted.root.evaluate("root => { root.style.display = 'none'; }")
    mounted.assign(selected=record.audits[-1].start)
    mounted.frame()
    mounted.root.evaluate("root => { root.style.display = ''; }")
    mounted.frame()
    assert mounted.page.evaluate(IN_SIGHT, POSTERIOR)


def test_settings_that_order_the_ledger_anew_leave_what_was_scrolled_by_hand(mount) -> None:
    mounted = mount(UpdateLedger(rollout(2, forks=40)))
    table = mounted.find(".oopd-ledger-table")
    table.hover()
    mounted.page.mouse.wheel(0, 10_000)
    mounted.frame()
    mounted.frame()
    assert not mounted.page.evaluate(IN_SIGHT, LEDGER)
    before = table.evaluate("e => e.scrollTop")
    mounted.assign(anchor_weight=0.2)
    mounted.frame()
    assert abs(table.evaluate("e => e.scrollTop") - before) < 60
    assert before > 300


def test_a_fork_beyond_the_first_hundred_has_its_row(mount) -> None:
    view = UpdateLedger([rollout(2, forks=10, samples=3, row=row) for row in range(12)])
    mounted = mount(view)
    last = view.rows[-1]
    view.selected_row = last["row"]
    mounted.assign(selected=last["start"])
    mounted.frame()
    assert mounted.page.evaluate(IN_SIGHT, LEDGER)


def test_of_many_runs_twelve_are_in_sight(mount, browse, tmp_path) -> None:
    for number in range(30):
        watched.with_steps(watched.run_in(tmp_path, f"run {number}", state="stopped"), 1, 1, recorded=0)
    mounted = mount(browse(tmp_path))
    mounted.page.wait_for_function("document.querySelectorAll('.oopd-browser tbody tr').length === 30")
    seen = """() => {
      const box = document.querySelector(".oopd-browser .oopd-scroll").getBoundingClientRect();
      const rows = [...document.querySelectorAll(".oopd-browser .oopd-scroll tbody tr")];
      return rows.filter((row) => row.getBoundingClientRect().bottom <= box.bottom + 1).length;
    }"""
    assert mounted.page.evaluate(seen) >= 12
