"""Pretrained word vectors as memory-mapped arrays that all workers share.

A folder has ``table.npy`` (N, D) of int8, float16 or float32, for int8 also
``scales.npy`` (N,) float32, and a dictionary: ``words.npy`` (the words joined,
in UTF-8), ``offsets.npy`` (N + 1,), the start of each word, and ``index.npy``,
a hash table with open addressing and linear probing (Knuth, TAOCP vol. 3, 6.4)
from CRC-32 to row + 1.  Vectors with subwords have more files
(handler/subwords.py).  A worker maps them in microseconds; nothing is pickled.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from handler.errors import BundleError
from handler.subwords import Subwords, load_subwords, save_subwords
from handler.tables import Storage, VectorTable, open_row

_DIGIT = re.compile(r"\d")
_TABLE = ("table", "scales")


def normalize_digits(word: str) -> str:
    """*word* with every digit as 0.

    >>> normalize_digits("1984-85")
    '0000-00'
    """
    return _DIGIT.sub("0", word)


def back_off(word: str) -> Iterator[str]:
    """The forms of *word* to look up, in order: as given, in lower case, and both with digits, if any, normalised.

    >>> list(back_off("B52"))
    ['B52', 'b52', 'B00', 'b00']
    """
    lower = word.lower()
    yield word
    yield lower
    if _DIGIT.search(word):
        yield normalize_digits(word)
        yield normalize_digits(lower)


class WordVectors:
    """N word vectors of width D; with ``subwords``, also vectors of unseen words."""

    def __init__(
        self,
        *,
        table: VectorTable,
        words: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.uint32],
        index: npt.NDArray[np.uint32],
        subwords: Sequence[Subwords] = (),
    ) -> None:
        self._table = table
        self._words = words
        self._offsets = offsets
        self._index = index
        # Reading one number from an np.memmap takes 2 us; from a memoryview, a fiftieth of that.
        self._look = [memoryview(np.asarray(array)) for array in (words, offsets, index)]  # type: ignore[arg-type]
        self.subwords = tuple(subwords)

    def __len__(self) -> int:
        return len(self._table)

    @property
    def dim(self) -> int:
        """D, the width of a vector."""
        return self._table.dim

    @property
    def num_bytes(self) -> int:
        """The size of all arrays."""
        tables = [self._table, *(part.table for part in self.subwords)]
        arrays: list[npt.NDArray[Any]] = [
            self._words,
            self._offsets,
            self._index,
            *(array for table in tables for array in table.arrays),
        ]
        return sum(array.nbytes for array in arrays)

    @property
    def storage(self) -> str:
        """The element type of the words' vectors, one of ``STORAGES``."""
        return self._table.storage

    @classmethod
    def new(
        cls,
        words: Sequence[str],
        vectors: npt.NDArray[np.floating[Any]],
        storage: Storage,
        subwords: Sequence[Subwords] = (),
    ) -> WordVectors:
        """Pack *vectors* (N, D), a row for each of N *words*, beside *subwords*.

        Raises:
            ValueError: the counts differ, a word is repeated, or *storage* cannot represent a value.
        """
        if vectors.ndim != 2 or len(words) != len(vectors):
            raise ValueError(f"expected a vector for each of {len(words)} words, got an array of shape {vectors.shape}")
        table = VectorTable.new(vectors, storage)
        encoded = [_encode(word) for word in words]
        offsets = np.zeros(len(words) + 1, np.uint32)
        np.cumsum([len(word) for word in encoded], out=offsets[1:])
        blob = np.frombuffer(b"".join(encoded), np.uint8)
        return cls(table=table, words=blob, offsets=offsets, index=_hash_table(encoded), subwords=subwords)

    @classmethod
    def load(cls, folder: Path) -> WordVectors:
        """Map the arrays in *folder*; raises BundleError, naming the file, if one is missing or inconsistent."""
        table = VectorTable.load(folder, _TABLE)
        words = open_row(folder / "words.npy", np.uint8)
        offsets, index = (open_row(folder / f"{name}.npy", np.uint32) for name in ("offsets", "index"))
        num_words = len(table)
        if len(offsets) != num_words + 1 or offsets[0] or int(offsets[-1]) != len(words):
            raise BundleError(f"vectors/offsets.npy: expected the bounds of {num_words} words in vectors/words.npy")
        if (offsets[1:] < offsets[:-1]).any():
            raise BundleError("vectors/offsets.npy: expected bounds that do not fall")
        if len(index) <= num_words or len(index) & (len(index) - 1) or int(index.max(initial=0)) > num_words:
            raise BundleError(f"vectors/index.npy: expected a hash table for {num_words} words, got {len(index)} slots")
        if np.count_nonzero(index) != num_words:  # without a free slot, a search would not end
            raise BundleError(
                f"vectors/index.npy: expected {num_words} slots that are taken, got {np.count_nonzero(index)}"
            )
        subwords = load_subwords(folder, table.dim)
        return cls(table=table, words=words, offsets=offsets, index=index, subwords=subwords)

    def save(self, folder: Path) -> None:
        """Write the arrays into *folder*, which must exist; the same vectors give the same bytes."""
        self._table.save(folder, _TABLE)
        for name, array in (("words", self._words), ("offsets", self._offsets), ("index", self._index)):
            np.save(folder / f"{name}.npy", array, allow_pickle=False)
        save_subwords(folder, self.subwords)

    def words(self) -> list[str]:
        """All words, in row order."""
        blob = self._words.tobytes()
        bounds = self._offsets.tolist()
        return [blob[a:b].decode("utf-8", "surrogatepass") for a, b in pairwise(bounds)]

    def find(self, word: str) -> int:
        """The row of exactly *word*, or -1."""
        words, offsets, index = self._look
        key = _encode(word)
        size = len(index) - 1
        slot = zlib.crc32(key) & size
        while row := index[slot]:
            if words[offsets[row - 1] : offsets[row]] == key:
                return row - 1
            slot = (slot + 1) & size
        return -1

    def look_up(self, word: str) -> int:
        """The row of the first form of *word* (:func:`back_off`) that has one, or -1."""
        tried = ""
        for form in back_off(word):
            if form != tried and (row := self.find(form)) >= 0:
                return row
            tried = form
        return -1

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Vectors of *rows*, zeros for -1: (W,) -> (W, D)."""
        known = rows >= 0
        vectors = np.zeros((len(rows), self.dim), np.float32)
        vectors[known] = self._table.take(rows[known])
        return vectors

    def infer(self, word: str) -> npt.NDArray[np.float32] | None:
        """Vector (D,) of an unseen *word* from its subwords, zeros in parts without any; None if no part has any."""
        vectors = [(part, part.vector(word)) for part in self.subwords]
        if all(vector is None for _, vector in vectors):
            return None
        inferred = np.zeros(self.dim, np.float32)
        for part, vector in vectors:
            if vector is not None:
                inferred[part.left : part.right] = vector
        return inferred


def _encode(word: str) -> bytes:
    return word.encode("utf-8", "surrogatepass")


def _hash_table(keys: Sequence[bytes]) -> npt.NDArray[np.uint32]:
    """A hash table of row + 1 for each key, 0 in free slots; at least half are free."""
    size = 2
    while size < 2 * len(keys):
        size *= 2
    slots = [0] * size
    for row, key in enumerate(keys):
        slot = zlib.crc32(key) & (size - 1)
        while slots[slot]:
            if keys[slots[slot] - 1] == key:
                raise ValueError(f"expected distinct words, word {row} repeats word {slots[slot] - 1}")
            slot = (slot + 1) & (size - 1)
        slots[slot] = row + 1
    return np.array(slots, np.uint32)
