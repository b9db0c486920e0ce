"""What is cleaned in GUM, whose names a rule cut."""

from collections import Counter

import pytest

from handler.labels import Span
from training.corpora import Sentence
from training.open_english.gum import clean, join_hyphens

KNOWN = {
    "Sweden": Counter(LOC=9),
    "Paris": Counter(LOC=5, PER=1),
    "NASA": Counter(ORG=4),
    "Dover": Counter(LOC=2, PER=2),
}


def cleaned(name, label):
    """What becomes of the entity *name* with *label* in a sentence: names and labels."""
    words = ("yes", *name.split(), "and")
    sentence = clean(Sentence(words, (Span(1, len(words) - 1, label),)), KNOWN)
    return [(" ".join(words[span.start : span.end]), span.label) for span in sentence.spans]


@pytest.mark.parametrize(
    ("name", "label", "expected"),
    [
        ("Sweden", "ORG", [("Sweden", "LOC")]),  # a country that acts
        ("NASA", "LOC", [("NASA", "ORG")]),
        ("Dover", "ORG", [("Dover", "ORG")]),  # unclear elsewhere
        ("Durham University", "LOC", [("Durham University", "ORG")]),
        ("Durham Castle", "LOC", [("Durham Castle", "LOC")]),
        ("U.S. President Donald Trump", "PER", [("Donald Trump", "PER")]),
        ("Mr. Justice", "PER", []),
        ("Eva Cheung of the Labour Party", "PER", [("Eva Cheung", "PER")]),
        ("Leopold of Auchleuchries", "PER", [("Leopold of Auchleuchries", "PER")]),
        ("Americans", "PER", [("Americans", "MISC")]),
        ("Sorbonne in Paris", "ORG", [("Sorbonne", "ORG|LOC|O"), ("Paris", "LOC")]),
        ("Figure 1", "MISC", []),
        ("a.b@port.ac.uk", "MISC", []),
        ("it", "MISC", []),
        ("I", "LOC", []),
        ("World War II", "MISC", [("World War II", "MISC|O")]),
        ("Spanish", "MISC", [("Spanish", "MISC")]),
        ("the Onion", "ORG", [("Onion", "ORG")]),
    ],
)
def test_names_are_cleaned(name, label, expected):
    assert cleaned(name, label) == expected


@pytest.mark.parametrize(
    ("words", "joined"),
    [
        ("a self - managed team", "a self-managed team"),
        ("Al - Qaeda - linked", "Al-Qaeda-linked"),
        ("- a list", "- a list"),
        ("he left -", "he left -"),
        ('" - said', '" - said'),
    ],
)
def test_words_parted_at_a_hyphen_are_joined(words, joined):
    assert " ".join(join_hyphens(Sentence(tuple(words.split()), ())).words) == joined


def test_a_hyphen_at_the_edge_of_an_entity_stays_apart():
    sentence = Sentence(("Oslo", "-", "based", "firm"), (Span(0, 1, "LOC"),))

    assert join_hyphens(sentence) == sentence
