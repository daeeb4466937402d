"""The launcher in a browser: a form that is checked, runs that are started, watched, ended and found again."""

import os
import threading

import pytest

from omniopd.launch import attach
from omniopd_widgets._parts.safe import to_json
from omniopd_widgets.launcher import Launcher
from tests.launch.small_notebooks import end_all, notebook, until
from tests.widgets import hostile

CELL = '''\
recipe: str = "embedded"  # a shipped recipe
steps: int | None = 3  # optimizer steps
method: Literal["a", "b"] = "a"
loud: bool = False
teacher: str = "embedded:teacher"
settings: list[str] = []
folder: str = "runs"
run: str | None = None
'''
ENDLESS = "open('begun', 'w').close()\nimport time\nwhile True:\n    time.sleep(0.01)"


@pytest.fixture
def form(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    made = []

    def make(*cells, parameters=CELL, **traits):
        made.append(Launcher(notebook(tmp_path / "n.ipynb", *cells, parameters=parameters), interval_s=0.1, **traits))
        return made[-1]

    yield make
    for launcher in made:
        launcher.close()
    end_all(tmp_path / "runs")


def field(mounted, name):
    return mounted.find(f'[name="{name}"]')


def problem(mounted, name):
    return field(mounted, name).evaluate("i => i.closest('tr').querySelector('.oopd-launch-problem').innerText")


def test_the_form_is_the_notebooks_parameters_with_their_help(form, mount):
    mounted = mount(form())
    names = mounted.find("tbody th").all_inner_texts()
    assert names == ["recipe", "steps", "method", "loud", "teacher", "settings"]
    assert field(mounted, "steps").input_value() == "3"
    assert "optimizer steps · a whole number or nothing (none)" in mounted.find("tbody tr").nth(1).inner_text()
    assert field(mounted, "method").locator("option").all_inner_texts() == ["a", "b"]
    assert not field(mounted, "loud").is_checked()
    assert mounted.text(".oopd-price") == "free: the teacher runs on this machine"
    assert "Time: unknown: no run of embedded has finished here yet" in mounted.root.inner_text()


def test_the_form_of_the_shipped_notebook_takes_a_number_of_processes(tmp_path):
    launcher = Launcher("train", tmp_path)
    try:
        assert [f["type"] for f in launcher.fields if f["name"] == "processes"] == ["a whole number"]
        launcher.texts = {"recipe": "labels", "processes": "2"}
        assert (launcher.values["processes"], launcher.problems) == (2, {})
        launcher.texts = {"recipe": "labels", "processes": "3"}
        assert "3 processes cannot share" in launcher.problems["processes"]
    finally:
        launcher.close()


def test_a_field_that_cannot_work_says_so_and_holds_the_start(form, mount):
    mounted = mount(form())
    field(mounted, "steps").fill("many")
    mounted.press("Tab")
    assert problem(mounted, "steps") == "steps is 'many', and must be a whole number or nothing (none)"
    assert mounted.find(".oopd-launch-start").is_disabled()
    field(mounted, "steps").fill("20")
    field(mounted, "recipe").fill("embeded")
    mounted.press("Tab")
    assert problem(mounted, "steps") == ""
    assert "did you mean 'embedded'?" in problem(mounted, "recipe")
    field(mounted, "recipe").fill("embedded")
    field(mounted, "settings").fill("audit.sampels=4")
    mounted.press("Tab")
    assert "the nearest is" in problem(mounted, "settings")
    field(mounted, "settings").fill("")
    mounted.press("Tab")
    assert mounted.view.values == {"steps": 20}
    assert mounted.find(".oopd-launch-start").is_enabled()
    assert mounted.leaked_keys() == []


def test_a_field_is_checked_while_it_is_typed_in_and_keeps_what_is_typed(form, mount):
    mounted = mount(form())
    steps = field(mounted, "steps")
    steps.press("End")
    steps.press_sequentially("x")
    mounted.page.wait_for_function("harness.models[Object.keys(harness.models)[0]].model.get('texts').steps === '3x'")
    steps.press_sequentially("y")
    mounted.settle()
    assert steps.input_value() == "3xy"
    said = problem(mounted, "steps")  # of the last that was looked at
    assert said in [f"steps is {value!r}, and must be a whole number or nothing (none)" for value in ("3x", "3xy")]
    assert steps.evaluate("i => i === document.activeElement")


def test_settings_of_the_workbench_fill_the_form(form):
    view = form()
    view.use({"training.steps": 40, "audit.samples": 4, "objective.concentration": 2.5})
    view.use({"audit.samples": 6})
    assert view.values == {"steps": 40, "settings": ["objective.concentration=2.5", "audit.samples=6"]}
    assert view.problems == {}


def test_a_teacher_behind_an_api_has_a_price_and_is_started_only_when_asked_twice(form, mount, monkeypatch):
    monkeypatch.setenv("OPENAI_API_KEY", "sk-" + "x1" * 20)
    monkeypatch.delenv("ANTHROPIC_API_KEY", raising=False)
    mounted = mount(form("1"))
    field(mounted, "teacher").fill("anthropic/claude-haiku-4-5")
    mounted.press("Tab")
    assert "$" in mounted.text(".oopd-price")
    assert mounted.find(".oopd-price").get_attribute("data-kind") == "paid"
    mounted.find("summary").first.click()
    said = mounted.text(".oopd-launch-keys")
    assert "OPENAI_API_KEY is set" in said
    assert "ANTHROPIC_API_KEY is not set, and this teacher needs it" in said
    assert "x1x1" not in str(mounted.view.get_state())
    mounted.click(".oopd-launch-start")
    assert mounted.text(".oopd-launch-start") == "Start it all the same"
    assert mounted.view.pressed["count"] == 0
    mounted.assign(device="cpu")  # another order than the one that was asked about
    assert mounted.text(".oopd-launch-start") == "Start"


def test_a_start_that_is_pressed_twice_while_the_kernel_is_busy_is_one_run(form, mount):
    view = form("1", parameters="x: int = 1\n")
    free = threading.Event()
    view._worker._thread.submit(free.wait)
    mounted = mount(view)
    start = mounted.find(".oopd-launch-start")
    start.evaluate("b => { b.click(); b.click(); }")
    assert start.is_disabled()
    mounted.settle()
    assert view.pressed["count"] == 1
    view.pressed = {"action": "start", "run": "", "count": 2}  # another page of the same view
    free.set()
    view.wait()
    assert len(view.runs) == 1
    mounted.settle()
    assert start.is_enabled()


def test_a_start_at_another_price_than_was_shown_starts_nothing(form, monkeypatch):
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk-" + "x1" * 20)
    view = form("1")
    shown = view.estimated["price"]
    # The page's press and its teacher arrive together: it had shown the price of the one before.
    view.texts = {"teacher": "anthropic/claude-haiku-4-5"}
    view.pressed = {"action": "start", "run": "", "price": shown, "count": 1}
    view.wait()
    assert view.runs == []
    assert f"Start was pressed at {shown!r}, and the price is now" in view.problem
    assert "$" in view.problem


def test_a_run_is_started_shown_ended_and_found_by_another_launcher(form, mount, tmp_path):
    view = form("print(x)", ENDLESS, parameters="x: int = 1\n")
    mounted = mount(view)
    field(mounted, "x").fill("4")
    mounted.press("Tab")
    mounted.click(".oopd-launch-start")
    view.wait()
    until(lambda: (tmp_path / "begun").exists())
    until(lambda: [row["message"] for row in view.runs] == ["cell 4 of 4"])
    mounted.settle()
    assert mounted.text(".oopd-state") == "running"
    assert attach(view.selected).launch.parameters == {"x": 4}

    other = form(parameters="x: int = 1\n")
    assert other.selected == view.selected
    beside = mount(other, on=mounted)
    labels = beside.find(".oopd-launch-controls dt").all_inner_texts()
    assert labels == ["Stop after this step", "Interrupt now", "Kill"]
    assert "the step in progress ends, a checkpoint is written" in beside.root.inner_text()
    beside.click(".oopd-launch-controls dt:nth-of-type(2) button")
    other.wait()
    until(lambda: view.runs[0]["resumable"])
    assert view.runs[0]["state"] == "interrupted"
    mounted.settle()
    assert mounted.find(".oopd-launch-controls dt").all_inner_texts() == ["Resume"]

    (tmp_path / "begun").unlink()
    mounted.click(".oopd-launch-controls button")
    view.wait()
    until(lambda: (tmp_path / "begun").exists())
    view.kill()
    view.wait()
    until(lambda: view.runs[0]["message"] == "killed in cell 4")
    assert view.problem == ""


def test_a_run_that_cannot_start_says_why(form):
    view = form(parameters="api_key: str = ''\n")
    view.texts = {"api_key": "x"}
    view.start()
    view.wait()
    assert view.problem.startswith("parameter 'api_key' looks like a secret")
    view.stop(str(view.folder))
    view.wait()
    assert "no notebook was launched into runs" in view.problem


def run_row(text, number):
    """A row of the list in which every text is somebody else's."""
    return {
        "path": f"/{number}", "name": text, "state": "running", "message": text, "step": 1, "steps": 3, "loss": None,
        "accuracy": 0.5, "left": "", "going_on": True, "resumable": False, "wanted": "stop", "notebook": text,
    }  # fmt: skip


def test_hostile_names_and_messages_are_shown_and_not_obeyed(form, mount):
    texts = [text[:2000] for text in hostile.hostile_strings()]
    view = form(parameters=f"a: str = {texts[0]!r}  # {texts[1]}\n")
    view._poller.stop()
    mounted = mount(view)
    mounted.assign(runs=to_json([run_row(text, i) for i, text in enumerate(texts)]), selected="/1", problem=texts[1])
    mounted.assign(busy=texts[2], problems=to_json({"a": texts[1], "": texts[3]}))
    assert mounted.find(".oopd-launch-runs > li").count() == len(texts)
    for number in (0, 1, 5, 20):
        assert texts[number] in mounted.find(".oopd-launch-name").nth(number).text_content()


@pytest.mark.parametrize("theme", ["light", "dark", "contrast"])
def test_it_can_be_read_in_every_theme(form, mount, theme):
    view = form(parameters=CELL)
    view._poller.stop()
    mounted = mount(view, theme=theme)
    over = run_row("2026-11-23_before", 2) | {"state": "failed", "going_on": False, "wanted": ""}
    mounted.assign(runs=[run_row("2026-11-23_small", 1), over], selected="/1")
    mounted.assign(texts={"steps": "many"})
    assert "asked to stop after its step" in mounted.root.inner_text()
    assert mounted.find(".oopd-state").all_inner_texts() == ["running", "failed"]
    if os.environ.get("SCREENSHOTS"):
        mounted.screenshot(f"{os.environ['SCREENSHOTS']}/launcher-{theme}.png")


def test_it_can_be_read_where_no_kernel_runs(form, inert):
    view = form(parameters='steps: int = 3  # <b>of</b> the run\n')
    page = inert(view)
    assert "<b>of</b> the run" in page.inner_text("body")
    assert repr(view) == "Launcher(n, 1 parameters)"
