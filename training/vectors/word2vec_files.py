"""Word2vec's and GloVe's files of vectors: text, a line a word, and binary.

Binary files say neither how long a word is nor where its vector begins: at the first space.  A word with a space in it
shifts all numbers that follow, and programs that read such a file, gensim among them, do not notice.
"""

from __future__ import annotations

import logging
import re
from array import array
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np
import numpy.typing as npt

from training.errors import VectorFileError

logger = logging.getLogger(__name__)

_ERRORS = "surrogateescape"  # keeps words distinct that differ in bytes which are no UTF-8
_FLOAT = 4
_CHUNK = 1 << 20

#: Bytes of the longest word of a binary file.
_MAX_WORD = 1 << 12

_CONTROL = re.compile(rb"[\x00-\x1f\x7f]")

#: What would be the rest of a word with a space in it.
_REST = re.compile(rb"[^\x00-\x20\x7f]{0,200} ")

#: Magnitudes that the numbers of vectors have; those of shifted bytes are anything.
_SMALLEST, _LARGEST = 1e-10, 1e6

_KV = "gensim's KeyedVectors.save writes a .kv, which may have any words"


def read_text(path: Path, file: BinaryIO, header: tuple[int, int] | None) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Words and vectors (N, D) in *file*, which stands behind its *header* (N, D), if it has one.

    Raises:
        VectorFileError: names the first line of *path* that is not a new word and D numbers.
    """
    width = header[1] if header else None
    numbers = array("f")
    lines: dict[bytes, int] = {}
    number, line = 1, b"\n"
    for number, line in enumerate(file, 2 if header else 1):
        word, *fields = line.rstrip().split(b" ")
        if width is None:
            width = len(fields)
        if len(fields) != width or not width:
            raise VectorFileError(f"{path}: line {number}: {_misfit(line, width, len(fields))}")
        try:
            numbers.extend(map(float, fields))
        except ValueError:
            wrong = next(field for field in fields if not is_number(field))
            raise VectorFileError(f"{path}: line {number}: expected numbers, got {shown(wrong)}") from None
        if b"_" in line[len(word) :]:  # to Python 1_0 is a number
            wrong = next(field for field in fields if b"_" in field)
            raise VectorFileError(f"{path}: line {number}: expected numbers, got {shown(wrong)}")
        if not word:
            raise VectorFileError(f"{path}: line {number}: expected a word first, got a space")
        if lines.setdefault(word, number) != number:
            raise VectorFileError(
                f"{path}: line {number}: expected another word than in line {lines[word]}, got {shown(word)};"
                " awk '!seen[$1]++' keeps the first of each"
            )
    if header and len(lines) != header[0]:
        raise VectorFileError(
            f"{path}: line 1: expected the header to count {len(lines)} words, got {header[0]}; if none are missing,"
            " drop the header, tail -n +2, or correct it"
        )
    if not line.endswith(b"\n"):
        logger.warning("%s: line %d has no end; if the file is cut off, its last number is too", path, number)
    words = [word.decode("utf-8", _ERRORS) for word in lines]
    return words, np.frombuffer(numbers, np.float32).reshape(len(words), width or 0)


def read_binary(path: Path, file: BinaryIO, num_words: int, width: int) -> tuple[list[str], npt.NDArray[np.float32]]:
    """Words and vectors (N, D) in *file*, which stands behind its header of *num_words* N and *width* D.

    Raises:
        VectorFileError: names the first entry of *path* that cannot be one, or says that bytes are missing or left.
    """
    size = _FLOAT * width
    words: list[str] = []
    numbers = array("f")
    reach = 3 * _MAX_WORD + 2 * size  # to compare what may follow
    data, at = b"", 0
    for entry in range(1, num_words + 1):
        if len(data) - at < reach:
            data, at = data[at:] + file.read(max(_CHUNK, reach)), 0
        space = data.find(b" ", at, at + _MAX_WORD)
        word = data[at : space if space >= 0 else None][:_MAX_WORD].lstrip(b"\n")
        if space + 1 + size > len(data) or (space < 0 and len(data) - at < _MAX_WORD):
            raise VectorFileError(
                f"{path}: expected {num_words} words and vectors of width {width}, as line 1 says, got a file that ends"
                f" within entry {entry}"
            )
        if longer := _with_spaces(data, at, space + 1, width):
            raise VectorFileError(
                f"{path}: entry {entry}: expected a word without a space, got {shown(longer)}: in this format the"
                f" vector begins at the first space; write _ for the spaces in words, or use another format: {_KV}"
            )
        if space < 0 or not word or _CONTROL.search(word):
            raise VectorFileError(
                f"{path}: entry {entry}: expected a word, got {shown(word)}: the header's width {width} is wrong, or"
                f" there is white space within a word; {_KV}"
            )
        words.append(word.decode("utf-8", _ERRORS))
        numbers.frombytes(data[space + 1 : space + 1 + size])
        at = space + 1 + size
    left = len((data[at:] + file.read(_CHUNK)).lstrip(b"\n"))
    if left:
        raise VectorFileError(
            f"{path}: line 1: expected the header to count all words, got {num_words} and"
            f" {'at least ' if left >= _CHUNK else ''}{left} bytes more"
        )
    return words, np.frombuffer(numbers, np.float32).reshape(len(words), width)


def is_number(field: bytes) -> bool:
    """Whether *field* is a number as files of vectors have them."""
    try:
        float(field)
    except ValueError:
        return False
    return b"_" not in field


def shown(field: bytes) -> str:
    """The first 40 bytes of *field* for a message."""
    return repr(field[:40].decode("utf-8", "backslashreplace"))


def _misfit(line: bytes, width: int | None, num_fields: int) -> str:
    """What is wrong with *line*, which has *num_fields* behind its word and should have *width*."""
    if not line.strip():
        return "expected a word and its numbers, got an empty line"
    problem = (
        f"expected a word and {width or 'its'} numbers, parted by single spaces, got {num_fields} fields behind the"
        " first"
    )
    if b"\t" in line and not num_fields:
        return f"{problem}: they are parted by tabs"
    if width and num_fields > width and all(map(is_number, line.split()[-width:])):
        return f"{problem}: a word with a space in it; leave such lines out, awk 'NF == {width + 1}', or write _ for it"
    return problem


def _with_spaces(data: bytes, at: int, begin: int, width: int) -> bytes | None:
    """The word at *at* with the spaces in it, if its vector seems to begin behind one of these, not at *begin*.

    Fewer of the numbers are then of an unlikely size; or as many, and the words are text, here and behind the vector.
    """
    longest = None
    least = None
    end = begin
    while rest := _REST.match(data, end):
        end = rest.end()
        if end + _FLOAT * width > len(data):
            break
        least = least or _cost(data, begin, width)
        longer = data[at : end - 1].lstrip(b"\n")
        cost = _cost(data, end, width)
        if cost < least and (cost.num_unlikely < least.num_unlikely or _is_text(longer)):
            least, longest = cost, longer
    return longest


class _Cost(NamedTuple):
    """How many of a vector's numbers are of an unlikely size, and whether what follows it is no text."""

    num_unlikely: int
    is_binary: bool


def _cost(data: bytes, begin: int, width: int) -> _Cost:
    """The cost of reading a vector of *width* at *begin*."""
    sizes = np.abs(np.frombuffer(data, np.float32, width, begin))
    is_likely = (sizes == 0) | ((sizes >= _SMALLEST) & (sizes <= _LARGEST))
    end = begin + _FLOAT * width
    following = data[end : end + _MAX_WORD].lstrip(b"\n").partition(b" ")[0]
    return _Cost(int(width - is_likely.sum()), not _is_text(following))


def _is_text(word: bytes) -> bool:
    try:
        word.decode()
    except UnicodeDecodeError:
        return False
    return not _CONTROL.search(word)
