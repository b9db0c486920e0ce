"""Pretrained word vectors: read by gensim, joined, cut to size, packed for a bundle."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from handler.vectors import Storage, WordVectors, normalize_digits
from training.errors import VectorFileError

logger = logging.getLogger(__name__)

_MIN_PATTERN_WORDS = 20


class Vectors(NamedTuple):
    """Words, most frequent first, and their vectors (N, D)."""

    words: list[str]
    table: npt.NDArray[np.float32]


def read_vectors(path: Path) -> Vectors:
    """The vectors in *path*, by its suffix.

    ``.npz``: an array ``vectors`` (N, D) beside a ``.words.txt`` with a word a
    line; ``.kv``: gensim's own format; ``.bin``: word2vec binary; all else:
    word2vec or GloVe text.

    Raises:
        VectorFileError: the file cannot be read as that.
    """
    try:
        if path.suffix == ".npz":
            return _read_npz(path)
        return _read_with_gensim(path)
    except (OSError, ValueError, EOFError, KeyError) as error:
        raise VectorFileError(f"{path}: cannot be read as word vectors: {error}") from error


def join(parts: Sequence[Vectors]) -> Vectors:
    """*Parts* side by side, in the word order of the largest; zeros where a part lacks a word."""
    if len(parts) == 1:
        return parts[0]
    largest = max(parts, key=lambda part: len(part.words))
    words = list(dict.fromkeys([*largest.words, *(word for part in parts for word in part.words)]))
    row = {word: i for i, word in enumerate(words)}
    table = np.zeros((len(words), sum(part.table.shape[1] for part in parts)), np.float32)
    left = 0
    for part in parts:
        width = part.table.shape[1]
        table[[row[word] for word in part.words], left : left + width] = part.table
        left += width
    return Vectors(words, table)


def add_digit_patterns(vectors: Vectors) -> Vectors:
    """*Vectors* with the mean of all numbers of one shape under that shape, ``"0000"`` for years, where it has none.

    So a number that the vectors do not know falls back to its like.
    """
    members: dict[str, list[int]] = {}
    for i, word in enumerate(vectors.words):
        pattern = normalize_digits(word)
        if pattern != word:
            members.setdefault(pattern, []).append(i)
    known = set(vectors.words)
    patterns = [p for p, rows in members.items() if p not in known and len(rows) >= _MIN_PATTERN_WORDS]
    if not patterns:
        return vectors
    means = np.stack([vectors.table[members[pattern]].mean(axis=0) for pattern in patterns])
    return Vectors([*patterns, *vectors.words], np.concatenate([means, vectors.table]))


def pack(paths: Sequence[Path], *, max_words: int, storage: Storage) -> WordVectors:
    """The *max_words* most frequent words of the joined files, digit patterns included, ready for a bundle.

    Raises:
        VectorFileError: a file cannot be read.
    """
    vectors = add_digit_patterns(join([read_vectors(path) for path in paths]))
    logger.info("vectors: %d words of width %d", len(vectors.words), vectors.table.shape[1])
    return WordVectors.new(vectors.words[:max_words], vectors.table[:max_words], storage)


def _read_npz(path: Path) -> Vectors:
    words_path = path.with_name(path.name.removesuffix(".npz").removesuffix(".f16") + ".words.txt")
    words = words_path.read_text("utf-8").rstrip("\n").split("\n")
    with np.load(path, allow_pickle=False) as arrays:
        table = arrays["vectors"].astype(np.float32)
    if table.ndim != 2 or len(table) != len(words):
        raise VectorFileError(f"{path}: expected one row for each of {len(words)} words, got {table.shape}")
    return Vectors(words, table)


def _read_with_gensim(path: Path) -> Vectors:
    from gensim.models import KeyedVectors  # takes seconds to import

    if path.suffix == ".kv":
        keyed: Any = KeyedVectors.load(str(path))
    else:
        binary = path.suffix == ".bin"
        keyed = KeyedVectors.load_word2vec_format(
            str(path), binary=binary, no_header=not binary and not _has_header(path), unicode_errors="replace"
        )
    return Vectors(list(keyed.index_to_key), np.asarray(keyed.vectors, np.float32))


def _has_header(path: Path) -> bool:
    with path.open("rb") as file:
        return len(file.readline().split()) == 2
