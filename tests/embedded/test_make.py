"""The lab can be rebuilt from nothing: seeded, in parts, and honest about what it did not reach."""

import random
import re

import pytest
import torch
from transformers import AutoModelForCausalLM

from omniopd.embedded.make import main, make_embedding, make_model, make_tokenizer
from omniopd.embedded.pretrain import Schooling, pretraining_batches
from omniopd.embedded.story_book import STUDENT, forgetful, schoolbook_answer
from omniopd.embedded.wordings import mean_encoder, told_apart, train_embedding, triplets
from omniopd.tasks.stories import make_story, without_carry


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A lab of two training steps: it can do nothing, but every part of it is there."""
    out = tmp_path_factory.mktemp("lab")
    for part in ("tokenizer", "teacher", "student"):
        assert main(["--out", str(out), "--steps", "2", "--only", part]) == 0
    make_embedding(out, seed=0, steps=5)
    return out


def test_a_lab_that_breaks_its_promises_says_so_and_exits_with_one(folder, capsys):
    assert main(["--out", str(folder), "--problems", "2", "--only", "figures"]) == 1
    assert "the teacher samples 0.0% right: 90% is promised" in capsys.readouterr().out
    assert (folder / "figures.json").exists()


def test_the_same_seed_makes_the_same_weights(folder, tmp_path):
    make_tokenizer(tmp_path, seed=0)
    make_model("student", tmp_path, "cpu", seed=0, steps=2)
    first, again = folder / "student", tmp_path / "student"
    for name in ("tokenizer.json", "model.safetensors"):
        assert (again / name).read_bytes() == (first / name).read_bytes()
    make_model("student", tmp_path, "cpu", seed=1, steps=2)
    assert (again / "model.safetensors").read_bytes() != (first / "model.safetensors").read_bytes()


def test_a_saved_model_loads_as_any_other(folder):
    model = AutoModelForCausalLM.from_pretrained(folder / "teacher")
    assert model.config.model_type == "qwen3"
    assert model.dtype == torch.float32
    assert model.generation_config.top_k == 0


def test_the_schoolbook_forgets_carries_and_nothing_else():
    rng = random.Random(0)
    compute = forgetful(rng, 0.65)
    slips = [compute(37, "+", 25) for _ in range(1000)]
    assert set(slips) == {52, 62}
    assert 0.6 < slips.count(52) / 1000 < 0.7
    assert {compute(62, "-", 18) for _ in range(100)} == {44, 56}
    assert {compute(31, "+", 25) for _ in range(100)} == {56}


def test_a_wrong_worked_answer_goes_on_from_its_wrong_totals():
    rng = random.Random(0)
    for index in range(100):
        story = make_story("train", index)
        answer = schoolbook_answer(story, rng, 1.0)
        if answer is None:
            continue
        totals = [int(total) for total in re.findall(r"(?:=|is )(\d+)", answer)]
        assert totals == story.totals(without_carry)[1:]
        assert answer.endswith(f"#### {totals[-1]}")


def test_what_nothing_tells_is_not_learnt(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "student")
    sums, told = list(pretraining_batches(tokenizer, Schooling(2, drilled=0.5, still_drilled=0.0), STUDENT, seed=0))
    ids, learnt = sums
    for row, kept in zip(ids, learnt, strict=True):
        first, *later = tokenizer.decode(row[kept]).splitlines()
        assert re.fullmatch(r"\d\d \w+\.", first)  # a result and its things, but neither the name nor the sum
        assert all(re.fullmatch(r"[A-Z][a-z]+\d\d \w+\.", line) for line in later)
    ids, learnt = told
    for row, kept in zip(ids, learnt, strict=True):
        prompt, answer = tokenizer.decode(row[~kept]), tokenizer.decode(row[kept])
        assert prompt.replace("<|endoftext|>", "").endswith("assistant\n")
        assert re.search(r"#### \d\d<\|im_end\|>$", answer)


def test_the_embedding_is_learnt(folder):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder / "student")
    learnt = train_embedding(tokenizer, seed=0, steps=40)
    untrained = torch.randn(learnt.shape, generator=torch.Generator().manual_seed(0))
    assert told_apart(mean_encoder(tokenizer, learnt), 200) > 0.8
    assert told_apart(mean_encoder(tokenizer, untrained), 200) < 0.5


def test_triplets_differ_where_they_should():
    made = triplets(50, random.Random(0))
    for line, reworded, wrong in zip(made.lines, made.reworded, made.wrong, strict=True):
        assert re.findall(r"\d+", line) == re.findall(r"\d+", reworded)
        assert re.findall(r"\d+", line)[:-1] == re.findall(r"\d+", wrong)[:-1]
        assert re.sub(r"\d+", "", line) == re.sub(r"\d+", "", wrong)
