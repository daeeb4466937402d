"""`.ci/install.py`, which every `make` target calls first: it does nothing twice, and refuses with a sentence."""

from __future__ import annotations

import errno
import importlib.util
import os
import sys
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
