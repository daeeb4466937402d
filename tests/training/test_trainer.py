"""The trainer on real models: the shipped student, asked about by the shipped teacher or by a script."""

import inspect
import math

import pytest
import torch
from datasets import Dataset
from peft import LoraConfig
from transformers import TrainerCallback
from trl import DistillationTrainer
from trl.trainer.utils import RepeatSampler

from omniopd import embedded
from omniopd.errors import ConfigError, DataError, TeacherError
from omniopd.teachers.local import LocalTeacher
from omniopd.teachers.scripted import ScriptedTeacher
from omniopd.training.arguments import OmniOPDConfig
from omniopd.training.resolve_teacher import resolve_teacher
from omniopd.training.trainer import OmniOPDTrainer
from omniopd.training.trl.resumable_sampler import ResumableSampler
from omniopd.types import Continuations

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning", "ignore::FutureWarning")


class PartialResults:
    """A recorder that keeps everything in lists."""

    def __init__(self):
        self.steps, self.rollouts = [], {}

    def append(self, record):
        self.steps.append(record)

    def write_rollouts(self, step, records):
        self.rollouts[step] = records


@pytest.fixture(scope="module")
def lab():
    return embedded.lab()


def prompts(lab, count=16):
    rows = lab.task.prompts("train", count)
    return Dataset.from_list([{"prompt": list(p.messages), "id": p.id, "answer": p.answer} for p in rows])


def settings(folder, **changes):
    values = {
        "output_dir": str(folder), "per_device_train_batch_size": 4, "gradient_accumulation_steps": 1, "max_steps": 2,
        "max_completion_length": 64, "forks": 4, "samples": 3, "chunk_tokens": 3, "learning_rate": 1e-4,
        "save_strategy": "no", "report_to": "none", "use_cpu": True, "disable_tqdm": True, "record_every": 1,
        "gradient_checkpointing": False, "bf16": False, "seed": 3,
    }  # fmt: skip
    return OmniOPDConfig(**{**values, **changes})


class Noise(TrainerCallback):
    """Something else in the process that draws random numbers."""

    def on_step_begin(self, *arguments, **options):
        torch.rand(7)


def trained(lab, folder, teacher=None, peft_config=None, callbacks=None, **changes):
    fresh, kept = embedded.lab(), PartialResults()
    trainer = OmniOPDTrainer(
        model=fresh.student,
        teacher=teacher or LocalTeacher(lab.teacher, lab.tokenizer),
        args=settings(folder, **changes),
        train_dataset=prompts(lab),
        processing_class=fresh.tokenizer,
        peft_config=peft_config,
        callbacks=callbacks,
        recorder=kept,
    )
    trainer.train()
    return trainer, kept


def weights_of(trainer):
    return torch.cat([p.detach().flatten() for p in trainer.accelerator.unwrap_model(trainer.model).parameters()])


def test_the_hooks_of_trl_that_we_override_have_the_signatures_we_know():
    known = {
        "_generate_and_score_completions": ["self", "inputs"],
        "_compute_loss": ["self", "unwrapped_student", "inputs", "num_items_in_batch"],
        "_prepare_inputs": ["self", "generation_batch"],
        "_tokenize_prompts": ["self", "prompts"],
        "log": ["self", "logs", "start_time"],
        "_save_checkpoint": ["self", "model", "trial"],
    }
    found = {name: list(inspect.signature(getattr(DistillationTrainer, name)).parameters) for name in known}
    assert found == known


def test_a_step_changes_the_student_and_tells_what_it_did(lab, tmp_path):
    before = weights_of_model(lab.student)
    trainer, kept = trained(lab, tmp_path)
    assert not torch.equal(weights_of(trainer), before)
    assert [r.step for r in kept.steps] == [1, 2]
    first = kept.steps[0]
    assert math.isclose(first.loss, first.chunk_loss + first.anchor_loss, rel_tol=1e-6)
    # Before the first step the student is its own reference.
    assert abs(first.metrics["kl/anchored"]) < 1e-5
    assert abs(first.metrics["kl/audited"]) < 1e-5
    assert kept.steps[1].metrics["kl/audited"] > 1e-5
    assert 0 < first.metrics["audited/token_share"] <= 0.6
    assert first.metrics["entropy/forks"] > first.metrics["entropy/elsewhere"]
    assert first.output_tokens > 0
    assert set(first.seconds) >= {"sampling", "scoring", "teacher", "similarity", "loss", "rest"}
    # Nothing is counted twice and nothing left out.
    assert sum(first.seconds.values()) == pytest.approx(first.metrics["step_time"], rel=0.03)


