"""Models by name, and one clear sentence where there is none."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from omniopd.errors import ConfigError
from omniopd.models.adapters import lora_config
from omniopd.models.loading import (
    end_ids,
    frozen_copy,
    frozen_twin,
    load_model,
    load_tokenizer,
    pick_device,
    resolve,
    same_weights,
)
from tests.builders import eager_model, gpt2_model, tiny_model, tiny_tokenizer


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("models") / "tiny"
    tiny_model().save_pretrained(path)
    tiny_tokenizer().save_pretrained(path)
    return path


def test_a_folder_gives_its_model_and_tokenizer(folder: Path) -> None:
    model, tokenizer = load_model(str(folder), device="cpu"), load_tokenizer(str(folder))
    assert not model.training
    ids = torch.tensor([[5, 6, 7]])
    assert torch.equal(model(ids).logits, tiny_model()(ids).logits)
    assert tokenizer("the cat").input_ids == tiny_tokenizer()("the cat").input_ids
    assert tokenizer.padding_side == "left"


def test_dtypes_by_name(folder: Path) -> None:
    assert load_model(str(folder), dtype="bfloat16", device="cpu").dtype == torch.bfloat16
    with pytest.raises(ConfigError, match=r"dtype 'float7' is unknown: it must be one of auto, float32"):
        load_model(str(folder), dtype="float7")


@pytest.mark.parametrize("word", ["dtype", "torch_dtype"])
@pytest.mark.parametrize("value", ["bfloat16", "torch.bfloat16", torch.bfloat16, "auto"])
def test_a_dtype_is_obeyed_by_either_name_and_in_any_form(tmp_path: Path, word: str, value: str | torch.dtype) -> None:
    tiny_model(dtype=torch.bfloat16).save_pretrained(tmp_path)
    assert load_model(str(tmp_path), device="cpu", **{word: value}).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("options", "sentence"),
    [
        ({"torch_dtype": "float7"}, "dtype 'float7' is unknown"),
        ({"torch_dtype": torch.int8}, r"dtype torch\.int8 is unknown"),
        ({"dtype": "bfloat16", "torch_dtype": "float16"}, "give one of them"),
        ({"trust_remote_code": True}, "never run here"),
    ],
)
def test_what_cannot_be_obeyed_is_refused(folder: Path, options: dict[str, object], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        load_model(str(folder), device="cpu", **options)


@pytest.mark.parametrize(
    ("name", "sentence"),
    [
        ("embedded:nobody", r"no model 'embedded:nobody' comes with this package"),
        ("/nowhere/model", r"the model folder /nowhere/model does not exist"),
        ("./here/model", r"the model folder \./here/model does not exist"),
    ],
)
def test_a_name_that_can_only_be_a_folder_must_be_one(name: str, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        resolve(name)


def test_a_hub_id_stays_as_it_is_and_without_a_network_is_one_sentence() -> None:
    assert resolve("nobody/no-such-model") == "nobody/no-such-model"
    with pytest.raises(ConfigError, match=r"no model 'nobody/no-such-model'.*check the name, the network") as caught:
        load_model("nobody/no-such-model")
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="no tokenizer 'nobody/no-such-model'"):
        load_tokenizer("nobody/no-such-model")


def test_folders_without_a_model_say_what_is_missing(folder: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"has no config\.json"):
        load_model(str(tmp_path))
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    with pytest.raises(ConfigError, match="has no weights"):
        load_model(str(tmp_path))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes()[:2000])
    with pytest.raises(ConfigError, match="cannot be read"):
        load_model(str(tmp_path))


@pytest.mark.parametrize("options", [{"a_word_of_nobody": 1}, {"attn_implementation": "flash_attention_2"}])
def test_options_that_nobody_knows_or_that_need_a_package_are_one_sentence(
    folder: Path, options: dict[str, object]
) -> None:
    with pytest.raises(ConfigError, match=f"cannot be loaded with .*{next(iter(options))}") as caught:
        load_model(str(folder), device="cpu", **options)
    assert "\n" not in str(caught.value)


def test_weights_that_need_a_package_are_one_sentence(folder: Path, tmp_path: Path) -> None:
    config = json.loads((folder / "config.json").read_text())
    config["quantization_config"] = {"quant_method": "bitsandbytes", "load_in_8bit": True}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "model.safetensors").write_bytes((folder / "model.safetensors").read_bytes())
    with pytest.raises(ConfigError, match=r"the model .* cannot be loaded \(.*: install what it needs"):
        load_model(str(tmp_path), device="cpu")


def test_a_frozen_copy_shares_nothing_and_learns_nothing() -> None:
    model = tiny_model().train()
    frozen = frozen_copy(model)
    assert not frozen.training
    assert model.training
    assert not any(p.requires_grad for p in frozen.parameters())
    assert all(p.requires_grad for p in model.parameters())
    with torch.no_grad():
        next(model.parameters()).add_(1)
    assert not torch.equal(next(model.parameters()), next(frozen.parameters()))


def test_a_frozen_twin_has_modules_of_its_own_on_the_very_weights_of_another() -> None:
    model = tiny_model().train()
    twin = frozen_twin(model)
    assert not twin.training
    assert model.training
    assert not {id(module) for module in model.modules()} & {id(module) for module in twin.modules()}
    assert [p.data_ptr() for p in twin.parameters()] == [p.data_ptr() for p in model.parameters()]
    assert twin.lm_head.weight is twin.model.embed_tokens.weight
    ids = torch.arange(8)[None]
    assert torch.equal(twin(input_ids=ids).logits, model.eval()(input_ids=ids).logits)


def test_weights_are_the_same_in_another_place_and_to_the_last_bit() -> None:
    model, other = tiny_model(), tiny_model()
    assert same_weights(model, other)
    assert not same_weights(model, model)
    assert not same_weights(model, frozen_twin(model))
    assert not same_weights(model, tiny_model(1))
    assert not same_weights(model, tiny_model(dtype=torch.bfloat16))
    assert not same_weights(model, gpt2_model())
    assert not same_weights(model, eager_model())
    assert not same_weights(model, tiny_model(context=512))
    with torch.no_grad():
        next(other.parameters())[0, 0] += 1e-6
    assert not same_weights(model, other)


def test_a_device_that_is_not_here_is_refused() -> None:
    assert pick_device("cpu").type == "cpu"
    assert pick_device().type in ("cpu", "cuda", "mps")
    with pytest.raises(ConfigError, match="device 'warp'"):
        pick_device("warp")


def test_a_turn_ends_with_the_tokenizers_end_and_with_those_the_model_declares() -> None:
    model, tokenizer = tiny_model(), tiny_tokenizer()
    model.generation_config.eos_token_id = [0, tokenizer.eos_token_id]
    assert end_ids(model, tokenizer) == (tokenizer.eos_token_id, 0)


@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")  # peft's own, with transformers 5.23
def test_lora_leaves_the_head_alone() -> None:
    from peft import get_peft_model

    adapted = get_peft_model(tiny_model(), lora_config(rank=2))
    assert any("lora_A" in name for name, _ in adapted.named_parameters())
    assert not any("lm_head" in name for name, p in adapted.named_parameters() if p.requires_grad)
