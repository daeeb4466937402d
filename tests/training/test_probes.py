"""Probes: a few fixed prompts that are answered and audited at the recorded steps, and change nothing."""

import hashlib
import math

import pytest

from omniopd import embedded
from omniopd.errors import ConfigError
from omniopd.evaluation.evaluate import evaluate
from omniopd.pipeline.build import build_probes
from omniopd.pipeline.methods import build_trainer
from tests.small_runs import small_recipe
from tests.training.test_trainer import PartialResults

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")
STEPS = 3


def trained(folder, **more):
    """A trained student's weights, and what its recorder kept; steps 1 and 2 are recorded."""
    recipe, kept = small_recipe(training__steps=STEPS, training__learning_rate=1e-2, **more), PartialResults()
    trainer = build_trainer(recipe, folder, kept)
    trainer.train()
    student = trainer.accelerator.unwrap_model(trainer.model)
    return hashlib.sha256(b"".join(p.detach().numpy().tobytes() for p in student.parameters())).hexdigest(), kept


@pytest.fixture(scope="module")
def with_probes(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("with"), training__probe_prompts=2)


@pytest.fixture(scope="module")
def without(tmp_path_factory):
    return trained(tmp_path_factory.mktemp("without"), training__probe_prompts=0)


def test_a_run_with_probes_trains_the_same_student_to_the_bit(with_probes, without):
    assert with_probes[0] == without[0]
    assert [r.loss for r in with_probes[1].steps] == [r.loss for r in without[1].steps]
    for step, records in without[1].rollouts.items():
        assert [r for r in with_probes[1].rollouts[step] if not r.probe] == records


def test_probes_are_the_same_prompts_at_every_recorded_step_with_rows_after_the_batch(with_probes):
    kept = with_probes[1]
    assert set(kept.rollouts) == {1, 2}
    held_out = [p.id for p in build_probes(small_recipe(training__probe_prompts=2))]
    for step, records in kept.rollouts.items():
        probes = [r for r in records if r.probe]
        assert [r.prompt_id for r in probes] == held_out
        assert [r.row for r in records] == list(range(6))
        assert all(r.step == step and r.audits and not any(r.anchored) for r in probes)
        assert all(a.weights == () and 0 <= a.posterior_mean <= 1 for r in probes for a in r.audits)


def test_what_changes_between_two_records_of_a_probe_is_the_student(tmp_path):
    """With nothing learnt, the same prompt gets the same answer and the same audit, texts included."""
    recipe = small_recipe(training__probe_prompts=2, training__learning_rate=1e-30)
    still = PartialResults()
    build_trainer(recipe, tmp_path, still).train()
    one, two = ([(r.pieces, r.audits) for r in still.rollouts[step] if r.probe] for step in (1, 2))
    assert one == two


def test_a_probe_is_the_first_answer_that_an_evaluation_takes(with_probes):
    from omniopd.models.loading import load_model, load_tokenizer

    recipe = small_recipe(training__probe_prompts=2)
    model, tokenizer = load_model(recipe.student.model), load_tokenizer(recipe.student.model)
    record = evaluate(model, tokenizer, embedded.lab().task, temperature=1.0, limit=2, seed=recipe.seed, max_tokens=8)
    probes = [r for r in with_probes[1].rollouts[1] if r.probe]
    assert [(p.prompt_id, p.mean_tokens) for p in record.problems] == [(r.prompt_id, len(r.pieces)) for r in probes]


def test_what_probes_cost_is_part_of_the_steps_spend_and_told_apart(with_probes, without):
    for ours, plain in zip(with_probes[1].steps, without[1].steps, strict=True):
        probes = sum(a.output_tokens for r in with_probes[1].rollouts.get(ours.step, []) if r.probe for a in r.audits)
        assert ours.output_tokens == plain.output_tokens + probes
        assert ours.metrics.get("probes/output_tokens", 0) == probes
        assert ("probes" in ours.seconds) == (probes > 0)
        assert math.isfinite(ours.loss)


def test_a_white_box_has_probes_without_audits(tmp_path):
    _, kept = trained(tmp_path, training__probe_prompts=1, method="white_box")
    probes = [r for r in kept.rollouts[2] if r.probe]
    assert len(probes) == 1
    assert probes[0].pieces
    assert probes[0].audits == ()


def test_a_count_below_zero_is_refused():
    with pytest.raises(ConfigError, match=r"training\.probe_prompts is -1: it must be at least 0"):
        small_recipe(training__probe_prompts=-1)
