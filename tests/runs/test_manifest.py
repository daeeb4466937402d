"""A manifest tells how to start a run again, and nothing about whose machine it was."""

from __future__ import annotations

import getpass
import os
import platform
from pathlib import Path

from omniopd.config import Recipe, override
from omniopd.records import read_record, record_json
from omniopd.runs.manifest import collect


def test_versions_hardware_and_recipe_are_told():
    manifest = collect(override(Recipe(), ["seed=7"]), command=["omniopd", "train", "embedded"])
    assert manifest.seed == 7
    assert manifest.versions["torch"].startswith("2.")
    assert {"python", "omniopd", "transformers", "trl"} <= set(manifest.versions)
    assert manifest.hardware["cpus"] >= 1
    assert isinstance(manifest.hardware["gpus"], list)
    assert manifest.command == ("omniopd", "train", "embedded")
    assert read_record(record_json(manifest)).recipe["seed"] == 7


def test_no_name_of_a_machine_or_a_user_and_no_home():
    text = record_json(collect(Recipe()))
    for word in (platform.node(), getpass.getuser(), str(Path.home()), os.getcwd()):
        assert f'"{word}' not in text
        assert f"{word}/" not in text


def test_no_value_of_the_environment(monkeypatch):
    monkeypatch.setenv("SOME_API_KEY", "canary-7f3a9")
    assert "canary-7f3a9" not in record_json(collect(Recipe()))


def test_what_looks_like_a_key_is_struck_out():
    key = "sk-" + "a1b2c3d4" * 4
    words = ["omniopd", "train", "paper", "api_key=abc", "--api-key", "abc"]
    words += [f"teacher.model=x@{key}", "student.max_tokens=64"]
    manifest = collect(override(Recipe(), [f"teacher.model=x@{key}"]), command=words)
    text = record_json(manifest)
    assert key not in text
    assert "abc" not in manifest.command
    assert "student.max_tokens=64" in manifest.command
    assert manifest.command[:4] == ("omniopd", "train", "paper", "api_key=(not kept)")
