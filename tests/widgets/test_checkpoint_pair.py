"""Two students on one prompt, in a browser: what moved is a number, and what is missing one sentence."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from omniopd.errors import RunError
from omniopd.records import PairedAnswer, Reading, RolloutRecord
from omniopd.training.trl.checkpoints import checkpoint_path
from omniopd_widgets import CheckpointPair
from omniopd_widgets._parts.safe import to_json
from tests.small_runs import lab, settings
from tests.widgets import watched
from tests.widgets.harness import wire_bytes
from tests.widgets.hostile import hostile_strings

LEFT, RIGHT = ("So", " 67", "-", "25", "=", "31", ""), ("So", " 67", "-", "25", "=", "42", ".", "")


def paired(pieces, left, right, is_right: bool | None = None, **more) -> PairedAnswer:
    """An answer read by two students; `left` and `right` are (log-probability, entropy) of each token."""
    asked = ({"role": "user", "content": "67 minus 25?"},)
    record = RolloutRecord(0, 0, "p", asked, tuple(pieces), (), (), answer="42", right=is_right, **more)
    readings = [None if of is None else Reading(*zip(*of, strict=True)) for of in (left, right)]
    return PairedAnswer(record, *readings)


def two() -> tuple[PairedAnswer, PairedAnswer]:
    """The same five tokens, then 31 beside 42; at "-" a fork has vanished, at "." one appeared."""
    plain = (-0.1, 0.05)
    common_left = [plain, plain, (-1.6, 1.0), plain, plain]
    common_right = [plain, plain, (-0.1, 0.1), plain, plain]
    return (
        paired(LEFT, [*common_left, (-0.5, 0.9), plain], [*common_right, (-5.5, 0.8), plain], False),
        paired(RIGHT, [*common_left, (-4.0, 0.9), (-0.2, 0.1), plain], [*common_right, (-0.1, 0.8), (-0.9, 0.7), plain],
               True),
    )  # fmt: skip


@pytest.fixture
def show() -> Iterator[object]:
    """show(…) is a view that has answered; closed at the end."""
    made: list[CheckpointPair] = []

    def start(*students, **more):
        made.append(CheckpointPair(*(students or ("before", "after")), **({} if students else {"pair": two()}) | more))
        return made[-1].wait()

    yield start
    for view in made:
        view.close()


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A run that began with one random student, keeps another as its step 20, and has the third as its trained one."""
    made = watched.run_in(tmp_path_factory.mktemp("study"), "arm", state="finished", **settings())
    for place in (checkpoint_path(made.checkpoints, 20), made.student):
        shutil.copytree(lab() / "teacher", place)
    return made


# ── loading and answering ────────────────────────────────────────────────────────────────────────────────────────────


def test_a_run_alone_is_its_student_before_and_after(run, show) -> None:
    view = show(run)
    assert (view.problem, view.busy, view.stale) == ("", "", "")
    assert (view.left, view.right) == (f"{run.path.parent.name}/arm@0", f"{run.path.parent.name}/arm")
    assert repr(view) == f"CheckpointPair({view.left} beside {view.right})"
    assert len(view.problems) == 50
    assert view.asked == view.problems[0]
    assert [row["pieces"] for row in view.answers] == [list(one.rollout.pieces) for one in view.pair]
    assert view.table.moved.abs().max() > 0.5


def test_the_same_weights_under_two_names_move_no_token(run, show, mount) -> None:
    page = mount(show(f"{run.path}@20", run))
    assert page.text(".oopd-pair-parting") == "Both write the same answer."
    assert page.find(".oopd-moved:not(.oopd-pair-legend *)").count() == 0
    assert page.view.table.moved.abs().max() == 0
    page.press("n")
    page.find(".oopd-status:has-text('no later one in this answer')").wait_for(state="attached")


