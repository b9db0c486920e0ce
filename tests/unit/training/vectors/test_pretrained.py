"""Word vectors joined and packed, against gensim and by hand."""

import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import gensim
import numpy as np
import pytest

from handler.bundle import Bundle
from handler.subwords import Subwords
from handler.tables import STORAGES, VectorTable
from handler.vectors import WordVectors
from training.errors import VectorFileError
from training.vectors.pretrained import digit_patterns, join, pack
from training.vectors.vector_files import Vectors, read_vectors

WORDS = ["the", "paris", "münchen", "1984"]
TABLE = np.random.default_rng(2).normal(size=(4, 5)).astype(np.float32)
GLOVE = Vectors(WORDS, TABLE)


def vectors_of(packed, words):
    """What *packed* holds for exactly *words*."""
    rows = [packed.find(word) for word in words]
    assert min(rows) >= 0
    return packed.take(np.array(rows))


@pytest.fixture(scope="module")
def fasttext():
    """Cased vectors with subwords, some of the words also in GLOVE."""
    sentences = [["Paris", "München", "the", "größer"], ["the", "東京"]] * 5
    return gensim.models.FastText(sentences, vector_size=6, min_count=1, min_n=2, max_n=4, bucket=70, workers=1).wv


@pytest.fixture
def with_subwords(fasttext, tmp_path):
    fasttext.save(str(tmp_path / "a.kv"))
    return read_vectors(tmp_path / "a.kv")


def test_joined_vectors_stand_side_by_side_with_zeros_for_holes():
    small = Vectors(["paris", "x", "PARIS"], np.ones((3, 2), np.float32))

    joined = join([small, GLOVE], max_words=9, storage="float32")

    assert joined.words() == [*WORDS, "x", "PARIS"]
    expected = np.zeros((6, 7), np.float32)
    expected[[1, 4, 5], :2] = 1
    expected[:4, 2:] = TABLE
    assert (joined.take(np.arange(6)) == expected).all()


def test_numbers_of_one_shape_have_a_mean():
    years = [str(year) for year in range(1900, 1930)]
    table = np.arange(31, dtype=np.float32).reshape(31, 1)

    joined = join([Vectors(["the", *years], table)], max_words=40, storage="float32")

    assert joined.words() == ["0000", "the", *years]
    assert joined.take(np.array([0]))[0, 0] == pytest.approx(table[1:].mean())


def test_a_few_numbers_make_no_pattern():
    assert digit_patterns([*WORDS, *map(str, range(10, 29))]) == {}
    assert list(digit_patterns([*WORDS, *map(str, range(10, 30))])) == ["00"]
    assert digit_patterns(["00", *map(str, range(10, 99))]) == {}


@pytest.mark.parametrize("max_words", [1, 2, 9])
def test_the_most_frequent_words_are_kept_behind_the_patterns(max_words):
    numbers = [str(number) for number in range(10, 40)]
    vectors = Vectors(["the", *numbers], np.ones((31, 1), np.float32))

    assert join([vectors], max_words=max_words).words() == ["00", "the", *numbers][:max_words]


@pytest.mark.parametrize("glove_first", [True, False])
def test_beside_subwords_every_word_has_all_its_parts(fasttext, with_subwords, glove_first):
    parts = [GLOVE, with_subwords] if glove_first else [with_subwords, GLOVE]
    left, right = (5, 11) if glove_first else (0, 6)

    joined = join(parts, max_words=100)

    words = [*WORDS, *fasttext.index_to_key]
    table = vectors_of(joined, words)
    glove = dict(zip(WORDS, TABLE, strict=True))
    np.testing.assert_allclose(table[:, left:right], [fasttext.get_vector(word) for word in words], rtol=0, atol=1e-6)
    expected = [glove.get(word, glove.get(word.lower(), np.zeros(5))) for word in words]
    assert (np.delete(table, range(left, right), axis=1) == expected).all()
    inferred = joined.infer("Unseen")
    np.testing.assert_allclose(inferred[left:right], fasttext.get_vector("Unseen"), rtol=0, atol=1e-6)
    assert not np.delete(inferred, range(left, right)).any()