def weights_of_model(model):
    return torch.cat([p.detach().flatten() for p in model.parameters()])


def test_records_hold_every_rollout_of_the_global_batch_with_its_audits(lab, tmp_path):
    _, kept = trained(lab, tmp_path, gradient_accumulation_steps=2, max_steps=1)
    rows = kept.rollouts[1]
    assert [r.row for r in rows] == list(range(8))
    for r in rows:
        assert len(r.pieces) == len(r.logprobs) == len(r.entropies) == len(r.anchor_kl)
        assert [a.start for a in r.audits] == sorted(a.start for a in r.audits)
        for a in r.audits:
            assert "".join(r.pieces[a.start : a.stop]) == a.chunk
            assert not any(r.anchored[a.start : a.stop])
            assert 0 <= a.posterior_mean <= 1


def test_with_the_anchor_on_all_tokens_the_records_say_so(lab, tmp_path):
    _, kept = trained(lab, tmp_path, anchor_on="all", max_steps=1)
    assert all(all(r.anchored) for r in kept.rollouts[1])


def test_accumulation_changes_nothing_but_rounding(lab, tmp_path):
    whole, one = trained(lab, tmp_path / "a", per_device_train_batch_size=8, max_steps=1)
    split = {"per_device_train_batch_size": 2, "gradient_accumulation_steps": 4}
    parts, four = trained(lab, tmp_path / "b", max_steps=1, **split)
    assert one.steps[0].loss == pytest.approx(four.steps[0].loss, rel=1e-4)
    assert one.steps[0].metrics["targets/mean"] == pytest.approx(four.steps[0].metrics["targets/mean"], rel=1e-5)
    # Adam turns tiny gradients into full steps, so weights agree in the large.
    moved = weights_of(whole) - weights_of_model(lab.student)
    also = weights_of(parts) - weights_of_model(lab.student)
    assert torch.cosine_similarity(moved, also, dim=0) > 0.999


def test_the_same_run_twice_is_the_same_to_the_bit_whatever_else_draws_random_numbers(lab, tmp_path):
    first, one = trained(lab, tmp_path / "a")
    second, two = trained(lab, tmp_path / "b", callbacks=[Noise()])
    assert torch.equal(weights_of(first), weights_of(second))
    assert one.rollouts == two.rollouts


def test_the_gradient_hears_the_teacher(lab, tmp_path):
    """A pipeline that drops the targets would train both students alike."""
    one, _ = trained(lab, tmp_path / "a", ScriptedTeacher(["apples", "shells"]), max_steps=1)
    two, _ = trained(lab, tmp_path / "b", LocalTeacher(lab.teacher, lab.tokenizer), max_steps=1)
    assert not torch.equal(weights_of(one), weights_of(two))


@pytest.mark.parametrize("target", ["paper", "centred", "labels", "posterior_kl", "prefix_credit"])
def test_every_target_trains(lab, tmp_path, target):
    _, kept = trained(lab, tmp_path, target=target, similarity="exact", max_steps=1)
    assert math.isfinite(kept.steps[0].chunk_loss)
    assert kept.steps[0].chunk_loss != 0


def test_centred_targets_have_both_signs_and_no_mean(lab, tmp_path):
    _, kept = trained(lab, tmp_path, target="centred", per_device_train_batch_size=8, max_steps=1)
    metrics = kept.steps[0].metrics
    assert 0 < metrics["targets/negative_share"] < 1
    assert abs(metrics["targets/mean"]) < metrics["targets/std"] / 3


def test_continuations_teach_by_themselves(lab, tmp_path):
    _, kept = trained(lab, tmp_path, target="none", continuation_weight=1.0, max_steps=1)
    assert kept.steps[0].chunk_loss > 0
    assert kept.steps[0].metrics["targets/std"] == 0


