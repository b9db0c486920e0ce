"""Files of word vectors as gensim writes them, whole and damaged."""

import bz2
import gzip
import logging
import pickle
import struct

import gensim
import numpy as np
import pytest
from gensim.models.fasttext import save_facebook_model

from training.errors import VectorFileError
from training.vectors.vector_files import FASTTEXT_MAGIC, read_vectors

WORDS = ["the", "paris", "münchen", "1984"]
TABLE = np.random.default_rng(2).normal(size=(4, 5)).astype(np.float32)
SENTENCES = [["the", "münchen", "größer", "東京"], ["the", "1984"]] * 5
ROWS = "the 1 2\nparis 3 4\nmünchen 5 6\n"


@pytest.fixture
def keyed():
    vectors = gensim.models.KeyedVectors(5)
    vectors.add_vectors(WORDS, TABLE)
    return vectors


def word2vec_text(keyed, path):
    keyed.save_word2vec_format(str(path))


def word2vec_binary(keyed, path):
    keyed.save_word2vec_format(str(path), binary=True)


def glove_text(keyed, path):
    keyed.save_word2vec_format(str(path), write_header=False)


def gensim_native(keyed, path):
    keyed.save(str(path))


def numpy_zip(keyed, path):
    np.savez(path, vectors=keyed.vectors)
    path.with_name("vectors.words.txt").write_text("\n".join(keyed.index_to_key) + "\n", encoding="utf-8")


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("vectors.txt", word2vec_text),
        ("vectors.vec", word2vec_text),
        ("text.bin", word2vec_text),
        ("vectors.txt.gz", word2vec_text),
        ("vectors.bin", word2vec_binary),
        ("binary.txt", word2vec_binary),
        ("vectors.bin.gz", word2vec_binary),
        ("glove.6B.5d.txt", glove_text),
        ("glove.6B.5d.txt.bz2", glove_text),
        ("vectors.kv", gensim_native),
        ("no_suffix", gensim_native),
        ("vectors.npz", numpy_zip),
    ],
)
def test_the_usual_formats_are_known_by_their_content(tmp_path, keyed, name, write):
    write(keyed, tmp_path / name)

    words, table, subwords = read_vectors(tmp_path / name)

    assert words == WORDS
    np.testing.assert_allclose(table, TABLE, rtol=0, atol=1e-6)
    assert subwords is None


def test_word2vec_with_a_newline_behind_each_vector_is_read(tmp_path):
    rows = b"".join(word.encode() + b" " + row.tobytes() + b"\n" for word, row in zip(WORDS, TABLE, strict=True))
    (tmp_path / "c.bin").write_bytes(b"4 5\n" + rows)

    words, table, _ = read_vectors(tmp_path / "c.bin")

    assert words == WORDS
    assert (table == TABLE).all()


def test_words_that_are_no_utf8_stay_apart(tmp_path):
    (tmp_path / "latin.txt").write_bytes(b"3 1\nna\xefve 1\nna\xeeve 2\nthe 3\n")

    words, table, _ = read_vectors(tmp_path / "latin.txt")

    assert len(set(words)) == 3
    assert table.tolist() == [[1], [2], [3]]


@pytest.fixture(scope="module")
def fasttext():
    return gensim.models.FastText(SENTENCES, vector_size=6, min_count=1, min_n=2, max_n=4, bucket=70, workers=1)


def facebook(model, path):
    save_facebook_model(model, str(path))


def saved_vectors(model, path):
    model.wv.save(str(path))


def saved_model(model, path):
    model.save(str(path))


@pytest.mark.parametrize(
    ("name", "write"),
    [
        ("a.bin", facebook), ("a.txt", facebook), ("a.kv", saved_vectors), ("a.model", saved_model),
    ],
)  # fmt: skip
def test_fasttext_comes_with_its_subwords(tmp_path, fasttext, name, write):
    write(fasttext, tmp_path / name)

    words, table, subwords = read_vectors(tmp_path / name)

    assert words == fasttext.wv.index_to_key
    np.testing.assert_allclose(table, fasttext.wv.vectors, rtol=0, atol=1e-6)
    assert (subwords.min_n, subwords.max_n, subwords.left, len(subwords.table)) == (2, 4, 0, 70)
    np.testing.assert_allclose(subwords.vector("unseen"), fasttext.wv.get_vector("unseen"), rtol=0, atol=1e-6)