def test_a_word_that_was_cut_off_has_its_subwords(fasttext, with_subwords):
    joined = join([with_subwords], max_words=1)

    word = fasttext.index_to_key[-1]
    ngrams = fasttext.vectors_ngrams[fasttext.buckets_word[-1]]
    assert joined.words() == fasttext.index_to_key[:1]
    assert joined.look_up(word) == -1
    np.testing.assert_allclose(joined.infer(word), ngrams.mean(axis=0), rtol=0, atol=1e-6)


def test_two_parts_with_subwords_answer_side_by_side(fasttext, with_subwords):
    joined = join([with_subwords, GLOVE, with_subwords], max_words=9)

    expected = fasttext.get_vector("Unseen")
    np.testing.assert_allclose(joined.infer("Unseen"), [*expected, *np.zeros(5), *expected], rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("storage", "plain", "words", "ngrams"),
    [
        ("auto", "int8", "float32", "float32"),
        ("int8", "int8", "int8", "int8"),
        ("float16", "float16", "float16", "float16"),
        ("float32", "float32", "float32", "float32"),
    ],
)
def test_storage_is_exact_where_there_are_subwords_unless_asked_otherwise(
    with_subwords, storage, plain, words, ngrams
):  # fmt: skip
    joined = join([GLOVE, with_subwords], max_words=9, storage=storage)

    assert join([GLOVE], max_words=9, storage=storage).storage == plain
    assert (joined.storage, joined.subwords[0].table.storage) == (words, ngrams)


@pytest.fixture(params=["glove.txt", "vectors.txt", "vectors.bin", "vectors.kv"])
def keyed_file(request, tmp_path):
    """gensim's vectors and a file that it wrote of them."""
    keyed = gensim.models.KeyedVectors(5)
    keyed.add_vectors(WORDS, TABLE)
    path = tmp_path / request.param
    if path.suffix == ".kv":
        keyed.save(str(path))
    else:
        keyed.save_word2vec_format(str(path), binary=path.suffix == ".bin", write_header=path.stem != "glove")
    return keyed, path


@pytest.mark.parametrize(("storage", "step"), [("float32", 1e-6), ("float16", 2**-10), ("int8", 0.51 / 127)])
def test_packed_files_hold_gensims_vectors(tmp_path, fasttext, keyed_file, storage, step):
    keyed, path = keyed_file
    fasttext.save(str(tmp_path / "fasttext.kv"))

    packed = pack([path, tmp_path / "fasttext.kv"], max_words=100, storage=storage)

    expected = np.array([[*keyed.get_vector(word), *fasttext.get_vector(word)] for word in WORDS])
    np.testing.assert_allclose(vectors_of(packed, WORDS), expected, rtol=0, atol=step * np.abs(expected).max())


def test_numbers_that_the_storage_cannot_hold_are_refused_by_file(tmp_path):
    (tmp_path / "a.txt").write_text("the 1 70000\n")

    with pytest.raises(VectorFileError, match=r"a\.txt: expected values within float16's range of 65504, got 70000"):
        pack([tmp_path / "a.txt"], max_words=2, storage="float16")


def same_bytes(one, other, folder):
    for name, vectors in (("one", one), ("other", other)):
        (folder / name).mkdir()
        vectors.save(folder / name)
    names = sorted(path.name for path in (folder / "one").iterdir())
    assert names == sorted(path.name for path in (folder / "other").iterdir())
    return all((folder / "one" / name).read_bytes() == (folder / "other" / name).read_bytes() for name in names)


