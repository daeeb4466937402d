"""A real server that nobody here wrote: what it does with a request, and that a teacher behind it is the same teacher.

The server answers one call at a time, so calls here go one at a time, too: then each draw is a function of its seed,
and these tests come out the same in every run.
"""

from __future__ import annotations

import json
import math
import shutil
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
import torch
from scipy.stats import chisquare

from omniopd import audit, embedded, load_recipe, peak_forks, sample, token_edit_similarity
from omniopd.embedded import TEACHER
from omniopd.models.loading import load_model, load_tokenizer
from omniopd.models.text.chat import prompt_ids
from omniopd.pipeline.run import run_training
from omniopd.reports.summary import outcome
from omniopd.tasks.stories import Stories
from omniopd.teachers.handover.template import ChatTemplate
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.teachers.local import LocalTeacher
from omniopd.types import ContinuationRequest, Teacher
from tests.served import Server, serving

[QUESTION] = Stories().prompts("test", 1)
ROLLOUTS, FORKS, CHUNK = 40, 4, 6
MARGIN, SURE = 0.02, 1.96


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


def hosted(server: Server, temperature: float = 1.0) -> HostedTeacher:
    return HostedTeacher(
        f"text-completion-openai/{server.model}", temperature=temperature, api_base=server.url, concurrency=1,
        template=ChatTemplate(load_tokenizer(str(TEACHER))),
    )  # fmt: skip


def interval(asked: torch.Tensor, local: torch.Tensor) -> tuple[float, float]:
    """The 95% interval of the difference of mean soft shares, `asked` minus `local`, on these forks.

    Rows are forks, whose draws are independent. The variance of a draw is that of the local teacher's many.
    """
    gap = asked.mean(1) - local.mean(1)
    variance = local.var(1) * (1 / asked.shape[1] + 1 / local.shape[1])
    middle, half = float(gap.mean()), SURE * math.sqrt(float(variance.sum())) / len(gap)
    return middle - half, middle + half


@pytest.fixture(scope="module")
def shares() -> Callable[[Teacher, int], torch.Tensor]:
    """Asks a teacher about answers of the embedded student, the same ones each time: [fork, sample] similarities."""
    lab = embedded.lab()
    rollouts = sample(lab.student, lab.tokenizer, lab.task.prompts("test", ROLLOUTS), max_tokens=96, seed=1)
    forks = [peak_forks(rollout.entropies, FORKS, CHUNK) for rollout in rollouts]

    def ask(teacher: Teacher, samples: int) -> torch.Tensor:
        audited = audit(rollouts, forks, teacher, token_edit_similarity, samples, tokenizer=lab.tokenizer, seed=samples)
        assert not any(item.unanswered for item in audited)
        return torch.stack([a.similarities for item in audited for a in item.audits])

    return ask


def test_its_mean_soft_share_is_the_local_teachers_and_a_colder_teachers_is_not(
    served_teacher: Server, shares: Callable[[Teacher, int], torch.Tensor]
) -> None:
    """Within ±.02: the whole interval, not its middle. 160 forks, of which the local teacher sees 200 draws each."""
    lab = embedded.lab()
    local = shares(LocalTeacher(lab.teacher, lab.tokenizer), 200)
    low, high = interval(shares(hosted(served_teacher), 5), local)
    assert -MARGIN < low < high < MARGIN
    low, high = interval(shares(hosted(served_teacher, temperature=0.7), 1), local)
    assert low > 0
    assert high > MARGIN


def test_two_steps_of_the_embedded_recipe_train_through_it(served_teacher: Server, tmp_path: Path) -> None:
    few = {
        "training.steps": 2,
        "training.rollouts": 4,
        "training.micro_batch": 4,
        "audit.forks": 4,
        "audit.samples": 2,
        "training.probe_prompts": 0,
    }
    measured = {"evaluation.problems": 2, "evaluation.temperatures": [1.0], "evaluation.samples": 1}
    teacher = {
        "teacher.model": f"text-completion-openai/{served_teacher.model}",
        "teacher.api_base": served_teacher.url,
        "teacher.tokenizer": "embedded:teacher",
        "teacher.concurrency": 1,
    }
    recipe = load_recipe("labels", **few, **measured, **teacher, **{"evaluation.controls": []})
    before = served_teacher.posts
    run = run_training(recipe, tmp_path, show=False)
    assert (run.state, [record.step for record in run.steps()]) == ("finished", [1, 2])
    for record in run.steps():
        assert record.failures == {}
        assert 0 < record.output_tokens <= 32  # a token a call
        assert math.isfinite(record.loss)
    served_teacher.wait_for(lambda: served_teacher.posts >= before + 64, 10)
    assert served_teacher.posts == before + 64
    assert "Ledger of text-completion-openai/teacher: 64 calls" in outcome(run)


def test_a_checkpoint_that_would_not_sample_is_sampled_all_the_same(tmp_path: Path) -> None:
    """A call brings its own generation_config: one token of 200 draws against the model's softmax."""
    shutil.copytree(TEACHER, tmp_path / "bent")
    file = tmp_path / "bent" / "generation_config.json"
    file.write_text(json.dumps({"eos_token_id": 2, "pad_token_id": 0, "top_k": 3, "repetition_penalty": 3.0}))
    model, tokenizer = load_model(str(TEACHER)), load_tokenizer(str(TEACHER))
    with torch.no_grad():
        law = model(torch.tensor([prompt_ids(tokenizer, QUESTION.messages)])).logits[0, -1].double().softmax(0)
    with serving(tmp_path / "bent") as server:
        [answer] = hosted(server).continue_from([ContinuationRequest(QUESTION, "", 200, 1)])
    expected: Counter[str] = Counter()
    for token, share in enumerate(law.tolist()):
        expected[tokenizer.decode([token], skip_special_tokens=True)] += share
    seen, often = Counter(answer.texts), [text for text, share in expected.items() if share * 200 >= 5]
    drawn, wanted = [seen[text] for text in often], [200 * expected[text] for text in often]
    assert len(often) > 1
    assert chisquare([*drawn, 200 - sum(drawn)], [*wanted, 200 - sum(wanted)]).pvalue > 1e-4
