"""Which words are nationalities, religions and the like, in entities and outside."""

import pytest

from handler.labels import Span
from training.corpora import Sentence
from training.open_english.adjectives import are_adjectives, tag_untagged


@pytest.mark.parametrize("words", ["Iraqi", "Germans", "South African", "Sri Lankan", "Sunni Muslims", "Nazi", "Hindu"])
def test_nations_peoples_and_religions_are_adjectives(words):
    assert are_adjectives(tuple(words.split()))


@pytest.mark.parametrize(
    "words",
    ["Iraq", "Germany", "Democratic Party", "Islamic Jihad", "Labour", "South", "german", "Catholic Church", "Turkey"],
)
def test_places_parties_and_names_that_begin_with_one_are_none(words):
    assert not are_adjectives(tuple(words.split()))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("a German beer", ["German"]),
        ("Sunni and Shi'ite leaders", ["Sunni", "Shi'ite"]),
        ("the South African team", ["South African"]),
        ("he is French", ["French"]),
        ("a German Shepherd", []),  # may begin a name
        ("the New English Library", []),
        ("a german beer", []),
        ("the Conservative view", []),
    ],
)
def test_untagged_ones_become_misc_unless_they_may_be_part_of_a_name(text, found):
    words = tuple(text.split())

    spans = tag_untagged(Sentence(words, ())).spans

    assert [" ".join(words[span.start : span.end]) for span in spans] == found
    assert {span.label for span in spans} <= {"MISC"}


def test_what_is_tagged_stays():
    sentence = Sentence(("the", "German", "Bank", "and", "Dutch"), (Span(1, 3, "ORG"),))

    assert tag_untagged(sentence).spans == (Span(1, 3, "ORG"), Span(4, 5, "MISC"))
