"""Facts about what `omniopd report` writes: it runs nothing, shows names as they are, and is the same every time."""

from __future__ import annotations

import html
import math
import re
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pandas
import pytest

from omniopd.cli.main import main
from omniopd.config import load_recipe
from omniopd.embedded import RECORDED
from omniopd.errors import DataError
from omniopd.evaluation.compare import Interval, verdict
from omniopd.figures import Figure
from omniopd.reports.comparison import compare, comparison_page, markdown, summary
from omniopd.reports.comparison.tables import learns_from, short_verdict
from omniopd.runs.listing import result_runs
from omniopd.runs.store import Run
from tests.reports.comparison.small import finished

HOSTILE = "<script>alert(1)</script>|`x`\x00\n[a](javascript:b)'\"&\u202e"
TEXT = "{http://www.w3.org/2000/svg}text"


def two_arms(folder: Path, name: str = "ours") -> list[Run]:
    runs = [finished(folder, right, seed, at={1: 5 + seed}, name=name) for seed, right in enumerate((9, 10))]
    return runs + [
        finished(folder, right, seed, at={1: 4}, name="theirs", objective__control="self_teacher")
        for seed, right in enumerate((4, 3))
    ]


def test_the_page_loads_and_runs_nothing_and_shows_names_as_they_are(tmp_path: Path) -> None:
    page = comparison_page(
        compare(two_arms(tmp_path, "<script>alert(1)</script>")), tmp_path / "report.html"
    ).read_text()
    assert "<script" not in page
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in page
    assert "default-src 'none'" in page
    assert page.count('src="data:image/svg+xml;base64,') == 5
    assert "beside theirs at 64 samples" in page
    assert "(control: self_teacher): of the gain of" in page


def test_the_page_begins_with_its_verdict_and_follows_the_readers_screen(tmp_path: Path) -> None:
    comparison = compare(two_arms(tmp_path), "theirs")
    page = comparison_page(comparison, tmp_path / "r.html").read_text(encoding="utf-8")
    [said] = comparison.verdicts(last=True)
    assert "at 128 samples" in said
    assert page.index(html.escape(said)) < page.index("<h2>Pictures</h2>") < page.index("<h2>Accuracy</h2>")
    assert len(comparison.verdicts()) > 1
    assert ":root{color-scheme:light dark}" in page


def test_figures_are_well_formed_and_inert_whatever_an_arm_is_called(tmp_path: Path) -> None:
    for figure in compare(two_arms(tmp_path, HOSTILE)).plots():
        for element in ElementTree.fromstring(figure.svg()).iter():
            assert element.tag.rpartition("}")[2] not in ("script", "image", "a", "foreignObject")
            assert not [name for name in element.attrib if name.startswith("on")]
        assert "<script" not in figure.to_json()


def lines_of(figure: Figure) -> dict[str, Any]:
    return {trace.name: trace for trace in figure.data if trace.name}


def test_the_learning_curves_start_untrained_and_have_a_point_a_budget(tmp_path: Path) -> None:
    figure = compare(two_arms(tmp_path)).plot("learning")
    ours = lines_of(figure)["ours"]
    assert (ours.x, ours.y) == ((0, 64, 128), pytest.approx((20, 55, 95)))
    assert figure.layout.xaxis.tickvals == (0, 64, 128)
    band = next(trace for trace in figure.data if trace.fill and trace.legendgroup == ours.legendgroup)
    high, low = band.y[:3], band.y[:2:-1]
    assert low[0] < 20 < high[0]  # every seed had the same untrained student: the doubt is that of ten problems
    assert (low[2], high[2]) == pytest.approx((95 - 12.706 * 5, 100), abs=0.01)


def test_arms_with_fewer_seeds_are_thin(tmp_path: Path) -> None:
    runs = [*two_arms(tmp_path), finished(tmp_path, 5, name="once", audit__forks=3)]
    figure = compare(runs).plot()
    assert {name: line.line.width for name, line in lines_of(figure).items()} == {"ours": 2, "theirs": 2, "once": 1}
    assert sum(trace.fill == "toself" for trace in figure.data) == 2


