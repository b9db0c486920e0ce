"""Perturbed sentences still say the same, about the same entities."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from handler.labels import Span
from training.corpora import Sentence
from training.perturbation import KEEPS_WORDS, PERTURBATIONS, draw

WORDS = st.text(st.characters(codec="utf-8", exclude_categories=("Z", "C")), min_size=1, max_size=9)


@st.composite
def sentences(draw):
    words = tuple(draw(st.lists(WORDS, min_size=1, max_size=12)))
    bounds = sorted(draw(st.sets(st.integers(0, len(words)), max_size=8)))
    pairs = zip(bounds[::2], bounds[1::2], strict=False)
    return Sentence(words, tuple(Span(start, end, "PER") for start, end in pairs))


@given(sentences(), st.sampled_from(["lower", "title", "spacing"]), st.integers())
def test_the_letters_of_each_entity_and_of_the_sentence_stay(sentence, name, seed):
    changed = PERTURBATIONS[name](sentence, random.Random(seed))

    fold = str.lower if name != "spacing" else str
    assert [s.label for s in changed.spans] == [s.label for s in sentence.spans]
    for before, after in zip(sentence.spans, changed.spans, strict=True):
        old, new = sentence.words[before.start : before.end], changed.words[after.start : after.end]
        if name == "title":
            assert [w[1:] for w in new] == [w[:1].upper()[1:] + w[1:] for w in old]
        else:
            assert "".join(new) == "".join(map(fold, old))
    if name == "spacing":
        assert "".join(changed.words) == "".join(sentence.words)
    assert all(changed.words)


@pytest.mark.parametrize("name", sorted(KEEPS_WORDS))
@given(sentence=sentences())
def test_changes_of_case_keep_the_words_one_by_one(name, sentence):
    changed = PERTURBATIONS[name](sentence, random.Random(0))

    assert len(changed.words) == len(sentence.words)
    assert changed.spans == sentence.spans


def test_title_is_a_headline():
    sentence = Sentence(("van", "Gogh", "élan"), (Span(0, 2, "PER"),))

    assert PERTURBATIONS["title"](sentence, random.Random(0)).words == ("Van", "Gogh", "Élan")


@pytest.mark.parametrize("name", sorted(PERTURBATIONS))
@pytest.mark.parametrize("seed", range(5))
def test_what_the_server_makes_of_the_words_stays(name, seed):
    words = ("Nato", "-led", "forces", "saw", "Who", "?", "What", "?")
    spans = (Span(0, 1, "ORG"), Span(4, 8, "MISC"))
    sentence = Sentence(
        words * 40, tuple(Span(8 * i + s, 8 * i + e, label) for i in range(40) for s, e, label in spans)
    )
    sentence = sentence._replace(joined=tuple(range(1, 320, 8)), ended=tuple(range(6, 320, 8)))

    changed = PERTURBATIONS[name](sentence, random.Random(seed))

    assert {changed.words[i][:1] for i in changed.joined} == {"-"}
    assert {changed.words[i][:1].lower() for i in changed.ended} == {"w"}
    assert len(changed.joined) == 40  # at the edge of an entity: never run together
    assert len(changed.ended) > 30


def test_upper_is_upper():
    sentence = Sentence(("Müller", "wohnt"), (Span(0, 1, "PER"),))

    assert PERTURBATIONS["upper"](sentence, random.Random(0)).words == ("MÜLLER", "WOHNT")


def test_spacing_cuts_and_joins_about_as_often_as_it_says():
    sentence = Sentence(tuple("word" for _ in range(20_000)), ())

    changed = PERTURBATIONS["spacing"](sentence, random.Random(5)).words

    joined = sum(len(word) > 4 for word in changed)
    cut = sum(len(word) < 4 for word in changed)
    assert 600 < joined < 1000
    assert 2800 < cut < 3300


def test_draw_follows_the_shares():
    chance = random.Random(1)

    drawn = [draw({"lower": 0.1, "upper": 0.3}, chance) for _ in range(10_000)]

    assert 900 < drawn.count("lower") < 1100
    assert 2800 < drawn.count("upper") < 3200
    assert drawn.count(None) == 10_000 - drawn.count("lower") - drawn.count("upper")