@pytest.mark.parametrize("write", [facebook, saved_vectors])
def test_fasttext_without_ngrams_has_no_subwords(tmp_path, write):
    model = gensim.models.FastText(SENTENCES, vector_size=6, min_count=1, min_n=1, max_n=0, workers=1)
    write(model, tmp_path / "a.bin")

    words, table, subwords = read_vectors(tmp_path / "a.bin")

    assert words == model.wv.index_to_key
    np.testing.assert_allclose(table, model.wv.vectors, rtol=0, atol=1e-6)
    assert subwords is None


def test_a_whole_word2vec_model_gives_its_vectors(tmp_path):
    model = gensim.models.Word2Vec(SENTENCES, vector_size=6, min_count=1, workers=1)
    model.save(str(tmp_path / "a.model"))

    words, table, _ = read_vectors(tmp_path / "a.model")

    assert words == model.wv.index_to_key
    assert (table == model.wv.vectors).all()


def test_a_long_read_says_what_it_reads(tmp_path, fasttext, caplog):
    facebook(fasttext, tmp_path / "a.bin")

    with caplog.at_level(logging.INFO, logger="training.vectors.vector_files"):
        read_vectors(tmp_path / "a.bin")

    assert f"reading {tmp_path / 'a.bin'}" in caplog.text
    assert "fastText, 5 words, 70 buckets for n-grams of 2 to 4 characters, width 6" in caplog.text
    assert "has 5 words of width 6" in caplog.text


