"""Small tokenizers of every family, with what is hard in each: runs of byte tokens, ▁, ##, marks of word ends."""

from __future__ import annotations

from functools import lru_cache

from tokenizers import AddedToken, Tokenizer, decoders, models, normalizers, pre_tokenizers, trainers
from transformers import PreTrainedTokenizerFast

from tests.builders import tiny_tokenizer

_CORPUS = 5 * [
    "the cat sat on the mat, and the dog ran to the man.",
    "naïve é 中文",
    "2 plus 3 is 5\n\nso the answer is 5",
]
_BYTES = [f"<0x{byte:02X}>" for byte in range(256)]
_OWN = ["<unk>", "<s>", "</s>"]
FAMILIES = ("byte-level", "nested", "byte-fallback", "metaspace", "unigram", "wordpiece", "words")


@lru_cache(maxsize=len(FAMILIES))
def family(name: str) -> PreTrainedTokenizerFast:
    """ "byte-level": GPT's, Llama 3's, Qwen's; "nested": its decoder inside a sequence; "byte-fallback": Llama 2's and
    Mistral's; "metaspace": the same, written newer; "unigram": T5's, Gemma's; "wordpiece": BERT's; "words": with marks
    at the ends of words.
    """
    if name == "byte-level":
        return tiny_tokenizer()
    made: PreTrainedTokenizerFast = {
        "nested": _nested, "byte-fallback": _byte_fallback, "metaspace": _metaspace, "unigram": _unigram,
        "wordpiece": _wordpiece, "words": _words,
    }[name]()  # fmt: skip
    return made


def _wrapped(backend: Tokenizer) -> PreTrainedTokenizerFast:
    return PreTrainedTokenizerFast(
        tokenizer_object=backend, bos_token="<s>", eos_token="</s>", unk_token="<unk>",
        clean_up_tokenization_spaces=False,
    )  # fmt: skip


def _nested() -> PreTrainedTokenizerFast:
    backend = Tokenizer.from_str(tiny_tokenizer().backend_tokenizer.to_str())
    backend.decoder = decoders.Sequence([decoders.ByteLevel(), decoders.Fuse()])
    return PreTrainedTokenizerFast(tokenizer_object=backend, eos_token="<|im_end|>", clean_up_tokenization_spaces=False)


def _byte_fallback() -> PreTrainedTokenizerFast:
    """As Llama 2's tokenizer.json: spaces by a normaliser, no pre-tokenizer, newlines as bytes."""
    characters = "abcdefghijklmnopqrstuvwxyz.,é"
    words = [*_OWN, *_BYTES, "▁", *characters, "▁t", "he", "▁the", "ca", "▁ca", "▁cat", "sa", "▁sa", "▁sat", "▁▁"]
    merges = [("▁", "t"), ("h", "e"), ("▁t", "he"), ("c", "a"), ("▁", "ca"), ("▁ca", "t"), ("s", "a"), ("▁", "sa"),
              ("▁sa", "t"), ("▁", "▁")]  # fmt: skip
    backend = Tokenizer(
        models.BPE({word: place for place, word in enumerate(words)}, merges, unk_token="<unk>", byte_fallback=True,
                   fuse_unk=True)
    )  # fmt: skip
    backend.add_special_tokens([AddedToken(token, special=True) for token in _OWN])
    backend.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    backend.decoder = _spaces_and_bytes()
    return _wrapped(backend)


def _metaspace() -> PreTrainedTokenizerFast:
    backend = Tokenizer.from_str(family("byte-fallback").backend_tokenizer.to_str())
    backend.normalizer = normalizers.Sequence([])
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="first", split=False)
    return _wrapped(backend)


def _unigram() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.Unigram())
    backend.pre_tokenizer = pre_tokenizers.Metaspace(prepend_scheme="always")
    backend.train_from_iterator(
        _CORPUS, trainers.UnigramTrainer(vocab_size=80, special_tokens=_OWN, unk_token="<unk>", show_progress=False)
    )
    vocabulary = [(piece, score) for piece, score in _scores(backend)]
    backend.model = models.Unigram([*vocabulary, *((byte, -20.0) for byte in _BYTES)], unk_id=0, byte_fallback=True)
    backend.decoder = decoders.Sequence([decoders.ByteFallback(), decoders.Metaspace(prepend_scheme="always")])
    return _wrapped(backend)


def _scores(backend: Tokenizer) -> list[tuple[str, float]]:
    import json

    return [(piece, score) for piece, score in json.loads(backend.to_str())["model"]["vocab"]]


def _wordpiece() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.WordPiece(unk_token="<unk>"))
    backend.normalizer = normalizers.BertNormalizer()
    backend.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    backend.decoder = decoders.WordPiece()
    backend.train_from_iterator(
        _CORPUS, trainers.WordPieceTrainer(vocab_size=120, special_tokens=_OWN, show_progress=False)
    )
    return _wrapped(backend)


def _words() -> PreTrainedTokenizerFast:
    backend = Tokenizer(models.BPE(unk_token="<unk>", end_of_word_suffix="</w>"))
    backend.pre_tokenizer = pre_tokenizers.Whitespace()
    backend.decoder = decoders.BPEDecoder(suffix="</w>")
    backend.train_from_iterator(
        _CORPUS,
        trainers.BpeTrainer(vocab_size=120, special_tokens=_OWN, end_of_word_suffix="</w>", show_progress=False),
    )
    return _wrapped(backend)


def _spaces_and_bytes() -> decoders.Decoder:
    return decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
