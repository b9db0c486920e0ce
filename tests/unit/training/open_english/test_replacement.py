"""Organisations that are replaced in gold sentences, and all that stays."""

import random

import pytest

from handler.labels import Span
from handler.text.tokens import tokenize
from training.corpora import Sentence
from training.open_english.names import Names
from training.open_english.replacement import VERSIONS, replace_organisations, replaced

NAMES = Names("train", ["Leeds", "Oslo"])
SENTENCE = Sentence(
    ("Ann", "Lee", "left", "Acme", "Corp.", "for", "Oslo", ",", "and", "Acme", "Corp.", "wept", "."),
    (Span(0, 2, "PER"), Span(3, 5, "ORG"), Span(6, 7, "LOC"), Span(9, 11, "ORG")),
)


def names_of(sentence, label):
    return [" ".join(sentence.words[s.start : s.end]) for s in sentence.spans if s.label == label]


def rest_of(sentence):
    """The words in no organisation."""
    inside = {i for s in sentence.spans if s.label == "ORG" for i in range(s.start, s.end)}
    return [word for i, word in enumerate(sentence.words) if i not in inside]


@pytest.mark.parametrize("seed", range(20))
def test_all_other_words_and_entities_stay(seed):
    other = replace_organisations(SENTENCE, NAMES, random.Random(seed))

    assert rest_of(other) == rest_of(SENTENCE)
    assert [names_of(other, label) for label in ("PER", "LOC")] == [["Ann Lee"], ["Oslo"]]
    assert [span.label for span in other.spans] == ["PER", "ORG", "LOC", "ORG"]


def test_most_are_replaced_by_what_the_tokeniser_makes_of_a_name():
    versions = [replace_organisations(SENTENCE, NAMES, random.Random(seed)) for seed in range(60)]
    new = [name for version in versions for name in names_of(version, "ORG") if name != "Acme Corp."]

    assert 70 < len(new) < 115  # 80 % of 120
    assert len(set(new)) > 40
    assert all(tokenize(name.replace(" 's", "'s")).words == name.split(" ") for name in new)


def test_a_name_that_stands_twice_is_the_same_again():
    versions = [names_of(replace_organisations(SENTENCE, NAMES, random.Random(seed)), "ORG") for seed in range(60)]

    changed = [names for names in versions if "Acme Corp." not in names]
    assert changed
    assert all(one == other for one, other in changed)


@pytest.mark.parametrize(
    ("words", "check"), [("ACME HOLDINGS", str.isupper), ("acme holdings", str.islower)], ids=["capitals", "lower case"]
)
def test_letter_case_is_kept(words, check):
    sentence = Sentence(tuple(words.split()), (Span(0, 2, "ORG"),))

    found = {names_of(replace_organisations(sentence, NAMES, random.Random(seed)), "ORG")[0] for seed in range(30)}

    assert len(found) > 5
    assert all(check(name) for name in found)


def test_a_school_becomes_a_school():
    sentence = Sentence(("Harvard", "University"), (Span(0, 2, "ORG"),))
    teaches = {"University", "College", "School", "Academy", "Institute", "Prep"}

    found = [replace_organisations(sentence, NAMES, random.Random(seed)).words for seed in range(30)]

    assert all(teaches.intersection(words) for words in found)


def test_an_open_label_and_other_labels_are_left_alone():
    sentence = Sentence(("Nimbus", "met", "Ann"), (Span(0, 1, "LOC|ORG"), Span(2, 3, "PER")))

    assert replace_organisations(sentence, NAMES, random.Random(1)) == sentence
    assert list(replaced([sentence], NAMES, random.Random(1))) == []


def test_a_sentence_with_an_organisation_has_several_versions():
    assert len(list(replaced([SENTENCE], NAMES, random.Random(1)))) == VERSIONS
