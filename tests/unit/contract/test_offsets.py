from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from contract.entities import Entity
from contract.options import UNITS, in_unit

ANY = st.text(st.characters() | st.sampled_from("aé東😀\ud800\udfff"), max_size=40)


def encoded_prefix(text, position, unit):
    """How long the text before *position* is in *unit*, counted over the whole prefix at once."""
    if unit == "codepoint":
        return position
    encoding, size = {"utf16": ("utf-16-le", 2), "utf8": ("utf-8", 1)}[unit]
    return sum(len(char.encode(encoding, "surrogatepass")) // size for char in text[:position])


@pytest.mark.parametrize("unit", UNITS)
@given(text=ANY, data=st.data())
def test_an_offset_is_the_length_of_what_is_before_it(unit, text, data):
    cuts = sorted(data.draw(st.sets(st.integers(0, len(text)), max_size=6)))
    spans = [span for span in pairwise(cuts) if data.draw(st.booleans())]
    entities = [Entity(text[start:end], "X", start, end, 0.5) for start, end in spans]

    converted = in_unit(entities, text, unit)

    assert [(entity.start, entity.end) for entity in converted] == [
        (encoded_prefix(text, start, unit), encoded_prefix(text, end, unit)) for start, end in spans
    ]
    assert [(entity.text, entity.label, entity.score) for entity in converted] == [
        (text[start:end], "X", 0.5) for start, end in spans
    ]


@pytest.mark.parametrize(("unit", "length"), [("codepoint", 1), ("utf16", 1), ("utf8", 3)])
def test_a_lone_surrogate_has_a_length_in_every_unit(unit, length):
    (entity,) = in_unit([Entity("x", "X", 1, 2, 0.5)], "\ud800x", unit)

    assert (entity.start, entity.end) == (length, length + 1)
