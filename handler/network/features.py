"""Words to the arrays that the network reads: word vector, case class and character ids."""

from __future__ import annotations

import unicodedata
from collections.abc import Hashable, Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from handler.network.model import Batch
from handler.vectors import WordVectors

CASES = ("lower", "upper", "capital", "title", "mixed", "digits", "alphanumeric", "other")

#: Special character ids; those of the vocabulary follow.
PADDING, UNKNOWN, BEGIN, END = range(4)
_NUM_SPECIAL = 4

#: Stands for an erased word, of which the network knows nothing; no token is empty.
ERASED = ""

#: Unseen words whose inferred vectors are cached: 5 MB at a width of 300.
_CACHED_INFERRED_WORDS = 1 << 12

#: Longer words are not cached, so that requests cannot fill the memory.
MAX_CACHED_CHARS = 64

_PLAIN = str.maketrans(
    {
        "‘": "'",
        "’": "'",
        "‛": "'",
        "´": "'",
        "ʹ": "'",
        "ʼ": "'",
        "＇": "'",
        "“": '"',
        "”": '"',
        "„": '"',
        "‐": "-",
        "‑": "-",
        "–": "-",
        "—": "-",
    }
)


class WordFeatures(NamedTuple):
    """Features of one word: the ``row`` of its vector (-1: none), its ``case`` class and its ``chars``' ids."""

    row: int
    case: int
    chars: tuple[int, ...]


class Words(NamedTuple):
    """Features of W words; D is the width of the vectors.

    Attributes:
        rows: Row of each word's own pretrained vector, -1 for unseen words: (W,).
        vectors: Word vectors; of unseen words from their subwords, or else zeros: (W, D).
        known: True for words with a vector, their own or from subwords: (W,).
        cases: Case classes: W numbers.
        chars: Character ids: W rows, none empty.
    """

    rows: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.float32]
    known: npt.NDArray[np.bool_]
    cases: list[int]
    chars: list[tuple[int, ...]]


def normalize(word: str) -> str:
    r"""*word* composed (NFC), without invisible characters, with plain quotes and hyphens.

    >>> normalize("O\u2019Neil\u200b"), normalize("e\u0301")
    ("O'Neil", 'é')
    """
    if word.isascii():
        return word
    composed = unicodedata.normalize("NFC", word).translate(_PLAIN)
    return "".join(char for char in composed if unicodedata.category(char) != "Cf")


def case_of(word: str) -> int:
    """The case class of *word*, an index into ``CASES``.

    >>> [CASES[case_of(word)] for word in ("the", "NATO", "I", "Paris", "McCain", "1984", "B-52", ".")]
    ['lower', 'upper', 'capital', 'title', 'mixed', 'digits', 'alphanumeric', 'other']
    """
    num_letters = sum(map(str.isalpha, word))
    num_digits = sum(map(str.isdigit, word))
    if not num_letters:
        name = "digits" if num_digits else "other"
    elif num_digits:
        name = "alphanumeric"
    elif word.islower():
        name = "lower"
    elif word.isupper():
        name = "upper" if num_letters > 1 else "capital"
    elif word[0].isupper() and word[1:].islower():
        name = "title"
    else:
        name = "mixed" if word.lower() != word else "lower"  # scripts without case count as lower
    return CASES.index(name)


