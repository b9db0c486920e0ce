"""Vectors of unseen words from their character n-grams, equal to those of fastText and gensim.

A word ``where`` is read as ``<where>``; its n-grams of *min_n* to *max_n*
characters are hashed (FNV-1a, 32 bits) into the rows of one matrix, and the
mean of these rows is the word's vector (Bojanowski et al. 2017, "Enriching
Word Vectors with Subword Information").  In a bundle, part *i* has its matrix
in ``vectors/ngrams-i.npy`` (for int8 also ``vectors/ngrams-i-scales.npy``), and
``vectors/subwords.json`` has ``left``, ``min_n`` and ``max_n`` of each part.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from handler.errors import BundleError
from handler.tables import VectorTable

SUBWORDS_FILE = "subwords.json"

#: Characters of a word whose n-grams are used: the first and the last half of them where it is longer.
MAX_CHARS = 1000

#: Characters of the longest n-gram; fastText's own default is 6.
MAX_N = 32

_FNV_OFFSET = 2166136261
_FNV_PRIME = 16777619
_MASK = 0xFFFFFFFF

#: fastText hashes each byte as a signed char, extended to 32 bits.
_WIDENED = [byte if byte < 0x80 else byte | 0xFFFFFF00 for byte in range(256)]

_KEYS = ("left", "max_n", "min_n")


def ngram_buckets(word: str, *, min_n: int, max_n: int, num_buckets: int) -> list[int]:
    """Rows of the n-grams of *word*, by start and then length, which is fastText's order.

    >>> ngram_buckets("a", min_n=1, max_n=3, num_buckets=1000)
    [750, 600, 220, 806]
    """
    chars = [char.encode("utf-8", "surrogatepass") for char in f"<{word}>"]
    rows = []
    for i in range(len(chars)):
        state = _FNV_OFFSET
        for n, char in enumerate(chars[i : i + max_n], 1):
            for byte in char:
                state = (state ^ _WIDENED[byte]) * _FNV_PRIME & _MASK
            is_bracket = n == 1 and (i == 0 or i == len(chars) - 1)
            if n >= min_n and not is_bracket:
                rows.append(state % num_buckets)
    return rows


class Subwords:
    """The n-gram vectors of one fastText model, a row for each bucket.

    They fill the columns from ``left`` on of a word's vector, which may have
    other parts.
    """

    def __init__(self, table: VectorTable, *, min_n: int, max_n: int, left: int = 0) -> None:
        self.table = table
        self.min_n = min_n
        self.max_n = max_n
        self.left = left

    @property
    def right(self) -> int:
        """The end of their columns, exclusive."""
        return self.left + self.table.dim

    def vector(self, word: str) -> npt.NDArray[np.float32] | None:
        """Mean of the vectors of the n-grams of *word*: (D,); None if it has none."""
        if len(word) > MAX_CHARS:
            word = word[: MAX_CHARS // 2] + word[-(MAX_CHARS // 2) :]
        rows = ngram_buckets(word, min_n=self.min_n, max_n=self.max_n, num_buckets=len(self.table))
        if not rows:
            return None
        total: npt.NDArray[np.float32] = self.table.take(np.array(rows)).sum(axis=0)
        return total / np.float32(len(rows))


def load_subwords(folder: Path, dim: int) -> tuple[Subwords, ...]:
    """The parts listed in *folder* for word vectors of width *dim*, none without a list; raises BundleError."""
    path = folder / SUBWORDS_FILE
    if not path.exists():
        return ()
    try:
        document = json.loads(path.read_bytes())
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise BundleError(f"vectors/{SUBWORDS_FILE}: expected JSON: {error}") from error
    if not isinstance(document, list) or not document:
        raise BundleError(f"vectors/{SUBWORDS_FILE}: expected a list of parts")
    parts: list[Subwords] = []
    for i, entry in enumerate(document):
        part = _part(folder, i, entry)
        if part.left < (parts[-1].right if parts else 0) or part.right > dim:
            raise BundleError(
                f"vectors/{SUBWORDS_FILE}: expected parts side by side within {dim} columns,"
                f" got part {i} from {part.left} to {part.right}"
            )
        parts.append(part)
    return tuple(parts)


def save_subwords(folder: Path, parts: Sequence[Subwords]) -> None:
    """Write the files that :func:`load_subwords` reads; none without parts."""
    if not parts:
        return
    for i, part in enumerate(parts):
        part.table.save(folder, _names(i))
    document = [{"left": part.left, "max_n": part.max_n, "min_n": part.min_n} for part in parts]
    (folder / SUBWORDS_FILE).write_text(json.dumps(document, indent=2) + "\n", encoding="utf-8")


def _names(i: int) -> tuple[str, str]:
    return f"ngrams-{i}", f"ngrams-{i}-scales"


def _part(folder: Path, i: int, entry: object) -> Subwords:
    if not isinstance(entry, dict) or sorted(entry) != list(_KEYS):
        raise BundleError(f"vectors/{SUBWORDS_FILE}: expected part {i} to have the keys {', '.join(_KEYS)}")
    for key, value in entry.items():
        if type(value) is not int:
            raise BundleError(f"vectors/{SUBWORDS_FILE}: part {i}: {key}: expected a whole number, got {value!r}")
    if entry["left"] < 0 or not 0 <= entry["min_n"] <= entry["max_n"] or entry["max_n"] == 0:
        raise BundleError(
            f"vectors/{SUBWORDS_FILE}: part {i}: expected 0 <= left, 0 <= min_n <= max_n and 0 < max_n,"
            f" got {entry['left']}, {entry['min_n']}, {entry['max_n']}"
        )
    if entry["max_n"] > MAX_N:
        raise BundleError(f"vectors/{SUBWORDS_FILE}: part {i}: max_n: expected at most {MAX_N}, got {entry['max_n']}")
    table = VectorTable.load(folder, _names(i))
    if not len(table) or not table.dim:
        raise BundleError(
            f"vectors/ngrams-{i}.npy: expected at least one bucket and column, got {len(table), table.dim}"
        )
    return Subwords(table, **entry)
