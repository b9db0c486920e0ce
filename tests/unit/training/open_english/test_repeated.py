"""What becomes of names that stand often in a corpus, with other labels or with none."""

import pytest

from handler.labels import Span
from training.corpora import Sentence
from training.open_english.repeated import RepeatedNames, count_labels


def mention(name, label=None):
    """A sentence in which *name* has *label*, or is in no entity."""
    words = ("they", "saw", *name.split(), "again")
    return Sentence(words, (Span(2, len(words) - 1, label),) if label else ())


def corpus(name, **counts):
    """As many sentences with *name* for each label as *counts* says; of the label O, without."""
    return [mention(name, None if label == "O" else label) for label, count in counts.items() for _ in range(count)]


@pytest.mark.parametrize(
    ("counts", "gold", "tagged", "untagged"),
    [
        ({"LOC": 9, "ORG": 1}, {}, "LOC", "LOC"),  # a clear majority
        ({"LOC": 5, "ORG": 5}, {}, "LOC|ORG", "LOC|ORG|O"),  # truly split
        ({"LOC": 5, "ORG": 5}, {"ORG": 3}, "ORG", "ORG"),  # gold corpora say
        ({"ORG": 10}, {"LOC": 2}, "LOC", "LOC"),  # a systematic fault
        ({"ORG": 10}, {"LOC": 1}, "ORG", "ORG"),  # one mention in gold is no evidence
        ({"LOC": 12, "PER": 6, "ORG": 1}, {}, "LOC|PER", "LOC|PER|O"),  # a stray label is none
        ({"ORG": 7, "O": 3}, {}, "ORG", "ORG|O"),
        ({"ORG": 30, "O": 2}, {}, "ORG", "ORG"),
        ({"MISC": 5, "O": 20}, {}, "MISC", None),
        ({"MISC": 5, "O": 40}, {}, "MISC|O", None),
    ],
)
def test_a_name_gets_its_usual_label_or_an_open_one(counts, gold, tagged, untagged):
    sentences = corpus("Nimbus", **counts)
    names = RepeatedNames(sentences, count_labels(corpus("Nimbus", **gold)))

    (as_tagged,) = names.mended(mention("Nimbus", "PER")).spans
    as_untagged = names.mended(mention("Nimbus")).spans

    assert as_tagged == Span(2, 3, tagged)
    assert as_untagged == ((Span(2, 3, untagged),) if untagged else ())


def test_names_with_and_without_full_stops_are_one_in_gold_corpora():
    names = RepeatedNames(corpus("U.N.", ORG=5, LOC=5), count_labels(corpus("UN", ORG=4)))

    assert names.mended(mention("U.N.", "LOC")).spans == (Span(2, 3, "ORG"),)


def test_a_split_body_is_an_organisation_and_a_split_place_is_not():
    bodies = RepeatedNames(corpus("Nimbus League", ORG=3, LOC=7), {})
    places = RepeatedNames(corpus("Nimbus Valley", ORG=3, LOC=7), {})

    assert bodies.mended(mention("Nimbus League", "LOC")).spans[0].label == "ORG"
    assert places.mended(mention("Nimbus Valley", "LOC")).spans[0].label == "LOC|ORG"


def test_a_rare_name_stays_as_it_is():
    sentences = corpus("Nimbus", LOC=3, ORG=1)

    assert [RepeatedNames(sentences, {}).mended(row) for row in sentences] == sentences


@pytest.mark.parametrize(
    "words",
    [
        "they saw the Nimbus Fund again",  # part of a longer name that nobody tagged
        "they saw New Nimbus again",
        "Nimbus rose again",  # the first word has a capital anyway
        "they saw nimbus again",
    ],
)
def test_an_untagged_word_that_may_be_something_else_stays_untagged(words):
    names = RepeatedNames(corpus("Nimbus", LOC=20), {})
    sentence = Sentence(tuple(words.split()), ())

    assert names.mended(sentence) == sentence


def test_a_word_within_an_entity_or_beside_one_stays_as_it_is():
    names = RepeatedNames(corpus("Nimbus", LOC=20), {})
    within = Sentence(("the", "Nimbus", "Bank"), (Span(1, 3, "ORG"),))
    beside = Sentence(("in", "Oslo", "Nimbus", "fell"), (Span(1, 2, "LOC"),))

    assert [names.mended(within), names.mended(beside)] == [within, beside]


def test_a_time_is_neither_renamed_nor_counted():
    sentences = [*corpus("March", LOC=5, TIME=30), *corpus("March", O=1)]
    names = RepeatedNames(sentences, {}, beside=frozenset({"TIME"}))

    assert names.mended(mention("March", "TIME")).spans == (Span(2, 3, "TIME"),)


def test_what_is_scored_has_no_open_labels():
    split = RepeatedNames(corpus("Nimbus", LOC=5, ORG=5), {})
    clear = RepeatedNames(corpus("Nimbus", LOC=9, ORG=1), {})

    assert split.mended(mention("Nimbus", "ORG"), only_certain=True) == mention("Nimbus", "ORG")
    assert split.mended(mention("Nimbus"), only_certain=True) == mention("Nimbus")
    assert clear.mended(mention("Nimbus", "ORG"), only_certain=True) == mention("Nimbus", "LOC")
