"""The text of tokens: pieces that join exactly, and a text cut to a number of tokens where it follows a prefix.

Decoding token by token corrupts every character that is split over tokens (emoji, accents). A piece is what a token
adds to the text once its characters are whole. Works with any fast tokenizer; byte-level ones (GPT, Llama 3, Qwen, the
lab's own) take a short path that the tests compare with the tokenizer's own `decode`. Knows no models.
"""

from __future__ import annotations

import codecs
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache

import torch
from jaxtyping import Bool
from tokenizers import decoders, pre_tokenizers
from torch import Tensor
from transformers import PreTrainedTokenizerBase

from omniopd.models.text.chat import text_ids
from omniopd.models.text.encoding import encode

INCOMPLETE = "\ufffd"
_CONTEXT = 8  # tokens before others that a decoder may look at

# Between a letter and a space before a letter every byte-level tokenizer in use starts a new word, whatever follows.
_WORD_START = re.compile(r"(?<=[^\W\d_]) (?=[^\W\d_])")


def pieces(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> tuple[str, ...]:
    """What each token adds to the text; joined, exactly the decoded text without special tokens.

    A token after which a character is still incomplete has an empty piece, and the token that completes it brings
    everything held back; bytes that never become a character show as U+FFFD. A special token's piece is empty.
    """
    special = _special_ids(tokenizer)
    found, text = _stream(tokenizer, ids), decode(tokenizer, ids)
    if not text.startswith("".join(found)):
        found = _against_the_whole(tokenizer, ids, text)
    rest = text[sum(map(len, found)) :]
    if rest:
        last = max(place for place, token in enumerate(ids) if token not in special)
        found[last] += rest
    return tuple(found)


def pieces_after(tokenizer: PreTrainedTokenizerBase, context: Sequence[int], ids: Sequence[int]) -> tuple[str, ...]:
    """`pieces` of tokens that follow others: many tokenizers drop the space before a first word."""
    if _byte_table(tokenizer) is not None:
        return pieces(tokenizer, ids)
    near = _near(tokenizer, context)
    return pieces(tokenizer, [*near, *ids])[len(near) :]


def ends_inside_character(pieces: Sequence[str], position: int) -> bool:
    """Whether the text of the first `position` tokens breaks off inside a character (or just after a special token).

    Such a prefix cannot be handed over as text.
    """
    return position > 0 and not pieces[position - 1]


def whole_characters(pieces: Sequence[str]) -> Bool[Tensor, " time"]:
    """Where a fork may start: positions whose prefix can be handed over as text."""
    return torch.tensor([not ends_inside_character(pieces, at) for at in range(len(pieces))], dtype=torch.bool)


def decode(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> str:
    """The text of `ids` without special tokens, nothing tidied up."""
    byte_of = _byte_table(tokenizer)
    if byte_of is not None:
        return b"".join(map(byte_of, ids)).decode("utf-8", "replace")
    return str(tokenizer.decode(list(ids), skip_special_tokens=True, clean_up_tokenization_spaces=False))


def decode_whole(tokenizer: PreTrainedTokenizerBase, context: Sequence[int], ids: Sequence[int]) -> str:
    """What `ids` add to the text of `context`, without a last character that is incomplete."""
    byte_of = _byte_table(tokenizer)
    if byte_of is not None:
        return codecs.getincrementaldecoder("utf-8")("replace").decode(b"".join(map(byte_of, ids)))
    # Other tokenizers drop the space before a first word, and read a run of byte tokens as one: decode with the last
    # tokens of the context, from where no run is cut in two, and take their text off.
    before, after = _near(tokenizer, context), [token for token in ids if token not in _special_ids(tokenizer)]
    after = after[: max(0, len(after) - _cut_bytes(tokenizer, [*before, *after]))]
    already, text = decode(tokenizer, before), decode(tokenizer, [*before, *after])
    if not text.startswith(already):  # a byte that belongs nowhere has spoilt the run that the context ends in
        already, text = "", decode(tokenizer, after)
    return text[len(already) :].rstrip("" if _bytes_by_id(tokenizer) else INCOMPLETE)


@dataclass(frozen=True, slots=True)
class ContinuationText:
    """Texts that were written after a prefix, and to how many tokens each is to be cut.

    `prefix_ids` are the tokens that the prefix was sampled as; they need not be those that its text is encoded to,
    since only the place where the prefix ends must be the end of a token. Those of the texts (by their places) that
    another tokenizer cut short are `unfinished`: their last word may be half of one.
    """

    prefix_ids: Sequence[int]
    prefix: str
    texts: Sequence[str]
    tokens: int
    unfinished: frozenset[int] = frozenset()


def continuation_tokens(
    tokenizer: PreTrainedTokenizerBase, written: Sequence[ContinuationText]
) -> list[list[tuple[str, tuple[int, ...] | None]]]:
    """For each prefix its texts cut to their first tokens, with those tokens as they follow the prefix.

    The ids are None where writing the text after the prefix changes the tokens at the end of the prefix (" c" + "at"
    is " cat"): the model would not have continued so. The text is then cut by encoding it alone. An unfinished text has
    ids for its whole words only. All texts of all prefixes are encoded in one call, the same ones once.
    """
    tails = [w.prefix[_safe_start(tokenizer, w.prefix) :] if len(w.prefix_ids) else "" for w in written]
    sure = [
        [whole_words(tokenizer, text) if place in w.unfinished else text for place, text in enumerate(w.texts)]
        for w in written
    ]
    joined = [
        tail + text
        for tail, w, parts in zip(tails, written, sure, strict=True)
        for text in dict.fromkeys([*w.texts, *parts])
    ]
    ids_of = _encoded(tokenizer, [*tails, *joined])

    def cut(tail: str, text: str, part: str, tokens: int) -> tuple[str, tuple[int, ...] | None]:
        before, own = ids_of[tail], ids_of[tail + text]
        if own[: len(before)] == before:
            own = own[len(before) :]
            ids = tuple(ids_of[tail + part][len(before) :][:tokens])
            return (text if len(own) <= tokens else decode_whole(tokenizer, before, own[:tokens])), ids
        alone = text_ids(tokenizer, text)
        return (text if len(alone) <= tokens else decode_whole(tokenizer, [], alone[:tokens])), None

    found = []
    for tail, w, parts in zip(tails, written, sure, strict=True):
        pairs = list(zip(w.texts, parts, strict=True))
        known = {pair: cut(tail, *pair, w.tokens) for pair in dict.fromkeys(pairs)}
        found.append([known[pair] for pair in pairs])
    return found


def whole_words(tokenizer: PreTrainedTokenizerBase, text: str) -> str:
    """The text without its last word, as the tokenizer splits words: tokens never reach from one into the next."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    splitter = None if backend is None else backend.pre_tokenizer
    if splitter is None:
        return text[: max(0, text.rfind(" "))]
    words = splitter.pre_tokenize_str(text)
    return text[: words[-1][1][0]] if words else ""


def _encoded(tokenizer: PreTrainedTokenizerBase, texts: Sequence[str]) -> dict[str, list[int]]:
    distinct = list(dict.fromkeys(texts))
    return dict(zip(distinct, encode(tokenizer, distinct, special=False), strict=True))


def _stream(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """Pieces without the incomplete rest at the end."""
    byte_of = _byte_table(tokenizer)
    if byte_of is None:
        return _stream_by_decoding(tokenizer, ids)
    utf8 = codecs.getincrementaldecoder("utf-8")("replace")
    found, held = [], ""
    for token in ids:
        held += utf8.decode(byte_of(token))
        # All is held back while bytes are pending, so that an empty piece tells of an unfinished character.
        whole = not utf8.getstate()[0]
        found.append(held if whole else "")
        held = "" if whole else held
    return found


def _stream_by_decoding(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> list[str]:
    """Pieces by any tokenizer: token after token is decoded behind the last few, and what ends in U+FFFD waits.

    A run of byte tokens (`<0xE4>`) is decoded as one, since that is how decoders read it: one byte in it that belongs
    to no character makes all of it U+FFFD. Such a run is held back to its end.
    """
    found, special = [""] * len(ids), _special_ids(tokenizer)
    places = [place for place, token in enumerate(ids) if token not in special]
    plain, byte_of = [ids[place] for place in places], _bytes_by_id(tokenizer)
    start = at = 0  # plain[:start] are out, plain[start:at] wait for a character's end
    while at < len(plain):
        stop = at + 1
        while plain[at] in byte_of and stop < len(plain) and plain[stop] in byte_of:
            stop += 1
        behind = _run_start(tokenizer, plain, start - _CONTEXT)
        already, text = decode(tokenizer, plain[behind:start]), decode(tokenizer, plain[behind:stop])
        added, at = text.removeprefix(already), stop
        if added.endswith(INCOMPLETE) and plain[stop - 1] not in byte_of:
            continue
        characters = _characters([byte_of.get(token, b"\xff") for token in plain[start:stop]], added)
        for place, piece in zip(places[start:stop], characters, strict=True):
            found[place] = piece
        start = stop
    return found


def _characters(run: Sequence[bytes], text: str) -> list[str]:
    """A run's text by its bytes, each character with its last one; all at the end where bytes and text do not agree."""
    utf8 = codecs.getincrementaldecoder("utf-8")("replace")
    found = [utf8.decode(byte) for byte in run]
    if "".join(found) == text and not utf8.getstate()[0]:
        return found
    return [*[""] * (len(run) - 1), text]


def _against_the_whole(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], text: str) -> list[str]:
    """Pieces by decoding every beginning: for decoders that look further ahead or back than a few tokens."""
    found, shown, special = [], 0, _special_ids(tokenizer)
    for stop, token in enumerate(ids, 1):
        begun = "" if token in special else decode(tokenizer, ids[:stop])
        agreed = len(begun) if text.startswith(begun) and not begun.endswith(INCOMPLETE) else 0
        found.append(text[shown:agreed])
        shown = max(shown, agreed)
    return found


def _near(tokenizer: PreTrainedTokenizerBase, context: Sequence[int]) -> list[int]:
    """The end of a context, special tokens left out, that decides how the next tokens are written."""
    special = _special_ids(tokenizer)
    plain = [token for token in context if token not in special]
    return plain[_run_start(tokenizer, plain, len(plain) - _CONTEXT) :]


def _run_start(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], at: int) -> int:
    """The first token of the run of byte tokens that token `at` stands in, or `at` itself; 0 for what is before 0."""
    byte_of, at = _bytes_by_id(tokenizer), max(0, at)
    while 0 < at < len(ids) and ids[at] in byte_of and ids[at - 1] in byte_of:
        at -= 1
    return at


