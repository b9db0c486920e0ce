"""Pretrained word vectors as memory-mapped arrays that all workers share.

A folder holds ``table.npy`` (N, D) of float16 or int8, for int8 also
``scales.npy`` (N,) float32, and an exact dictionary without a Python dict:
``words.npy`` (the words as one UTF-8 blob), ``offsets.npy`` (N + 1,) where each
begins, and ``index.npy``, an open-addressing hash table with linear probing
(Knuth, TAOCP vol. 3, 6.4) from CRC-32 to row + 1.  A worker opens all of it in
microseconds and owns no page of it; nothing is pickled.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from handler.errors import BundleError

Storage = Literal["float16", "int8"]
STORAGES: tuple[Storage, ...] = get_args(Storage)

_DIGIT = re.compile(r"\d")
_DTYPES: dict[str, npt.DTypeLike] = {
    "words": np.uint8,
    "offsets": np.uint32,
    "index": np.uint32,
    "scales": np.float32,
}


def normalize_digits(word: str) -> str:
    """*Word* with every digit as 0.

    >>> normalize_digits("1984-85")
    '0000-00'
    """
    return _DIGIT.sub("0", word)


def back_off(word: str) -> Iterator[str]:
    """The forms under which *word* is looked for, in order: as is, lower-case, each with digits normalised.

    >>> list(back_off("B52"))
    ['B52', 'b52', 'B00', 'b00']
    """
    lower = word.lower()
    yield word
    yield lower
    yield normalize_digits(word)
    yield normalize_digits(lower)


class WordVectors:
    """N vectors of width D and the words they belong to."""

    def __init__(
        self,
        *,
        table: npt.NDArray[Any],
        scales: npt.NDArray[np.float32] | None,
        words: npt.NDArray[np.uint8],
        offsets: npt.NDArray[np.uint32],
        index: npt.NDArray[np.uint32],
    ) -> None:
        self._table = table
        self._scales = scales
        self._words = words
        self._offsets = offsets
        self._index = index

    def __len__(self) -> int:
        return int(self._table.shape[0])

    @property
    def dim(self) -> int:
        """D, the width of a vector."""
        return int(self._table.shape[1])

    @property
    def storage(self) -> str:
        """The element type of the table, ``"float16"`` or ``"int8"``."""
        return str(self._table.dtype)

    @classmethod
    def new(cls, words: Sequence[str], vectors: npt.NDArray[np.floating[Any]], storage: Storage) -> WordVectors:
        """Pack *vectors* (N, D), one row for each of *words*.

        int8 keeps one scale a row, so that the largest element of each vector
        becomes 127: symmetric per-row quantisation.

        Raises:
            ValueError: the counts differ, a word is there twice, or a value is not finite.
        """
        if vectors.ndim != 2 or len(words) != len(vectors):
            raise ValueError(f"expected a vector for each of {len(words)} words, got an array of shape {vectors.shape}")
        if not np.isfinite(vectors).all():
            raise ValueError("expected finite vectors, got NaN or infinity")
        scales: npt.NDArray[np.float32] | None = None
        if storage == "int8":
            scales = (np.abs(vectors).max(axis=1, initial=0).astype(np.float32) / np.float32(127)).astype(np.float32)
            safe = np.where(scales == 0, np.float32(1), scales)
            table: npt.NDArray[Any] = np.rint(vectors / safe[:, None]).clip(-127, 127).astype(np.int8)
        else:
            table = vectors.astype(np.float16)
        encoded = [_encode(word) for word in words]
        offsets = np.zeros(len(words) + 1, np.uint32)
        np.cumsum([len(word) for word in encoded], out=offsets[1:])
        blob = np.frombuffer(b"".join(encoded), np.uint8)
        return cls(table=table, scales=scales, words=blob, offsets=offsets, index=_hash_table(encoded))

    @classmethod
    def load(cls, folder: Path) -> WordVectors:
        """Map the arrays in *folder*.

        Raises:
            BundleError: a file is missing, is no array, or does not fit the others; it is named.
        """
        table = _open(folder / "table.npy")
        if table.ndim != 2 or str(table.dtype) not in STORAGES:
            raise BundleError(
                f"vectors/table.npy: expected (N, D) of {' or '.join(STORAGES)}, got {table.shape} of {table.dtype}"
            )
        rest = {name: _open(folder / f"{name}.npy") for name in ("words", "offsets", "index")}
        if table.dtype == np.int8:
            rest["scales"] = _open(folder / "scales.npy")
        for name, array in rest.items():
            if array.ndim != 1 or array.dtype != _DTYPES[name]:
                raise BundleError(
                    f"vectors/{name}.npy: expected one axis of {np.dtype(_DTYPES[name])},"
                    f" got {array.shape} of {array.dtype}"
                )
        num_words = len(table)
        offsets, index = rest["offsets"], rest["index"]
        if len(offsets) != num_words + 1 or int(offsets[-1]) != len(rest["words"]):
            raise BundleError(f"vectors/offsets.npy: expected the bounds of {num_words} words in vectors/words.npy")
        if "scales" in rest and len(rest["scales"]) != num_words:
            raise BundleError(f"vectors/scales.npy: expected {num_words} scales, got {len(rest['scales'])}")
        if len(index) <= num_words or len(index) & (len(index) - 1) or int(index.max(initial=0)) > num_words:
            raise BundleError(f"vectors/index.npy: expected a hash table for {num_words} words, got {len(index)} slots")
        return cls(table=table, scales=rest.get("scales"), words=rest["words"], offsets=offsets, index=index)

    def save(self, folder: Path) -> None:
        """Write the arrays into *folder*, which exists; the same vectors give the same bytes."""
        for name, array in self._arrays().items():
            np.save(folder / f"{name}.npy", array, allow_pickle=False)

    def words(self) -> list[str]:
        """All words, in row order."""
        blob = self._words.tobytes()
        bounds = self._offsets.tolist()
        return [blob[a:b].decode("utf-8", "surrogatepass") for a, b in pairwise(bounds)]

    def find(self, word: str) -> int:
        """The row of exactly *word*, or -1."""
        key = _encode(word)
        size = len(self._index) - 1
        slot = zlib.crc32(key) & size
        while row := int(self._index[slot]):
            if self._words[self._offsets[row - 1] : self._offsets[row]].tobytes() == key:
                return row - 1
            slot = (slot + 1) & size
        return -1

    def look_up(self, word: str) -> int:
        """The row of the first form of *word* (see :func:`back_off`) that has one, or -1."""
        tried = ""
        for form in back_off(word):
            if form != tried and (row := self.find(form)) >= 0:
                return row
            tried = form
        return -1

    def take(self, rows: npt.NDArray[np.int64]) -> npt.NDArray[np.float32]:
        """Vectors of *rows*, zeros where a row is -1: (W,) -> (W, D)."""
        known = rows >= 0
        vectors = np.zeros((len(rows), self.dim), np.float32)
        vectors[known] = self._table[rows[known]]
        if self._scales is not None:
            vectors[known] *= self._scales[rows[known], None]
        return vectors

    def _arrays(self) -> dict[str, npt.NDArray[Any]]:
        arrays = {"table": self._table, "words": self._words, "offsets": self._offsets, "index": self._index}
        if self._scales is not None:
            arrays["scales"] = self._scales
        return arrays


def _encode(word: str) -> bytes:
    return word.encode("utf-8", "surrogatepass")


def _open(path: Path) -> npt.NDArray[Any]:
    try:
        array: npt.NDArray[Any] = np.load(path, mmap_mode="r", allow_pickle=False)
    except FileNotFoundError as error:
        raise BundleError(f"vectors/{path.name}: missing") from error
    except (OSError, ValueError, EOFError) as error:
        raise BundleError(f"vectors/{path.name}: expected a plain .npy array: {error}") from error
    return array


def _hash_table(keys: Sequence[bytes]) -> npt.NDArray[np.uint32]:
    """Slots of row + 1, 0 where empty; at most half of them are taken."""
    size = 2
    while size < 2 * len(keys):
        size *= 2
    slots = [0] * size
    for row, key in enumerate(keys):
        slot = zlib.crc32(key) & (size - 1)
        while slots[slot]:
            if keys[slots[slot] - 1] == key:
                raise ValueError(f"expected distinct words, word {slots[slot] - 1} stands again at {row}")
            slot = (slot + 1) & (size - 1)
        slots[slot] = row + 1
    return np.array(slots, np.uint32)
