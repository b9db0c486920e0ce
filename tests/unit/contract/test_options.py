"""Offsets against Python's own encoders, entities against the plain definition."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.entities import Entity
from contract.options import Options, converter

ENTITIES = [Entity("a", "PER", 0, 1, 0.2), Entity("b", "LOC", 1, 2, 0.5), Entity("c", "PER", 2, 3, 0.9)]


@pytest.mark.parametrize(
    ("options", "kept"),
    [
        (Options(), "abc"),
        (Options(("PER",)), "ac"),
        (Options(threshold=0.5), "bc"),
        (Options(("PER",), 0.5), "c"),
        (Options(threshold=1.0), ""),
    ],
)
def test_labels_and_threshold_leave_entities_out(options, kept):
    assert [entity.text for entity in options.keep(ENTITIES)] == list(kept)


@pytest.mark.parametrize(
    ("unit", "places"), [("codepoint", [0, 1, 2, 3, 4]), ("utf16", [0, 1, 3, 4, 5]), ("utf8", [0, 2, 6, 9, 10])]
)
def test_units_of_offsets(unit, places):
    text = "é😀\ud800x"  # two bytes, a surrogate pair, a lone surrogate
    place = converter(text, range(5), unit)

    assert [place(i) for i in range(5)] == places


@given(st.text(st.characters(codec="utf-8")), st.data())
def test_an_offset_counts_what_an_encoder_makes_of_the_text_before_it(text, data):
    offsets = data.draw(st.lists(st.integers(0, len(text))))

    for unit, encoding, size in (("utf16", "utf-16-be", 2), ("utf8", "utf-8", 1)):
        place = converter(text, offsets, unit)
        assert [place(i) for i in offsets] == [len(text[:i].encode(encoding)) // size for i in offsets]
