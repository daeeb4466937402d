"""An evaluation counts what the model really does, on problems that stay the same."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import pytest
import torch

from omniopd.errors import ConfigError, DataError
from omniopd.evaluation.compare import paired_difference
from omniopd.evaluation.evaluate import accuracy_by_temperature, evaluate
from omniopd.evaluation.pass_at_k import mean_pass_at_k
from omniopd.models.chat import prompt_ids
from omniopd.models.pieces import decode
from omniopd.models.sampling import sample
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
    assert seen == [(8, 48), (16, 48), (24, 48), (32, 48), (40, 48), (48, 48)]
    assert (record.model, record.task, record.split, record.max_tokens) == ("teacher", "vowels", "test", 6)
    assert isinstance(task, Task)


def test_a_task_may_say_what_is_readable():
    class Strict(Vowels):
        def readable(self, prompt: Prompt, response: str) -> bool:
            return False

    assert evaluate(tiny_model(), tiny_tokenizer(), Strict(), max_tokens=4).readable_share == 0


def test_accuracy_against_temperature_gives_pass_at_k_at_the_highest():
    seen: list[tuple[int, int]] = []
    records = accuracy_by_temperature(
        tiny_model(),
        tiny_tokenizer(),
        Vowels(),
        (1.0, 0.0, 0.5),
        4,
        5,
        max_tokens=6,
        progress=lambda *at: seen.append(at),
    )
    assert [(r.temperature, r.samples) for r in records] == [(0.0, 1), (0.5, 1), (1.0, 4)]
    assert records[-1].accuracy <= mean_pass_at_k(records[-1], 4)
    assert seen == [(5, 30), (10, 30), (30, 30)]
    alone = evaluate(tiny_model(), tiny_tokenizer(), Vowels(), 4, 1.0, 5, max_tokens=6)
    assert replace(alone, seconds=0.0) == replace(records[-1], seconds=0.0)


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
    with pytest.raises(ConfigError, match="temperatures is empty"):
        accuracy_by_temperature(model, tokenizer, Vowels(), ())