def test_a_forest_is_sorted_and_its_marks_say_what_is_shown(tmp_path: Path) -> None:
    runs = [*two_arms(tmp_path), finished(tmp_path, 9, 0, name="alike", audit__forks=3)]
    figure = compare(runs).plot("differences")
    assert figure.layout.yaxis.ticktext == ("theirs", "alike")
    hollow = lines_of(figure)["no difference shown"]
    assert (hollow.marker.symbol, "theirs" in hollow.hovertext[0]) == ("circle-open", True)
    arrow = next(trace for trace in figure.data if not trace.name)  # beyond the axis
    assert (arrow.marker.symbol, arrow.y) == ("triangle-right", (0,))
    words = [element.text for element in ElementTree.fromstring(figure.svg()).iter(TEXT)]
    assert {"0", "theirs", "alike"} <= set(words)


def test_where_most_differences_lie_beyond_20_points_the_axis_holds_them_all(tmp_path: Path) -> None:
    runs = [*two_arms(tmp_path), finished(tmp_path, 2, 0, name="far", audit__forks=3)]
    figure = compare(runs).plot("differences")
    assert [trace for trace in figure.data if not trace.name] == []  # no arrow
    assert figure.layout.xaxis.range[1] > 70


def test_the_page_shows_one_forest_with_its_sentences_and_no_table_before_it(tmp_path: Path) -> None:
    comparison = compare(two_arms(tmp_path))
    page = comparison_page(comparison, tmp_path / "r.html").read_text(encoding="utf-8")
    forest = html.escape(repr(comparison.plot("differences")))
    assert page.count(forest) == 1
    assert page.index("<h2>What they say</h2>") < page.index(forest) < page.index("<table")
    alone = comparison_page(compare([two_arms(tmp_path / "alone")[0]]), tmp_path / "a.html").read_text(encoding="utf-8")
    assert "minus each arm at" not in alone.partition("<h2>Accuracy</h2>")[0]


def test_a_comparison_shows_itself_as_the_forest_and_in_words(tmp_path: Path) -> None:
    comparison = compare(two_arms(tmp_path))
    shown = comparison._repr_mimebundle_()
    forest = comparison.plot("differences")._repr_mimebundle_()
    assert {kind: shown[kind] for kind in forest if kind != "text/plain"} == {
        kind: data for kind, data in forest.items() if kind != "text/plain"
    }
    assert shown["text/plain"] == repr(comparison) == "\n".join(["Comparison(2 arms)", *comparison.verdicts(last=True)])
    assert list(compare([two_arms(tmp_path / "alone")[0]])._repr_mimebundle_()) == ["text/plain"]


def test_an_unknown_figure_is_one_sentence(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="there is no figure 'loss' of a comparison: take one of learning, differences"):
        compare(two_arms(tmp_path)).plot("loss")


def test_the_short_verdict_is_the_long_one_in_few_words() -> None:
    ends = ((0.01, 0.09), (-0.02, 0.02), (-0.04, 0.04), (-0.02, -0.005), (-0.2, -0.05))
    intervals = [Interval((low + high) / 2, low, high, 0.95, 8) for low, high in ends]
    said = [short_verdict(interval) for interval in intervals]
    assert said == [
        "better", "no difference shown; not worse", "no difference shown", "worse, by less than 3 points", "worse",
    ]  # fmt: skip
    for short, interval in zip(said, intervals, strict=True):
        assert verdict(interval).rpartition("]: ")[2].startswith(short)
    assert short_verdict(None) == "nothing can be said"


