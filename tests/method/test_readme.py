"""The README's tables are exact: every function and every test file that they name is there."""

from __future__ import annotations

import importlib
import re
from operator import attrgetter
from pathlib import Path

import pytest

import omniopd.method
from omniopd.config import CONTROLS, SCHEDULERS, SIMILARITIES, TARGETS

README = (Path(omniopd.method.__file__).parent / "README.md").read_text(encoding="utf-8")
ROWS = [[cell.strip() for cell in line.split(" | ")] for line in README.splitlines() if line.startswith("| ")]
ROWS = [row for row in ROWS if row[1] not in ("function", "---")]


@pytest.mark.parametrize("row", ROWS, ids=[row[0].strip("| ")[:40] for row in ROWS])
def test_an_equation_has_its_function_and_its_test(row):
    functions, files = re.findall(r"`([\w.]+)`", row[1]), re.findall(r"`([\w/]+\.py)`", row[2])
    assert functions
    assert files
    for name in functions:
        module, *path = name.split(".")
        home = "omniopd" if module in ("types", "auditing", "models", "training") else "omniopd.method"
        while path and path[0].islower() and (Path(omniopd.__path__[0]) / module / f"{path[0]}.py").is_file():
            module = f"{module}.{path.pop(0)}"
        found = importlib.import_module(f"{home}.{module}")
        assert not path or attrgetter(".".join(path))(found)
    assert all((Path(__file__).parents[1] / file).is_file() for file in files)


@pytest.mark.parametrize("name", [*TARGETS, *CONTROLS, *SCHEDULERS, *SIMILARITIES])
def test_every_name_of_a_recipe_says_in_a_line_what_it_is(name):
    for registry in (TARGETS, CONTROLS, SCHEDULERS, SIMILARITIES):
        if name in registry:
            assert 0 < len(registry[name].label) <= 60
