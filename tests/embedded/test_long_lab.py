"""The long lab: a pair that goes on from the first one's, and keeps its promises on answers of 200-400 tokens."""

import json
import random
import re

import pytest

import omniopd
from omniopd.embedded import FOLDER, STUDENT
from omniopd.embedded.figures import Figures, generate
from omniopd.embedded.labs import LABS, PAIR
from omniopd.embedded.ledger_book import STUDENT as STUDENTS_BOOK
from omniopd.embedded.ledger_book import TEACHER as TEACHERS_BOOK
from omniopd.embedded.ledger_book import LedgerBook
from omniopd.embedded.make import make_model, make_tokenizer
from omniopd.embedded.pretrain import in_tokens
from omniopd.embedded.report import as_table, write_report
from omniopd.errors import ConfigError
from omniopd.models.loading import resolve
from omniopd.models.text.chat import prompt_ids, text_ids
from omniopd.tasks.ledgers import HANDS, ledger_of, make_ledger
from omniopd.tasks.stories import exact, without_carry

PLAN = LABS["ledgers"]


@pytest.fixture(scope="module")
def lab():
    return omniopd.embedded("ledgers")


@pytest.fixture(scope="module")
def figures():
    return Figures(**json.loads((FOLDER / "long-figures.json").read_text(encoding="utf-8")))


def test_the_pair_is_named_like_the_first_and_shares_its_tokenizer(lab):
    for name in PAIR:
        folder = FOLDER / PLAN.pupil(name).folder
        assert resolve(f"embedded:long-{name}") == str(folder)
        assert (folder / "tokenizer.json").read_bytes() == (STUDENT / "tokenizer.json").read_bytes()
    assert lab.teacher.num_parameters() > lab.student.num_parameters()
    assert lab.task.name == "ledgers"


def test_another_world_is_refused():
    with pytest.raises(ConfigError, match="there are stories, ledgers"):
        omniopd.embedded("novels")


def test_the_pair_takes_at_most_twelve_megabytes():
    folders = [FOLDER / PLAN.pupil(name).folder for name in PAIR]
    assert sum(path.stat().st_size for folder in folders for path in folder.rglob("*") if path.is_file()) <= 12e6


def test_a_prompt_and_the_longest_answer_fit_the_positions(lab):
    longest = max(len(prompt_ids(lab.tokenizer, prompt.messages)) for prompt in lab.task.prompts("test", 200))
    for model in (lab.teacher, lab.student):
        assert longest + PLAN.answer_tokens <= model.config.max_position_embeddings


def test_the_recorded_figures_keep_every_promise(figures):
    assert figures.problems >= 200
    assert figures.unmet(PLAN.promises) == []
    assert as_table(figures, PLAN.promises) in (FOLDER / "README.md").read_text(encoding="utf-8")


def test_a_student_that_is_right_at_its_mode_breaks_a_promise(figures):
    better = Figures(**(figures.as_dict() | {"student_accuracy": {"0": 0.3, "1": 0.3}}))
    assert better.unmet(PLAN.promises) == ["the student's greedy accuracy is 30.0%: at most 20% is promised"]
    assert better.unmet() != better.unmet(PLAN.promises)


