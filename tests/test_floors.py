"""Importing the package is cheap, and a forbidden import is noticed."""

from __future__ import annotations

import ast
import os
import shutil
import subprocess
import sys
import tomllib
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
HEAVY = ["torch", "transformers", "trl", "litellm", "pandas", "scipy", "IPython", "ipywidgets", "anywidget", "socket"]


@pytest.mark.parametrize("package", ["omniopd", "omniopd_widgets"])
def test_import_pulls_in_nothing_heavy(package: str) -> None:
    # What the interpreter itself brings in at start (site hooks of other installed packages) does not count.
    script = f"import sys; start = set(sys.modules); import {package}; print(*(set(sys.modules) - start))"
    loaded = {name.split(".")[0] for name in run(sys.executable, "-c", script).stdout.split()}
    assert package in loaded
    assert loaded.isdisjoint(HEAVY)


@pytest.mark.parametrize(
    ("module", "planted"),
    [
        ("omniopd/method/entropy.py", "import transformers"),
        ("omniopd/method/entropy.py", "import omniopd.auditing"),
        ("omniopd/types.py", "import omniopd.method.entropy"),
        ("omniopd/auditing/chunks.py", "import trl"),
        ("omniopd/models/loading.py", "import omniopd.auditing"),
        ("widgets/omniopd_widgets/view.py", "import torch"),
        ("widgets/omniopd_widgets/view.py", "import omniopd.types"),
    ],
)
def test_a_forbidden_import_is_named(module: str, planted: str, tmp_path: Path) -> None:
    copy_of_checkout(tmp_path)
    path = tmp_path / module
    path.write_text((path.read_text() if path.exists() else "") + f"\n{planted}\n")
    done = lint_imports(tmp_path)
    assert done.returncode == 1
    assert module.removeprefix("widgets/").removesuffix(".py").replace("/", ".") in done.stdout


def test_every_module_stands_on_a_floor() -> None:
    settings = tomllib.loads((ROOT / "pyproject.toml").read_text())
    floors = " ".join(settings["tool"]["importlinter"]["contracts"][0]["layers"])
    files = [path for path in (ROOT / "omniopd").glob("*.py") if path.stem != "__init__"]
    packages = [path.parent for path in (ROOT / "omniopd").glob("*/__init__.py")]
    assert [path.name for path in files + packages if f"(omniopd.{path.stem})" not in floors] == []


def test_no_modules_import_each_other_in_a_circle() -> None:
    """Imports inside functions and behind TYPE_CHECKING count."""
    files: dict[str, Path] = {}
    for folder in (ROOT / "omniopd", ROOT / "widgets/omniopd_widgets"):
        for path in folder.rglob("*.py"):
            parts = path.relative_to(folder.parent).with_suffix("").parts
            files[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    imports: dict[str, set[str]] = {}
    for name, path in files.items():
        found = set[str]()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                whole = {f"{node.module}.{alias.name}" for alias in node.names}
                found |= (whole & set(files)) or {node.module}
        imports[name] = (found & set(files)) - {name}
    TopologicalSorter(imports).prepare()  # CycleError names the circle


def test_the_checkout_keeps_its_floors() -> None:
    assert lint_imports(ROOT).returncode == 0


def copy_of_checkout(folder: Path) -> None:
    only_code = shutil.ignore_patterns("__pycache__", "*.safetensors", "*.json*")
    shutil.copytree(ROOT / "omniopd", folder / "omniopd", ignore=only_code)
    shutil.copytree(ROOT / "widgets", folder / "widgets", ignore=only_code)
    shutil.copy(ROOT / "pyproject.toml", folder)


def lint_imports(folder: Path) -> subprocess.CompletedProcess[str]:
    command = "from importlinter.cli import lint_imports; raise SystemExit(lint_imports(no_cache=True))"
    return run(sys.executable, "-c", command, cwd=folder, path=f"{folder}{os.pathsep}{folder / 'widgets'}")


def run(*command: str, cwd: Path = ROOT, path: str | None = None) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PYTHONPATH": path or f"{ROOT}{os.pathsep}{ROOT / 'widgets'}"}
    return subprocess.run(command, cwd=cwd, env=environment, capture_output=True, text=True)
