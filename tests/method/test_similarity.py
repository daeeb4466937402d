"""Facts about what counts as similar: against slow twins, at the ends, and as a seam."""

from __future__ import annotations

import functools
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from omniopd.errors import ConfigError
from omniopd.method.similarity import characters, exact, mean_self_agreement, without_model
from omniopd.method.tensors import (
    edit_similarity,
    exact_similarity,
    in_tensors,
    powered,
    rouge1_similarity,
    token_edit_similarity,
)
from omniopd.types import Similarity

quick = settings(deadline=None, max_examples=50, derandomize=True)
texts = st.text(alphabet="ab 1é😀\n.", max_size=9)
every = pytest.mark.parametrize("similarity", [*map(in_tensors, without_model().values())], ids=without_model())


def slow_levenshtein(a, b) -> int:
    @functools.cache
    def distance(i: int, j: int) -> int:
        if i == 0 or j == 0:
            return i + j
        swap = distance(i - 1, j - 1) + (a[i - 1] != b[j - 1])
        return min(distance(i - 1, j) + 1, distance(i, j - 1) + 1, swap)

    return distance(len(a), len(b))


def slow_edit_similarity(a, b) -> float:
    longest = max(len(a), len(b))
    return 1.0 if longest == 0 else 1 - slow_levenshtein(a, b) / longest


def test_kitten_and_sitting():
    assert math.isclose(float(edit_similarity("kitten", ["sitting"])[0]), 4 / 7, rel_tol=1e-6)


@quick
@given(texts, st.lists(texts, max_size=4))
def test_edit_similarity_counts_characters(chunk, continuations):
    slow = torch.tensor([slow_edit_similarity(chunk, text) for text in continuations])
    torch.testing.assert_close(edit_similarity(chunk, continuations), slow)


@quick
@given(texts, st.lists(texts, max_size=4))
def test_token_edit_similarity_counts_words_single_digits_signs_and_spaces(chunk, continuations):
    def split(text: str) -> list[str]:
        """Character by character: runs of letters and runs of spaces belong together, the rest stands alone."""
        found: list[str] = []
        last = ""
        for character in text:
            kind = "word" if character.isalpha() or character == "_" else "space" if character.isspace() else "alone"
            if found and kind != "alone" and kind == last:
                found[-1] += character
            else:
                found.append(character)
            last = kind
        return found

    slow = torch.tensor([slow_edit_similarity(split(chunk), split(text)) for text in continuations])
    torch.testing.assert_close(token_edit_similarity(chunk, continuations), slow)


def test_one_wrong_digit_is_one_token_in_thirteen():
    right, wrong = "so 12 + 7 = 19", "so 12 + 7 = 18"
    assert math.isclose(float(token_edit_similarity(right, [wrong])[0]), 1 - 1 / 13, rel_tol=1e-6)


def slow_rouge1(a: str, b: str) -> float:
    def words(text: str) -> list[str]:
        spaced = "".join(c if c.isalnum() or c == "_" else " " for c in text.lower())
        return spaced.split()

    ours, theirs = words(a), words(b)
    if not ours and not theirs:
        return float(a == b)
    shared = 0
    left = list(theirs)
    for word in ours:
        if word in left:
            left.remove(word)
            shared += 1
    if not shared:
        return 0.0
    precision, recall = shared / len(theirs), shared / len(ours)
    return 2 * precision * recall / (precision + recall)


@quick
@given(st.text(alphabet="abAB 1.", max_size=12), st.lists(st.text(alphabet="abAB 1.", max_size=12), max_size=4))
def test_rouge1_is_the_harmonic_mean_of_precision_and_recall(chunk, continuations):
    slow = torch.tensor([slow_rouge1(chunk, text) for text in continuations])
    torch.testing.assert_close(rouge1_similarity(chunk, continuations), slow)


@quick
@given(texts, st.lists(texts, max_size=4))
def test_exact_similarity_makes_the_soft_count_a_count(chunk, continuations):
    assert float(exact_similarity(chunk, continuations).sum()) == continuations.count(chunk)


