"""What holds for every notebook: one annotated cell of parameters, checked outputs, no machine named, small, inert."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import nbformat
import pytest

from omniopd.launch import launch, parameters_of

FOLDER = Path(__file__).parents[1] / "notebooks"
NOTEBOOKS = sorted(p for p in FOLDER.rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)
NAMES = {
    "00_tour", "01_entropy_and_forks", "02_asking_the_teacher", "03_similarity_and_posterior", "04_the_objective",
    "05_watch_and_compare", "06_ablations", "train", "run_report",
}  # fmt: skip
CHECKED, WIDGET = "nbval-check-output", "application/vnd.jupyter.widget-view+json"
OF_A_MACHINE = re.compile(r"/(tmp|home|root|Users|work)/|0x[0-9a-f]{6,}|ipykernel_\d")


@pytest.fixture(params=NOTEBOOKS, ids=[p.stem for p in NOTEBOOKS])
def notebook(request: pytest.FixtureRequest) -> Path:
    return request.param


def cells(notebook: Path) -> list[Any]:
    return [c for c in nbformat.read(notebook, 4).cells if c.cell_type == "code"]


def outputs(notebook: Path) -> list[Any]:
    return [output for cell in cells(notebook) for output in cell.outputs]


def test_they_are_all_here() -> None:
    assert {p.stem for p in NOTEBOOKS} >= NAMES


def test_the_tour_and_the_readme_name_every_one(notebook: Path) -> None:
    name = notebook.relative_to(FOLDER).as_posix()
    assert f"| `{name}` |" in (FOLDER / "README.md").read_text(encoding="utf-8")
    assert notebook.stem == "00_tour" or f"({name})" in (FOLDER / "00_tour.ipynb").read_text(encoding="utf-8")


def test_one_cell_holds_the_parameters_and_each_has_a_type_and_a_word_of_help(notebook: Path) -> None:
    assert sum("parameters" in c.metadata.get("tags", []) for c in cells(notebook)) == 1
    found = parameters_of(notebook)
    assert found
    assert all(p.type and p.constant for p in found)
    assert any(p.help for p in found)


def test_some_outputs_are_checked(notebook: Path) -> None:
    checked = [c for c in cells(notebook) if CHECKED in c.metadata.get("tags", [])]
    assert checked
    assert all(c.outputs for c in checked)


def test_twenty_outputs_are_checked_in_all() -> None:
    assert sum(CHECKED in c.metadata.get("tags", []) for n in NOTEBOOKS for c in cells(n)) >= 20


def test_it_was_run_to_its_end_without_an_error(notebook: Path) -> None:
    assert all(c.execution_count for c in cells(notebook))
    assert [o for o in outputs(notebook) if o.output_type == "error"] == []


def test_it_is_small_and_keeps_nothing_of_how_it_was_run(notebook: Path) -> None:
    assert notebook.stat().st_size < 1_000_000
    read = nbformat.read(notebook, 4)
    assert not {"widgets", "papermill"} & set(read.metadata)
    assert all(not {"execution", "papermill"} & set(c.metadata) for c in read.cells)


def test_its_outputs_name_no_machine(notebook: Path) -> None:
    for output in outputs(notebook):
        texts = [output.get("text", ""), *(v for v in output.get("data", {}).values() if isinstance(v, str))]
        assert [m.group() for text in texts for m in OF_A_MACHINE.finditer(text)] == []


def test_papermill_runs_one_with_other_parameters(tmp_path: Path) -> None:
    wanted = {"recording": "labels", "step": 5, "forks": 2, "chunk_tokens": 3}
    launched = launch(FOLDER / "01_entropy_and_forks.ipynb", wanted, tmp_path / "runs", device="none")
    assert launched.wait(300)
    assert (launched.state, launched.exit_code) == ("finished", 0)
    said = "".join(o.get("text", "") for o in outputs(launched.notebook))
    assert len(re.findall(r"–.* nats  '", said)) == 2


def test_every_view_can_be_read_without_a_kernel(notebook: Path) -> None:
    for output in outputs(notebook):
        data = output.get("data", {})
        if WIDGET in data:
            assert "mathjax_ignore" in data["text/html"]
            assert "<script" not in data["text/html"]
            assert data["text/plain"]


def test_papermill_reads_every_parameter_as_the_launcher_does(
    notebook: Path, caplog: pytest.LogCaptureFixture
) -> None:
    import papermill

    with caplog.at_level("WARNING"):
        found = papermill.inspect_notebook(str(notebook))
    assert list(found) == [parameter.name for parameter in parameters_of(notebook)]
    assert [record.message for record in caplog.records if "parse" in record.message] == []


TOUR = FOLDER / "00_tour.ipynb"


def test_the_tour_finds_the_runs_of_the_demo() -> None:
    from omniopd.cli.main import parser

    [folder] = [p.default for p in parameters_of(TOUR) if p.name == "runs_folder"]
    demo = parser().parse_args(["demo"])  # as `make demo` calls it, in the repository's root
    assert (TOUR.parent / folder).resolve() == (FOLDER.parent / demo.runs).resolve()
    used = [cell.source for cell in cells(TOUR) if "runs_folder" in cell.source]
    assert any("Workbench(" in source for source in used)
    assert any("RunBrowser(runs_folder)" in source for source in used)


def test_what_to_try_stands_above_the_workbench_and_its_cell_shows_no_plumbing() -> None:
    all_cells = nbformat.read(TOUR, 4).cells
    [bench] = [i for i, cell in enumerate(all_cells) if cell.cell_type == "code" and "Workbench(" in cell.source]
    [words] = [i for i, cell in enumerate(all_cells) if "What to try" in cell.source]
    assert words == bench - 1
    assert all_cells[words].cell_type == "markdown"
    source = all_cells[bench].source
    assert not re.search(r"quiet_libraries|wait\(", source)
    assert len(source.splitlines()) <= 5
