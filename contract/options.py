"""What a request may ask for beside its text: which entities, found from what, and the unit of their offsets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from contract.entities import Entity
from contract.errors import InvalidOptionError

_SIZES: dict[str, Callable[[str], int]] = {
    "codepoint": len,
    "utf16": lambda text: len(text.encode("utf-16-le", "surrogatepass")) // 2,
    "utf8": lambda text: len(text.encode("utf-8", "surrogatepass")),
}

UNITS = tuple(_SIZES)
"""What offsets can be counted in; a lone surrogate is one code point, one UTF-16 unit and three bytes."""

CONTEXTS = ("document", "sentence")
"""What an entity is found from: its whole text, in which a name that stands elsewhere counts, or its sentence alone."""

NAMES = ("labels", "threshold", "offsets", "context")

QUOTED_NAMES = ", ".join(f'"{name}"' for name in NAMES[:-1]) + f' and "{NAMES[-1]}"'
"""The names as a message lists them."""

_LABELS = 'Expected a list of labels, not empty, for "labels"'
_THRESHOLD = 'Expected a number from 0 to 1 for "threshold"'
_CHOICES = {"offsets": UNITS, "context": CONTEXTS}


@dataclass(frozen=True)
class Options:
    """The options of one request.

    Attributes:
        labels: Entities with other labels are left out; None keeps all.
        threshold: Entities with a lower score are left out; None keeps all.
        offsets: The unit of ``start`` and ``end``, one of ``UNITS``.
        context: What entities are found from, one of ``CONTEXTS``.
    """

    labels: tuple[str, ...] | None = None
    threshold: float | None = None
    offsets: str = UNITS[0]
    context: str = CONTEXTS[0]

    @classmethod
    def from_json(cls, values: Mapping[str, Any], known: Sequence[str] | None = None) -> Options:
        """The options among the keys of *values*, for a model that knows the labels *known*, if that is known here.

        >>> Options.from_json({"text": "x", "labels": ["PER"], "threshold": 1})
        Options(labels=('PER',), threshold=1, offsets='codepoint', context='document')

        Raises:
            InvalidOptionError: names the option and what it may be.
        """
        if values.keys().isdisjoint(NAMES):
            return DEFAULT
        return cls(
            labels=_labels(values["labels"], known) if "labels" in values else None,
            threshold=_threshold(values["threshold"]) if "threshold" in values else None,
            **{name: _choice(values[name], name) for name in _CHOICES if name in values},
        )

    def keep(self, entities: Iterable[Entity]) -> list[Entity]:
        """Those of *entities* that are asked for."""
        threshold = self.threshold or 0.0
        if self.labels is None and not threshold:
            return list(entities)
        return [
            entity
            for entity in entities
            if entity.score >= threshold and (self.labels is None or entity.label in self.labels)
        ]

    def to_upstream(self) -> dict[str, Any]:
        """The keys for TorchServe; the unit of offsets is the site's to convert, so that it can check them first."""
        sent: dict[str, Any] = {}
        if self.labels is not None:
            sent["labels"] = list(self.labels)
        if self.threshold is not None:
            sent["threshold"] = self.threshold
        if self.context != DEFAULT.context:
            sent["context"] = self.context
        return sent


DEFAULT = Options()


def from_query(query: Mapping[str, str]) -> dict[str, Any]:
    """The options in *query* as a JSON object would have them; labels are joined by commas there.

    >>> from_query({"labels": "PER,ORG", "threshold": "0.5", "offsets": "utf16"})
    {'labels': ['PER', 'ORG'], 'threshold': 0.5, 'offsets': 'utf16'}

    Raises:
        InvalidOptionError: the threshold is no number.
    """
    values: dict[str, Any] = {name: query[name] for name in NAMES if name in query}
    if "labels" in values:
        values["labels"] = values["labels"].split(",")
    if "threshold" in values:
        try:
            values["threshold"] = float(values["threshold"])
        except ValueError as error:
            raise InvalidOptionError(f"{_THRESHOLD}, got something else.") from error
    return values


def converter(text: str, offsets: Iterable[int], unit: str) -> Callable[[int], int]:
    """A function from each of *offsets*, code points into *text*, to the same place in *unit*.

    >>> [converter("é😀", [0, 1, 2], unit)(2) for unit in UNITS]
    [2, 3, 6]
    """
    if unit == "codepoint" or text.isascii():
        return int
    size = _SIZES[unit]
    found: dict[int, int] = {}
    before = place = 0
    for offset in sorted(set(offsets)):
        place += size(text[before:offset])
        found[offset] = place
        before = offset
    return found.__getitem__


def in_unit(entities: Iterable[Entity], text: str, unit: str) -> list[Entity]:
    r"""*entities* of *text* with their offsets counted in *unit*.

    >>> [(e.start, e.end) for e in in_unit([Entity("é😀", "X", 1, 3, 0.5)], "😀é😀", "utf16")]
    [(2, 5)]
    """
    found = list(entities)
    if unit == "codepoint" or text.isascii():
        return found
    place = converter(text, (offset for entity in found for offset in (entity.start, entity.end)), unit)
    return [entity._replace(start=place(entity.start), end=place(entity.end)) for entity in found]


def _labels(value: object, known: Sequence[str] | None) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InvalidOptionError(f"{_LABELS}, got something else.")
    if not value:
        raise InvalidOptionError(f"{_LABELS}, got an empty one.")
    if not all(isinstance(label, str) and label for label in value):
        raise InvalidOptionError(f"{_LABELS}, got a list with something else in it.")
    if known is not None and not set(value) <= set(known):
        raise InvalidOptionError(f'Expected some of {", ".join(known)} for "labels", got another one.')
    return tuple(value)


def _threshold(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidOptionError(f"{_THRESHOLD}, got something else.")
    if not 0 <= value <= 1:
        raise InvalidOptionError(f"{_THRESHOLD}, got another number.")
    return value


def _choice(value: object, name: str) -> str:
    choices = _CHOICES[name]
    if not isinstance(value, str) or value not in choices:
        raise InvalidOptionError(f'Expected one of {", ".join(choices)} for "{name}", got something else.')
    return value
