"""Word vectors as gensim writes them, read again."""

import gensim
import numpy as np
import pytest

from training.errors import VectorFileError
from training.pretrained import Vectors, add_digit_patterns, join, pack, read_vectors

WORDS = ["the", "paris", "münchen", "1984"]
TABLE = np.random.default_rng(2).normal(size=(4, 5)).astype(np.float32)


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
        ("vectors.bin", word2vec_binary),
        ("glove.6B.5d.txt", glove_text),
        ("vectors.kv", gensim_native),
        ("vectors.npz", numpy_zip),
    ],
)
def test_the_usual_formats_are_read(tmp_path, keyed, name, write):
    write(keyed, tmp_path / name)

    words, table = read_vectors(tmp_path / name)

    assert words == WORDS
    np.testing.assert_allclose(table, TABLE, atol=1e-6)


@pytest.mark.parametrize("name", ["missing.txt", "missing.bin", "missing.npz", "missing.kv"])
def test_a_file_that_cannot_be_read_is_named(tmp_path, name):
    with pytest.raises(VectorFileError, match=f"{name}: cannot be read as word vectors"):
        read_vectors(tmp_path / name)


def test_an_array_of_another_length_than_its_words_is_refused(tmp_path):
    np.savez(tmp_path / "a.npz", vectors=TABLE)
    (tmp_path / "a.words.txt").write_text("one\n")

    with pytest.raises(VectorFileError, match=r"expected one row for each of 1 words, got \(4, 5\)"):
        read_vectors(tmp_path / "a.npz")


def test_joined_vectors_stand_side_by_side_with_zeros_for_holes():
    small = Vectors(["paris", "x"], np.ones((2, 2), np.float32))

    words, table = join([small, Vectors(WORDS, TABLE)])

    assert words == [*WORDS, "x"]
    assert table.shape == (5, 7)
    assert table[1].tolist() == [1, 1, *TABLE[1].tolist()]
    assert table[0, :2].tolist() == [0, 0]
    assert table[4].tolist() == [1, 1, 0, 0, 0, 0, 0]


def test_numbers_of_one_shape_have_a_mean():
    years = [str(year) for year in range(1900, 1930)]
    table = np.arange(31, dtype=np.float32).reshape(31, 1)

    words, rows = add_digit_patterns(Vectors(["the", *years], table))

    assert words == ["0000", "the", *years]
    assert rows[0, 0] == pytest.approx(table[1:].mean())


def test_a_few_numbers_make_no_pattern():
    vectors = Vectors(WORDS, TABLE)

    assert add_digit_patterns(vectors) is vectors


def test_packed_vectors_are_the_most_frequent_words(tmp_path, keyed):
    word2vec_text(keyed, tmp_path / "v.txt")

    packed = pack([tmp_path / "v.txt"], max_words=2, storage="float16")

    assert packed.words() == WORDS[:2]
    np.testing.assert_allclose(packed.take(np.array([0, 1])), TABLE[:2], atol=2e-3)
