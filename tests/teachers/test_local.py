"""The local teacher says what its model says, alone or among others, and reads shared prefixes once."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from transformers import PreTrainedModel, Qwen3ForCausalLM

from omniopd.errors import ConfigError, TeacherError
from omniopd.models.architecture.tree_attention import supports_trees
from omniopd.models.decoding import continue_ids, row_seed
from omniopd.models.text.chat import prompt_ids, text_ids
from omniopd.models.text.token_text import decode_whole
from omniopd.teachers.local import LocalTeacher
from omniopd.types import ContinuationRequest, Prompt
from tests.builders import (
    eager_model,
    gpt2_model,
    prompt,
    prompts,
    request,
    sliding_model,
    tiny_model,
    tiny_tokenizer,
)  # fmt: skip

ANSWER = "the cat sat on the mat and 2 plus 3 is 5, é🙂 so the dog ran"


def forks(of: Prompt, samples: int = 3, max_tokens: int = 5) -> list[ContinuationRequest]:
    """Nested prefixes as an audit sends them; some end where the whole text has no token boundary."""
    return [request(ANSWER[:n], samples, max_tokens, of) for n in (0, 3, 5, 9, 22, 23, len(ANSWER))]


def slowly(teacher: LocalTeacher, asked: ContinuationRequest) -> tuple[tuple[str, ...], tuple[bool, ...]]:
    """Every draw alone: its own prefix read from the start."""
    tokenizer, end = teacher.tokenizer, teacher.tokenizer.eos_token_id
    prefix = [*prompt_ids(tokenizer, asked.prompt.messages), *text_ids(tokenizer, asked.prefix)]
    base = row_seed(asked.seed, asked.prompt.id, asked.prefix)
    texts, stopped = [], []
    for draw in range(asked.first_sample, asked.first_sample + asked.samples):
        [ids] = continue_ids(
            teacher.model, [prefix], [row_seed(base, draw)], asked.max_tokens, temperature=teacher.temperature,
            top_p=teacher.top_p, eos_ids=[end],
        )  # fmt: skip
        texts.append(decode_whole(tokenizer, prefix, ids))
        stopped.append(ids[-1] == end)
    return tuple(texts), tuple(stopped)


class Narrow(Qwen3ForCausalLM):
    """A model on a device whose memory holds `room` tokens of one forward."""

    room = 10**9

    def forward(self, input_ids=None, **options):
        if input_ids.numel() > self.room:
            raise torch.OutOfMemoryError("out of memory")
        return super().forward(input_ids=input_ids, **options)


def narrow(room: int) -> PreTrainedModel:
    like = tiny_model()
    model = Narrow(like.config).eval()
    model.load_state_dict(like.state_dict())
    model.generation_config = like.generation_config
    model.room = room
    return model


@pytest.mark.parametrize(
    ("model", "tree"),
    [
        (lambda: tiny_model(dtype=torch.float64), True),
        (lambda: tiny_model(spread=1.0), True),
        (eager_model, True),
        (gpt2_model, True),
        (sliding_model, False),
    ],
    ids=["float64", "decided", "eager", "gpt2", "sliding"],
)
@pytest.mark.parametrize("sharpness", [{}, {"temperature": 0.7, "top_p": 0.9}, {"temperature": 0.0}], ids=str)
def test_texts_equal_those_of_each_draw_made_alone(model, tree: bool, sharpness: dict[str, float]) -> None:
    network = model()
    teacher = LocalTeacher(network, tiny_tokenizer(), **sharpness)
    assert supports_trees(network) is tree
    asked = [r for p in prompts(2) for r in forks(p)]
    for question, answer in zip(asked, teacher.continue_from(asked), strict=True):
        assert (answer.texts, answer.stopped) == slowly(teacher, question)


def test_a_request_gets_the_same_texts_alone_and_among_others_and_in_small_batches() -> None:
    teacher = LocalTeacher(tiny_model(), tiny_tokenizer())
    asked = [r for p in prompts(2) for r in forks(p)]
    together = teacher.continue_from(asked)
    assert [teacher.continue_from([r])[0].texts for r in asked] == [a.texts for a in together]
    small = LocalTeacher(teacher.model, teacher.tokenizer, batch_tokens=60)
    assert [a.texts for a in small.continue_from(asked[::-1])[::-1]] == [a.texts for a in together]


def test_a_text_that_ends_by_itself_is_stopped_and_shorter() -> None:
    teacher = LocalTeacher(tiny_model(), tiny_tokenizer())
    [answer] = teacher.continue_from([request(samples=400, max_tokens=4)])
    assert 0 < sum(answer.stopped) < 400
    assert answer.usage.output_tokens < 1600


def test_usage_counts_each_prefix_once_and_every_token_drawn() -> None:
    teacher = LocalTeacher(tiny_model(), tiny_tokenizer(), name="tiny")
    asked = request(samples=3, max_tokens=4)
    [answer] = teacher.continue_from([asked])
    prefix = prompt_ids(teacher.tokenizer, asked.prompt.messages) + text_ids(teacher.tokenizer, asked.prefix)
    assert answer.usage.input_tokens == len(prefix)
    assert answer.usage.output_tokens == 12 or any(answer.stopped)
    assert (answer.usage.calls, answer.served_model, answer.handover, answer.exact) == (1, "tiny", "raw", True)


def test_a_prefix_that_fills_the_context_is_a_problem_and_the_others_are_answered() -> None:
    teacher = LocalTeacher(tiny_model(context=64), tiny_tokenizer())
    long, short = request("a b " * 60), request("a")
    unanswered, answered = teacher.continue_from([long, short])
    assert (unanswered.problem, unanswered.texts) == ("context", ())
    assert answered.texts == teacher.continue_from([short])[0].texts
    nearly = replace(short, prefix="🙂" * 7, max_tokens=500)
    [cut] = teacher.continue_from([nearly])
    assert cut.problem is None


def test_text_that_spells_a_special_token_is_continued_as_text() -> None:
    teacher = LocalTeacher(tiny_model(), tiny_tokenizer())
    spelled = prompt("say <|im_end|> twice", "spelled")
    end = teacher.tokenizer.eos_token_id
    plain = [i for i in teacher._template.shown(request("<|im_end|>", of=spelled)).ids if i == end]
    template = [i for i in prompt_ids(teacher.tokenizer, prompt("x").messages) if i == end]
    assert plain == template


def test_an_unfinished_last_character_is_held_back() -> None:
    teacher = LocalTeacher(tiny_model(), tiny_tokenizer())
    [answer] = teacher.continue_from([request(samples=300, max_tokens=1)])
    first_bytes = [i for i in range(300) if not decode_whole(teacher.tokenizer, [], [i])]
    assert len(first_bytes) > 40
    assert any(text == "" for text in answer.texts)


def test_a_temperature_below_zero_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"temperature is -1"):
        LocalTeacher(tiny_model(), tiny_tokenizer(), temperature=-1)


def test_a_full_memory_means_smaller_batches_and_the_same_texts(caplog: pytest.LogCaptureFixture) -> None:
    asked = [ask for of in prompts(3) for ask in forks(of)]
    wanted = LocalTeacher(tiny_model(), tiny_tokenizer()).continue_from(asked)
    teacher = LocalTeacher(narrow(room=200), tiny_tokenizer())
    heard: list[int] = []
    found = teacher.continue_from(asked, lambda index, _: heard.append(index))
    assert [a.texts for a in found] == [a.texts for a in wanted]
    assert sorted(heard) == list(range(len(asked)))
    assert teacher.batch_tokens < 65536
    assert "the teacher's memory is full" in caplog.text


def test_a_memory_too_small_for_one_text_is_one_sentence() -> None:
    teacher = LocalTeacher(narrow(room=4), tiny_tokenizer())
    with pytest.raises(TeacherError, match=r"batch_tokens is \d+, and the memory of cpu does not hold a single"):
        teacher.continue_from(forks(prompt()))
