"""Weights, tokenizer, dtype and device by name: a shipped model, a folder, or an id on the Hugging Face hub.

Never runs code that comes with a model. What cannot be loaded is one sentence (ConfigError).
"""

from __future__ import annotations

import copy
import logging
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer, PreTrainedModel, PreTrainedTokenizerBase

import omniopd
from omniopd.errors import ConfigError
from omniopd.models.architecture.probing import first_line, share_answers
from omniopd.models.fetching import PACKAGED, kept_folder, packaged_folder
from omniopd.models.four_bits import four_bit_options, keep_trainable, require_bitsandbytes

_log = logging.getLogger(__name__)
EMBEDDED = "embedded:"
_ADAPTER = "adapter_config.json"
DTYPES = {"float32": torch.float32, "bfloat16": torch.bfloat16, "float16": torch.float16, "float64": torch.float64}


def resolve(name: str) -> str:
    """What a library can open: the folder of a shipped model ("embedded:student") or of one that is in a package, where
    `omniopd fetch` or the hub's cache keeps it, a folder, or a hub id as it is.

    Raises ConfigError where a name can only mean a folder and there is none.
    """
    if name.startswith(EMBEDDED):
        home = Path(omniopd.__file__).parent / "embedded"
        folder = home / name.removeprefix(EMBEDDED)
        if not folder.is_dir():
            shipped = sorted(p.parent.name for p in home.glob("*/*.safetensors"))
            offer = (
                f"shipped are {', '.join(shipped)}" if shipped else "build them with `python -m omniopd.embedded.make`"
            )
            raise ConfigError(f"no model {name!r} comes with this package: {offer}")
        return str(folder)
    path = kept_folder(name) or Path(name).expanduser()
    if path.is_dir():
        return str(path)
    if name.startswith(("/", "./", "../", "~")) or name.count("/") > 1 or path.exists():
        what = "is a file" if path.exists() else "does not exist"
        raise ConfigError(f"the model folder {name} {what}: give a folder with config.json and weights")
    return name


def load_model(
    name: str, dtype: str | torch.dtype = "float32", device: str = "auto", packed_for: str = "", **options: Any
) -> PreTrainedModel:
    """A causal language model in evaluation mode on `device` ("auto": CUDA, then Apple's, then the CPU).

    `packed_for`: its linear layers in 4 bits (`four_bits.py`), for products in that dtype. `options` go to
    `from_pretrained`, whose older word for `dtype` is understood. Raises ConfigError for an unknown dtype, for code
    that comes with a model, and for what cannot be loaded.
    """
    kind, older = _dtype(dtype), options.pop("torch_dtype", None)
    if older is not None:
        if dtype != "float32" and _dtype(older) != kind:
            raise ConfigError(f"dtype is {dtype!r} and torch_dtype {older!r}, its older name: give one of them")
        kind = _dtype(older)
    if options.pop("trust_remote_code", False):
        raise ConfigError(f"trust_remote_code is set for {name!r}, and code of a model is never run here: leave it out")
    place = resolve(name)
    check_folder(name, place)
    if name in PACKAGED:
        _say_whence(name, place)
    if packed_for:
        require_bitsandbytes(f"packed_for is {packed_for!r}", "leave it out")
        options |= four_bit_options(DTYPES[packed_for], pick_device(device))
    try:
        model = AutoModelForCausalLM.from_pretrained(place, dtype=kind, trust_remote_code=False, **options)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise _unloadable("model", name, place, error) from error
    except (ImportError, TypeError) as error:  # a package that its weights or an option need; an option nobody knows
        options_too = f" with {options}" if options else ""
        raise ConfigError(
            f"the model {name} cannot be loaded{options_too} ({first_line(error)}): install what it needs, or leave "
            "out what it does not know"
        ) from error
    keep_trainable(model)
    return model.eval() if "device_map" in options else model.to(pick_device(device)).eval()


def config_of(name: str) -> Any:
    """The configuration of a model, without its weights; None of an adapter, whose model stands elsewhere. Raises
    ConfigError."""
    place = resolve(name)
    if (Path(place) / _ADAPTER).is_file():
        return None
    try:
        return AutoConfig.from_pretrained(place, trust_remote_code=False)
    except (OSError, ValueError, KeyError) as error:
        raise ConfigError(
            f"the configuration of {name!r} cannot be had ({first_line(error)}): check the name, the network and your "
            "access"
        ) from error


def load_tokenizer(name: str) -> PreTrainedTokenizerBase:
    """The tokenizer of a model, padding on the left as generation needs it. Raises ConfigError."""
    place = resolve(name)
    try:
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False, padding_side="left")
    except (OSError, ValueError, KeyError) as error:
        raise _unloadable("tokenizer", name, place, error) from error
    if tokenizer.pad_token_id is None and tokenizer.eos_token is not None:
        tokenizer.pad_token = tokenizer.eos_token
    return tokenizer


