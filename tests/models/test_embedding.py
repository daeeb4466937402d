"""The embedding similarity: a cosine in [0, 1], each text encoded once."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from sentence_transformers import SentenceTransformer
from sentence_transformers.sentence_transformer.modules import StaticEmbedding

from omniopd.errors import ConfigError
from omniopd.models.embedding import EmbeddingSimilarity, embedding_similarity
from omniopd.types import Similarity
from tests.builders import tiny_tokenizer


@pytest.fixture(scope="module")
def model() -> SentenceTransformer:
    """One random vector per token, averaged over a text."""
    weights = torch.randn(300, 16, generator=torch.Generator().manual_seed(0)).numpy()
    return SentenceTransformer(
        modules=[StaticEmbedding(tiny_tokenizer().backend_tokenizer, embedding_weights=weights)], device="cpu"
    )


@pytest.fixture
def similarity(model: SentenceTransformer) -> EmbeddingSimilarity:
    return EmbeddingSimilarity(model)


def test_it_is_the_cosine_of_the_mean_token_vectors_clipped_at_zero(model, similarity) -> None:
    texts = ["the dog ran", "5 plus 5", "answer user", "the cat", "zzz"]
    found = similarity("the cat", texts)
    vectors = torch.from_numpy(model.encode(["the cat", *texts]))
    cosines = torch.nn.functional.cosine_similarity(vectors[:1], vectors[1:])
    assert bool((cosines < 0).any())
    torch.testing.assert_close(found, cosines.clamp(0, 1), atol=1e-6, rtol=0)


def test_the_same_text_is_one_and_the_order_is_kept(similarity) -> None:
    found = similarity("the cat", ["the cat", "5 plus", "the cat"])
    assert found[0] == pytest.approx(1, abs=1e-6)
    assert found[2] == found[0] != found[1]


def test_empty_texts(similarity) -> None:
    assert similarity("", ["", "the cat"]).tolist() == [1, 0]
    assert similarity("the cat", [""]).tolist() == [0]
    assert similarity("the cat", []).shape == (0,)


def test_each_text_is_encoded_once_and_the_memory_is_bounded(model) -> None:
    encoded: list[str] = []

    class Counting(SentenceTransformer):
        def encode(self, texts, **options):
            encoded.extend(texts)
            return super().encode(texts, **options)

    similarity = EmbeddingSimilarity(Counting(modules=list(model), device="cpu"), remembered=3)
    similarity("a", ["b", "b", "a", "c"])
    similarity("a", ["c"])
    assert encoded == ["a", "b", "c"]
    similarity("d", ["e"])
    similarity("b", ["a"])
    assert encoded == ["a", "b", "c", "d", "e", "b", "a"]


def test_a_saved_model_is_loaded_by_its_folder_and_another_folder_is_refused(model, tmp_path: Path) -> None:
    model.save_pretrained(str(tmp_path / "static"))
    similarity = embedding_similarity(str(tmp_path / "static"))
    assert isinstance(similarity, Similarity)
    torch.testing.assert_close(similarity("the cat", ["the dog"]), EmbeddingSimilarity(model)("the cat", ["the dog"]))
    with pytest.raises(ConfigError, match="does not exist"):
        embedding_similarity(str(tmp_path / "nowhere"))
