"""Pages say what is so: links and anchors lead somewhere, Python runs as it stands, lines fit, commands exist."""

from __future__ import annotations

import ast
import re
import subprocess
import tomllib
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

import pytest
import yaml

import omniopd
import omniopd_widgets

ROOT = Path(__file__).parents[1]
WIDTH = 120
FENCE = re.compile(r"^```(\S*)\n(.*?)^```", re.M | re.S)
LINK = re.compile(r"\]\(([^)\s]+)\)")
NOT_RUN = re.compile(r"<!-- not run: .+ -->\n\Z")


def pages() -> list[str]:
    """Every Markdown file of the project, tracked or about to be."""
    command = ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.md"]
    names = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True).stdout.split()
    return [name for name in names if (ROOT / name).is_file()]


def text_of(page: str) -> str:
    return (ROOT / page).read_text(encoding="utf-8")


def anchors(page: str) -> set[str]:
    """The headings of a page as GitHub and the site call them."""
    headings = re.findall(r"^#+ (.+)$", FENCE.sub("", text_of(page)), re.M)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", pages())
def test_every_link_leads_to_a_file_or_a_heading_that_is_there(page: str) -> None:
    prose = re.sub(r"`[^`\n]*`", "", FENCE.sub("", text_of(page)))
    for link in LINK.findall(prose):
        if link.startswith(("https://", "http://")):
            continue
        path, _, anchor = unquote(link).partition("#")
        target = ((ROOT / page).parent / path).resolve() if path else ROOT / page
        assert target.exists(), f"{page} links to {link}"
        assert target.is_relative_to(ROOT), f"{page} links out of the repository: {link}"
        if anchor:
            assert anchor in anchors(target.relative_to(ROOT).as_posix()), f"{page} links to {link}"


@pytest.mark.parametrize("page", pages())
def test_lines_fit_the_width(page: str) -> None:
    """Rows of tables and addresses cannot be wrapped, and a ```text block is what a program printed."""
    prose = re.sub(r"^```text\n.*?^```", "", text_of(page), flags=re.M | re.S)
    long = [line for line in prose.splitlines() if len(line) > WIDTH and not line.startswith("|")]
    assert [line for line in long if not re.search(r"https?://\S{60}", line)] == []


def test_the_readme_is_one_short_page() -> None:
    assert len(text_of("README.md").splitlines()) <= 150


def test_the_readme_shows_python_in_its_first_half() -> None:
    readme = text_of("README.md")
    assert readme[: readme.index("```python")].count("\n") < 60


@dataclass(frozen=True)
class Block:
    page: str
    code: str
    runs: bool


def blocks() -> list[Block]:
    """Every Python block; it runs unless a comment above it says why not."""
    found: list[Block] = []
    for page in pages():
        text = text_of(page)
        found += [
            Block(page, block[2], not NOT_RUN.search(text[: block.start()]))
            for block in FENCE.finditer(text)
            if block[1] == "python"
        ]
    return found


def test_every_python_block_compiles_and_imports_names_that_are_there() -> None:
    assert blocks()
    for block in blocks():
        for node in ast.walk(ast.parse(block.code, block.page)):
            if isinstance(node, ast.ImportFrom) and node.module == "omniopd":
                assert {name.name for name in node.names} <= set(omniopd.__all__), block.page


@pytest.mark.parametrize("page", sorted({block.page for block in blocks() if block.runs}))
@pytest.mark.filterwarnings("ignore")  # as in a reader's own interpreter
def test_the_python_of_a_page_runs_as_written(
    page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """In an empty folder, one block after the other, as a reader would type them."""
    monkeypatch.chdir(tmp_path)
    names: dict[str, object] = {"__name__": "__main__"}
    for block in blocks():
        if block.page == page and block.runs:
            exec(compile(block.code, page, "exec"), names)
            assert capsys.readouterr().out.strip() or "print(" not in block.code


def test_the_pages_name_commands_that_are_there() -> None:
    commands = {path.stem for path in (ROOT / "omniopd/cli").glob("*.py")} - {"__init__", "main", "study"}
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(encoding="utf-8"), re.M))
    said = "\n".join(text_of(page) for page in pages() if page not in ("LOG.md", "CHANGELOG.md", "DECISIONS.md"))
    assert set(re.findall(r"(?:^|`)omniopd ([a-z]+)", said, re.M)) <= commands
    assert set(re.findall(r"(?:^|`)make ([a-z]+)", said, re.M)) <= targets


def test_the_readme_tree_names_every_folder_and_module_of_the_package_in_the_order_of_the_floors() -> None:
    tree = re.findall(r"^(?:│   )?[├└]── (\w+)", text_of("README.md"), re.M)
    package = ROOT / "omniopd"
    folders = {path.parent.name for path in package.glob("*/__init__.py")}
    modules = {path.stem for path in package.glob("*.py")} - {"__init__"}
    assert folders | modules <= set(tree)
    floors = floors_of((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    order = [floor for name in tree for floor, names in enumerate(floors) if name in names]
    assert order == sorted(order)


def test_the_floors_of_contributing_are_those_that_are_checked() -> None:
    [diagram] = re.findall(r"^```\n(omniopd_widgets .*?)^```", text_of("CONTRIBUTING.md"), re.M | re.S)
    said = [{name.strip() for name in floor.split("│")} for floor in diagram.split("▶")]
    assert said == floors_of((ROOT / "pyproject.toml").read_text(encoding="utf-8"))


def floors_of(pyproject: str) -> list[set[str]]:
    """What may not import each other upwards, the highest first, as import-linter has it."""
    contracts = tomllib.loads(pyproject)["tool"]["importlinter"]["contracts"]
    [layers] = [contract["layers"] for contract in contracts if contract["name"] == "Imports point down the floors"]
    return [set(re.findall(r"\((?:omniopd\.)?(\w+)\)", layer)) for layer in layers]


def test_every_view_has_its_row_and_every_picture_is_of_a_view() -> None:
    views = set(omniopd_widgets.__all__) - {"__version__"}
    rows = set(re.findall(r"^\| `(\w+)\(", text_of("widgets/README.md"), re.M))
    assert views == rows
    assert set(re.findall(r"^## (\w+)$", text_of("docs/views.md"), re.M)) <= views


class _Site(yaml.SafeLoader):
    """mkdocs.yml, whatever tags its plugins know."""


_Site.add_multi_constructor("", lambda loader, suffix, node: None)


def test_the_site_lists_pages_that_are_there_and_leaves_none_of_docs_out() -> None:
    site = yaml.load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"), _Site)
    listed = set(_leaves(site["nav"]))
    assert "index.md" in listed
    for page in listed - {"index.md"}:
        assert (ROOT / "docs" / page).is_file() or (ROOT / page).is_file(), page
    assert {path.name for path in (ROOT / "docs").glob("*.md")} <= listed
    notebooks = {path.relative_to(ROOT).as_posix() for path in (ROOT / "notebooks").glob("*.ipynb")}
    assert notebooks <= listed
    assert site["theme"]["font"] is False


def _leaves(nav: object) -> list[str]:
    if isinstance(nav, str):
        return [nav]
    children = nav.values() if isinstance(nav, dict) else nav
    assert not isinstance(nav, (int, float))
    return [leaf for child in children for leaf in _leaves(child)]  # type: ignore[union-attr]
