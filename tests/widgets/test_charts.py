"""Charts of runs: means of steps, intervals, a zoom that charts share, lines that hide, files."""

from __future__ import annotations

import struct
from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import numpy as np
import pytest

from omniopd.evaluation.compare import accuracy_interval
from omniopd_widgets import RunBrowser
from omniopd_widgets._parts import curves
from omniopd_widgets._parts.curves import Curve, Panel
from tests.widgets import watched

LOSS = ".oopd-chart:has(b:text-is('Loss'))"
IN_TRAINING = ".oopd-chart:has(b:text-is('Right answers in training'))"


def numbers_of(packed: tuple[list, bytes], title: str, place: int = 0) -> dict[str, np.ndarray]:
    """The columns of one curve, as the page takes them out of the buffer."""
    panels, data = packed
    floats = np.frombuffer(data, "<f4")
    [panel] = [panel for panel in panels if panel["title"] == title]
    series = panel["series"][place]

    def columns(part: dict, names: str) -> dict[str, np.ndarray]:
        at = part["start"] + part["count"] * np.arange(len(names.split()) + 1)
        return {name: floats[low:high] for name, low, high in zip(names.split(), at[:-1], at[1:], strict=True)}

    found = columns(series, "xs ys low high" if series.get("band") else "xs ys")
    return found | ({"raw": columns(series["raw"], "xs ys")["ys"]} if "raw" in series else {})


