"""The shipped lab: ordinary folders that load offline, sample as they were trained and keep the README's promises."""

import json

import pytest
import torch
from transformers import GenerationConfig

import omniopd
from omniopd import embedded
from omniopd.embedded import EMBEDDING, FOLDER, STUDENT, TEACHER
from omniopd.embedded.figures import Figures, generate, measure
from omniopd.embedded.report import as_table, write_report
from omniopd.embedded.wordings import told_apart
from omniopd.models.text.chat import prompt_ids, text_ids


@pytest.fixture(scope="module")
def lab():
    return embedded.lab()


@pytest.fixture(scope="module")
def recorded():
    return Figures(**json.loads((FOLDER / "figures.json").read_text(encoding="utf-8")))


def test_the_package_is_the_function_that_loads_it():
    assert omniopd.embedded is embedded
    assert type(omniopd.embedded()) is embedded.Lab


def test_two_sizes_share_one_tokenizer_of_at_most_a_thousand_tokens(lab):
    assert lab.teacher.num_parameters() > lab.student.num_parameters()
    assert lab.teacher.config.vocab_size == lab.student.config.vocab_size == len(lab.tokenizer) <= 1000
    assert (TEACHER / "tokenizer.json").read_bytes() == (STUDENT / "tokenizer.json").read_bytes()


def test_everything_shipped_takes_at_most_twelve_megabytes():
    folders = (TEACHER, STUDENT, EMBEDDING)
    assert sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()) <= 12e6


def test_a_lab_is_loaded_afresh_so_that_training_harms_no_later_one(lab):
    assert embedded.lab().student is not lab.student


@pytest.mark.parametrize("name", ["teacher", "student"])
def test_models_sample_as_they_were_trained(lab, name):
    config: GenerationConfig = getattr(lab, name).generation_config
    assert config.do_sample
    assert (config.temperature, config.top_k or 0, config.top_p) == (1.0, 0, 1.0)
    assert config.eos_token_id == lab.tokenizer.eos_token_id != config.pad_token_id == lab.tokenizer.pad_token_id


def test_sampling_draws_from_the_whole_distribution(lab):
    """What `generate` draws from are the model's own logits: neither top-k, top-p nor a temperature has cut them."""
    row = torch.tensor([prompt_ids(lab.tokenizer, lab.task.prompts("test", 1)[0].messages)])
    drawn = lab.teacher.generate(
        row, attention_mask=torch.ones_like(row), max_new_tokens=3,
        return_dict_in_generate=True, output_scores=True, output_logits=True,
    )  # fmt: skip
    for scores, logits in zip(drawn.scores, drawn.logits, strict=True):
        assert torch.equal(scores, logits)
        assert torch.isfinite(scores).all()


def test_the_teacher_is_right_and_the_student_is_wrong_at_its_mode(lab):
    prompts = lab.task.prompts("dev", 60)
    rows = [prompt_ids(lab.tokenizer, prompt.messages) for prompt in prompts]

    def accuracy(model, temperature):
        texts = lab.tokenizer.batch_decode(generate(model, rows, 80, temperature, seed=0))
        return sum(map(lab.task.grade, prompts, texts)) / len(prompts)

    assert accuracy(lab.teacher, 1.0) >= 0.85
    assert accuracy(lab.student, 0.0) <= 0.40


def test_the_recorded_figures_keep_every_promise(recorded):
    assert recorded.problems >= 500
    assert recorded.unmet() == []
    assert as_table(recorded) in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_a_broken_promise_is_named(recorded):
    values = recorded.as_dict() | {"student_pass_at_16": 0.5}
    assert Figures(**values).unmet() == ["the student's pass@16 is 50.0%: 60% is promised"]


def test_figures_can_be_measured_again(lab, recorded):
    sizes, apart = recorded.megabytes, recorded.told_apart
    again = measure(lab.teacher, lab.student, lab.tokenizer, sizes, apart, problems=8, seed=5)
    assert again.teacher_accuracy["1"] >= 0.75
    assert again.texts_per_fork >= 2.5


def test_a_readme_without_the_marks_is_left_alone(recorded, tmp_path):
    readme = tmp_path / "README.md"
    write_report(recorded, readme)
    assert not readme.exists()
    readme.write_text("Mine.\n")
    write_report(recorded, readme)
    assert readme.read_text() == "Mine.\n"


def test_any_text_round_trips_and_each_digit_is_a_token(lab):
    assert lab.tokenizer.convert_ids_to_tokens(text_ids(lab.tokenizer, "1905")) == list("1905")
    for text in ("Mia has 37+25=62 shells.\n#### 62", "naïve 🎉\u200d \r\n\t x  y", "\ufffd"):
        assert lab.tokenizer.decode(text_ids(lab.tokenizer, text)) == text


def test_the_embedding_loads_offline_and_hears_numbers_through_wordings():
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(EMBEDDING), device="cpu")

    def encode(texts):
        return model.encode(list(texts), convert_to_tensor=True, normalize_embeddings=True)

    assert told_apart(encode, 200) > 0.9
