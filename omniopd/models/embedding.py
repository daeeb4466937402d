"""Similarity by meaning: the cosine of sentence embeddings, from any sentence-transformers model or the shipped one."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from pathlib import Path

import torch
from jaxtyping import Float
from safetensors import SafetensorError
from sentence_transformers import SentenceTransformer
from torch import Tensor

from omniopd.errors import ConfigError
from omniopd.models.loading import resolve
from omniopd.types import Similarity

_REMEMBERED = 50_000


def embedding_similarity(model_name_or_path: str) -> Similarity:
    """A similarity made of `model_name_or_path`: "embedded:embedding", a folder, or an id on the hub.

    The cosine of chunk and continuation, where it is negative 0: texts that point apart have nothing in common. Two
    empty texts are the same (1), an empty and another one have nothing in common (0). On recorded GSM8K solutions
    (LOG.md, benchmarks/real_text.py) the lab's own has an AUROC of 0.75 within a question, and 0.83 where two share
    their beginning. Raises ConfigError for a model
    that cannot be loaded.
    """
    place = resolve(model_name_or_path)
    try:
        model = SentenceTransformer(place, trust_remote_code=False)
    except (OSError, ValueError, RuntimeError, SafetensorError) as error:
        where = (
            "the folder cannot be read"
            if Path(place).is_dir()
            else "there is no such folder, and the hub did not return it"
        )
        raise ConfigError(
            f"no embedding model {model_name_or_path!r} ({where}): use embedded:embedding, or save one with "
            "SentenceTransformer.save_pretrained"
        ) from error
    return EmbeddingSimilarity(model)


class EmbeddingSimilarity:
    """The cosine by a loaded model. Remembers the vectors of the last `remembered` texts."""

    def __init__(self, model: SentenceTransformer, remembered: int = _REMEMBERED) -> None:
        self.model = model
        self.remembered = remembered
        self._vectors: OrderedDict[str, Tensor] = OrderedDict()

    def __call__(self, chunk: str, continuations: Sequence[str]) -> Float[Tensor, " continuation"]:
        """One number in [0, 1] per continuation."""
        vectors = self._encoded([chunk, *continuations])
        found = [
            float(chunk == text) if not (chunk and text) else float(vectors[chunk] @ vectors[text])
            for text in continuations
        ]
        return torch.tensor(found, dtype=torch.float32).clamp(0.0, 1.0)

    def _encoded(self, texts: Sequence[str]) -> dict[str, Tensor]:
        """Unit vectors by text; only what is not remembered is encoded, each text once."""
        wanted = [text for text in dict.fromkeys(texts) if text]
        new = [text for text in wanted if text not in self._vectors]
        if new:  # the library sorts by length itself
            encoded = self.model.encode(new, convert_to_tensor=True, normalize_embeddings=True, show_progress_bar=False)
            self._vectors.update(zip(new, encoded.float().cpu(), strict=True))
        found = {}
        for text in wanted:
            self._vectors.move_to_end(text)
            found[text] = self._vectors[text]
        while len(self._vectors) > self.remembered:
            self._vectors.popitem(last=False)
        return found
