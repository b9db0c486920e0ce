"""Words to the arrays the network reads: vector row, case class and character ids."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from handler.network.model import Batch
from handler.vectors import WordVectors

CASES = ("lower", "upper", "capital", "title", "mixed", "digits", "alphanumeric", "other")

#: Character ids that are no characters.
PADDING, UNKNOWN, BEGIN, END = range(4)
_NUM_SPECIAL = 4

#: In the place of a word: one that the network knows nothing of.  No token is empty.
ERASED = ""

#: Unseen words whose vectors are remembered: five megabytes at a width of 300.
_INFERRED_WORDS = 1 << 12

#: Characters of the longest word that is remembered: words from outside must not fill the memory.
REMEMBERED_CHARS = 64

_PLAIN = str.maketrans(
    {"‘": "'", "’": "'", "‛": "'", "“": '"', "”": '"', "„": '"', "‐": "-", "‑": "-", "–": "-", "—": "-"}
)


class WordFeatures(NamedTuple):
    """What the network knows of a word by itself: ``row`` of its vector (-1: none), ``case`` and ``chars`` ids."""

    row: int
    case: int
    chars: tuple[int, ...]


class Words(NamedTuple):
    """W words by themselves; D is the vectors' width.

    Attributes:
        rows: Of their own vectors, -1 for words that have none: (W,).
        vectors: The words' vectors, those of unseen words from their subwords, zeros without any: (W, D).
        known: True for words that have a vector: (W,).
        cases: The words' case classes: W numbers.
        chars: The words' character ids: W rows, none empty.
    """

    rows: npt.NDArray[np.int64]
    vectors: npt.NDArray[np.float32]
    known: npt.NDArray[np.bool_]
    cases: list[int]
    chars: list[tuple[int, ...]]


def normalize(word: str) -> str:
    r"""*Word* as the features see it: composed (NFC), without invisible characters, with plain quotes and hyphens.

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
    """Turns sentences of words into a :class:`Batch`; remembers the latest words.

    ``max_word_chars`` bounds the characters of a word that are looked at: of a
    longer one the first and the last halves of that.  A word is looked up as it
    stands behind its plain forms; where the vectors have subwords, before them,
    and these take it as it stands, so that it gets the vector that gensim gives it.
    """

    def __init__(
        self, *, vectors: WordVectors, chars: Sequence[str], max_word_chars: int, cache_words: int = 1 << 14
    ) -> None:
        self._vectors = vectors
        self._char_ids = {char: i for i, char in enumerate(chars, _NUM_SPECIAL)}
        self._max_word_chars = max_word_chars
        self._cached_features = lru_cache(cache_words)(self._word_features)
        self._cached_infer = lru_cache(min(cache_words, _INFERRED_WORDS))(vectors.infer)

    @staticmethod
    def num_chars(chars: Sequence[str]) -> int:
        """How many character ids a vocabulary of *chars* has, the special ones included."""
        return len(chars) + _NUM_SPECIAL

    def batch(self, sentences: Sequence[Sequence[str]], dtype: torch.dtype = torch.float32) -> Batch:
        """Arrays of *sentences*, none of them empty; vectors are of *dtype*."""
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
        """What is known of *words*, at least one, each looked at by itself."""
        row_numbers, cases, chars = zip(*map(self.word_features, words), strict=True)
        rows = np.array(row_numbers, np.int64)
        vectors, known = self._vectors.take(rows), rows >= 0
        if self._vectors.subwords:
            for i, word in enumerate(words):
                if not known[i] and word != ERASED and (inferred := self.infer(word)) is not None:
                    vectors[i], known[i] = inferred, True
        return Words(rows, vectors, known, list(cases), list(chars))

    def word_features(self, word: str) -> WordFeatures:
        """The features of *word*, remembered unless it is so long that remembering would cost more."""
        return self._cached_features(word) if len(word) <= REMEMBERED_CHARS else self._word_features(word)

    def infer(self, word: str) -> npt.NDArray[np.float32] | None:
        """The vector of an unseen *word* from its subwords, remembered likewise."""
        return self._cached_infer(word) if len(word) <= REMEMBERED_CHARS else self._vectors.infer(word)

    def _word_features(self, word: str) -> WordFeatures:
        if word == ERASED:
            return WordFeatures(-1, CASES.index("other"), (BEGIN, UNKNOWN, END))
        # A word of 64k characters is looked at through its two ends, too, where that costs less.
        half = self._max_word_chars // 2
        whole = word
        if len(word) > 8 * self._max_word_chars:
            whole = word[: 4 * self._max_word_chars] + word[-4 * self._max_word_chars :]
        plain = normalize(whole)
        seen = plain if len(plain) <= self._max_word_chars else plain[:half] + plain[-half:]
        ids = (self._char_ids.get(char, UNKNOWN) for char in seen)
        exact = self._vectors.find(word) if word != plain else -1
        row = exact if self._vectors.subwords and exact >= 0 else self._vectors.look_up(plain)
        return WordFeatures(row if row >= 0 else exact, case_of(plain), (BEGIN, *ids, END))


def char_vocabulary(words: Iterable[tuple[str, int]], min_count: int) -> list[str]:
    """The characters that *words* (word, count) hold at least *min_count* times, sorted; no lone surrogates."""
    counts: dict[str, int] = {}
    for word, count in words:
        for char in normalize(word):
            counts[char] = counts.get(char, 0) + count
    return sorted(char for char, count in counts.items() if count >= min_count and not "\ud800" <= char <= "\udfff")