def test_redraws_are_the_baseline_of_their_own_fork(lab, tmp_path):
    _, kept = trained(lab, tmp_path, target="centred", redraws=2, max_steps=1)
    assert math.isfinite(kept.steps[0].metrics["targets/mean"])


def test_with_lora_the_reference_is_the_model_with_its_adapter_off(lab, tmp_path):
    config = LoraConfig(r=4, lora_alpha=8, target_modules="all-linear", task_type="CAUSAL_LM")
    trainer, kept = trained(lab, tmp_path, peft_config=config, learning_rate=2e-2)
    assert trainer.teacher_model is None
    assert abs(kept.steps[0].metrics["kl/anchored"]) < 1e-5 < kept.steps[1].metrics["kl/anchored"]


def test_a_failed_audit_is_anchored_and_counted_by_its_reason(lab, tmp_path):
    def half_silent(request):
        if len(request.prefix) % 2:
            return Continuations(texts=(), problem="refusal")
        return ["one", "two", "three"]

    _, kept = trained(lab, tmp_path, ScriptedTeacher(half_silent), max_steps=1, max_unanswered_share=1.0)
    record = kept.steps[0]
    assert record.failures["refusal"] == sum(len(r.unanswered) for r in kept.rollouts[1]) > 0
    for r in kept.rollouts[1]:
        for start, _ in r.unanswered:
            inside_other = any(a.start <= start < a.stop for a in r.audits)
            assert r.anchored[start] or inside_other


def test_a_teacher_that_answers_nothing_stops_the_run(lab, tmp_path):
    silent = ScriptedTeacher(lambda request: Continuations(texts=(), problem="empty answer"))
    with pytest.raises(TeacherError, match="empty answer"):
        trained(lab, tmp_path, silent)


def test_evaluation_never_asks_the_teacher(lab, tmp_path):
    teacher = ScriptedTeacher(["more"])
    fresh = embedded.lab()
    trainer = OmniOPDTrainer(
        fresh.student, teacher, settings(tmp_path, per_device_eval_batch_size=4),
        train_dataset=prompts(lab), eval_dataset=prompts(lab, 4), processing_class=fresh.tokenizer,
    )  # fmt: skip
    result = trainer.evaluate()
    assert math.isfinite(result["eval_loss"])
    assert not teacher.requests


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"temperature": 0.7}, "temperature 0.7"),
        ({"top_k": 20}, "top_k 20"),
        ({"chunk_tokens": 65}, "longer than a completion"),
        ({"target": "centered"}, "centered"),
        ({"redraws": 2}, "baseline at the same fork"),
        ({"target": "none"}, "nothing would be learnt"),
        ({"target": "posterior_kl", "concentration": 0.0}, "is infinite"),
        ({"anchor_weight": -0.1}, "anchor_weight is -0.1: it must be at least 0"),
        ({"logging_steps": 10}, "logging_steps 10: a record is written of every step"),
        ({"logging_strategy": "no"}, "logging_strategy is 'no'"),
        ({"disable_dropout": False}, "disable_dropout is False"),
        ({"chat_template_kwargs": {"enable_thinking": False}}, "teachers, probes and evaluations would not see"),
    ],
)
def test_settings_that_cannot_work_are_refused_before_the_first_step(lab, tmp_path, changes, words):
    with pytest.raises(ConfigError, match=words):
        trained(lab, tmp_path, ScriptedTeacher(["x"]), **changes)


@pytest.mark.parametrize(
    ("rows", "words"),
    [
        ([], "holds 0 prompts, and a step takes 4"),
        ([{"prompts": "Hello"}], "rename 'prompts'"),
        ([{"prompt": "word " * 600}], "context"),
        # TRL drops what does not fill a step: a run of them would end untrained, and look finished.
        ([{"prompt": "Hello"}] * 3, "holds 3 prompts, and a step takes 4"),
    ],
)
def test_data_that_cannot_work_is_refused_before_the_first_step(lab, tmp_path, rows, words):
    data = Dataset.from_list(rows) if rows else Dataset.from_dict({"prompt": []})
    with pytest.raises(DataError, match=words):
        OmniOPDTrainer(lab.student, ScriptedTeacher(["x"]), settings(tmp_path), data, processing_class=lab.tokenizer)