@pytest.mark.parametrize("width", [1, 2, 3, 10, 25])
def test_a_smoothed_curve_is_the_mean_around_each_point(width: int) -> None:
    ys = np.random.default_rng(0).normal(size=40)
    ys[7] = np.nan  # a step without the number
    xs, means = curves.smoothed(list(range(40)), ys.tolist(), width)
    there = np.flatnonzero(np.isfinite(ys))
    assert xs == there.tolist()
    known = ys[there]
    around = [known[max(0, i - (width - 1) // 2) : i + width // 2 + 1] for i in range(len(known))]
    np.testing.assert_allclose(means, [part.mean() for part in around], rtol=1e-12)


def test_what_was_spent_and_what_was_measured_is_not_smoothed() -> None:
    steps = [watched.step(number) for number in range(1, 41)]
    packed = curves.packed(curves.panels(steps, watched.evals()), 5)
    loss = numbers_of(packed, "Loss")
    np.testing.assert_allclose(loss["raw"], [step.loss for step in steps], rtol=1e-6)
    assert np.std(np.diff(loss["ys"])) < np.std(np.diff(loss["raw"]))
    assert "raw" not in numbers_of(packed, "Teacher's tokens so far")
    assert "raw" not in numbers_of(packed, "Right answers in training")


def test_bands_are_the_intervals_of_the_tables() -> None:
    evals = watched.evals()
    hot = [record for record in evals if record.model == "student" and record.temperature == 1]
    found = numbers_of(curves.packed([curves.over_training(hot)]), "Right answers in training")
    intervals = [accuracy_interval(record) for record in sorted(hot, key=lambda record: record.step)]
    np.testing.assert_allclose(found["low"], [100 * interval.low for interval in intervals], rtol=1e-6)
    np.testing.assert_allclose(found["high"], [100 * interval.high for interval in intervals], rtol=1e-6)
    one = replace(hot[0], problems=hot[0].problems[:1])
    assert curves.measured("one", [0], [one]).band == ([0.0], [100.0])


def test_a_long_curve_with_a_band_keeps_its_columns_together() -> None:
    xs = [float(x) for x in range(9_000)]
    ys = np.random.default_rng(1).normal(size=9_000).tolist()
    band = ([y - 1 for y in ys], [y + 2 for y in ys])
    found = numbers_of(curves.packed([Panel("a", "b", (Curve("c", xs, ys, None, band),))]), "a")
    assert len(found["xs"]) <= curves.POINTS
    np.testing.assert_allclose(found["ys"] - found["low"], 1, atol=1e-5)
    np.testing.assert_allclose(found["high"] - found["ys"], 2, atol=1e-5)


def test_accuracies_come_first_and_labels_have_no_weights_to_show() -> None:
    weighted = watched.step(1)
    titles = [panel.title for panel in curves.panels([weighted], watched.evals())]
    assert titles[:3] == ["Right answers in training", "Right answers by temperature", "Loss"]
    assert "Targets" in titles
    labels = replace(weighted, metrics={key: 0.0 if "targets/" in key else v for key, v in weighted.metrics.items()})
    assert "Targets" not in [panel.title for panel in curves.panels([labels], [])]


# ── on the page ──────────────────────────────────────────────────────────────────────────────────────────────────────


def steps_shown(page, chart: str) -> list[float]:
    """The labels below a chart."""
    ticks = page.find(f"{chart} .oopd-plot text[text-anchor=middle]").all_text_contents()
    return [float(tick) for tick in ticks]


def drag(page, chart: str, begin: float, end: float) -> None:
    """Over shares of a chart's width."""
    box = page.find(f"{chart} .oopd-plot").bounding_box()
    middle = box["y"] + box["height"] / 2
    page.page.mouse.move(box["x"] + begin * box["width"], middle)
    page.page.mouse.down()
    page.page.mouse.move(box["x"] + end * box["width"], middle, steps=4)
    page.page.mouse.up()
    page.settle()


def test_a_drag_zooms_every_chart_along_steps(over, follow, mount) -> None:
    page = mount(follow(over))
    before = steps_shown(page, LOSS)
    step = page.view.step
    drag(page, LOSS, 0.5, 0.75)
    shown = steps_shown(page, LOSS)
    assert before[0] < shown[0] < shown[-1] < before[-1]
    assert steps_shown(page, ".oopd-chart:has(b:text-is('Length of an answer'))") == shown
    assert "shown: " in page.text(".oopd-chart-bar")
    assert page.view.step == step, "a drag picks no step"
    page.click("button:text-is('all steps')")
    assert steps_shown(page, LOSS) == before
    drag(page, LOSS, 0.5, 0.505)  # hardly a step: no less than one is shown
    drag(page, LOSS, 0.5, 0.52)
    words = page.text(".oopd-chart-bar").split("shown: step ")[1].split(" to ")
    assert int(words[1]) - int(words[0]) >= 1


def test_keys_zoom_around_the_cursor_and_back(over, follow, mount) -> None:
    page = mount(follow(over))
    before = steps_shown(page, LOSS)
    page.press("Home", "ArrowRight", "+", "+")
    assert steps_shown(page, LOSS)[-1] < before[-1] / 2
    page.press("-", "-")
    assert steps_shown(page, LOSS) == before
    page.press("+", "0")
    assert steps_shown(page, LOSS) == before
    assert page.find("button:text-is('all steps')").is_disabled()
    assert page.leaked_keys() == []


def test_a_line_is_hidden_by_its_legend_and_by_the_menu_and_stays_so(over, follow, mount) -> None:
    page = mount(follow(over))
    lines = f"{LOSS} .oopd-plot .oopd-curve"
    assert page.find(lines).count() == 3
    page.click(f"{LOSS} .oopd-chart-legend li:has-text('anchor')")
    assert page.find(lines).count() == 2
    assert page.find(f"{LOSS} .oopd-off").inner_text().startswith("anchor")
    page.press("l")  # drawn anew
    assert page.find(lines).count() == 2
    page.click(f"{LOSS} summary")
    box = page.find(f"{LOSS} .oopd-chart-menu label:has-text('anchor') input")
    assert not box.is_checked()
    box.focus()
    page.press("Space")
    assert page.find(lines).count() == 3
    assert page.page.evaluate("() => document.activeElement.dataset.what") == "anchor"


def test_logarithmic_axes_stand_every_zoom_and_every_hidden_line(tmp_path, follow, mount) -> None:
    """Nothing to draw, a raw value of 0 beneath a mean, no point in a zoom: no logarithm of them is asked for."""
    run = watched.run_in(tmp_path, steps=40)
    for number in range(1, 41):
        run.append(replace(watched.step(number), loss=0.0 if number == 20 else 0.5))
    for record in watched.evals():
        if record.step <= 10:
            run.append(record)
    watched.finished(run)
    page = mount(follow(run))
    page.press("l")
    page.find(".oopd-chart-bar select").select_option("5")
    page.settle()
    page.frame()
    assert "logarithmic" not in page.text(f"{LOSS} figcaption")
    drag(page, LOSS, 0.7, 0.9)
    lengths = ".oopd-chart:has(b:text-is('Length of an answer'))"
    assert steps_shown(page, lengths) == steps_shown(page, LOSS)
    page.click(f"{lengths} .oopd-chart-legend li")
    assert page.find(f"{lengths} .oopd-curve:not(.oopd-raw)").count() == 1  # the legend's own
    page.press("0", "l")
    page.assert_quiet()


def test_a_chart_stays_that_of_its_title_when_others_come_before_it(tmp_path, follow, mount) -> None:
    run = watched.with_steps(watched.run_in(tmp_path, steps=5), 1, 3)
    view = follow(run)
    page = mount(view)
    page.click(f"{LOSS} .oopd-chart-legend li:has-text('anchor')")
    page.click(f"{LOSS} summary")
    page.click(f"{LOSS} button:text-is('large')")
    for record in watched.evals():
        run.append(record)
    watched.until(view, "panels", lambda: view.panels[0]["title"] != "Loss")
    page.settle()
    page.frame()
    assert page.find(".oopd-chart-large b").all_inner_texts() == ["Loss"]
    assert page.find(".oopd-off").all_inner_texts()[0].startswith("anchor")
    assert page.find(".oopd-off").count() == 1


def test_a_hidden_line_leaves_the_cursor_where_it_is(over, follow, mount) -> None:
    page = mount(follow(over))
    page.press("Home", "ArrowRight")
    before = page.text(f"{LOSS} .oopd-value")
    page.find(f"{LOSS} .oopd-chart-legend li:has-text('anchor')").evaluate("e => e.click()")
    assert page.text(f"{LOSS} .oopd-value") == before == f"{over.steps()[0].loss:.3g}"


def test_smoothed_lines_stand_before_what_they_are_means_of(over, follow, mount) -> None:
    page = mount(follow(over))
    page.find(".oopd-chart-bar select").select_option("5")
    page.settle()
    page.frame()
    assert page.view.smoothing == 5
    assert page.find(f"{LOSS} .oopd-raw").count() == 3
    assert "mean of 5 steps" in page.text(f"{LOSS} figcaption")
    assert page.find(f"{IN_TRAINING} .oopd-raw").count() == 0


def test_intervals_are_bands_and_numbers(over, follow, mount) -> None:
    page = mount(follow(over))
    assert page.find(f"{IN_TRAINING} .oopd-band").count() == page.find(f"{IN_TRAINING} .oopd-curve").count() // 2 > 0
    assert "with 95 % intervals" in page.text(f"{IN_TRAINING} figcaption")
    assert page.text(f"{IN_TRAINING} .oopd-value").endswith("]")


def test_the_legend_of_temperatures_names_the_best(over, follow, mount) -> None:
    page = mount(follow(over))
    by_temperature = curves.by_temperature(page.view.evals)
    for curve in by_temperature.curves:
        row = f".oopd-chart:has(b:text-is('Right answers by temperature')) li:has-text('{curve.name}') .oopd-value"
        best = max(range(len(curve.ys)), key=lambda place: curve.ys[place])
        assert page.text(row).startswith(f"{curve.ys[best]:.3g} [")
        assert page.text(row).endswith(f"] at {curve.xs[best]:g}")


def test_a_chart_takes_the_whole_width_and_gives_it_back(over, follow, mount) -> None:
    page = mount(follow(over))
    page.click(f"{LOSS} summary")
    widths = []
    for _ in range(3):
        widths.append(page.find(f"{LOSS} .oopd-plot").bounding_box()["width"])
        page.click(f"{LOSS} button:text-is('large')")
    whole = page.find(".oopd-charts").first.bounding_box()["width"]
    assert widths[0] == widths[2] < whole / 2 < widths[1] == whole


def test_a_saved_chart_is_as_wide_as_its_title(over, follow, mount, tmp_path: Path) -> None:
    page = mount(follow(over))
    chart = ".oopd-chart:has(b:text-is('Right answers by temperature'))"
    page.click(f"{chart} summary")
    with page.page.expect_download() as waited:
        page.find(f"{chart} button:text-is('SVG')").click()
    waited.value.save_as(tmp_path / "saved.svg")
    page.page.set_content((tmp_path / "saved.svg").read_text())
    reach, width = page.page.evaluate(
        "() => [Math.max(...[...document.querySelectorAll('text')].map((t) => t.getBoundingClientRect().right)),"
        " document.querySelector('svg').getBoundingClientRect().right]"
    )
    assert reach <= width


def test_a_saved_page_saves_its_charts_and_offers_no_means(over, follow, pages, tmp_path: Path) -> None:
    file = follow(over).save_html(tmp_path / "monitor")
    page = pages.browser.new_page()
    page.goto(file.as_uri())
    page.locator(f"{LOSS} summary").click()
    with page.expect_download() as waited:
        page.locator(f"{LOSS} button:text-is('PNG')").click()
    waited.value.save_as(tmp_path / "saved.png")
    assert (tmp_path / "saved.png").read_bytes()[:8] == b"\x89PNG\r\n\x1a\n"
    assert page.locator(".oopd-chart-bar select").count() == 0
    page.close()


@pytest.mark.parametrize("kind", ["SVG", "PNG"])
def test_a_chart_is_saved_as_it_is_seen(kind: str, over, follow, mount, tmp_path: Path) -> None:
    page = mount(follow(over))
    page.click(f"{LOSS} .oopd-chart-legend li:has-text('anchor')")
    page.click(f"{LOSS} summary")
    with page.page.expect_download() as waited:
        page.find(f"{LOSS} button:text-is('{kind}')").click()
    assert waited.value.suggested_filename == f"loss.{kind.lower()}"
    waited.value.save_as(tmp_path / "saved")
    saved = (tmp_path / "saved").read_bytes()
    if kind == "PNG":
        assert saved[:8] == b"\x89PNG\r\n\x1a\n"
        width, height = struct.unpack(">II", saved[16:24])
        assert (width, height) == (3 * 380, 3 * (20 + 170 + 2 * 16))
        return
    drawing = ElementTree.fromstring(saved)
    name = "{http://www.w3.org/2000/svg}"
    words = [text.text for text in drawing.iter(f"{name}text")]
    assert words[0] == "Loss nats"
    assert [word.split()[0] for word in words[-2:]] == ["total", "chunks"]
    strokes = {path.get("style").split("stroke: ")[1].split(";")[0] for path in drawing.iter(f"{name}path")}
    assert len([stroke for stroke in strokes if stroke.startswith("rgb")]) == 2
    assert b"class=" not in saved
    assert b"var(" not in saved


def test_compared_runs_are_zoomed_and_smoothed_too(tmp_path: Path, mount) -> None:
    names = []
    for name in ("a", "b"):
        run = watched.with_steps(watched.run_in(tmp_path / name, steps=10), 1, 10)
        names.append(run.path.name)
    browser = RunBrowser(tmp_path, interval_s=60)
    try:
        page = mount(browser)
        page.assign(chosen=[row["id"] for row in browser.rows])
        page.frame()
        before = steps_shown(page, LOSS)
        drag(page, LOSS, 0.3, 0.6)
        assert steps_shown(page, LOSS) != before
        page.find(".oopd-chart-bar select").select_option("3")
        page.settle()
        page.frame()
        assert page.find(f"{LOSS} .oopd-raw").count() == 2
        page.assign(chosen=[])
        later = [watched.with_steps(watched.run_in(tmp_path / name, steps=10), 1, 2) for name in ("c", "d")]
        assert all(run.path.exists() for run in later)
        browser._poll()
        page.assign(chosen=[row["id"] for row in browser.rows if row["id"][0] in "cd"])
        page.frame()
        assert steps_shown(page, LOSS) == [1, 2], "a zoom of other runs is none of these"
    finally:
        browser.close()