def subworded(num_words, dim, storage):
    """Vectors of *num_words* words; the middle columns are fastText's."""
    chance = np.random.default_rng(5)
    ngrams = VectorTable.new(chance.normal(size=(30, dim - 4)).astype(np.float32), storage)
    words = [chr(ord("a") + i % 26) * (1 + i // 26) for i in range(num_words)]
    table = chance.normal(size=(num_words, dim)).astype(np.float32)
    return WordVectors.new(words, table, storage, [Subwords(ngrams, min_n=2, max_n=4, left=2)])


@pytest.fixture
def save_with(make_bundle, tmp_path):
    """Saves a bundle with other vectors."""

    def save(vectors):
        bundle = make_bundle()
        config = replace(bundle.config, model=replace(bundle.config.model, word_dim=vectors.dim))
        Bundle.new(config, bundle.chars, vectors).save(tmp_path / "bundle")
        return tmp_path / "bundle"

    return save


@pytest.mark.parametrize("storage", STORAGES)
def test_the_vectors_of_a_bundle_are_taken_as_they_are(tmp_path, save_with, storage):
    vectors = subworded(40, 9, storage)

    packed = pack([save_with(vectors)], max_words=40)

    assert packed.storage == storage
    assert same_bytes(packed, vectors, tmp_path)


def test_the_vectors_of_a_bundle_can_be_cut_and_stored_otherwise(save_with):
    vectors = subworded(40, 9, "float32")

    packed = pack([save_with(vectors)], max_words=30, storage="float16")

    assert (packed.storage, len(packed), packed.words()) == ("float16", 30, vectors.words()[:30])
    np.testing.assert_allclose(packed.take(np.arange(30)), vectors.take(np.arange(30)), atol=2e-3)
    for word in ("unseen", "nn"):
        np.testing.assert_allclose(packed.infer(word), vectors.infer(word), atol=2e-3)


def test_a_bundle_stands_beside_a_file(tmp_path, save_with):
    vectors = subworded(40, 9, "float32")
    (tmp_path / "more.txt").write_text("d 1 2\nf 3 4\n")

    packed = pack([save_with(vectors), tmp_path / "more.txt"], max_words=100)

    row = packed.take(np.array([packed.find("f")]))[0]
    np.testing.assert_array_equal(row, [*vectors.take(np.array([5]))[0], 3, 4])


@pytest.mark.parametrize("damage", ["empty", "changed"])
def test_a_folder_that_is_no_bundle_has_no_vectors(tmp_path, save_with, damage):
    folder = tmp_path / "empty"
    folder.mkdir()
    if damage == "changed":
        folder = save_with(subworded(40, 9, "int8"))
        (folder / "vectors" / "words.npy").write_bytes(b"")

    with pytest.raises(VectorFileError, match=f"{folder}: expected a file of word vectors or a bundle: "):
        pack([folder], max_words=10)


def test_the_guides_lines_make_vectors_of_ones_own(tmp_path, monkeypatch):
    guide = Path("docs/vectors.md").read_text("utf-8")
    (lines,) = re.findall(r"```python\n(.*?)```", guide, re.DOTALL)
    assert len([line for line in lines.splitlines() if line]) == 3
    monkeypatch.chdir(tmp_path)
    Path("text.txt").write_text("Ann wohnt in Köln .\nBob auch , in Bonn .\n" * 20, "utf-8")

    done = subprocess.run([sys.executable, "-c", lines], capture_output=True, text=True, check=False)

    assert done.returncode == 0, done.stderr
    packed = pack([Path("model.kv")], max_words=100)
    theirs = gensim.models.KeyedVectors.load("model.kv")
    assert set(packed.words()) == set("Ann wohnt in Köln . Bob auch , Bonn".split())
    np.testing.assert_allclose(vectors_of(packed, ["Köln"])[0], theirs["Köln"], rtol=0, atol=1e-6)
    np.testing.assert_allclose(packed.infer("Kölner"), theirs["Kölner"], rtol=0, atol=1e-6)
