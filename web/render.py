"""A text and its entities as data for the templates; HTML is made there alone."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterable, Iterator
from typing import Final, NamedTuple

from contract.entities import Entity

NUM_HUES: Final = 8
"""Colours in ``site.css``: the classes ``hue-0`` and up."""

_KNOWN_HUES: Final = {"PER": 0, "ORG": 1, "LOC": 2, "MISC": 3}

# What HTML cannot hold or a browser would drop, shift or merge: control characters but tab and newline, surrogates,
# noncharacters. Written as escapes on purpose.
_UNDISPLAYABLE: Final = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\ud800-\udfff\ufdd0-\ufdef"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    + "]"
)


class Segment(NamedTuple):
    """A piece of the text; ``label`` is empty between entities."""

    text: str
    label: str


def segments(text: str, entities: Iterable[Entity]) -> Iterator[Segment]:
    """Cut *text* where *entities* begin and end; no piece is empty, and joined they are the text.

    Entities are in order and do not overlap, as :mod:`web.upstream.reply` has checked.

    >>> list(segments("In Rome.", [Entity("Rome", "LOC", 3, 7, 0.9)]))
    [Segment(text='In ', label=''), Segment(text='Rome', label='LOC'), Segment(text='.', label='')]
    """
    position = 0
    for entity in entities:
        if position < entity.start:
            yield Segment(text[position : entity.start], "")
        yield Segment(text[entity.start : entity.end], entity.label)
        position = entity.end
    if position < len(text):
        yield Segment(text[position:], "")


def hues(labels: Iterable[str]) -> dict[str, int]:
    """A colour, 0 to NUM_HUES - 1, for each of *labels*: distinct as long as there are enough colours.

    The CoNLL labels have fixed colours; those of others depend on the set of labels alone.

    >>> hues(["ORG", "PER"])
    {'ORG': 1, 'PER': 0}
    """
    found: dict[str, int] = {}
    for label in sorted(set(labels), key=lambda label: (label not in _KNOWN_HUES, label)):
        preferred = _KNOWN_HUES.get(label, zlib.crc32(label.encode("utf-8", "surrogatepass")))
        order = [(preferred + i) % NUM_HUES for i in range(NUM_HUES)]
        found[label] = next((hue for hue in order if hue not in found.values()), order[0])
    return found


def displayable(text: str) -> str:
    r"""*text* with U+FFFD for each code point that a page cannot show; its length stays the same.

    >>> displayable("a\x00b\ud800c\n")
    'a�b�c\n'
    """
    return _UNDISPLAYABLE.sub("\N{REPLACEMENT CHARACTER}", text)


def percent(score: float) -> str:
    """*score* (0 to 1) as a percentage with one decimal; only 1 is shown as 100.0 %, and only 0 as 0.0 %.

    >>> percent(0.9984), percent(0.99999), percent(1.0), percent(0.00001)
    ('99.8 %', '> 99.9 %', '100.0 %', '< 0.1 %')
    """
    if 0.9995 <= score < 1:
        return "> 99.9 %"
    if 0 < score < 0.0005:
        return "< 0.1 %"
    return f"{100 * score:.1f} %"
