"""The profile of a model counts what its worker counts."""

import numpy as np
import pytest

from handler.calibration import SCORE_BOUNDS
from handler.labels import Span
from handler.tagger import ScoredSpan, Tagger
from handler.text.sentences import split_sentences
from training.corpora import Sentence
from training.scoring.evaluation import TaggedSentence, tag_corpus
from training.scoring.profile import profile

TEXTS = ["Obama met Apple in Paris.", "The 2000 apples, Obama said, are in Kumasi.", "Paris! Paris, Paris."]


def tagged(*scores, label="PER"):
    return [TaggedSentence(("Ann",), (), (ScoredSpan(Span(0, 1, label), score),)) for score in scores]


def test_words_are_counted_as_the_server_splits_them(make_bundle):
    # the annotation parts "Paris" of "Paris-based", and goes on where a sentence ends
    parted = Sentence(("Obama", ".", "Paris", "-based"), (Span(0, 3, "PER"),), joined=(3,), ended=(2,))
    several = Sentence(("the", "Apple"), (Span(0, 1, "LOC|O"), Span(1, 2, "LOC")))

    counts = profile([parted, several], [several], [], make_bundle().encoder())

    assert counts.train.sentences == 3
    assert counts.train.tokens == 5  # Obama . Paris-based the Apple
    assert counts.train.unseen_tokens == 1
    assert counts.train.entities == {"PER": 1, "LOC": 1}  # one that may be none of them does not count
    assert (counts.dev.sentences, counts.dev.tokens, counts.dev.entities) == (1, 2, {})


def test_the_counts_of_dev_are_those_that_its_texts_have_where_they_are_served_by_the_sentence(make_bundle):
    tagger = Tagger(make_bundle())
    dev = [Sentence(tuple(tokens.words), ()) for text in TEXTS for tokens in split_sentences(text)]
    texts = tagger.tag_texts(TEXTS, contexts=["sentence"] * len(TEXTS))

    counts = profile([], dev, tag_corpus(tagger, dev, "dev"), make_bundle().encoder()).dev

    assert counts.tokens == sum(one.num_tokens for one in texts)
    assert counts.unseen_tokens == sum(one.num_unseen for one in texts)
    assert sum(counts.entities.values()) == sum(len(one.entities) for one in texts) > 0


@pytest.mark.parametrize(
    ("score", "index"), [(0.0, 0), (0.05, 0), (0.050001, 1), (0.1, 1), (0.15, 2), (0.949999, 18), (0.95, 18), (1.0, 19)]
)
def test_a_score_of_a_bound_is_in_the_bin_below_it(make_bundle, score, index):
    counts = profile([], [], tagged(score), make_bundle().encoder())

    assert [i for i, count in enumerate(counts.scores) if count] == [index]


def test_the_bins_are_those_of_another_histogram(make_bundle):
    scores = np.random.default_rng(5).uniform(size=2000).round(6).tolist()

    counts = profile([], [], tagged(*scores), make_bundle().encoder())

    # numpy's bins hold their lower bound, and ours the upper one
    assert counts.scores[::-1] == tuple(np.histogram(1 - np.array(scores), bins=20, range=(0, 1))[0])
    assert len(SCORE_BOUNDS) == 20