def test_another_problem_or_seed_marks_the_answers_as_old_until_both_have_answered(run, show, mount) -> None:
    page = mount(show(run))
    page.find("select[aria-label='problem']").select_option(index=2)
    page.settle()
    assert page.text(".oopd-pair-stale").startswith("These are answers to another problem")
    page.assign(problem_index=0, seed=5)
    assert page.text(".oopd-pair-stale").startswith("These are answers of another seed")
    before = page.view.pair
    page.click("button:text-is('Answer both')")
    page.view.wait()
    page.settle()
    assert page.view.stale == ""
    assert page.view.pair != before
    page.assign(own_text="2 plus 3?", seed=5)
    page.press("a")
    page.view.wait()
    page.settle()
    assert page.text(".oopd-pair-question") == "2 plus 3?"
    assert page.find(".oopd-verdict").first.is_hidden()  # nobody knows the answer


def test_a_checkpoint_that_is_gone_is_refused_before_anything_is_loaded(run) -> None:
    with pytest.raises(RunError, match="keeps no student that is step 30: it has those that are untrained, step 20"):
        CheckpointPair(f"{run.path}@30", run)


def test_what_was_deleted_and_another_tokenizer_are_sentences_on_the_page(run, show, mount, tmp_path: Path) -> None:
    shutil.copytree(lab() / "student", tmp_path / "model")
    gone = show(tmp_path / "model", "embedded:student")
    assert "different tokenizers" in gone.problem
    page = mount(gone)
    assert "read by one student only" in page.text(".oopd-pair-counts")
    assert page.find(".oopd-moved:not(.oopd-pair-legend *)").count() == 0
    other = CheckpointPair(run, str(tmp_path / "nowhere" / "model"))
    other.wait()
    assert other.problem.startswith("nowhere/model: the model folder")
    assert other.answers == []
    other.close()


def test_loading_says_what_runs_and_is_cancelled(run, show, mount, monkeypatch: pytest.MonkeyPatch) -> None:
    view = show(run)
    page, before = mount(view), view.pair
    begun = threading.Event()

    def slow(*_, **__):
        begun.set()
        while True:  # as a load of many gigabytes
            pass

    monkeypatch.setattr("omniopd.pipeline.pair.build_student", slow)
    view._models._loaded.clear()
    page.press("a")
    assert begun.wait(20)
    page.settle()
    assert page.text(".oopd-pair-busy").endswith("/arm@0 is being loaded …")
    assert page.find("button:text-is('Answer both')").is_disabled()
    page.click("button:text-is('✕ cancel')")
    view.wait()
    page.settle()
    assert view.problem.startswith("cancelled")
    assert (view.busy, view.pair) == ("", before)


# ── what is shown ────────────────────────────────────────────────────────────────────────────────────────────────────


def test_both_answers_stand_side_by_side_with_verdicts_and_where_they_part(show, mount) -> None:
    page = mount(show())
    assert page.shown(".oopd-strip")[0].startswith("So 67-25=31")
    assert page.find(".oopd-verdict").all_inner_texts() == ["✗ wrong, expected 42", "✓ right"]
    assert page.text(".oopd-pair-parting") == "The same 5 tokens, then “31” beside “42”."
    left, right = (page.find(f"section[aria-label='the {side} answer']").bounding_box() for side in ("left", "right"))
    assert left["y"] == right["y"]
    assert left["x"] + left["width"] <= right["x"]


def test_a_moved_token_is_a_number_and_told_by_form_and_colour(show, mount) -> None:
    page = mount(show())
    marked = page.find(".oopd-strip >> nth=0").locator(".oopd-moved")
    less = [(t.inner_text(), "oopd-less" in t.get_attribute("class")) for t in marked.all()]
    assert less == [("-", False), ("31", True)]
    styles = marked.evaluate_all("all => all.map((e) => getComputedStyle(e).textDecorationStyle)")
    assert styles == ["solid", "dotted"]
    assert page.view.selected == 5  # moved most
    cells = page.find(".oopd-pair-token tbody td").all_inner_texts()
    assert cells == ["61 %", "−0.50", "0.90", "0.4 %", "−5.50", "0.80", "× 0.0067", "−5.00", "−0.10"]
    rows = [row.split("\t")[1:4] for row in page.find(".oopd-grid-table tbody tr").all_inner_texts()]
    assert rows == [["“31”", "5", "left"], ["“42”", "5", "right"], ["“-”", "2", "both"], ["“.”", "6", "right"]]


