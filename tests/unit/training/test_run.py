"""What tells one run from another."""

import numpy as np
import pytest

from handler.subwords import Subwords
from handler.tables import VectorTable
from handler.vectors import WordVectors
from training.run import _vectors_digest


def vectors(*, words=("a", "b"), value=1.0, subwords=1.0, min_n=3):
    parts = () if subwords is None else (Subwords(table(subwords, 5), min_n=min_n, max_n=6),)
    return WordVectors.new(list(words), np.full((2, 4), value, np.float32), "float32", parts)


def table(value, num_rows):
    return VectorTable.new(np.full((num_rows, 4), value, np.float32), "float32")


@pytest.mark.parametrize(
    "change", [{"words": ("a", "c")}, {"value": 2.0}, {"subwords": 2.0}, {"subwords": None}, {"min_n": 2}]
)
def test_other_words_vectors_or_subwords_have_another_digest(change):
    assert _vectors_digest(vectors()) == _vectors_digest(vectors())
    assert _vectors_digest(vectors(**change)) != _vectors_digest(vectors())
