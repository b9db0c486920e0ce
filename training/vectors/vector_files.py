"""Files of word vectors; an error names the file and the line, the entry or the row.

fastText models and gensim's own files are read by gensim, the others here: gensim does not report damaged ones.  It
stops at the number of words in the header, drops duplicate words, broadcasts a single number over a row, takes a word
with a space in it for another one with other numbers, and never returns from a truncated fastText model.
"""

from __future__ import annotations

import bz2
import codecs
import gzip
import io
import logging
import mmap
import pickle
import struct
import time
import zipfile
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from handler.config import MAX_DIM, BundleConfig
from handler.digests import CONFIG_FILE, check_digests
from handler.errors import BundleError
from handler.subwords import Subwords
from handler.tables import VectorTable
from handler.vectors import WordVectors
from training.errors import VectorFileError
from training.vectors.word2vec_files import is_number, read_binary, read_text

logger = logging.getLogger(__name__)

#: The first number of a fastText model: fasttext.cc, FASTTEXT_FILEFORMAT_MAGIC_INT32.
FASTTEXT_MAGIC = 793712314

_PICKLE = b"\x80"  # the first byte since protocol 2
_HEAD = 4096
_FLOAT = 4
_NO_TEXT = frozenset(range(9)) | frozenset(range(14, 32))

_COMPRESSED: Mapping[str, Callable[[Path], Any]] = MappingProxyType({".gz": gzip.open, ".bz2": bz2.open})

#: First bytes of files that people take for vectors, and what to do about them.
_FOREIGN: Mapping[bytes, str] = MappingProxyType(
    {
        b"\x1f\x8b": "gzip's: unpack it, or give it a name that ends in .gz",
        b"BZh": "bzip2's: unpack it, or give it a name that ends in .bz2",
        b"PK\x03\x04": "a zip archive: unpack it, and give the file in it",
        b"\xfd7zXZ": "an xz archive: unpack it",
        b"(\xb5/\xfd": "a zstd archive: unpack it",
        b"7z\xbc\xaf": "a 7z archive: unpack it",
        b"\x93NUMPY": "an .npy: save it with numpy.savez(FILE, vectors=...) as an .npz, with the words beside it",
        b"\x89HDF": "an HDF5 file",
        b"\xff\xfe": "UTF-16 text: save it as UTF-8",
        b"\xfe\xff": "UTF-16 text: save it as UTF-8",
    }
)


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
    except FileNotFoundError as error:
        raise VectorFileError(f"{path}: cannot be read: {error.strerror}") from error
    except (OSError, ValueError, EOFError, KeyError, zlib.error, zipfile.BadZipFile) as error:
        raise VectorFileError(f"{path}: cannot be read as word vectors: {error}") from error
    except MemoryError as error:
        raise VectorFileError(f"{path}: expected enough memory to read it whole: {error}") from error
    _check_rows(path, vectors)
    if odd := sum(not word.isascii() and any("\udc80" <= char <= "\udcff" for char in word) for word in vectors.words):
        logger.warning("%s: %d words are no UTF-8, and no text has them; is it in another encoding?", path, odd)
    shape = vectors.table.shape
    logger.info("vectors: %s has %d words of width %d (%.0f s)", path, *shape, time.monotonic() - started)
    return vectors


def read_bundle(folder: Path) -> WordVectors:
    """The word vectors of the bundle *folder*, mapped; raises VectorFileError if it is none, or damaged."""
    try:
        check_digests(folder, BundleConfig.load(folder / CONFIG_FILE))
        return WordVectors.load(folder / "vectors")
    except BundleError as error:
        raise VectorFileError(f"{folder}: expected a file of word vectors or a bundle: {error}") from error


def unpacked(vectors: WordVectors) -> list[Vectors]:
    """The parts of *vectors*, side by side: one for each with subwords, and one for the columns between two of them."""
    words, table = vectors.words(), vectors.take(np.arange(len(vectors)))
    parts: list[Vectors] = []
    done = 0
    for subwords in vectors.subwords:
        if subwords.left > done:
            parts.append(Vectors(words, table[:, done : subwords.left]))
        rows = subwords.table.take(np.arange(len(subwords.table)))
        own = Subwords(VectorTable.new(rows, "float32"), min_n=subwords.min_n, max_n=subwords.max_n)
        parts.append(Vectors(words, table[:, subwords.left : subwords.right], own))
        done = subwords.right
    if done < vectors.dim:
        parts.append(Vectors(words, table[:, done:]))
    return parts


