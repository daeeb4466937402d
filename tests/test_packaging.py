"""The wheel carries both packages and everything they read, and works from any folder."""

from __future__ import annotations

import os
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]

# What the checkout holds and the wheel must hold too; notebooks travel inside the package.
DATA = {
    "omniopd/recipes": "omniopd/recipes",
    "omniopd/studies": "omniopd/studies",
    "omniopd/embedded": "omniopd/embedded",
    "widgets/omniopd_widgets": "omniopd_widgets",
    "notebooks": "omniopd/_notebooks",
}

MADE = ("*.safetensors", "manifest.json", "figures.json")  # weights, runs, measurements

USE_FROM_ELSEWHERE = """
import pathlib, sys
import omniopd, omniopd_widgets
from omniopd import load_recipe

home = pathlib.Path(omniopd.__file__).parent
assert home.is_relative_to(sys.argv[1]), home
assert omniopd_widgets.__version__ == omniopd.__version__
for recipe in sorted((home / "recipes").glob("*.toml")):
    load_recipe(recipe.stem)
    print("recipe", recipe.stem)
for notebook in sorted((home / "_notebooks").glob("*.ipynb")):
    print("notebook", notebook.stem)
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("wheel")
    pip("wheel", "--no-build-isolation", "--no-deps", "--wheel-dir", folder, ROOT)
    [path] = folder.glob("omniopd-*.whl")
    return path


@pytest.fixture(scope="module")
def site(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("site")
    pip("install", "--no-deps", "--no-compile", "--target", folder, wheel)
    return folder


@pytest.mark.parametrize("source", DATA)
def test_the_wheel_holds_every_tracked_file_of(source: str, wheel: Path) -> None:
    names = set(zipfile.ZipFile(wheel).namelist())
    tracked = [ROOT / name for name in output(["git", "ls-files", source], cwd=ROOT).splitlines()]
    expected = {f"{DATA[source]}/{path.relative_to(ROOT / source).as_posix()}" for path in tracked if path.exists()}
    assert expected
    assert expected <= names


def test_the_wheel_holds_no_tests_and_no_runs(wheel: Path) -> None:
    tops = {name.split("/")[0] for name in zipfile.ZipFile(wheel).namelist()}
    assert {top for top in tops if not top.endswith(".dist-info")} == {"omniopd", "omniopd_widgets"}


def test_an_installed_wheel_works_from_another_folder(site: Path, tmp_path: Path) -> None:
    said = output([sys.executable, "-c", USE_FROM_ELSEWHERE, site], cwd=tmp_path, env={"PYTHONPATH": str(site)})
    for recipe in (ROOT / "omniopd/recipes").glob("*.toml"):
        assert f"recipe {recipe.stem}\n" in said
    for notebook in (ROOT / "notebooks").glob("*.ipynb"):
        assert f"notebook {notebook.stem}\n" in said


def test_an_installed_wheel_gives_its_notebooks_and_recorded_runs_away(site: Path, tmp_path: Path) -> None:
    here = {"PYTHONPATH": str(site)}
    output([sys.executable, "-m", "omniopd.cli.main", "notebooks", "mine"], cwd=tmp_path, env=here)
    wanted = {p.relative_to(ROOT / "notebooks") for p in (ROOT / "notebooks").rglob("*.ipynb") if "runs" not in p.parts}
    copied = {p.relative_to(tmp_path / "mine") for p in (tmp_path / "mine").rglob("*.ipynb")}
    assert {p for p in wanted if ".ipynb_checkpoints" not in p.parts} <= copied
    recorded = "from omniopd.embedded import recorded; print(len(recorded().rollouts(1)))"
    assert int(output([sys.executable, "-c", recorded], cwd=tmp_path, env=here)) > 0


def test_the_command_stands_in_the_wheel(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        [entry_points] = [name for name in archive.namelist() if name.endswith("entry_points.txt")]
        assert "omniopd = omniopd.cli.main:main" in archive.read(entry_points).decode()


def pip(command: str, *arguments: str | Path) -> None:
    output([sys.executable, "-m", "pip", "--quiet", "--disable-pip-version-check", command, "--no-index", *arguments])


def output(command: list[str | Path], cwd: Path | None = None, env: dict[str, str] | None = None) -> str:
    done = subprocess.run(command, cwd=cwd, env=os.environ | (env or {}), capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_shipped_models_and_runs_stand_under_a_readme_that_names_each_and_its_licence() -> None:
    shipped = {path.parent for pattern in MADE for path in (ROOT / "omniopd").rglob(pattern)}
    assert {"student", "teacher", "embedding", "labels"} <= {folder.name for folder in shipped}
    for folder in shipped:
        readme = next(f / "README.md" for f in (folder, *folder.parents) if (f / "README.md").is_file())
        assert readme.is_relative_to(ROOT / "omniopd"), folder
        licence = readme.read_text(encoding="utf-8").partition("## Licence")[2].partition("\n## ")[0]
        assert "Apache-2.0" in licence
        first = folder.relative_to(readme.parent).parts
        assert not first or f"`{first[0]}/`" in licence, folder