def test_forks_that_vanished_and_appeared_are_marked_and_counted(show, mount) -> None:
    page = mount(show())
    assert page.find(".oopd-pair-counts").all_inner_texts() == [
        "7 tokens, 2 moved · forks: 1 vanished, 0 appeared, 1 kept",
        "8 tokens, 3 moved · forks: 1 vanished, 1 appeared, 1 kept",
    ]
    signs = page.find(".oopd-strip >> nth=1").locator(".oopd-pair-fork").evaluate_all(
        "all => all.map((e) => [e.textContent, getComputedStyle(e, '::before').content])"
    )
    assert signs == [["-", '"−◆"'], ["42", '"◆"'], [".", '"+◆"']]


def test_the_keyboard_goes_from_moved_token_to_moved_token_and_across(show, mount) -> None:
    page = mount(show())
    page.press("p")
    assert (page.view.side, page.view.selected) == ("left", 2)
    page.find(".oopd-status:has-text('token 2 of the left answer, “-”: probability 20 %')").wait_for(state="attached")
    page.press("n", "s")
    assert (page.view.side, page.view.selected) == ("right", 5)
    page.press("]")
    assert page.view.selected == 6
    page.press("m")
    assert page.view.metric == "entropy"
    marked = page.find(".oopd-strip >> nth=1").locator(".oopd-moved").all_inner_texts()
    assert marked == ["-", "."]
    page.press("ArrowLeft")
    assert page.view.selected == 5
    assert page.leaked_keys() == []


def test_a_row_of_the_table_and_a_click_choose_the_token(show, mount) -> None:
    page = mount(show())
    page.click(".oopd-grid-table tbody tr:has-text('“.”') button")
    assert (page.view.side, page.view.selected) == ("right", 6)
    page.find(".oopd-strip >> nth=0").locator(".oopd-t").nth(2).click()
    page.settle()
    assert (page.view.side, page.view.selected) == ("left", 2)
    page.assign(least=2.0)
    assert page.find(".oopd-strip .oopd-moved").all_inner_texts() == ["31", "42"]


@pytest.mark.parametrize("width", [1280, 830, 420])
def test_nothing_runs_out_of_its_width(show, mount, width: int) -> None:
    page = mount(show())
    page.page.set_viewport_size({"width": width, "height": 800})
    page.frame()
    assert page.page.evaluate("document.documentElement.scrollWidth") <= width
    page.page.set_viewport_size({"width": 1000, "height": 800})


def test_texts_of_models_are_shown_and_never_obeyed(show, mount, inert) -> None:
    texts = [to_json(text) for text in hostile_strings()]
    numbers = [(-0.1 * (i % 30), 0.05 * (i % 30)) for i in range(len(texts))]
    moved = [(-3.0, 0.0)] * len(texts)
    pair = paired(texts, numbers, moved, False), paired(texts[::-1], moved, numbers, True)
    view = show(texts[0], texts[1], pair=pair)
    page = mount(view)
    page.frame()
    assert page.contents(".oopd-strip >> nth=0")[0].count(texts[0]) >= 1
    for at in range(0, len(texts), 60):
        page.assign(selected=at)
    inert(view)
    page.assert_quiet()


def test_without_a_kernel_both_answers_and_what_moved_are_there(show, inert) -> None:
    view = show()
    assert len(view.fallback_html().encode()) < 30_000
    text = inert(view).inner_text("body")
    assert "✗ wrong, expected 42" in text
    assert "So 67-25=31" in text
    assert "−5.00" in text


def test_long_answers_are_a_small_message(show) -> None:
    pieces = [f" word{i}" for i in range(2000)]
    numbers = [(-0.1, 0.2)] * 2000
    assert wire_bytes(show("a", "b", pair=(paired(pieces, numbers, numbers),) * 2)) < 150_000


def test_a_saved_page_goes_on_without_its_controls(show, pages, tmp_path: Path) -> None:
    file = show().save_html(tmp_path / "pair")
    page = pages.browser.new_page()
    page.goto(file.as_uri())
    page.locator(".oopd-pair").focus()
    page.keyboard.press("p")
    page.locator(".oopd-pair-token caption:has-text('Token 2 of the left')").wait_for()
    assert page.locator("button:text-is('Answer both')").is_hidden()
    page.close()