@pytest.mark.parametrize("name", ["missing.txt", "missing.bin", "missing.npz", "missing.kv"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(VectorFileError, match=f"{name}: cannot be read: No such file"):
        read_vectors(tmp_path / name)


@pytest.mark.parametrize(
    ("words", "problem"),
    [
        ("one\n", r"a.npz: expected one row for each of 1 words, got \(4, 5\)"),
        ("the\nparis\n\n1984\n", "a.words.txt: line 3: expected a word, got '', empty or with white space at an end"),
        ("the\nparis \nx\n1984\n", "a.words.txt: line 2: expected a word, got 'paris '"),
        ("the\n\tparis\nx\n1984\n", "a.words.txt: line 2: expected a word, got '.tparis'"),
        ("the\nthe\nx\n1984\n", "a.npz: row 1: expected another word than in row 0, got 'the'"),
        ("", "a.words.txt: line 1: expected a word, got ''"),
        (None, "a.npz: expected its words beside it, one a line: a.words.txt is missing"),
        (b"\xff\xfet\0", "a.npz: cannot be read as word vectors: 'utf-8' codec"),
    ],
)
def test_words_that_do_not_fit_their_array_are_refused(tmp_path, words, problem):
    np.savez(tmp_path / "a.npz", vectors=TABLE)
    if words is not None:
        (tmp_path / "a.words.txt").write_bytes(words if isinstance(words, bytes) else words.encode())

    with pytest.raises(VectorFileError, match=problem):
        read_vectors(tmp_path / "a.npz")


@pytest.mark.parametrize(
    ("arrays", "problem"),
    [
        ({"table": TABLE}, "expected an .npz with an array named vectors"),
        ({"vectors": TABLE[0]}, r"expected one row for each of 4 words, got \(5,\)"),
        ({"vectors": TABLE.astype(complex)}, "expected vectors of real numbers, got complex128"),
        ({"vectors": TABLE.astype(str)}, "expected vectors of real numbers, got <U"),
        ({"vectors": TABLE > 0}, "expected vectors of real numbers, got bool"),
        ({"vectors": TABLE.astype(object)}, "cannot be read as word vectors: Object arrays cannot be loaded"),
        ({"vectors": TABLE.astype(float) * 1e39}, "row 0: expected finite numbers, got NaN or infinity for 'the'"),
        ({"vectors": TABLE[:, :0]}, r"expected one row for each of 4 words, got \(4, 0\)"),
    ],
)
def test_an_array_that_holds_no_vectors_is_refused(tmp_path, arrays, problem):
    np.savez(tmp_path / "a.npz", **arrays)
    (tmp_path / "a.words.txt").write_text("\n".join(WORDS), "utf-8")

    with pytest.raises(VectorFileError, match=f"a.npz: {problem}"):
        read_vectors(tmp_path / "a.npz")


def test_words_beside_an_array_may_have_been_edited_on_windows(tmp_path):
    np.savez(tmp_path / "a.npz", vectors=TABLE)
    (tmp_path / "a.words.txt").write_bytes("\r\n".join([*WORDS, ""]).encode("utf-8-sig"))

    assert read_vectors(tmp_path / "a.npz").words == WORDS


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        ("", "expected word vectors as text, a .bin .* or a .kv of gensim, got an empty file"),
        ("%PDF-1.7\n\0\1", ".* got a file that begins with b'%PDF-1.7'"),
        ("0 2\n", r"expected one row for each of 0 words, got \(0, 2\)"),
        ("the quick brown fox\n", "line 1: expected numbers, got 'quick'"),
        ("the\nquick\n", "line 1: expected a word and its numbers, .* got 0 fields behind the first"),
        (ROWS + "new york 7 8\n", "line 4: expected a word and 2 numbers, parted by single spaces, got 3 fields"),
        ("3 2\nthe 1 2\nparis 3\n" + ROWS, "line 3: expected a word and 2 numbers, .* got 1 fields"),
        (ROWS + "cut 7", "line 4: expected a word and 2 numbers, .* got 1 fields"),
        (ROWS + "\n", "line 4: expected a word and its numbers, got an empty line"),
        (ROWS + "  \r\n", "line 4: expected a word and its numbers, got an empty line"),
        ("new york 1 2\n", "line 1: expected numbers, got 'york'"),
        ("windows 98 1 2\n" + ROWS, "line 2: expected a word and 3 numbers, .* got 2 fields"),
        (ROWS + "new york city 7 8\n", "line 4: .* a word with a space in it; leave such lines out, awk 'NF == 3'"),
        ("4 2\n" + ROWS + "new york 7 8\n", "line 5: .* a word with a space in it; leave such lines out"),
        (ROWS + "york  7 8\n", "line 4: expected a word and 2 numbers, .* got 3 fields"),
        (ROWS + " 7 8\n", "line 4: expected a word first, got a space"),
        (ROWS.replace(" ", "\t"), "line 1: .* got 0 fields behind the first: they are parted by tabs"),
        (ROWS.replace(" ", ","), "line 1: expected a word and its numbers, .* got 0 fields"),
        (ROWS.replace("\n", "\r"), "line 1: expected numbers, got "),
        (ROWS + "route 1_0 8\n", "line 4: expected numbers, got '1_0'"),
        (ROWS + "huge 1e39 8\n", "row 3: expected finite numbers, got NaN or infinity for 'huge'"),
        (ROWS + "paris 7 8\n", "line 4: expected another word than in line 2, got 'paris'"),
        ("3 2\n" + ROWS + "the 1 2\n", "line 5: expected another word than in line 2, got 'the'"),
        ("2 2\n" + ROWS, "line 1: expected the header to count 3 words, got 2"),
        ("4 2\n" + ROWS, "line 1: expected the header to count 3 words, got 4"),
        ("3 3\n" + ROWS, "line 2: expected a word and 3 numbers, .* got 2 fields"),
        (ROWS + "bad 7 x8\n", "line 4: expected numbers, got 'x8'"),
        ("4 2\n" + ROWS + "bad 7 x8\n", "line 5: expected numbers, got 'x8'"),
        (ROWS + "bad 7 nan\n", "row 3: expected finite numbers, got NaN or infinity for 'bad'"),
        (ROWS + "bad inf 8\n", "row 3: expected finite numbers, got NaN or infinity for 'bad'"),
    ],
)  # fmt: skip
def test_text_that_is_damaged_is_refused_by_line(tmp_path, content, problem):
    (tmp_path / "a.txt").write_text(content, encoding="utf-8")

    with pytest.raises(VectorFileError, match=f"a.txt: {problem}"):
        read_vectors(tmp_path / "a.txt")


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda data: data[:-3], "words and vectors of width 5, as line 1 says, got a file that ends within entry 4"),
        (lambda data: data[:40], "got a file that ends within entry 2"),
        (lambda data: data[:18], "got a file that ends within entry 1"),
        (lambda data: data[: data.index(b"1984") + 2], "got a file that ends within entry 4"),
        (lambda data: data.replace(b"4 5\n", b"3 5\n"), "the header to count all words, got 3 and 25 bytes more"),
        (lambda data: data.replace(b"4 5\n", b"5 5\n"), "got a file that ends within entry 5"),
        (lambda data: data.replace(b"4 5\n", b"4 4\n"), "entry .: expected a word, .* the header's width 4 is wrong"),
        (lambda data: data.replace(b"4 5\n", b"4 6\n"), "the header's width 6 is wrong|ends within entry"),
        (lambda data: data.replace(b"4 5\n", b"999999999 300\n"), "expected 999999999 words .* ends within entry 1"),
        (lambda data: data.replace(b"4 5\n", b"4 99999999999\n"), "line 1: expected a width from 1 to 65536, got 9999"),
        (lambda data: data.replace(b"4 5\n", b"4 0\n"), "line 1: expected a width from 1 to 65536, got 0"),
        (lambda data: data.replace(b"paris", b"the"), "row 1: expected another word than in row 0, got 'the'"),
        (lambda data: data.replace(b"paris", b"pa\tis"), "entry 2: expected a word, got 'pa.tis'"),
        (lambda data: data.replace(b"paris", b"pa\nis"), "entry 2: expected a word, got 'pa.nis'"),
        (lambda data: data + b"more", "the header to count all words, got 4 and 4 bytes more"),
        (lambda data: data.replace(TABLE[1].tobytes(), np.full(5, np.nan, np.float32).tobytes()), "row 1: .* 'paris'"),
        (lambda data: data.replace(TABLE[1].tobytes(), TABLE[1].astype(np.float64).tobytes()), "entry|more"),
    ],
)  # fmt: skip
def test_a_word2vec_binary_that_is_damaged_is_refused(tmp_path, keyed, damage, problem):
    word2vec_binary(keyed, tmp_path / "a.bin")
    (tmp_path / "a.bin").write_bytes(damage((tmp_path / "a.bin").read_bytes()))

    with pytest.raises(VectorFileError, match=f"a.bin: .*({problem})"):
        read_vectors(tmp_path / "a.bin")


