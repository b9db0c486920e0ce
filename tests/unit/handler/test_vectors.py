"""Word vectors against a plain dictionary and against numpy."""

import io

import gensim
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.errors import BundleError
from handler.tables import VectorTable
from handler.vectors import WordVectors

WORDS = ["the", "Paris", "paris", "u.s.", "0000-00", "b00", "é", "\ud800", "日本", ""]
rng = np.random.default_rng(5)
VECTORS = rng.normal(size=(len(WORDS), 7)).astype(np.float32)


@pytest.fixture(params=["float32", "float16", "int8"])
def vectors(request, tmp_path):
    WordVectors.new(WORDS, VECTORS, request.param).save(tmp_path)
    return WordVectors.load(tmp_path)


def test_every_word_finds_its_row_after_a_round_trip_through_the_files(vectors):
    assert [vectors.find(word) for word in WORDS] == list(range(len(WORDS)))
    assert vectors.words() == WORDS
    assert (len(vectors), vectors.dim) == VECTORS.shape


@given(st.dictionaries(st.text(st.characters()), st.none(), max_size=40), st.text(st.characters()))
def test_find_agrees_with_a_dictionary(words, other):
    words = list(words)
    vectors = WordVectors.new(words, np.ones((len(words), 2), np.float32), "float16")
    rows = {word: row for row, word in enumerate(words)}

    assert [vectors.find(word) for word in [*words, other]] == [rows.get(word, -1) for word in [*words, other]]


@pytest.mark.parametrize(
    ("word", "found"),
    [
        ("Paris", "Paris"),
        ("PARIS", "paris"),
        ("U.S.", "u.s."),
        ("1984-85", "0000-00"),
        ("B52", "b00"),
        ("É", "é"),
        ("unseen", None),
        ("1984", None),
    ],
)
def test_unseen_words_back_off_to_lower_case_and_to_their_digits_pattern(vectors, word, found):
    assert vectors.look_up(word) == (WORDS.index(found) if found else -1)


def test_taken_vectors_are_the_ones_given_within_the_precision_of_the_storage(vectors):
    rows = np.array([3, -1, 0, 3])

    taken = vectors.take(rows)

    step = {"float32": 0, "float16": 2**-8, "int8": 1 / 127}[vectors.storage] * np.abs(VECTORS).max(axis=1)
    assert taken.dtype == np.float32
    assert (taken[1] == 0).all()
    for got, row in zip(taken[[0, 2, 3]], (3, 0, 3), strict=True):
        assert np.abs(got - VECTORS[row]).max() <= step[row] * 0.51


def test_int8_keeps_the_neighbours_that_gensim_finds():
    words = [f"w{i}" for i in range(500)]
    table = rng.normal(size=(500, 50)).astype(np.float32)
    stored = WordVectors.new(words, table, "int8")
    exact, quantised = (gensim.models.KeyedVectors(50) for _ in range(2))
    exact.add_vectors(words, table)
    quantised.add_vectors(words, stored.take(np.arange(500)))

    agree = [exact.most_similar(word, topn=1)[0][0] == quantised.most_similar(word, topn=1)[0][0] for word in words]

    assert np.mean(agree) >= 0.97


def test_arrays_are_mapped_and_not_read(tmp_path):
    WordVectors.new(WORDS, VECTORS, "int8").save(tmp_path)

    vectors = WordVectors.load(tmp_path)

    arrays = [*vectors._table.arrays, vectors._words, vectors._offsets, vectors._index]
    assert len(arrays) == 5
    assert all(isinstance(array, np.memmap) for array in arrays)


@pytest.mark.parametrize("storage", ["float32", "float16", "int8"])
def test_a_storage_is_known_by_its_name(storage):
    assert WordVectors.new(WORDS, VECTORS, storage).storage == storage


def test_a_matrix_of_many_blocks_is_quantised_like_its_rows_alone():
    table = rng.normal(size=(70_000, 2)).astype(np.float32)
    rows = np.array([0, 32_767, 32_768, 69_999])

    whole = VectorTable.new(table, "int8").take(rows)

    assert (whole == VectorTable.new(table[rows], "int8").take(np.arange(4))).all()
    assert np.abs(whole - table[rows]).max() <= np.abs(table[rows]).max() / 127 * 0.51


