"""Where the documents of a corpus end: ``-DOCSTART-`` lines, or a file of numbers beside it."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

from training.corpora.conll import DOCUMENT
from training.corpora.sources import decode, read_data
from training.errors import CorpusError


def document_sizes(path: Path, lines: Sequence[int]) -> list[int]:
    """Sentences in each document of *path*, in order, whose sentences begin on *lines*.

    ``NAME.documents`` beside ``NAME.conll`` has such a number on each line; without it, a document begins at each
    ``-DOCSTART-`` line.

    Raises:
        CorpusError: there is neither, or the numbers do not add up to the sentences of *path*.
    """
    beside = path.with_suffix(".documents")
    if beside != path and beside.exists():
        return _read_sizes(beside, path, len(lines))
    starts = [i for i, line in enumerate(decode(read_data(path), path).split("\n"), 1) if DOCUMENT.match(line)]
    if not starts:
        raise CorpusError(
            f"{path}: expected documents, got neither -DOCSTART- lines nor {beside}, the number of sentences of each"
        )
    before = [bisect_left(lines, start) for start in starts]  # sentences before each document
    return [last - first for first, last in pairwise([0, *before, len(lines)]) if first < last]


def _read_sizes(beside: Path, path: Path, num_sentences: int) -> list[int]:
    sizes = []
    for number, line in enumerate(decode(read_data(beside), beside).splitlines(), 1):
        if not line.strip().isdecimal() or not int(line):
            raise CorpusError(f"{beside}:{number}: expected the number of sentences of a document, got {line[:40]!r}")
        sizes.append(int(line))
    if sum(sizes) != num_sentences:
        raise CorpusError(
            f"{beside}: expected numbers that add up to the {num_sentences:,} sentences of {path}, got {sum(sizes):,}"
        )
    return sizes