def test_texts_are_refused_where_the_student_itself_is_asked(lab, tmp_path):
    texts = Dataset.from_list([{"prompt": "Hello"}] * 4)
    args = settings(tmp_path, control="self_teacher")
    with pytest.raises(DataError, match=r"row 1 is a text, which the student reads as it is .*control self_teacher"):
        OmniOPDTrainer(lab.student, ScriptedTeacher(["x"]), args, texts, processing_class=lab.tokenizer)


def test_with_bfloat16_precision_student_and_reference_compute_in_16_bits_wherever_they_run(lab, tmp_path):
    fresh, seen = embedded.lab(), []
    trainer = OmniOPDTrainer(
        fresh.student, ScriptedTeacher(["x"]), settings(tmp_path, bf16=True, max_steps=1), prompts(lab),
        processing_class=fresh.tokenizer,
    )  # fmt: skip
    models = {"student": fresh.student, "reference": trainer.teacher_model}
    for name, model in models.items():
        model.model.layers[0].mlp.down_proj.register_forward_hook(
            lambda layer, _, out, name=name: seen.append((name, layer.training, out.requires_grad, out.dtype))
        )
    trainer.train()
    sampling, scoring, loss = ("student", True, False), ("student", False, False), ("student", True, True)
    assert {call[:3] for call in seen} == {sampling, scoring, loss, ("reference", False, False)}
    assert {dtype for *_, dtype in seen} == {torch.bfloat16}
    assert next(fresh.student.parameters()).dtype == torch.float32


def test_steps_that_16_bits_would_round_away_are_told(lab, tmp_path, caplog):
    from omniopd.training.checks.preflight import check_run

    narrow = embedded.lab().student.to(torch.bfloat16)
    check_run(narrow, lab.tokenizer, settings(tmp_path, learning_rate=1e-6), prompts(lab))
    assert "too large for a step of 1e-06 to change: load it in float32" in caplog.text
    caplog.clear()
    check_run(narrow, lab.tokenizer, settings(tmp_path, learning_rate=1e-6), prompts(lab), adapter=True)
    check_run(lab.student, lab.tokenizer, settings(tmp_path, learning_rate=1e-6), prompts(lab))
    assert "too large" not in caplog.text


@pytest.mark.parametrize("accumulation", [1, 2])
def test_prompts_keep_their_order_over_epochs_and_after_a_stop(accumulation):
    known = RepeatSampler(range(10), 1, batch_size=4, repeat_count=accumulation, seed=5)
    epochs = [list(RepeatSampler.__iter__(known)) for _ in range(3)]
    assert epochs[0] != epochs[1] != epochs[2]
    for step, wanted in ((0, 0), (1, 0), (2, 1), (3, 1), (4, 2)):
        ours = ResumableSampler(known, lambda step=step: step, accumulation)
        assert list(ours) == epochs[wanted]
        assert list(ours) == epochs[wanted]
    assert len(ours) == len(known)


def test_the_students_own_texts_are_drawn_as_the_teachers_are(lab):
    class Keeper:
        """Around a teacher, as caches and budgets are."""

        def __init__(self, teacher):
            self.teacher = teacher

    with_temperature = LocalTeacher(lab.teacher, lab.tokenizer, temperature=0.3, top_p=0.9, batch_tokens=512)
    own = resolve_teacher(Keeper(with_temperature), "self_teacher", lab.student, lab.tokenizer)
    assert (own.name, own.temperature, own.top_p, own.batch_tokens) == ("self", 0.3, 0.9, 512)
    plain = resolve_teacher(ScriptedTeacher(["x"]), "self_teacher", lab.student, lab.tokenizer)
    assert (plain.temperature, plain.top_p) == (1.0, 1.0)


@pytest.mark.parametrize(
    ("handover", "ratio", "told"), [("prefill", 1.0, True), ("prefill", 1.3, False), ("raw", 1.0, False)]
)
def test_a_teacher_with_a_tokenizer_of_its_own_is_told_at_first(lab, tmp_path, caplog, handover, ratio, told):
    teacher = ScriptedTeacher(lambda _: Continuations(("so", "so", "so"), handover=handover))
    trained(lab, tmp_path, teacher, max_steps=2, tokens_per_student_token=ratio)
    assert caplog.text.count("the teacher has a tokenizer of its own") == told