def frozen_copy(model: nn.Module) -> nn.Module:
    """A copy that does not learn: evaluation mode, no gradients, its own memory."""
    twin = copy.deepcopy(model).eval()
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
        parameter.grad = None
    share_answers(model, twin)
    return twin


def frozen_twin(model: nn.Module) -> nn.Module:
    """A model that does not learn on the very weights of another one that does not: its own modules, no more memory."""
    shared = {id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    twin = copy.deepcopy(model, shared).eval()  # what deepcopy is told of, it takes as it is
    for parameter in twin.parameters():
        parameter.requires_grad_(False)
    return twin


def same_weights(model: nn.Module, other: nn.Module) -> bool:
    """Whether two models are the same network on the same numbers, each in memory of its own."""
    ours, theirs = model.state_dict(), other.state_dict()
    if type(model) is not type(other) or ours.keys() != theirs.keys() or _shape(model) != _shape(other):
        return False
    return all(
        a.dtype == b.dtype and a.device == b.device and a.data_ptr() != b.data_ptr() and torch.equal(a, b)
        for a, b in ((tensor, theirs[name]) for name, tensor in ours.items())
    )


def _shape(model: nn.Module) -> dict[str, Any]:
    """What a network computes beside its weights: its configuration, wherever it was loaded from."""
    config: Any = model.config
    return config.to_dict() | {"_name_or_path": "", "attention": config._attn_implementation}


def require_weights(model: nn.Module, why: str) -> None:
    """ConfigError for a model of which accelerate keeps a part elsewhere (`device_map` with a disk), where `why` asks
    for its weights themselves."""
    elsewhere = next((name for name, weight in model.named_parameters() if weight.is_meta), None)
    if elsewhere is not None:
        raise ConfigError(
            f"{elsewhere} of the model lies on a disk or waits in memory (device_map), and {why} needs it where it "
            "computes: load the model whole (without device_map)"
        )


def pick_device(wanted: str = "auto") -> torch.device:
    """A device by name; "auto" takes CUDA, then Apple's, then the CPU. Raises ConfigError for one that is not here."""
    if wanted == "auto":
        return torch.device(
            "cuda" if torch.cuda.is_available() else "mps" if torch.backends.mps.is_available() else "cpu"
        )
    try:
        device = torch.device(wanted)
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        raise ConfigError(f"device {wanted!r} cannot be used here ({first_line(error)}): use auto or cpu") from error
    return device


def end_ids(model: nn.Module, tokenizer: PreTrainedTokenizerBase) -> tuple[int, ...]:
    """The tokens that end a turn: the tokenizer's end of sequence first, then those that the model declares."""
    declared = getattr(model.generation_config, "eos_token_id", None)
    declared = declared if isinstance(declared, list) else [declared]
    ends = [token for token in (tokenizer.eos_token_id, *declared) if token is not None]
    if not ends:
        raise ConfigError(
            f"neither the tokenizer nor the model {tokenizer.name_or_path!r} has an end token: set eos_token"
        )
    return tuple(dict.fromkeys(ends))


@lru_cache
def _say_whence(name: str, place: str) -> None:
    """One name may mean two kinds of weights: which they are is said once in a process."""
    if place == str(packaged_folder(name)):
        _log.warning("%s is loaded from %s: the package's weights of few bits, not the hub's own", name, place)
    else:
        _log.info("%s is loaded from %s: the hub's own weights", name, "the hub" if place == name else place)


def _dtype(wanted: str | torch.dtype) -> torch.dtype | str:
    """A kind of number by torch's own name, its name here or with "torch." before it, or "auto": the file's own."""
    found = DTYPES.get(wanted.removeprefix("torch.")) if isinstance(wanted, str) else wanted
    if wanted != "auto" and found not in DTYPES.values():
        raise ConfigError(f"dtype {wanted!r} is unknown: it must be one of auto, {', '.join(DTYPES)}")
    return found or "auto"


def check_folder(name: str, place: str) -> None:
    """Raises ConfigError for a folder that holds no model: neither configuration and weights nor an adapter."""
    folder = Path(place)
    if not folder.is_dir():
        return
    if (folder / _ADAPTER).is_file():
        return
    if not (folder / "config.json").is_file():
        raise ConfigError(f"the model folder {name} has no config.json: give a folder that save_pretrained has written")
    if not any(p for suffix in ("*.safetensors", "*.bin", "*.safetensors.index.json") for p in folder.glob(suffix)):
        raise ConfigError(
            f"the model folder {name} has no weights (*.safetensors): give a folder that save_pretrained wrote"
        )


def _unloadable(what: str, name: str, place: str, error: Exception) -> ConfigError:
    if Path(place).is_dir():
        return ConfigError(
            f"the {what} in {name} cannot be read ({first_line(error)}): check that the folder is whole"
        )
    way_out = f"fetch it (omniopd fetch {name})" if name in PACKAGED else "check the name, the network and your access"
    return ConfigError(
        f"no {what} {name!r}: there is no such folder, and the Hugging Face hub did not return it "
        f"({first_line(error)}); {way_out}"
    )