def binary(words, table, newline=b""):
    rows = (word.encode() + b" " + row.tobytes() + newline for word, row in zip(words, table, strict=True))
    return f"{len(words)} {table.shape[1]}\n".encode() + b"".join(rows)


@pytest.mark.parametrize("newline", [b"", b"\n"])
@pytest.mark.parametrize("at", [0, 20, 39])
@pytest.mark.parametrize(
    "word", ["new york", "new car", "los angeles county", "são paulo", "new ", "new  york", " york", " "]
)
def test_a_word_with_spaces_in_a_word2vec_binary_is_refused_by_name(tmp_path, word, at, newline):
    words = [f"w{i}" for i in range(40)]
    words[at] = word
    table = np.random.default_rng(at).normal(size=(40, 8)).astype(np.float32)
    (tmp_path / "a.bin").write_bytes(binary(words, table, newline))

    with pytest.raises(VectorFileError, match=f"a.bin: entry {at + 1}: expected a word without a space, got '{word}'"):
        read_vectors(tmp_path / "a.bin")


@pytest.mark.parametrize("scale", [1e-4, 0.1, 1, 1e4])
@pytest.mark.parametrize("width", [8, 50])
def test_numbers_that_look_like_text_are_read_as_gensim_reads_them(tmp_path, scale, width):
    words = [f"wörd-{i}" for i in range(4000)]
    table = (np.random.default_rng(1).normal(size=(4000, width)) * scale).astype(np.float32)
    table.view(np.uint8)[::7, 0] = ord(" ")  # as if the word ended in a space
    table.view(np.uint8)[::5, :3] = list(b"en ")  # as if it went on
    (tmp_path / "a.bin").write_bytes(binary(words, table))

    found, numbers, _ = read_vectors(tmp_path / "a.bin")

    keyed = gensim.models.KeyedVectors.load_word2vec_format(str(tmp_path / "a.bin"), binary=True)
    assert found == keyed.index_to_key == words
    assert (numbers == keyed.vectors).all()