def test_the_markdown_is_a_table_and_sentences(tmp_path: Path) -> None:
    lines = markdown(compare(two_arms(tmp_path))).splitlines()
    assert lines[0] == (
        "| arm | learns from | seeds | 64 samples | 128 samples | at temperature 1 | ours minus this | verdict "
        "| teacher tokens |"
    )
    assert lines[1] == "| --- | --- | ---: | ---: | ---: | ---: | ---: | --- | ---: |"
    ours = "text: labels, forks 16, samples 8, length 1"
    assert lines[2] == f"| `ours` | {ours} | 2 | 55.0 [0.0, 100.0] | 95.0 [31.5, 100.0] | – |  |  | 214 |"
    theirs = f"{ours}; control: self_teacher"
    assert lines[3].startswith(f"| `theirs` | {theirs} | 2 | 40.0 [3.1, 76.9] | 35.0 [0.0, 98.5] | – | 60.0 [")
    assert lines[5] == (
        "Right answers in percent at each student's best temperature, with 95% intervals over seeds, or over problems "
        "where seeds show no spread."
    )
    assert lines[6] == "Untrained: 20.0 [0.0, 60.0]."
    assert lines[8].startswith(
        "- ours beside theirs at 64 samples: +15.0 points [-48.5, +78.5]: no difference shown (2 seeds"
    )
    assert any(
        line.startswith("- theirs (control: self_teacher): of the gain of ours at 128 samples remains: 20%")
        for line in lines
    )


def test_a_summary_goes_from_the_best_to_the_worst_and_sets_each_beside_whom_one_names(tmp_path: Path) -> None:
    runs = [
        finished(tmp_path, right + (name == "b" and seed == 1), seed, name=name, problems=200, audit__forks=forks)
        for name, right, forks in (("c", 60, 2), ("a", 180, 3), ("b", 120, 4))
        for seed in range(2)
    ]
    found = compare(runs, "c")
    alone = summary(found)
    assert list(alone.index) == ["a", "b", "c"]
    # a and c came out equal with both seeds: 120 of 200 problems apart, by Student's t 60 ± 6.8.
    assert [cell.partition(" [")[0] for cell in alone["c minus this"]] == ["-60.0", "-30.2", ""]
    assert alone.loc["a", "c minus this"].startswith("-60.0 [-66.8, -53.")
    assert alone.loc["b", "c minus this"] == "-30.2 [-33.4, -27.1]"  # two seeds, half a point apart: ± 12.706 · 0.25
    assert alone["verdict"].tolist() == ["worse", "worse", ""]
    beside = summary(found, ["b", "c"])
    assert [cell.partition(" [")[0] for cell in beside["minus b"]] == ["29.8", "", "-30.2"]
    assert [cell.partition(" [")[0] for cell in beside["minus c"]] == ["60.0", "30.2", ""]
    assert "verdict" not in beside
    assert markdown(found, ["b"]).count("- a beside b at 128 samples: +29.8 points") == 1
    with pytest.raises(DataError, match="no arm is called 'd'"):
        summary(found, ["d"])


def test_what_an_arm_learns_from_says_what_is_not_usual() -> None:
    said = learns_from(
        load_recipe(
            "labels",
            **{"audit.scheduler": "random", "objective.concentration": 5.0, "objective.anchor_weight": 0.0},
        )
    )
    assert said == "text: labels, forks 16, samples 8, length 1, random forks, concentration 5, no anchor"
    assert learns_from(load_recipe("labels")) == "text: labels, forks 16, samples 8, length 1"
    assert learns_from(load_recipe("embedded")) == "text: posterior_kl, scan, samples 1, length 96, no anchor"


def test_no_name_of_an_arm_is_markup_in_the_markdown(tmp_path: Path) -> None:
    runs = two_arms(tmp_path, HOSTILE)
    text = markdown(compare(runs, "theirs"), [runs[0].recipe.name])
    for part in text.split("What accuracy costs"):
        table = [line for line in part.splitlines() if line.startswith("| ")]
        assert len({line.count("|") for line in table}) == 1
        assert all(line.split("|")[1].count("`") in (0, 2) for line in table)
    sentences = [line for line in text.splitlines() if line.startswith("- ")]
    assert sentences
    assert not [line for line in sentences if re.search(r"(?<!\\)(<|`|\]\()", line)]
    assert "\x00" not in text


