"""Tags of any scheme and spelling as prefixes and labels, and the spans that they mark."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TypeAlias

from handler.labels import Span
from training.errors import CorpusError

logger = logging.getLogger(__name__)

#: A prefix and a label; of ``O``, ``("O", "")``.
Tag: TypeAlias = tuple[str, str]

#: No entity, as it is written.
OUTSIDE: dict[str, Tag] = {"O": ("O", ""), "o": ("O", "")}

_PREFIX = "[BIESLUMW]"  # IOB1, IOB2, IOE, IOBES, BILOU, BMES and BMEWO
#: The spellings of a tag; a file has one.
_SPELLINGS = [
    re.compile(rf"(?P<prefix>{_PREFIX})-(?P<label>\S.*)"),
    re.compile(rf"(?P<prefix>{_PREFIX.lower()})-(?P<label>\S.*)"),
    re.compile(rf"(?P<prefix>{_PREFIX})_(?P<label>\S.*)"),
    re.compile(rf"(?P<prefix>{_PREFIX.lower()})_(?P<label>\S.*)"),
    re.compile(rf"(?P<label>.*\S)-(?P<prefix>{_PREFIX})"),
    re.compile(rf"(?P<label>.*\S)_(?P<prefix>{_PREFIX})"),
]
#: No label without a prefix: a prefix that is none of ours, or a number, a mark.
_NO_LABEL = re.compile(r"[A-Za-z]|[A-Za-z][-_:/.|].*|.*[-_:/.|][A-Za-z]|[\W\d_]*")


def is_tag(tag: str) -> bool:
    """True if *tag* is ``O`` or has a prefix in one of the spellings."""
    return tag in OUTSIDE or any(spelling.fullmatch(tag) for spelling in _SPELLINGS)


def read_tags(first_lines: Mapping[str, int], path: Path) -> dict[str, Tag]:
    """All tags of a file, of which *first_lines* has the line of each, as prefixes and labels.

    Tags without any prefix (IO) are labels whose neighbours are one entity, which is logged.

    Raises:
        CorpusError: names the first line of a tag that is none, or is spelt unlike the others.
    """
    others = sorted(first_lines.keys() - OUTSIDE.keys(), key=lambda tag: (first_lines[tag], tag))
    if not others:
        return OUTSIDE
    spellings = [{tag: match for tag in others if (match := spelling.fullmatch(tag))} for spelling in _SPELLINGS]
    for matches in spellings[1:]:
        if all(match["prefix"].upper() not in "BI" for match in matches.values()):
            matches.clear()  # "e-mail" is a label
    matches = max(spellings, key=len)
    example = next(iter(matches), "B-PER")
    unprefixed = not matches and len(others) < len(first_lines)  # a column without any O is of something else
    for tag in others:
        unknown = tag not in matches and (not unprefixed or _NO_LABEL.fullmatch(tag))
        if unknown or not tag.isprintable():  # an invisible character makes two labels of one
            raise CorpusError(f"{path}:{first_lines[tag]}: expected O or a tag such as {example}, got {tag[:40]!r}")
    if unprefixed:
        return {**OUTSIDE, **_unprefixed(others, first_lines, path)}
    tags = {tag: (match["prefix"].upper(), match["label"]) for tag, match in matches.items()}
    begun = {label for prefix, label in tags.values() if prefix not in "ELM"}
    for tag, (prefix, label) in tags.items():
        if label not in begun and (prefix != "E" or any(prefix == "B" for prefix, _ in tags.values())):
            raise CorpusError(f"{path}:{first_lines[tag]}: expected {label!r} to begin somewhere, got {tag!r} alone")
    return {**OUTSIDE, **tags}


def _unprefixed(labels: Sequence[str], first_lines: Mapping[str, int], path: Path) -> dict[str, Tag]:
    """*labels* as tags (IO); raises CorpusError if they are rather prefixes and labels without a mark in between."""
    for label in labels:
        if label[0] == "B" and "I" + label[1:] in first_lines:
            raise CorpusError(f"{path}:{first_lines[label]}: expected O or a tag such as B-PER, got {label!r}")
    logger.warning(
        "%s: the tags have no prefixes, so that neighbours of one label are one entity; labels are %s",
        *(path, ", ".join(sorted(labels))),
    )
    return {label: ("I", label) for label in labels}


def tag_spans(tags: Iterable[Tag]) -> list[Span]:
    """Spans of *tags* of any scheme: one starts at B, S, U or W, after E or L, and where the label changes."""
    spans: list[Span] = []
    start, label, closed = 0, "", True
    for i, (prefix, next_label) in enumerate([*tags, OUTSIDE["O"]]):
        if label and (closed or prefix in {"O", "B", "S", "U", "W"} or next_label != label):
            spans.append(Span(start, i, label))
            label = ""
        if prefix != "O" and not label:
            start, label = i, next_label
        closed = prefix in {"E", "L", "S", "U", "W"}
    return spans
