"""Features against what can be said of words by hand."""

import numpy as np
import pytest
import torch

from handler.network.features import BEGIN, END, ERASED, PADDING, UNKNOWN, FeatureEncoder, char_vocabulary, normalize
from handler.subwords import Subwords
from handler.tables import VectorTable
from handler.vectors import WordVectors

CHARS = ["a", "b", "é"]


@pytest.fixture
def encoder():
    vectors = WordVectors.new(["ab", "b"], np.array([[1, 2], [3, 4]], np.float32), "float16")
    return FeatureEncoder(vectors=vectors, chars=CHARS, max_word_chars=4)


def test_a_batch_gives_each_distinct_word_once(encoder):
    batch = encoder.batch([["ab", "x", "ab"], ["x"]])

    assert batch.words.tolist() == [[0, 1, 0], [1, 0, 0]]
    assert batch.mask.tolist() == [[True, True, True], [True, False, False]]
    assert batch.vectors.tolist() == [[1, 2], [0, 0]]
    assert batch.known.tolist() == [True, False]
    assert batch.chars.tolist() == [[BEGIN, 4, 5, END], [BEGIN, UNKNOWN, END, PADDING]]


@pytest.fixture
def with_subwords():
    """An encoder whose words are ``ab`` and one with an invisible joiner; one bucket holds all n-grams of three."""
    part = Subwords(VectorTable.new(np.array([[5]], np.float32), "float32"), min_n=3, max_n=3, left=1)
    table = np.array([[1, 2], [3, 4]], np.float32)
    vectors = WordVectors.new(["ab", "a\u200cb"], table, "float32", [part])
    return FeatureEncoder(vectors=vectors, chars=CHARS, max_word_chars=4, cache_words=10)


def test_unseen_words_are_known_by_their_subwords(with_subwords):
    batch = with_subwords.batch([["AB", "unseen", ""]])

    assert batch.vectors.tolist() == [[1, 2], [0, 5], [0, 0]]
    assert batch.known.tolist() == [True, True, False]
    assert with_subwords.word_features("unseen").row == -1


def test_with_subwords_a_word_is_looked_up_as_given_first(with_subwords):
    batch = with_subwords.batch([["a\u200cb", "a\u200db"]])

    assert batch.vectors.tolist() == [[3, 4], [1, 2]]


@pytest.mark.parametrize("word", ["a\u200cb", "l\u2019a", "cafe\u0301"])
def test_without_subwords_a_word_is_looked_up_as_given_after_its_plain_forms(word):
    vectors = WordVectors.new(["ab", word], np.array([[1, 2], [3, 4]], np.float32), "float16")
    encoder = FeatureEncoder(vectors=vectors, chars=CHARS, max_word_chars=4)

    assert encoder.word_features(word).row == (0 if word == "a\u200cb" else 1)
    assert encoder.word_features("a\u200db").row == 0


def test_a_word_of_any_length_has_subwords(with_subwords):
    assert with_subwords.batch([["x" * 64_000]]).vectors.tolist() == [[0, 5]]


def test_vectors_come_in_the_type_asked_for(encoder):
    assert encoder.batch([["ab"]], torch.float64).vectors.dtype == torch.float64


@pytest.mark.parametrize(
    ("word", "ids"),
    [
        ("aabb", [4, 4, 5, 5]),
        ("aaxbb", [4, 4, 5, 5]),
        ("e\u0301", [6]),
        ("a\u200db", [4, 5]),
        ("a" * 32_000 + "b" * 32_000, [4, 4, 5, 5]),
        ("\u200b", []),
    ],
    ids=lambda value: repr(value)[:12],
)
def test_of_a_long_word_the_network_sees_both_ends(encoder, word, ids):
    assert list(encoder.word_features(word).chars) == [BEGIN, *ids, END]


def test_quotes_and_composition_do_not_make_another_word():
    assert normalize("O’Neil–Smith") == "O'Neil-Smith"
    assert normalize("cafe\u0301") == "café"
    assert normalize("\ud800") == "\ud800"


def test_the_cache_of_words_is_bounded(encoder):
    small = FeatureEncoder(vectors=encoder._vectors, chars=CHARS, max_word_chars=4, cache_words=10)

    small.batch([[f"word{i}" for i in range(1000)]])

    assert small._cached_features.cache_info().currsize == 10


def test_the_cache_of_unseen_words_is_bounded(with_subwords):
    with_subwords.batch([[f"word{i}" for i in range(1000)]])

    assert with_subwords._cached_infer.cache_info().currsize == 10


def test_long_words_are_not_cached(with_subwords):
    with_subwords.batch([["x" * 100_000, "y" * 64]])

    assert with_subwords._cached_features.cache_info().currsize == 1
    assert with_subwords._cached_infer.cache_info().currsize == 1


def test_of_an_erased_word_nothing_is_known(with_subwords):
    batch = with_subwords.batch([["ab", ERASED]])

    assert batch.known.tolist() == [True, False]
    assert batch.vectors.tolist()[1] == [0, 0]
    assert batch.chars.tolist()[1][:3] == [BEGIN, UNKNOWN, END]


def test_unseen_words_are_those_without_a_vector_of_their_own(with_subwords):
    words = with_subwords.words(["ab", "AB", "unseen", "other"])

    assert (words.rows < 0).tolist() == [False, False, True, True]


def test_char_vocabulary_counts_characters_over_all_words():
    assert char_vocabulary([("aab", 2), ("c", 3), ("b", 1)], 3) == ["a", "b", "c"]
    assert char_vocabulary([("aab", 2), ("c", 3), ("b", 1)], 4) == ["a"]