def test_the_command_writes_the_same_bytes_for_the_same_runs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    two_arms(tmp_path / "runs")
    written = []
    for again in ("a", "b"):
        out = tmp_path / again
        out.mkdir()
        words = ["report", str(tmp_path / "runs"), "--reference", "theirs", "--out", str(out / "r.html")]
        words += ["--markdown", str(out / "r.md"), "--figure", str(out / "r.svg"), "--export", str(out / "r.csv")]
        words += ["--costs", str(out / "costs.csv"), "--figures", str(out / "all")]
        assert main(words) == 0
        names = ("r.html", "r.md", "r.svg", "r.csv", "costs.csv")
        written.append([(out / name).read_bytes() for name in names])
        drawn = sorted(file.name for file in (out / "all").iterdir())
        assert drawn == [f"{name}.svg" for name in ("differences", "dollars", "learning", "temperatures", "tokens")]
        assert (out / "all" / "learning.svg").read_bytes() == (out / "r.svg").read_bytes()
    assert written[0] == written[1]
    assert ElementTree.fromstring(written[0][2]).tag.endswith("svg")
    assert "theirs beside ours at 128 samples: -60.0 points" in capsys.readouterr().out


def test_the_command_takes_some_arms_in_their_order(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    two_arms(tmp_path / "runs")
    finished(tmp_path / "runs", 5, name="third", audit__forks=3)
    out = ["--out", str(tmp_path / "r.html")]
    assert main(["report", str(tmp_path / "runs"), "--arms", "third", "ours", "--beside", "ours", *out]) == 0
    said = capsys.readouterr().out
    assert "third beside ours at 128 samples" in said
    assert "theirs" not in said
    assert main(["report", str(tmp_path / "runs"), "--arms", "fourth", *out]) == 2
    assert "no arm is called 'fourth'" in capsys.readouterr().err


def test_the_trials_of_a_study_are_nobodys_result(tmp_path: Path) -> None:
    [run, tried] = [finished(tmp_path / place, 9, name="ours") for place in ("study/ours", "study/trials/ours")]
    assert result_runs([str(tmp_path / "study")]) == [run.path]
    assert result_runs([str(tmp_path / "study" / "trials")]) == [tried.path]
    assert result_runs([str(run.path), str(tmp_path / "study")]) == [run.path]


def test_the_command_finds_runs_writes_the_page_and_the_table(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    words = ["report", str(RECORDED), "--reference", "labels", "--out", str(tmp_path / "r.html")]
    assert main([*words, "--export", str(tmp_path / "r.csv"), "--figure", str(tmp_path / "curves.svg")]) == 0
    said = capsys.readouterr().out
    assert "labels beside self_teacher at 2,560 samples: +" in said
    assert (tmp_path / "r.html").stat().st_size > 5000
    assert (tmp_path / "curves.svg").read_text().startswith("<svg")
    exported = pandas.read_csv(tmp_path / "r.csv", index_col="arm")
    assert list(exported.columns[:5]) == [
        "method", "seeds", *(f"best temperature, 2,560 samples, % {name}" for name in ("mean", "low", "high")),
    ]  # fmt: skip
    assert set(exported.select_dtypes("number")) == set(exported.columns) - {"method", "verdict"}
    of_labels = exported.loc["labels"]
    best = "best temperature, 2,560 samples, %"
    assert of_labels[f"{best} low"] < 88 == of_labels[f"{best} mean"]
    assert math.isnan(of_labels["labels minus this mean"])
    assert main([*words, "--arms", "labels", "--figure", str(tmp_path / "curves.html")]) == 0
    assert "Plotly.newPlot" in (tmp_path / "curves.html").read_text()
    assert main(["report", str(tmp_path / "empty")]) == 2
    assert "holds no run" in capsys.readouterr().err
