"""An evaluation counts what the model really does, on problems that stay the same."""

from __future__ import annotations

from dataclasses import dataclass, field

import pytest
import torch

from omniopd.errors import ConfigError, DataError, Refused
from omniopd.evaluation.compare import paired_difference
from omniopd.evaluation.evaluate import evaluate
from omniopd.evaluation.pass_at_k import mean_pass_at_k
from omniopd.evaluation.repetition import repetition
from omniopd.models.sampling import sample
from omniopd.models.text.chat import prompt_ids
from omniopd.models.text.token_text import decode
from omniopd.records import read_record, record_json
from omniopd.types import Prompt, Task
from tests.builders import prompts, tiny_model, tiny_tokenizer


@dataclass
class Vowels:
    """A task that a random model sometimes solves: the answer must hold an "e"."""

    count: int = 12
    name: str = "vowels"
    asked: list[tuple[str, int | None, int]] = field(default_factory=list)
    answers: dict[tuple[str, str], int] = field(default_factory=dict)

    def prompts(self, split: str, count: int | None = None, seed: int = 0) -> list[Prompt]:
        self.asked.append((split, count, seed))
        return prompts(self.count)[:count]

    def grade(self, prompt: Prompt, response: str) -> bool:
        self.answers[prompt.id, response] = self.answers.get((prompt.id, response), 0) + 1
        return "e" in response


def counts(record) -> list[tuple]:
    return [(p.prompt_id, p.right, p.truncated, p.mean_tokens) for p in record.problems]


def test_greedy_answers_are_those_of_generate():
    model, tokenizer, task = tiny_model(spread=0.5), tiny_tokenizer(), Vowels()
    record = evaluate(model, tokenizer, task, samples=5, temperature=0, max_tokens=12)
    assert record.samples == 1
    for prompt, problem in zip(prompts(12), record.problems, strict=True):
        ids = torch.tensor([prompt_ids(tokenizer, prompt.messages)])
        with torch.no_grad():
            out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=12, do_sample=False)
        answer = out[0, ids.shape[1] :].tolist()
        text = decode(tokenizer, answer)
        assert (prompt.id, text) in task.answers
        assert (problem.prompt_id, problem.right) == (prompt.id, int("e" in text))
        assert problem.mean_tokens == len(answer)
        assert problem.truncated == int(answer[-1] != tokenizer.eos_token_id)


def test_sampled_accuracy_tends_to_the_probability_of_a_right_answer():
    model, tokenizer, task = tiny_model(spread=0.5), tiny_tokenizer(), Vowels(1)
    [only] = prompts(1)
    with torch.no_grad():
        logits = model(torch.tensor([prompt_ids(tokenizer, only.messages)])).logits[0, -1]
    for temperature in (1.0, 0.5):
        chances = (logits.double() / temperature).softmax(-1)
        exact = sum(float(p) for token, p in enumerate(chances) if "e" in decode(tokenizer, [token]))
        record = evaluate(model, tokenizer, task, 4000, temperature, max_tokens=1, batch=4000)
        assert record.accuracy == pytest.approx(exact, abs=4 * (exact * (1 - exact) / 4000) ** 0.5)


def test_a_draw_depends_on_its_problem_and_number_alone():
    model, tokenizer = tiny_model(), tiny_tokenizer()
    whole = evaluate(model, tokenizer, Vowels(), 3, max_tokens=8)
    assert counts(evaluate(model, tokenizer, Vowels(), 3, max_tokens=8, batch=5)) == counts(whole)
    assert counts(evaluate(model, tokenizer, Vowels(), 3, max_tokens=8, limit=4)) == counts(whole)[:4]
    drawn = sample(model, tokenizer, prompts(12), 8, samples=3)
    assert [p.mean_tokens * 3 for p in whole.problems] == [sum(map(len, drawn[i : i + 3])) for i in range(0, 36, 3)]
    assert counts(evaluate(model, tokenizer, Vowels(), 3, max_tokens=8, seed=1)) != counts(whole)
    first = Vowels()
    evaluate(model, tokenizer, first, 1, max_tokens=8)
    more = Vowels()
    evaluate(model, tokenizer, more, 3, max_tokens=8)
    assert set(first.answers) <= set(more.answers)


def test_global_generators_and_the_model_s_mode_are_left_alone():
    model, tokenizer = tiny_model().train(), tiny_tokenizer()
    torch.manual_seed(3)
    before = torch.get_rng_state()
    evaluate(model, tokenizer, Vowels(), 2, max_tokens=4)
    assert torch.equal(torch.get_rng_state(), before)
    assert model.training


def test_the_problems_do_not_depend_on_the_seed_so_evaluations_pair():
    task = Vowels()
    records = [evaluate(tiny_model(s), tiny_tokenizer(), task, seed=s, max_tokens=4, limit=6, step=s) for s in (0, 1)]
    assert set(task.asked) == {("test", 6, 0)}
    assert paired_difference(*records).units == 6
    assert [r.step for r in records] == [0, 1]


def test_every_answer_is_counted_once():
    task, seen = Vowels(), []
    record = evaluate(
        tiny_model(),
        tiny_tokenizer(),
        task,
        4,
        max_tokens=6,
        batch=10,
        name="teacher",
        progress=lambda *at: seen.append(at),
    )
    assert sum(task.answers.values()) == 48
    assert sum(p.right for p in record.problems) == sum(n for (_, text), n in task.answers.items() if "e" in text)
    assert record.readable_share == pytest.approx(1 - record.truncated_share)
    assert seen == [(0, 48), (8, 48), (16, 48), (24, 48), (32, 48), (40, 48), (48, 48)]
    assert (record.model, record.task, record.split, record.max_tokens) == ("teacher", "vowels", "test", 6)
    assert isinstance(task, Task)


