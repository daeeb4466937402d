"""`.ci/install.py`, which every `make` target calls first: it does nothing twice, and refuses with a sentence."""

from __future__ import annotations

import errno
import importlib.util
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[1]


@pytest.fixture
def install() -> ModuleType:
    spec = importlib.util.spec_from_file_location("install", ROOT / ".ci/install.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_an_unfit_python_is_refused_with_the_way_out(install: ModuleType, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(install, "OLDEST", (3, 97))
    monkeypatch.setattr(install, "NEWEST", (3, 98))
    sentence = r"needs Python 3\.97 to 3\.98, and .* is 3\.\d+.*: install one of them, or name"
    with pytest.raises(SystemExit, match=sentence):
        install.fitting_python()


def test_a_full_disk_is_refused_with_its_folder(install: ModuleType, tmp_path: Path) -> None:
    with pytest.raises(SystemExit, match=rf"{tmp_path} has [\d.]+ GB free .*: make room"):
        install.check_disk(str(tmp_path), needed_gb=10**9)


def test_a_disk_that_fills_on_the_way_is_one_sentence_too(
    install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(tmp_path / "installed.json"))

    monkeypatch.setattr(install, "make_venv", full)
    monkeypatch.setattr(sys, "argv", ["install.py", "--venv", str(tmp_path / ".venv")])
    with pytest.raises(SystemExit, match=rf"{tmp_path} is full .*: make room"):
        install.main()


def test_what_is_installed_covers_what_needs_less(install: ModuleType) -> None:
    def state(digest: str = "a", extras: tuple[str, ...] = (), torch_index: str = "") -> dict[str, object]:
        return {"digest": digest, "extras": list(extras), "torch_index": torch_index}

    assert install.is_covered(state(), state(extras=("test",), torch_index="cpu"))
    assert not install.is_covered(state(extras=("test",)), state())
    assert not install.is_covered(state(torch_index="cpu"), state())
    assert not install.is_covered(state(digest="b"), state())
    assert not install.is_covered(state(), {})
    assert not install.is_covered(state(), None)


def test_a_folder_without_a_working_environment_counts_as_none(install: ModuleType, tmp_path: Path) -> None:
    assert install.what_is_installed(str(tmp_path)) is None


def test_every_pin_has_a_hash_and_no_host(install: ModuleType) -> None:
    text = (ROOT / "constraints.txt").read_text()
    assert "://" not in text
    every = [block for name in install.PARTS for block in re.split(r"\n(?=\S)", "\n".join(install.part(name)).strip())]
    assert len(every) > 200
    for block in every:
        first, *hashes = block.split("\n")
        assert re.match(r"[a-z0-9._-]+==\S+( ; .+)? \\$", first), first
        assert hashes
        assert all(re.match(r"    --hash=sha256:[0-9a-f]{64}( \\)?$", line) for line in hashes), block
    names = [block.partition("==")[0] for block in every]
    assert {"hatchling", "editables", "numpy", "pytest", "torch"} <= set(names)


def test_what_the_package_its_tests_and_its_site_need_is_pinned(install: ModuleType) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())
    named = [*project["build-system"]["requires"], *project["project"]["dependencies"]]
    pinned = {line.partition("==")[0] for name in ("omniopd", "torch") for line in install.part(name, hashes=False)}
    assert {re.split(r"[^\w-]", wanted)[0].lower() for wanted in named} <= pinned
    for extra, name in install.PINNED.items():
        beside = {line.partition("==")[0] for line in install.part(name, hashes=False)}
        wanted = project["project"]["optional-dependencies"][extra]
        assert {re.split(r"[^\w-]", one)[0].lower() for one in wanted} <= beside | pinned


def test_the_site_is_installed_by_hashes_too(
    install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(install, "offered", lambda *_: "")
    monkeypatch.setattr(install, "run_pip", lambda command, venv: ran.append(command))
    install.install(str(tmp_path), {"extras": ["docs"], "torch_index": ""}, replace_torch=False)
    pins = Path(ran[0][-1]).read_text()
    assert "mkdocs==" in pins
    assert "pytest==" not in pins
    assert all("--require-hashes" in command for command in ran[:2])
    assert "without hashes" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("version", "hashed"), [("2.13.0", True), ("2.13.0+cpu", False), ("", True)], ids=["of the index", "own", "unknown"]
)
def test_torch_goes_unchecked_only_as_a_build_of_the_machines_own(
    install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, version: str, hashed: bool
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(install, "offered", lambda *_: version)
    monkeypatch.setattr(install, "run_pip", lambda command, venv: ran.append(command))
    install.install(str(tmp_path), {"extras": ["test"], "torch_index": ""}, replace_torch=False)
    first, torch, last = ran
    assert first[-4:-1] == ["--require-hashes", "--no-deps", "--requirement"]
    assert ("--require-hashes" in torch) is hashed
    assert last[-4:] == ["--no-deps", "--no-build-isolation", "--editable", str(ROOT)]
    pins = Path(first[-1]).read_text()
    assert "numpy==" in pins
    assert "torch==" not in pins


def test_an_extra_that_is_not_pinned_is_said_to_go_unchecked(
    install: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    ran: list[list[str]] = []
    monkeypatch.setattr(install, "offered", lambda *_: "")
    monkeypatch.setattr(install, "run_pip", lambda command, venv: ran.append(command))
    install.install(str(tmp_path), {"extras": ["trackers"], "torch_index": "there"}, replace_torch=True)
    said = capsys.readouterr().out
    assert "Installing trackers, which constraints.txt does not list, without hashes." in said
    assert "Installing torch from there, a build with hashes of its own: unchecked." in said
    assert [command[-1] for command in ran[3:]] == [f"{ROOT}[trackers]", str(ROOT)]
    assert "--hash" not in Path(ran[3][ran[3].index("--constraint") + 1]).read_text()


def test_jupyterlab_is_told_to_fetch_no_news(tmp_path: Path) -> None:
    """The lines of `make lab` that write Lab's settings, carried out; and Lab knows the setting and this value."""
    done = subprocess.run(
        ["make", "--dry-run", "lab", f"BIN={tmp_path}/bin"], cwd=ROOT, capture_output=True, text=True, check=True
    )
    writes = [line for line in done.stdout.replace("\\\n", " ").splitlines() if line.startswith(("mkdir", "echo '{"))]
    subprocess.run(["sh", "-ec", "\n".join(writes)], check=True)
    [written] = (tmp_path / "share").rglob("overrides.json")
    assert written.relative_to(tmp_path).as_posix() == "share/jupyter/lab/settings/overrides.json"
    plugin, settings = "@jupyterlab/apputils-extension:notification", json.loads(written.read_text())
    assert settings == {plugin: {"fetchNews": "false"}}
    schema = Path(sys.prefix, "share/jupyter/lab/schemas", f"{plugin.replace(':', '/')}.json")
    if schema.exists():
        known = json.loads(schema.read_text())["properties"]["fetchNews"]["oneOf"]
        assert "false" in [one["const"] for one in known]