def _read(path: Path) -> Vectors:
    if path.suffix == ".npz":
        return _read_npz(path)
    with _opened(path) as file:
        head = file.read(_HEAD).removeprefix(codecs.BOM_UTF8)
    if head[:4] == struct.pack("<i", FASTTEXT_MAGIC):
        return _read_fasttext(path)
    for magic, name in _FOREIGN.items():
        if head.startswith(magic):
            raise VectorFileError(f"{path}: expected a file of word vectors, got {name}")
    if head[:1] == _PICKLE:
        return _read_saved(path)
    first, _, rest = head.partition(b"\n")
    header = _header(first)
    if header is None and (not head or _is_binary(head)):
        raise VectorFileError(
            f"{path}: expected word vectors as text, a .bin of word2vec or fastText, or a .kv of gensim, got"
            f" {f'a file that begins with {head[:8]!r}' if head else 'an empty file'}"
        )
    with _opened(path) as file:
        if file.peek(3)[:3] == codecs.BOM_UTF8:
            file.read(3)
        if header is None:
            return Vectors(*read_text(path, file, None))
        if not 0 < header[1] <= MAX_DIM:
            raise VectorFileError(f"{path}: line 1: expected a width from 1 to {MAX_DIM}, got {header[1]}")
        file.readline()
        is_binary = not _has_numbers(rest) and (_is_binary(rest) or (".bin" in path.suffixes and not _is_utf8(rest)))
        return Vectors(*(read_binary(path, file, *header) if is_binary else read_text(path, file, header)))


def _opened(path: Path) -> io.BufferedReader:
    """*path* for reading, decompressed by its suffix."""
    if path.suffix in _COMPRESSED:
        return io.BufferedReader(_COMPRESSED[path.suffix](path))
    return path.open("rb")


def _read_npz(path: Path) -> Vectors:
    words_path = path.with_name(path.name.removesuffix(".npz").removesuffix(".f16") + ".words.txt")
    if path.exists() and not words_path.exists():
        raise VectorFileError(f"{path}: expected its words beside it, one a line: {words_path.name} is missing")
    with np.load(path, allow_pickle=False) as arrays:
        if not isinstance(arrays, np.lib.npyio.NpzFile) or "vectors" not in arrays:
            raise VectorFileError(f"{path}: expected an .npz with an array named vectors")
        vectors = arrays["vectors"]
    if vectors.dtype.kind not in "fiu":
        raise VectorFileError(f"{path}: expected vectors of real numbers, got {vectors.dtype}")
    lines = words_path.read_bytes().decode("utf-8-sig").rstrip("\n").split("\n")
    words = [line.removesuffix("\r") for line in lines]
    for number, word in enumerate(words, 1):
        if word != word.strip() or not word:
            raise VectorFileError(
                f"{words_path}: line {number}: expected a word, got {word[:40]!r}, empty or with white space at an end"
            )
    with np.errstate(over="ignore"):  # an infinity is refused with its word
        return Vectors(words, vectors.astype(np.float32))


def _read_fasttext(path: Path) -> Vectors:
    from gensim.models.fasttext import load_facebook_vectors

    if path.suffix in {".gz", ".bz2"}:
        raise VectorFileError(f"{path}: expected a fastText model unpacked, got a compressed one; gunzip it")
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
            f"{path}: expected the arrays that gensim saved beside it: {error.filename} is missing; keep them together"
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
        raise VectorFileError(
            f"{path}: expected a fastText model (.bin), got a quantised one (.ftz), which gensim"
            " cannot read; take the .bin that it was made of, with --storage int8 if that is too large"
        )
    if num_labels:
        raise VectorFileError(
            f"{path}: expected a fastText model of words, got a classifier with {num_labels} labels;"
            " `fasttext skipgram` and `cbow` make such models"
        )
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


def _header(line: bytes) -> tuple[int, int] | None:
    """Number of words and width, if *line* is word2vec's header, else None."""
    fields = line.split()
    return (int(fields[0]), int(fields[1])) if len(fields) == 2 and all(map(bytes.isdigit, fields)) else None


def _is_binary(sample: bytes) -> bool:
    return not _NO_TEXT.isdisjoint(sample)


def _has_numbers(sample: bytes) -> bool:
    """Whether *sample*, which is all the rest of a file or at least 4096 bytes, begins with a word and a number."""
    fields = sample.partition(b"\n")[0].split(b" ")
    return len(fields) > 1 and is_number(fields[1])


def _is_utf8(sample: bytes) -> bool:
    try:
        codecs.getincrementaldecoder("utf-8")().decode(sample)  # it may end within a character
    except UnicodeDecodeError:
        return False
    return True