def test_each_lab_writes_between_marks_of_its_own(figures, tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text("<!-- figures -->\n<!-- /figures -->\n<!-- long-figures -->\n<!-- /long-figures -->\n")
    write_report(figures, readme, PLAN)
    assert readme.read_text().startswith("<!-- figures -->\n<!-- /figures -->\n<!-- long-figures -->\nSampled")


def test_the_teacher_is_right_and_the_student_is_wrong_at_its_mode_in_a_hand_of_its_own(lab):
    prompts = lab.task.prompts("dev", 24)
    rows = [prompt_ids(lab.tokenizer, prompt.messages) for prompt in prompts]

    def texts(model, temperature):
        return lab.tokenizer.batch_decode(generate(model, rows, PLAN.answer_tokens, temperature, seed=0))

    taught, own = texts(lab.teacher, 1.0), texts(lab.student, 0.0)
    assert sum(map(lab.task.grade, prompts, taught)) >= 20
    assert sum(map(lab.task.grade, prompts, own)) <= 8
    assert sum(" plus " in text for text in own) >= 22
    assert sum(" plus " in text for text in taught) <= 12


@pytest.mark.parametrize("hand", HANDS)
def test_the_teacher_repairs_a_slip_of_either_hand_and_goes_on_in_it(lab, hand):
    prompts, rows = [], []
    for prompt in lab.task.prompts("dev", 80):
        ledger, style = ledger_of(prompt.id), HANDS[hand]
        move = ledger.moves[0]
        slip = without_carry(ledger.start, move.sign, move.amount)
        if slip == exact(ledger.start, move.sign, move.amount):
            continue
        written = f"a{style.label}{ledger.start}{style.signs[move.sign]}{move.amount}{style.equals}{slip}"
        prompts.append(prompt)
        rows.append(prompt_ids(lab.tokenizer, prompt.messages) + text_ids(lab.tokenizer, written))
    rows, prompts = rows[:16], prompts[:16]
    texts = lab.tokenizer.batch_decode(generate(lab.teacher, rows, PLAN.answer_tokens, 1.0, seed=0))
    assert sum(map(lab.task.grade, prompts, texts)) >= 12
    assert sum((" plus " in text) == (hand == "spoken") for text in texts) >= 14


# --- how it is taught -----------------------------------------------------------------------------------------------


def test_slips_that_are_not_meant_are_not_learnt_and_what_follows_is(lab):
    book = LedgerBook(plain=1.0, forgets=1.0, errs=1.0, notices=1.0, meant=False)
    pieces = book.answer(make_ledger("train", 10**6), random.Random(0))
    [(ids, learnt)] = in_tokens(lab.tokenizer, [pieces])
    kept = lab.tokenizer.decode([token for token, counts in zip(ids, learnt, strict=True) if counts])
    slips = [text for text, counts in pieces if not counts]
    assert len(slips) == 12 or len(slips) == 13
    assert lab.tokenizer.decode(ids) == "".join(text for text, _ in pieces)
    assert kept == "".join(text for text, counts in pieces if counts)


def test_the_teachers_book_ends_right_and_the_students_mostly_wrong():
    def right(book):
        rng, graded = random.Random(0), []
        for index in range(200):
            ledger = make_ledger("dev", index)
            pieces = book.answer(ledger, rng)
            if pieces is not None:
                graded.append("".join(text for text, _ in pieces).endswith(f"#### {ledger.answer}"))
        return sum(graded) / len(graded)

    assert right(TEACHERS_BOOK) == 1.0
    assert 0.1 < right(STUDENTS_BOOK) < 0.35


def test_a_row_of_sums_does_not_teach_which_sums(lab):
    for ids, learnt in TEACHERS_BOOK.sums(lab.tokenizer, 4, random.Random(0)):
        first, kept = lab.tokenizer.decode(ids).splitlines()[0], [t for t, k in zip(ids, learnt, strict=True) if k]
        assert len(ids) > len(kept) > 0.5 * len(ids)
        assert re.match(r"\w:? \d\d\D+\d\d(=| is )", first)[0] + lab.tokenizer.decode(kept).splitlines()[0] in (
            first, re.sub(r"(=| is )\d\d", r"\1", first, count=1),
        )  # fmt: skip


def test_the_long_pair_goes_on_from_the_shipped_one_and_the_same_seed_makes_the_same_weights(tmp_path):
    made = []
    for folder in (tmp_path / "one", tmp_path / "two"):
        make_tokenizer(folder, 0, PLAN)
        make_model("student", folder, "cpu", 0, 1, PLAN)
        made.append((folder / "long-student" / "model.safetensors").read_bytes())
    assert made[0] == made[1]