class FeatureEncoder:
    """Turns words into arrays, with a cache of ``cache_words`` words.

    Of a word longer than ``max_word_chars``, the first and the last half of
    that many characters are read.  A word is looked up in its normalised
    forms first, then as given.  Vectors with subwords are looked up as given
    first and inferred as given, so that a word gets the vector that gensim
    gives it.
    """

    def __init__(
        self, *, vectors: WordVectors, chars: Sequence[str], max_word_chars: int, cache_words: int = 1 << 14
    ) -> None:
        self._vectors = vectors
        self._char_ids = {char: i for i, char in enumerate(chars, _NUM_SPECIAL)}
        self._max_word_chars = max_word_chars
        self._cached_features = lru_cache(cache_words)(self._word_features)
        self._cached_infer = lru_cache(min(cache_words, _CACHED_INFERRED_WORDS))(vectors.infer)

    @staticmethod
    def num_chars(chars: Sequence[str]) -> int:
        """Number of character ids for the vocabulary *chars*, the special ones included."""
        return len(chars) + _NUM_SPECIAL

    def batch(self, sentences: Sequence[Sequence[str]], dtype: torch.dtype = torch.float32) -> Batch:
        """The padded arrays of B non-empty *sentences*; vectors are of *dtype*."""
        ids: dict[str, int] = {}
        num_tokens = max(map(len, sentences))
        words = np.zeros((len(sentences), num_tokens), np.int64)
        mask = np.zeros((len(sentences), num_tokens), np.bool_)
        for i, sentence in enumerate(sentences):
            words[i, : len(sentence)] = [ids.setdefault(word, len(ids)) for word in sentence]
            mask[i, : len(sentence)] = True
        features = self.words(list(ids))
        chars = np.zeros((len(ids), max(map(len, features.chars))), np.int64)
        for i, of_word in enumerate(features.chars):
            chars[i, : len(of_word)] = of_word
        return Batch(
            words=torch.from_numpy(words),
            mask=torch.from_numpy(mask),
            vectors=torch.from_numpy(features.vectors).to(dtype),
            known=torch.from_numpy(features.known),
            cases=torch.tensor(features.cases),
            chars=torch.from_numpy(chars),
        )

    def words(self, words: Sequence[str]) -> Words:
        """Features of W *words*, at least one."""
        found, cases, chars = zip(*map(self.word_features, words), strict=True)
        rows = np.array(found, np.int64)
        vectors, known = self._vectors.take(rows), rows >= 0
        if self._vectors.subwords:
            for i, word in enumerate(words):
                if not known[i] and word != ERASED and (inferred := self.infer(word)) is not None:
                    vectors[i], known[i] = inferred, True
        return Words(rows, vectors, known, list(cases), list(chars))

    def word_features(self, word: str) -> WordFeatures:
        """Features of *word*, cached up to ``MAX_CACHED_CHARS`` characters."""
        return self._cached_features(word) if len(word) <= MAX_CACHED_CHARS else self._word_features(word)

    def key(self, word: str) -> Hashable:
        """Equal for words with equal features: many rare characters, for one, that the network does not know."""
        features = self.word_features(word)
        return word if self._vectors.subwords and features.row < 0 else features

    def infer(self, word: str) -> npt.NDArray[np.float32] | None:
        """Vector (D,) of an unseen *word* from its subwords, or None, cached up to ``MAX_CACHED_CHARS`` characters."""
        return self._cached_infer(word) if len(word) <= MAX_CACHED_CHARS else self._vectors.infer(word)

    def _word_features(self, word: str) -> WordFeatures:
        if word == ERASED:
            return WordFeatures(-1, CASES.index("other"), (BEGIN, UNKNOWN, END))
        most, half = self._max_word_chars, self._max_word_chars // 2
        # Of a very long word only the ends are normalised, which costs time per character.
        plain = normalize(word if len(word) <= 8 * most else word[: 4 * most] + word[-4 * most :])
        read = plain if len(plain) <= most else plain[:half] + plain[-half:]
        ids = (self._char_ids.get(char, UNKNOWN) for char in read)
        exact = self._vectors.find(word) if word != plain else -1
        row = exact if self._vectors.subwords and exact >= 0 else self._vectors.look_up(plain)
        return WordFeatures(row if row >= 0 else exact, case_of(plain), (BEGIN, *ids, END))


def char_vocabulary(words: Iterable[tuple[str, int]], min_count: int) -> list[str]:
    """Characters that occur at least *min_count* times in *words* (word, count), sorted, without lone surrogates."""
    counts: dict[str, int] = {}
    for word, count in words:
        for char in normalize(word):
            counts[char] = counts.get(char, 0) + count
    return sorted(char for char, count in counts.items() if count >= min_count and not "\ud800" <= char <= "\udfff")
