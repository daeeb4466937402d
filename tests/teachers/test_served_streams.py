"""A real server that nobody here wrote streams: calls are left there, and what is left out changes no law."""

from __future__ import annotations

import time
from collections import Counter

import torch
from scipy.stats import chisquare

from omniopd.embedded import TEACHER
from omniopd.models.loading import load_model, load_tokenizer
from omniopd.models.text.chat import prompt_ids
from omniopd.tasks.stories import Stories
from omniopd.teachers.handover.template import ChatTemplate
from omniopd.teachers.hosted.teacher import HostedTeacher
from omniopd.types import ContinuationRequest
from tests.served import Server

[QUESTION] = Stories().prompts("test", 1)
DRAWS = 200


def hosted(server: Server, **more: object) -> HostedTeacher:
    # One call at a time, as the server answers them: a seed sets the generator of all.
    name, template = f"text-completion-openai/{server.model}", ChatTemplate(load_tokenizer(str(TEACHER)))
    return HostedTeacher(name, api_base=server.url, template=template, concurrency=1, **more)


def asked(samples: int, draft: str, max_tokens: int = 24) -> ContinuationRequest:
    return ContinuationRequest(QUESTION, "", samples, max_tokens, draft=draft)


def test_the_first_token_of_a_text_that_was_left_has_the_teachers_law(served_teacher: Server) -> None:
    tokenizer, model = load_tokenizer(str(TEACHER)), load_model(str(TEACHER))
    with torch.no_grad():
        law = model(torch.tensor([prompt_ids(tokenizer, QUESTION.messages)])).logits[0, -1].double().softmax(0)
    [answer] = hosted(served_teacher).continue_from([asked(DRAWS, "☃")])
    assert (answer.problem, len(answer.texts), any(answer.stopped)) == (None, DRAWS, False)
    assert max(len(tokenizer(text).input_ids) for text in answer.texts) < 12  # left long before the 24 tokens
    assert answer.usage.output_tokens < DRAWS * 12
    seen = Counter(tokenizer(text).input_ids[0] for text in answer.texts)
    often = [token for token, share in enumerate(law.tolist()) if share * DRAWS >= 5]
    drawn, wanted = [seen[token] for token in often], [DRAWS * float(law[token]) for token in often]
    rest = DRAWS - sum(wanted)
    if rest >= 1:
        drawn, wanted = [*drawn, DRAWS - sum(drawn)], [*wanted, rest]
    assert len(wanted) > 1
    assert chisquare(drawn, [w * sum(drawn) / sum(wanted) for w in wanted]).pvalue > 1e-4


def test_it_stops_writing_when_it_is_left(served_teacher: Server) -> None:
    """It answers one call after the other, so that a call behind one that was left waits for what that one writes."""
    teacher, whole = hosted(served_teacher), hosted(served_teacher, stream="never")

    def seconds(by: HostedTeacher) -> float:
        since = time.perf_counter()
        [answer] = by.continue_from([asked(12, "☃", 160)])
        assert answer.problem is None
        return time.perf_counter() - since

    assert seconds(teacher) < 0.6 * seconds(whole)