def test_a_task_may_say_what_is_readable():
    class Strict(Vowels):
        def readable(self, prompt: Prompt, response: str) -> bool:
            return False

    assert evaluate(tiny_model(), tiny_tokenizer(), Strict(), max_tokens=4).readable_share == 0


def test_several_answers_to_a_problem_give_pass_at_k():
    record = evaluate(tiny_model(), tiny_tokenizer(), Vowels(), 4, 1.0, 5, max_tokens=6)
    assert 0 < record.accuracy <= mean_pass_at_k(record, 4)


def test_settings_that_cannot_work_are_named():
    model, tokenizer = tiny_model(), tiny_tokenizer()
    with pytest.raises(ConfigError, match="samples is 0"):
        evaluate(model, tokenizer, Vowels(), samples=0)
    with pytest.raises(ConfigError, match="limit is 0"):
        evaluate(model, tokenizer, Vowels(), limit=0)
    with pytest.raises(DataError, match=r"'p0' has .* tokens, and the model reads 8"):
        evaluate(tiny_model(context=8), tokenizer, Vowels())
    with pytest.raises(DataError, match="'dev' of vowels has no problems"):
        evaluate(model, tokenizer, Vowels(0), split="dev")


def test_lengths_and_repetition_are_those_of_the_answers():
    model, tokenizer = tiny_model(), tiny_tokenizer()
    record = evaluate(model, tokenizer, Vowels(), 3, max_tokens=20, limit=4)
    drawn = sample(model, tokenizer, prompts(4), 20, samples=3)
    for at, problem in enumerate(record.problems):
        answers = [rollout.token_ids.tolist() for rollout in drawn[3 * at : 3 * at + 3]]
        assert problem.tokens == tuple(map(len, answers))
        assert problem.repetition == pytest.approx(sum(map(repetition, answers)) / 3)
    assert record.repetition == pytest.approx(sum(p.repetition for p in record.problems) / 4)


def test_at_temperature_1_the_entropy_is_that_of_the_answers_tokens():
    model = tiny_model()
    scored = sample(model, tiny_tokenizer(), prompts(5), max_tokens=20, samples=3, seed=4)
    record = evaluate(model, tiny_tokenizer(), Vowels(5), samples=3, temperature=1, seed=4, max_tokens=20, batch=6)
    for place, problem in enumerate(record.problems):
        nats = torch.cat([rollout.entropies for rollout in scored[3 * place : 3 * place + 3]])
        assert problem.entropy == pytest.approx(nats.mean().item(), abs=1e-4)
    cooler = evaluate(model, tiny_tokenizer(), Vowels(5), samples=3, temperature=0.5, seed=4, max_tokens=20)
    assert {problem.entropy for problem in cooler.problems} == {None}


def test_repetition_is_the_share_of_four_grams_seen_before():
    assert repetition([1, 2, 3, 4, 5, 6]) == 0
    assert repetition([1, 2]) == repetition([]) == 0
    assert repetition([7] * 13) == pytest.approx(9 / 10)
    assert repetition([1, 2, 3, 4] * 2) == pytest.approx(1 / 5)
    assert repetition([1, 2, 1, 2], window=2) == pytest.approx(1 / 3)


def test_a_grader_that_throws_has_found_the_answer_wrong_and_says_why():
    class Throws(Vowels):
        def grade(self, prompt: Prompt, response: str) -> bool:
            if prompt.id == prompts(2)[1].id:
                raise ZeroDivisionError("by nothing")
            return True

    record = evaluate(tiny_model(), tiny_tokenizer(), Throws(), 2, max_tokens=4, limit=2)
    assert [problem.right for problem in record.problems] == [2, 0]
    assert record.failures == ("ZeroDivisionError: by nothing",) * 2
    assert read_record(record_json(record)) == record

    class Refuses(Vowels):
        def grade(self, prompt: Prompt, response: str) -> bool:
            raise Refused("not allowed")

    with pytest.raises(Refused, match="not allowed"):
        evaluate(tiny_model(), tiny_tokenizer(), Refuses(), max_tokens=4, limit=1)


def test_an_evaluation_goes_on_where_it_was_stopped(tmp_path):
    class Stops(Vowels):
        def grade(self, prompt: Prompt, response: str) -> bool:
            if len(self.answers) == 5:
                raise KeyboardInterrupt
            return super().grade(prompt, response)

    model, tokenizer, file = tiny_model(), tiny_tokenizer(), tmp_path / "kept.jsonl"
    whole = evaluate(model, tokenizer, Vowels(), max_tokens=8)
    with pytest.raises(KeyboardInterrupt):
        evaluate(model, tokenizer, Stops(), max_tokens=8, batch=2, keep=file)
    with open(file, "a") as torn:
        torn.write('{"prompt_id": "hal')
    task, seen = Vowels(), []
    record = evaluate(
        model, tokenizer, task, max_tokens=8, batch=4, keep=file, progress=lambda *at: seen.append(at)
    )
    assert record.problems == whole.problems
    assert sum(task.answers.values()) == 8  # of 12; two batches of two were kept
    assert seen == [(4, 12), (8, 12), (12, 12)]
    again = Vowels()
    assert evaluate(model, tokenizer, again, max_tokens=8, keep=file).problems == whole.problems
    assert not again.answers
    other = Vowels()
    evaluate(model, tokenizer, other, max_tokens=8, keep=file, seed=1)
    assert sum(other.answers.values()) == 12
