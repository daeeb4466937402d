"""White-box on-policy distillation: TRL's loss is the divergence it says it is, for a teacher at its temperature."""

import pytest
import torch

from omniopd.errors import ConfigError
from omniopd.pipeline.methods import build_trainer
from omniopd.training.baselines.white_box import with_temperature
from tests.builders import tiny_model
from tests.small_runs import small_recipe


def reverse_kl(student, teacher, ids, mask, completion_mask, temperature):
    """Mean over response tokens of KL(student‖teacher at `temperature`), with full logits."""
    time = completion_mask.shape[1]
    log_p, log_q = (
        torch.log_softmax(model(ids, attention_mask=mask).logits[:, -time - 1 : -1] / t, -1)
        for model, t in ((student, 1.0), (teacher, temperature))
    )
    per_token = (log_p.exp() * (log_p - log_q)).sum(-1)
    return (per_token * completion_mask).sum() / completion_mask.sum()


@pytest.mark.parametrize("temperature", [1.0, 0.5])
def test_the_loss_is_the_reverse_divergence_to_the_teacher_at_its_temperature(tmp_path, temperature):
    recipe = small_recipe(
        method="white_box", teacher__temperature=temperature, training__rollouts=2, student__max_tokens=6
    )
    trainer = build_trainer(recipe, tmp_path)
    trainer.model.train()
    batch = trainer._prepare_inputs([trainer.train_dataset[0], trainer.train_dataset[1]])
    loss, _, tokens = trainer._compute_loss(trainer.model, batch, batch["num_items_in_batch"])
    ids = torch.cat([batch["prompt_ids"], batch["completion_ids"]], 1)
    mask = torch.cat([batch["prompt_mask"], batch["completion_mask"]], 1)
    plain = tiny_model(1, context=512)  # the teacher of the recipe, untouched
    with torch.no_grad():
        wanted = reverse_kl(trainer.model, plain, ids, mask, batch["completion_mask"], temperature)
    assert tokens == batch["completion_mask"].sum()
    torch.testing.assert_close(loss.detach(), wanted, rtol=1e-4, atol=1e-6)


def test_a_cooled_teacher_is_a_copy():
    teacher = tiny_model(1)
    assert with_temperature(teacher, 1.0) is teacher
    assert with_temperature(teacher, 0.5).config.logit_scale == 2.0
    assert getattr(teacher.config, "logit_scale", None) is None


def test_a_teacher_that_bends_its_logits_has_one_temperature():
    teacher = tiny_model(1)
    teacher.config.final_logit_softcapping = 30.0
    with pytest.raises(ConfigError, match=r"teacher.temperature is 0.5 for a white-box teacher of type 'qwen3'"):
        with_temperature(teacher, 0.5)