def test_the_same_vectors_give_the_same_bytes(tmp_path):
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        WordVectors.new(WORDS, VECTORS, "int8").save(tmp_path / name)

    files = sorted(path.name for path in (tmp_path / "a").iterdir())
    assert files == ["index.npy", "offsets.npy", "scales.npy", "table.npy", "words.npy"]
    assert all((tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes() for name in files)


@pytest.mark.parametrize(
    ("words", "table", "problem"),
    [
        (["a", "b"], np.ones((3, 2)), "each of 2 words"),
        (["a", "a"], np.ones((2, 2)), "distinct words"),
        (["a"], np.array([[np.nan, 1]]), "finite"),
        (["a"], np.ones(1), "each of 1 words"),
    ],
)
def test_vectors_that_do_not_fit_their_words_are_refused(words, table, problem):
    with pytest.raises(ValueError, match=problem):
        WordVectors.new(words, table, "int8")


def test_a_number_beyond_float16_is_refused_and_does_not_become_infinity():
    with pytest.raises(ValueError, match="float16's range of 65504, got 70000"):
        WordVectors.new(["a"], np.array([[1, -70_000]], np.float32), "float16")


def change(path, place, value):
    array = np.load(path)
    array[place] = value
    np.save(path, array)


def last_is_nan(*shape):
    array = np.ones(shape, np.float32)
    array[-1, -1] = np.nan
    return array


def header_of(shape):
    """A .npy file that says it has int8 of *shape*, with nothing behind the header."""
    file = io.BytesIO()
    np.lib.format.write_array_header_1_0(file, {"descr": "|i1", "fortran_order": False, "shape": shape})
    return file.getvalue()


def npz(path):
    with path.open("wb") as file:
        np.savez(file, table=np.ones((10, 7), np.int8))


def objects(path):
    np.save(path, np.array([{}], dtype=object), allow_pickle=True)


@pytest.mark.parametrize(
    ("name", "damage", "problem"),
    [
        ("table", lambda path: path.unlink(), "vectors/table.npy: missing"),
        ("scales", lambda path: path.unlink(), "vectors/scales.npy: missing"),
        ("words", lambda path: path.write_bytes(b"no array"), "vectors/words.npy: expected a plain .npy array"),
        ("words", lambda path: path.write_bytes(b""), "vectors/words.npy: expected a plain .npy array"),
        ("offsets", objects, "vectors/offsets.npy: expected a plain .npy array"),
        (
            "table",
            lambda path: np.save(path, np.ones((10, 7))),
            r"vectors/table.npy: expected \(N, D\) of int8 or float16 or float32, got \(10, 7\) of float64",
        ),
        (
            "table",
            lambda path: np.save(path, np.ones((3, 7), np.float16)),
            "vectors/offsets.npy: expected the bounds of 3",
        ),
        ("scales", lambda path: np.save(path, np.ones(3, np.float32)), "vectors/scales.npy: expected 10 scales, got 3"),
        ("scales", lambda path: np.save(path, np.ones(10)), "vectors/scales.npy: expected one axis of float32"),
        ("index", lambda path: np.save(path, np.zeros(8, np.uint32)), "vectors/index.npy: expected a hash table"),
        ("index", lambda path: np.save(path, np.full(32, 99, np.uint32)), "vectors/index.npy: expected a hash table"),
        ("index", lambda path: np.save(path, np.full(32, 1, np.uint32)), "index.npy: expected 10 slots that are taken"),
        ("offsets", lambda path: change(path, 3, 0), "vectors/offsets.npy: expected bounds that do not fall"),
        ("offsets", lambda path: change(path, 3, 2**31), "vectors/offsets.npy: expected bounds that do not fall"),
        ("offsets", lambda path: change(path, 0, 1), "vectors/offsets.npy: expected the bounds of 10 words"),
        ("offsets", lambda path: np.save(path, np.zeros(11)), "vectors/offsets.npy: expected one axis of uint32"),
        ("scales", lambda path: change(path, 9, np.nan), "vectors/scales.npy: expected finite numbers"),
        (
            "table",
            lambda path: np.save(path, np.full((10, 7), np.inf, np.float16)),
            "table.npy: expected finite numbers",
        ),
        ("table", lambda path: np.save(path, last_is_nan(10, 7)), "vectors/table.npy: expected finite numbers"),
        ("words", lambda path: path.write_bytes(path.read_bytes() + b"\0"), "vectors/words.npy: expected [0-9]+ bytes"),
        (
            "words",
            lambda path: path.write_bytes(header_of((10**15,))),
            "vectors/words.npy: expected a plain .npy array",
        ),
        ("table", lambda path: path.write_bytes(header_of((10**15, 9))), "table.npy: expected a plain .npy array"),
        ("table", lambda path: path.write_bytes(header_of((-1, 9))), "vectors/table.npy: expected a plain .npy array"),
        ("table", npz, "vectors/table.npy: expected a plain .npy array"),
    ],
)
def test_files_that_do_not_fit_together_are_refused_by_name(tmp_path, name, damage, problem):
    WordVectors.new(WORDS, VECTORS, "int8").save(tmp_path)
    damage(tmp_path / f"{name}.npy")

    with pytest.raises(BundleError, match=problem):
        WordVectors.load(tmp_path)