def test_text_is_read_as_gensim_reads_it(tmp_path):
    chance = np.random.default_rng(3)
    numbers = [repr(number) for number in (chance.normal(size=600) * 10.0 ** chance.integers(-30, 30, 600)).tolist()]
    rows = [f"w{i} {' '.join(numbers[6 * i : 6 * i + 6])} \r\n" for i in range(100)]
    (tmp_path / "a.txt").write_text("".join(rows), newline="")

    words, table, _ = read_vectors(tmp_path / "a.txt")

    keyed = gensim.models.KeyedVectors.load_word2vec_format(str(tmp_path / "a.txt"), no_header=True)
    assert words == keyed.index_to_key
    assert (table == keyed.vectors).all()


@pytest.mark.parametrize("header", ["", "3 2\n", "3 2\r\n"])
@pytest.mark.parametrize("name", ["a.txt", "a.txt.gz"])
def test_a_byte_order_mark_is_no_part_of_the_first_word(tmp_path, header, name):
    content = f"{header}{ROWS}".encode("utf-8-sig")
    (tmp_path / name).write_bytes(gzip.compress(content) if name.endswith(".gz") else content)

    assert read_vectors(tmp_path / name).words == ["the", "paris", "münchen"]


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (gzip.compress(ROWS.encode(), mtime=0), "got gzip's: unpack it, or give it a name that ends in .gz"),
        (bz2.compress(ROWS.encode()), "got bzip2's: unpack it, or give it a name that ends in .bz2"),
        (b"PK\x03\x04\x14\0\0\0", "got a zip archive: unpack it, and give the file in it"),
        (b"\x93NUMPY\x01\0", r"got an .npy: save it with numpy.savez\(FILE, vectors=...\)"),
        ("the 1 2\n".encode("utf-16"), "got UTF-16 text: save it as UTF-8"),
        (b"\xfd7zXZ\0", "got an xz archive: unpack it"),
    ],
)
@pytest.mark.parametrize("name", ["a.txt", "a.bin", "a.vec"])
def test_another_kind_of_file_is_named(tmp_path, content, problem, name):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(VectorFileError, match=f"{name}: expected a file of word vectors, {problem}"):
        read_vectors(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "warning"),
    [
        ("2 1\nthe 1\nna\xefve 2\n".encode("latin-1"), "1 words are no UTF-8, and no text has them"),
        (b"the 1.25\nparis 3.5", "line 2 has no end; if the file is cut off, its last number is too"),
    ],
)
def test_what_may_be_damage_is_warned_of(tmp_path, caplog, content, warning):
    (tmp_path / "a.txt").write_bytes(content)

    assert len(read_vectors(tmp_path / "a.txt").words) == 2

    assert f"a.txt: {warning}" in caplog.text


def patched(at, form, *values):
    def damage(data):
        changed = bytearray(data)
        struct.pack_into(form, changed, at, *values)
        return bytes(changed)

    return damage


