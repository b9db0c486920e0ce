from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.entities import Entity
from web.render import NUM_HUES, Segment, displayable, hues, percent, segments


@st.composite
def texts_with_entities(draw):
    """Any text, surrogates and control characters included, and entities anywhere in it, touching ones too."""
    text = draw(st.text(st.characters(), max_size=60))
    cuts = sorted(draw(st.sets(st.integers(0, len(text)), max_size=8)))
    spans = [span for span in pairwise(cuts) if draw(st.booleans())]
    labels = st.text(st.characters(), min_size=1, max_size=8)
    return text, [Entity(text[start:end], draw(labels), start, end, 0.5) for start, end in spans]


@given(texts_with_entities())
def test_segments_joined_are_the_text_again(example):
    text, entities = example

    pieces = list(segments(text, entities))

    assert "".join(piece.text for piece in pieces) == text
    assert [(piece.text, piece.label) for piece in pieces if piece.label] == [(e.text, e.label) for e in entities]
    assert all(piece.text for piece in pieces)


def test_touching_entities_have_nothing_between_them():
    pieces = list(segments("ab", [Entity("a", "X", 0, 1, 0.5), Entity("b", "PER", 1, 2, 0.5)]))

    assert pieces == [Segment("a", "X"), Segment("b", "PER")]


def test_a_text_without_entities_is_one_segment():
    assert list(segments("ab", [])) == [Segment("ab", "")]
    assert list(segments("", [])) == []


@given(st.text(st.characters(), max_size=60))
def test_displayable_keeps_the_length_and_can_be_encoded(text):
    shown = displayable(text)

    assert len(shown) == len(text)
    assert displayable(shown) == shown
    shown.encode("utf-8")


@pytest.mark.parametrize("text", ["Łódź 東京 😀", "a\tb\n", "\xa0\u2028\u202e\ufeff", "�", "<b>&amp;"])
def test_displayable_leaves_what_a_page_can_show(text):
    assert displayable(text) == text


@pytest.mark.parametrize(
    "char", ["\0", "\b", "\v", "\f", "\r", "\x1b", "\x7f", "\x85", "\udc80", "\ufdd0", "\uffff", "\U0010fffe"]
)
def test_displayable_replaces_what_a_page_cannot_show(char):
    assert displayable(f"a{char}b") == "a�b"


@given(st.lists(st.text(st.characters()) | st.sampled_from(["PER", "ORG", "LOC", "MISC"]), max_size=12))
def test_labels_differ_in_hue_as_long_as_there_are_enough(labels):
    found = hues(labels)

    assert found.keys() == set(labels)
    assert len(set(found.values())) == min(len(found), NUM_HUES)
    assert set(found.values()) <= set(range(NUM_HUES))


@pytest.mark.parametrize("others", [[], ["DISEASE"], ["A", "B", "GENE", "GPE", "NORP", "X", "Y", "Z"]])
def test_the_usual_labels_always_have_the_same_hue(others):
    found = hues([*others, "MISC", "PER", "LOC", "ORG"])

    assert [found[label] for label in ("PER", "ORG", "LOC", "MISC")] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    ("score", "shown"),
    [
        (0, "0.0 %"),
        (0.0004999, "< 0.1 %"),
        (0.0005, "0.1 %"),
        (0.5, "50.0 %"),
        (0.998, "99.8 %"),
        (0.99949, "99.9 %"),
        (0.9995, "> 99.9 %"),
        (0.9999999, "> 99.9 %"),
        (1, "100.0 %"),
    ],
)
def test_percent_never_claims_more_certainty_than_there_is(score, shown):
    assert percent(score) == shown
