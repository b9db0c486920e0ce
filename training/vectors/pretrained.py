"""Pretrained word vectors: several files concatenated, truncated, and packed for a bundle."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

from handler.subwords import Subwords
from handler.tables import Storage, VectorTable
from handler.vectors import WordVectors, back_off, normalize_digits
from training.errors import VectorFileError
from training.vectors.vector_files import Vectors, read_bundle, read_vectors, unpacked

logger = logging.getLogger(__name__)

#: ``"auto"`` is float32 if a file has subwords, so that vectors of unseen words equal gensim's, else int8.
StorageChoice = Storage | Literal["auto"]

_MIN_PATTERN_WORDS = 20


def pack(paths: Sequence[Path], *, max_words: int, storage: StorageChoice = "auto") -> WordVectors:
    """The vectors in *paths*, packed for a bundle by :func:`join`; raises VectorFileError if that is not possible.

    A path may also be a bundle.  The vectors of one bundle alone are taken as they are stored there, unless *max_words*
    or *storage* says otherwise.
    """
    if len(paths) == 1 and paths[0].is_dir():
        vectors = read_bundle(paths[0])
        if len(vectors) <= max_words and storage in {"auto", vectors.storage}:
            return vectors
    parts = [
        part for path in paths for part in (unpacked(read_bundle(path)) if path.is_dir() else [read_vectors(path)])
    ]
    try:
        return join(parts, max_words=max_words, storage=storage)
    except ValueError as error:
        raise VectorFileError(f"{', '.join(map(str, paths))}: {error}") from error


def join(parts: Sequence[Vectors], *, max_words: int, storage: StorageChoice = "auto") -> WordVectors:
    """*parts* concatenated, with the first *max_words* of their words.

    The digit patterns come first, then the words in the order of the largest part.  A word that a part lacks gets a
    vector from its subwords; in a part without subwords it gets zeros or, beside a part with subwords, whose words are
    mostly cased, the vector found by :func:`handler.vectors.back_off`.

    *storage* also applies to the n-grams.

    Raises:
        ValueError: *storage* cannot hold a number.
    """
    has_subwords = any(part.subwords for part in parts)
    if storage == "auto":
        storage = "float32" if has_subwords else "int8"
    sources = [_Source(part, backs_off=has_subwords) for part in parts]
    largest = max(parts, key=lambda part: len(part.words))
    words = list(dict.fromkeys([*largest.words, *(word for part in parts for word in part.words)]))
    patterns = digit_patterns(words)
    kept = [*patterns, *words][:max_words]
    means = [_side_by_side(sources, members).mean(axis=0) for members in list(patterns.values())[:max_words]]
    table = np.concatenate([*(mean[None] for mean in means), _side_by_side(sources, kept[len(means) :])])
    subwords = []
    left = 0
    for part in parts:
        if part.subwords:
            ngrams = VectorTable.new(part.subwords.table.arrays[0], storage)
            subwords.append(Subwords(ngrams, min_n=part.subwords.min_n, max_n=part.subwords.max_n, left=left))
        left += part.table.shape[1]
    logger.info(
        "vectors: %d of %d words of width %d as %s%s",
        *(len(kept), len(words) + len(patterns), left, storage),
        "".join(f", {len(part.table)} buckets of n-grams" for part in subwords),
    )
    return WordVectors.new(kept, table, storage, subwords)


def digit_patterns(words: Sequence[str]) -> dict[str, list[str]]:
    """The numbers among *words* by digit pattern (``"0000"`` for years), if they are many and it is no word itself.

    Their mean becomes the vector of unseen numbers of the pattern.
    """
    members: dict[str, list[str]] = {}
    for word in words:
        pattern = normalize_digits(word)
        if pattern != word:
            members.setdefault(pattern, []).append(word)
    known = set(words)
    return {
        pattern: numbers
        for pattern, numbers in members.items()
        if pattern not in known and len(numbers) >= _MIN_PATTERN_WORDS
    }


class _Source:
    """One of the concatenated parts, with a vector for every word."""

    def __init__(self, part: Vectors, *, backs_off: bool) -> None:
        self._part = part
        self._backs_off = backs_off and part.subwords is None
        self._rows = {word: row for row, word in enumerate(part.words)}

    def take(self, words: Sequence[str]) -> npt.NDArray[np.float32]:
        """Vectors of *words*, zeros for unknown ones: (W, D)."""
        rows = np.array([self._row(word) for word in words], np.int64)
        vectors = np.zeros((len(words), self._part.table.shape[1]), np.float32)
        vectors[rows >= 0] = self._part.table[rows[rows >= 0]]
        if self._part.subwords:
            for i in np.flatnonzero(rows < 0).tolist():
                vector = self._part.subwords.vector(words[i])
                if vector is not None:
                    vectors[i] = vector
        return vectors

    def _row(self, word: str) -> int:
        forms = back_off(word) if self._backs_off else (word,)
        return next((self._rows[form] for form in forms if form in self._rows), -1)


def _side_by_side(sources: Sequence[_Source], words: Sequence[str]) -> npt.NDArray[np.float32]:
    return np.concatenate([source.take(words) for source in sources], axis=1)