#: What stands in front of the input matrix.
MATRIX = struct.pack("<?2q", False, 75, 6)


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda data: data[:40], "got one cut off in its arguments, after 40 bytes"),
        (lambda data: data[:100], "got one cut off in its dictionary, after 100 bytes"),
        (lambda data: data[: data.index(MATRIX) + 9], "cut off in its input matrix"),
        (lambda data: data[:1000], "expected 1800 bytes of input matrix, got .*: it is cut off"),
        (lambda data: data.replace(MATRIX, b"\1" + MATRIX[1:]), r"model \(.bin\), got a quantised one \(.ftz\)"),
        (patched(72, "<i", 2), "expected a fastText model of words, got a classifier with 2 labels"),
        (patched(68, "<i", 4), "expected 4 distinct words, got 5"),
        (lambda data: data.replace("größer\0".encode(), "münchen\0".encode()), "expected 5 distinct words, got 4"),
        (patched(40, "<i", 71), "expected a matrix of 5 words and 71 buckets by 6, got 75 by 6"),
        (patched(8, "<i", 7), "expected a matrix of 5 words and 70 buckets by 7, got 75 by 6"),
        (lambda data: data.replace(MATRIX, MATRIX + np.full(4, np.nan, np.float32).tobytes()), "row 0: .* finite"),
    ],
)  # fmt: skip
def test_a_fasttext_model_that_is_no_use_is_refused(tmp_path, fasttext, damage, problem):
    facebook(fasttext, tmp_path / "a.ftz")
    (tmp_path / "a.ftz").write_bytes(damage((tmp_path / "a.ftz").read_bytes()))

    with pytest.raises(VectorFileError, match=f"a.ftz: .*{problem}"):
        read_vectors(tmp_path / "a.ftz")


def test_a_compressed_fasttext_model_is_refused(tmp_path):
    with gzip.open(tmp_path / "a.bin.gz", "wb") as file:
        file.write(struct.pack("<i", FASTTEXT_MAGIC))

    with pytest.raises(VectorFileError, match="expected a fastText model unpacked, got a compressed one"):
        read_vectors(tmp_path / "a.bin.gz")


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("cut.txt.gz", gzip.compress(ROWS.encode(), mtime=0)[:-9]),
        ("no.txt.gz", ROWS.encode()),
        ("no.txt.bz2", ROWS.encode()),
        ("cut.txt.bz2", bz2.compress(ROWS.encode())[:-9]),
    ],
)
def test_a_damaged_compressed_file_is_refused(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)

    with pytest.raises(VectorFileError, match=f"{name}: cannot be read as word vectors"):
        read_vectors(tmp_path / name)


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (pickle.dumps({"the": 1}), "expected what gensim has saved: 'dict' object has no attribute '_load_specials'"),
        (pickle.dumps({"the": 1})[:-4], "expected what gensim has saved|cannot be read as word vectors"),
        (b"\x80\x04cnowhere\nNothing\n.", "expected what gensim has saved: No module named 'nowhere'"),
    ],
)
def test_a_pickle_that_is_not_gensims_is_refused(tmp_path, content, problem):
    (tmp_path / "a.kv").write_bytes(content)

    with pytest.raises(VectorFileError, match=f"a.kv: ({problem})"):
        read_vectors(tmp_path / "a.kv")


def test_a_model_without_vectors_is_refused(tmp_path):
    gensim.corpora.Dictionary(SENTENCES).save(str(tmp_path / "a.model"))

    with pytest.raises(VectorFileError, match="expected KeyedVectors or a model that has them, got Dictionary"):
        read_vectors(tmp_path / "a.model")


def test_an_array_that_gensim_saved_beside_the_file_is_missed_by_name(tmp_path, keyed):
    keyed.save(str(tmp_path / "a.kv"), separately=["vectors"])
    (tmp_path / "a.kv.vectors.npy").unlink()

    with pytest.raises(VectorFileError, match=r"a.kv: expected the arrays .* beside it: .*a.kv.vectors.npy is missing"):
        read_vectors(tmp_path / "a.kv")


def test_keys_that_are_no_words_are_refused(tmp_path):
    vectors = gensim.models.KeyedVectors(5)
    vectors.add_vectors([7, 8], TABLE[:2])
    vectors.save(str(tmp_path / "a.kv"))

    with pytest.raises(VectorFileError, match=r"a\.kv: row 0: expected a word, got 7"):
        read_vectors(tmp_path / "a.kv")


def test_arrays_that_are_cut_off_are_named(tmp_path):
    np.savez(tmp_path / "a.npz", vectors=TABLE)
    (tmp_path / "a.words.txt").write_text("\n".join(WORDS), "utf-8")
    (tmp_path / "a.npz").write_bytes((tmp_path / "a.npz").read_bytes()[:-40])

    with pytest.raises(VectorFileError, match=r"a\.npz: cannot be read as word vectors: "):
        read_vectors(tmp_path / "a.npz")
