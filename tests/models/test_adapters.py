"""Where adapters stand, and which names a model has not."""

from __future__ import annotations

import pytest
from peft import get_peft_model

from omniopd.errors import ConfigError
from omniopd.models.adapters import linear_layers, lora_config, require_targets
from tests.builders import gpt2_model, tiny_model

# PEFT reads a property that transformers is renaming, and says that it turned GPT-2's weights round.
pytestmark = pytest.mark.filterwarnings(
    "ignore:`is_gradient_checkpointing`:FutureWarning", "ignore:fan_in_fan_out is set to False:UserWarning"
)


def adapted(model, *targets: str) -> set[str]:
    """The layers of the bare model that PEFT really gives an adapter."""
    found = get_peft_model(model, lora_config(2, targets=targets)).named_parameters()
    return {name.removeprefix("base_model.model.").split(".lora_A")[0] for name, _ in found if ".lora_A" in name}


@pytest.mark.parametrize("made", [tiny_model, gpt2_model])
def test_without_names_every_linear_layer_but_the_head_gets_an_adapter(made):
    assert adapted(made()) == set(linear_layers(made()))


def test_names_are_those_that_peft_matches_ends_and_whole_ones():
    layers = linear_layers(tiny_model())
    ends = {name for name in layers if name.endswith((".q_proj", ".down_proj"))}
    assert adapted(tiny_model(), "q_proj", "down_proj") == ends
    whole = next(name for name in layers if name.endswith(".o_proj"))
    assert adapted(tiny_model(), whole) == {whole}
    require_targets(["q_proj", "mlp.down_proj", whole], "tiny", tiny_model().config)


@pytest.mark.parametrize("name", ["lm_head", "q_pro", "proj", "mlp", "embed_tokens"])
def test_a_name_that_no_linear_layer_before_the_head_has_is_refused_with_those_that_there_are(name):
    with pytest.raises(ConfigError) as refused:
        require_targets(["k_proj", name], "tiny", tiny_model().config)
    said = str(refused.value)
    assert f"student.target_modules names {name!r}, and no linear layer of tiny" in said
    assert "it has down_proj, gate_proj, k_proj, o_proj, q_proj, up_proj, v_proj" in said
    assert ("did you mean" in said) == (name in ("q_pro", "proj"))