# ── rules of the seam ────────────────────────────────────────────────────────────────────────────────────────────────


@every
@quick
@given(a=texts, b=texts)
def test_between_0_and_1_symmetric_and_1_for_the_same_text(similarity, a, b):
    there, back = float(similarity(a, [b])[0]), float(similarity(b, [a])[0])
    assert 0 <= there <= 1
    assert there == back
    assert float(similarity(a, [a])[0]) == 1


@every
def test_empty_texts(similarity):
    assert isinstance(similarity, Similarity)
    assert similarity("", ["", "a", "..."]).tolist() == [1, 0, 0]
    assert similarity("a", ["", "a"]).tolist() == [0, 1]
    assert similarity("a", []).shape == (0,)
    assert similarity("a", []).dtype == torch.float32


@every
def test_the_order_of_the_texts_is_kept_and_each_is_scored_alone(similarity):
    chunk, several = "the cat sat on 12", ["a dog ran", "the cat sat on 12", "the cat sat on 13", "", "cat the"]
    together = similarity(chunk, several)
    assert together.tolist() == [float(similarity(chunk, [text])[0]) for text in several]
    assert similarity(chunk, several[::-1]).tolist() == together.tolist()[::-1]


def test_raw_case_and_spaces_count_except_for_rouge1():
    for similarity in (edit_similarity, token_edit_similarity, exact_similarity):
        assert float(similarity("The cat", ["the cat"])[0]) < 1
        assert float(similarity("the cat", ["the cat "])[0]) < 1
    assert float(rouge1_similarity("The cat", ["the  cat "])[0]) == 1


def test_a_wrong_digit_hides_among_200_characters_and_an_exact_match_sees_it():
    right = "x" * 199 + "1"
    wrong = "x" * 199 + "2"
    assert math.isclose(float(edit_similarity(right, [wrong])[0]), 0.995, rel_tol=1e-6)
    assert float(exact_similarity(right, [wrong])[0]) == 0


def test_the_mean_similarity_is_highest_for_the_most_typical_text_not_for_the_teachers_distribution():
    """The caution of the module: against a teacher that says "aa" 6 times of 10, always saying "aa" scores best."""
    teacher = ["aa"] * 6 + ["bb"] * 4
    as_the_teacher = sum(float(exact_similarity(text, teacher).mean()) for text in teacher) / len(teacher)
    assert math.isclose(as_the_teacher, 0.6**2 + 0.4**2, rel_tol=1e-6)
    assert float(exact_similarity("aa", teacher).mean()) > as_the_teacher


# ── around a similarity ──────────────────────────────────────────────────────────────────────────────────────────────


@quick
@given(texts, st.lists(texts, min_size=2, max_size=5), st.sampled_from([0.5, 2.0, 8.0]))
def test_a_power_keeps_the_order_and_both_ends(chunk, continuations, power):
    plain = edit_similarity(chunk, continuations)
    raised = powered(edit_similarity, power)(chunk, continuations)
    torch.testing.assert_close(raised, torch.tensor([x**power for x in plain.tolist()]))
    assert [bool(x) for x in (raised == 1)] == [bool(x) for x in (plain == 1)]


def test_a_power_of_1_is_the_similarity_itself_and_one_of_0_is_refused():
    assert powered(edit_similarity, 1) is edit_similarity
    for power in (0, -2, math.nan):
        with pytest.raises(ConfigError, match=r"audit\.power"):
            powered(edit_similarity, power)


def test_self_agreement_is_the_mean_over_different_pairs():
    several = ["the cat", "the dog", "", "the cat"]
    slow = [slow_edit_similarity(a, b) for i, a in enumerate(several) for b in several[:i]]
    assert mean_self_agreement(several, characters) == pytest.approx(sum(slow) / 6)
    assert math.isnan(mean_self_agreement(["one"], exact))
