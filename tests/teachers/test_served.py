"""A real server that nobody here wrote: what it does with a request."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import torch

from omniopd.embedded import TEACHER
from omniopd.models.chat import prompt_ids
from omniopd.models.loading import load_model, load_tokenizer
from omniopd.tasks.stories import Stories
from tests.served import Server

[QUESTION] = Stories().prompts("test", 1)


@pytest.fixture(scope="module")
def rendered() -> str:
    tokenizer = load_tokenizer(str(TEACHER))
    return str(tokenizer.decode(prompt_ids(tokenizer, QUESTION.messages)))


Post = Callable[..., httpx.Response]


@pytest.fixture(scope="module")
def post(served_teacher: Server) -> Iterator[Post]:
    """A request as it stands, without a client library between."""
    with httpx.Client(timeout=60, trust_env=False) as client:
        url, usual = f"{served_teacher.url}/completions", {"model": served_teacher.model, "max_tokens": 8}
        yield lambda **body: client.post(url, json={**usual, **body})


def texts(post: Post, count: int, **body: Any) -> list[str]:
    return [post(seed=n, **body).json()["choices"][0]["text"] for n in range(count)]


def test_it_gives_one_text_and_names_the_revision_that_it_serves(post: Post, rendered: str) -> None:
    said = post(prompt=rendered, n=4).json()
    assert (said["model"], len(said["choices"])) == ("teacher@main", 1)
    assert said["usage"]["completion_tokens"] == 8


@pytest.mark.parametrize(
    ("body", "status"),
    [({"prompt": [1, 2]}, 400), ({"model": "other"}, 400), ({"top_k": 0}, 422), ({"min_p": 0.1}, 422)],
    ids=str,
)
def test_what_it_does_not_know_it_refuses(post: Post, rendered: str, body: dict[str, Any], status: int) -> None:
    assert post(**{"prompt": rendered} | body).status_code == status


def test_temperature_is_obeyed_down_to_one_text(post: Post, rendered: str) -> None:
    assert len(set(texts(post, 8, prompt=rendered, temperature=0))) == 1
    assert len(set(texts(post, 8, prompt=rendered, temperature=1.0))) > 1


def test_no_top_k_cuts_the_distribution(post: Post, rendered: str) -> None:
    """At temperature 10 most of the mass lies outside the 50 likeliest tokens, which a default top_k would cut off."""
    model, tokenizer = load_model(str(TEACHER)), load_tokenizer(str(TEACHER))
    with torch.no_grad():
        logits = model(torch.tensor([prompt_ids(tokenizer, QUESTION.messages)])).logits[0, -1]
    likeliest = {tokenizer.decode([i], skip_special_tokens=True) for i in logits.topk(50).indices.tolist()}
    outside = 1 - float((logits / 10).softmax(0)[logits.topk(50).indices].sum())
    drawn = Counter(t in likeliest for t in texts(post, 60, prompt=rendered, temperature=10, max_tokens=1))
    assert outside > 0.5
    assert drawn[False] / 60 == pytest.approx(outside, abs=0.2)


def test_it_counts_the_requests_it_answered(served_teacher: Server, post: Post, rendered: str) -> None:
    answered = served_teacher.posts
    texts(post, 3, prompt=rendered)
    assert served_teacher.wait_for(lambda: served_teacher.posts >= answered + 3, 10)