def _cut_bytes(tokenizer: PreTrainedTokenizerBase, ids: Sequence[int]) -> int:
    """How many byte tokens at the end begin a character that is not there whole."""
    byte_of = _bytes_by_id(tokenizer)
    first = _run_start(tokenizer, ids, len(ids) - 1)
    utf8 = codecs.getincrementaldecoder("utf-8")("replace")
    utf8.decode(b"".join(byte_of.get(token, b"") for token in ids[first:]))
    return len(utf8.getstate()[0])


@lru_cache(maxsize=16)
def _bytes_by_id(tokenizer: PreTrainedTokenizerBase) -> dict[int, bytes]:
    """The tokens that stand for one byte each (`<0x0A>`), where the decoder reads them so."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or backend.decoder is None or b'"ByteFallback"' not in backend.decoder.__getstate__():
        return {}
    named = ((byte, backend.token_to_id(f"<0x{byte:02X}>")) for byte in range(256))
    return {token: bytes([byte]) for byte, token in named if token is not None}


def _safe_start(tokenizer: PreTrainedTokenizerBase, prefix: str) -> int:
    """Where to begin encoding, such that the tokens from there on are those of the whole prefix: the last word's start.

    Only byte-level tokenizers promise that; others encode the whole prefix.
    """
    if _byte_table(tokenizer) is None or not _splits_words(tokenizer):
        return 0
    last = 0
    for match in _WORD_START.finditer(prefix, max(0, len(prefix) - 200)):
        last = match.start()
    return last


@lru_cache(maxsize=16)
def _splits_words(tokenizer: PreTrainedTokenizerBase) -> bool:
    """Whether a new word starts at " t" of "cat tin", and the space belongs to it."""
    splitter = tokenizer.backend_tokenizer.pre_tokenizer
    if splitter is None:
        return False
    starts = [span[0] for _, span in splitter.pre_tokenize_str("cat tin")]
    return starts == [0, 3]


@lru_cache(maxsize=16)
def _special_ids(tokenizer: PreTrainedTokenizerBase) -> frozenset[int]:
    return frozenset(tokenizer.all_special_ids) | {
        token for token, added in tokenizer.added_tokens_decoder.items() if added.special
    }


@lru_cache(maxsize=16)
def _byte_table(tokenizer: PreTrainedTokenizerBase) -> Callable[[int], bytes] | None:
    """A function from token to its bytes (none for a special token), or None where tokens are not bytes."""
    backend = getattr(tokenizer, "backend_tokenizer", None)
    if backend is None or not isinstance(backend.decoder, decoders.ByteLevel):
        return None
    special = _special_ids(tokenizer)
    byte_of_character = _byte_alphabet()
    known: dict[int, bytes] = {}

    def bytes_of(token: int) -> bytes:
        if token not in known:
            text = None if token in special else backend.id_to_token(token)
            if text is None:  # special, or an id of a padded embedding that no token has
                known[token] = b""
            elif all(character in byte_of_character for character in text):
                known[token] = bytes(byte_of_character[character] for character in text)
            else:  # an added token, written as it is
                known[token] = text.encode()
        return known[token]

    return bytes_of


@lru_cache(maxsize=1)
def _byte_alphabet() -> dict[str, int]:
    """Byte-level tokenizers write each byte as one visible character: itself, or the next free one from U+0100 on."""
    visible = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    table = {chr(byte): byte for byte in visible}
    for byte in range(256):
        if byte not in visible:
            table[chr(256 + len(table) - len(visible))] = byte
    if set(table) != set(pre_tokenizers.ByteLevel.alphabet()):
        raise RuntimeError("tokenizers writes bytes in another alphabet than before: token_text.py must follow it")
    return table
