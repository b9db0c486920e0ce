"""Files of word vectors, checked by us and read by gensim; an error names the file and the line.

gensim does not report damaged files: it stops at the number of words in the header, drops duplicate words, broadcasts
a single number over a row, and never returns from a truncated fastText model.
"""

from __future__ import annotations

import codecs
import logging
import mmap
import pickle
import struct
import time
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from handler.subwords import Subwords
from handler.tables import VectorTable
from training.errors import VectorFileError

logger = logging.getLogger(__name__)

#: The first number of a fastText model: fasttext.cc, FASTTEXT_FILEFORMAT_MAGIC_INT32.
FASTTEXT_MAGIC = 793712314

_PICKLE = b"\x80"  # the first byte since protocol 2
_HEAD = 4096
_FLOAT = 4
_NO_TEXT = frozenset(range(9)) | frozenset(range(14, 32))
_ERRORS = "surrogateescape"  # keeps words distinct that differ in bytes which are no UTF-8


class Vectors(NamedTuple):
    """Words, most frequent first, their vectors (N, D) float32, and the subwords for unseen words."""

    words: list[str]
    table: npt.NDArray[np.float32]
    subwords: Subwords | None = None


def read_vectors(path: Path) -> Vectors:
    """The vectors in *path*; the format is detected.

    GloVe text; word2vec text or binary; a fastText model; a file of gensim's (KeyedVectors or a whole model; it is
    unpickled, so it must be trusted); or, by its suffix, an ``.npz`` with an array ``vectors`` (N, D) beside a
    ``.words.txt`` with a word per line.  Text and word2vec binary may be compressed (``.gz``, ``.bz2``).

    Raises:
        VectorFileError: says what was expected and what came.
    """
    started = time.monotonic()
    try:
        logger.info("vectors: reading %s, %.0f MB", path, path.stat().st_size / 1e6)
        vectors = _read(path)
    except (OSError, ValueError, EOFError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        raise VectorFileError(f"{path}: cannot be read as word vectors: {error}") from error
    except MemoryError as error:
        raise VectorFileError(f"{path}: expected enough memory to read it whole: {error}") from error
    _check_rows(path, vectors)
    shape = vectors.table.shape
    logger.info("vectors: %s has %d words of width %d (%.0f s)", path, *shape, time.monotonic() - started)
    return vectors


def _read(path: Path) -> Vectors:
    if path.suffix == ".npz":
        return _read_npz(path)
    head = next(_chunks(path, _HEAD), b"")
    if head[:4] == struct.pack("<i", FASTTEXT_MAGIC):
        return _read_fasttext(path)
    if head[:1] == _PICKLE:
        return _read_saved(path)
    first, _, rest = head.partition(b"\n")
    header = _header(first)
    if header is None and (not head or _is_binary(head)):
        raise VectorFileError(
            f"{path}: expected word vectors as text, a .bin of word2vec or fastText, or a .kv of gensim,"
            f" got a file that begins with {head[:8]!r}"
        )
    if header is not None and (_is_binary(rest) or (".bin" in path.suffixes and not _is_utf8(rest))):
        return _read_word2vec_binary(path, len(first) + 1, *header)
    return _read_text(path, header)


def _read_npz(path: Path) -> Vectors:
    words_path = path.with_name(path.name.removesuffix(".npz").removesuffix(".f16") + ".words.txt")
    words = words_path.read_text("utf-8").rstrip("\n").split("\n")
    with np.load(path, allow_pickle=False) as arrays:
        table = arrays["vectors"].astype(np.float32)
    return Vectors(words, table)


def _read_text(path: Path, header: tuple[int, int] | None) -> Vectors:
    _check_lines(path, header)
    try:
        return _of_gensim(_load_word2vec(path, no_header=header is None))
    except ValueError:
        for number, fields in _lines(path, header):
            for field in fields[1:]:
                if not _is_number(field):
                    raise VectorFileError(f"{path}: line {number}: expected numbers, got {_shown(field)}") from None
        raise


def _read_word2vec_binary(path: Path, header_bytes: int, num_words: int, width: int) -> Vectors:
    num_bytes = sum(len(chunk) for chunk in _chunks(path)) - header_bytes
    least = num_words * (1 + width * _FLOAT)  # of each word, at least the space after it
    if num_bytes < least:
        raise VectorFileError(
            f"{path}: line 1: expected {num_words} words and vectors of width {width},"
            f" which take at least {least} bytes, got {num_bytes}"
        )
    keyed = _load_word2vec(path, binary=True)
    if len(keyed.key_to_index) != num_words:
        raise VectorFileError(f"{path}: expected {num_words} distinct words, got {len(keyed.key_to_index)}")
    least += sum(len(word.encode("utf-8", _ERRORS)) for word in keyed.key_to_index)
    if not least <= num_bytes <= least + num_words:  # there may be a newline after each vector
        raise VectorFileError(
            f"{path}: line 1: expected the header to count all words, got {num_words}"
            f" and {num_bytes - least} bytes more"
        )
    return _of_gensim(keyed)


def _load_word2vec(path: Path, **options: bool) -> Any:
    from gensim.models import KeyedVectors

    return KeyedVectors.load_word2vec_format(str(path), unicode_errors=_ERRORS, **options)


def _read_fasttext(path: Path) -> Vectors:
    from gensim.models.fasttext import load_facebook_vectors

    if path.suffix in {".gz", ".bz2"}:
        raise VectorFileError(f"{path}: expected a fastText model unpacked, got a compressed one")
    _check_fasttext(path)
    return _of_gensim(load_facebook_vectors(str(path)))


def _read_saved(path: Path) -> Vectors:
    """KeyedVectors saved by gensim, or those of a saved model."""
    from gensim.models import KeyedVectors
    from gensim.utils import SaveLoad

    try:
        saved: Any = SaveLoad.load(str(path))
    except FileNotFoundError as error:
        raise VectorFileError(
            f"{path}: expected the arrays that gensim saved beside it: {error.filename} is missing"
        ) from error
    except (AttributeError, ImportError, IndexError, TypeError, pickle.UnpicklingError) as error:
        raise VectorFileError(f"{path}: expected what gensim has saved: {error}") from error
    keyed = getattr(saved, "wv", saved)
    if not isinstance(keyed, KeyedVectors):
        raise VectorFileError(f"{path}: expected KeyedVectors or a model that has them, got {type(saved).__name__}")
    return _of_gensim(keyed)


def _of_gensim(keyed: Any) -> Vectors:
    subwords = None
    if getattr(keyed, "bucket", 0) and 0 < keyed.max_n >= keyed.min_n:
        table = VectorTable.new(keyed.vectors_ngrams, "float32")
        subwords = Subwords(table, min_n=keyed.min_n, max_n=keyed.max_n)
    return Vectors(list(keyed.index_to_key), np.asarray(keyed.vectors, np.float32), subwords)


def _check_rows(path: Path, vectors: Vectors) -> None:
    words, table, _ = vectors
    if table.ndim != 2 or len(table) != len(words) or not table.size:
        raise VectorFileError(f"{path}: expected one row for each of {len(words)} words, got {table.shape}")
    rows: dict[str, int] = {}
    for row, word in enumerate(words):
        if not isinstance(word, str):
            raise VectorFileError(f"{path}: row {row}: expected a word, got {word!r}")
        if rows.setdefault(word, row) != row:
            raise VectorFileError(f"{path}: row {row}: expected another word than in row {rows[word]}, got {word!r}")
    finite = np.isfinite(table).all(axis=1)
    if not finite.all():
        row = int(finite.argmin())
        raise VectorFileError(f"{path}: row {row}: expected finite numbers, got NaN or infinity for {words[row]!r}")


def _check_lines(path: Path, header: tuple[int, int] | None) -> None:
    """Raise VectorFileError unless each line is a distinct word and as many numbers as the header or the first line."""
    width = header[1] if header else None
    rows: dict[bytes, int] = {}
    number = 0
    for number, fields in _lines(path, header):
        if width is None:
            width = len(fields) - 1
        if len(fields) - 1 != width or not width:
            raise VectorFileError(
                f"{path}: line {number}: expected a word and {width or 'its'} numbers, parted by single spaces,"
                f" got {len(fields) - 1} fields behind the first"
            )
        if rows.setdefault(fields[0], number) != number:
            raise VectorFileError(
                f"{path}: line {number}: expected another word than in line {rows[fields[0]]}, got {_shown(fields[0])}"
            )
    if header and len(rows) != header[0]:
        raise VectorFileError(f"{path}: line 1: expected the header to count {len(rows)} words, got {header[0]}")


def _check_fasttext(path: Path) -> None:
    """Raise VectorFileError unless *path* is a complete, unquantised fastText model of words.

    The layout is that of ``FastText::saveModel``: arguments, dictionary, input matrix, output matrix (not needed).
    """
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        place = "arguments"
        try:
            dim, *_, num_buckets, min_n, max_n, _, _ = struct.unpack_from("<12id", data, 8)
            num_entries, num_words, num_labels, _, num_pruned = struct.unpack_from("<3i2q", data, 64)
            at = 64 + struct.calcsize("<3i2q")
            place = "dictionary"
            words = set()
            for _ in range(num_entries):
                end = data.find(b"\0", at)
                if end < 0:
                    raise struct.error
                words.add(data[at:end])
                at = end + 1 + struct.calcsize("<qb")
            at += max(0, num_pruned) * struct.calcsize("<2i")
            place = "input matrix"
            is_quantised, num_rows, width = struct.unpack_from("<?2q", data, at)
        except struct.error as error:
            raise VectorFileError(
                f"{path}: expected a whole fastText model, got one cut off in its {place}, after {len(data)} bytes"
            ) from error
        matrix_bytes = len(data) - at - struct.calcsize("<?2q")
    if is_quantised:
        raise VectorFileError(f"{path}: expected a fastText model (.bin), got a quantised one (.ftz)")
    if num_labels:
        raise VectorFileError(f"{path}: expected a fastText model of words, got a classifier with {num_labels} labels")
    if len(words) != num_words:
        raise VectorFileError(f"{path}: expected {num_words} distinct words, got {len(words)}")
    if (num_rows, width) != (num_words + num_buckets, dim):
        raise VectorFileError(
            f"{path}: expected a matrix of {num_words} words and {num_buckets} buckets by {dim},"
            f" got {num_rows} by {width}"
        )
    if matrix_bytes < num_rows * width * _FLOAT:
        raise VectorFileError(
            f"{path}: expected {num_rows * width * _FLOAT} bytes of input matrix, got {matrix_bytes}: it is cut off"
        )
    logger.info(
        "vectors: fastText, %d words, %d buckets for n-grams of %d to %d characters, width %d; gensim takes about"
        " %.1f GB of memory to read it",
        *(num_words, num_buckets, min_n, max_n, dim),
        (3 * num_words + 2 * num_buckets) * dim * _FLOAT / 1e9,
    )


def _chunks(path: Path, size: int = 1 << 20) -> Iterator[bytes]:
    """The content of *path*, decompressed by its suffix."""
    from gensim import utils

    with utils.open(str(path), "rb") as file:
        while chunk := file.read(size):
            yield chunk


def _lines(path: Path, header: tuple[int, int] | None) -> Iterator[tuple[int, list[bytes]]]:
    """Number and fields of each line of a text file after its header, as gensim splits them."""
    from gensim import utils

    with utils.open(str(path), "rb") as file:
        for number, line in enumerate(file, 1):
            if number > 1 or header is None:
                yield number, line.rstrip().split(b" ")


def _header(line: bytes) -> tuple[int, int] | None:
    """Number of words and width, if *line* is word2vec's header, else None."""
    fields = line.split()
    return (int(fields[0]), int(fields[1])) if len(fields) == 2 and all(map(bytes.isdigit, fields)) else None


def _is_binary(sample: bytes) -> bool:
    return not _NO_TEXT.isdisjoint(sample)


def _is_utf8(sample: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)  # it may end within a character
    except UnicodeDecodeError:
        return False
    return True


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _shown(field: bytes) -> str:
    return repr(field[:40].decode("utf-8", "backslashreplace"))
