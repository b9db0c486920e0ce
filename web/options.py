"""The options of a request: which entities are wanted, and in which unit their offsets are counted."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from web.errors import InvalidOptionError
from web.offsets import UNITS

NAMES: Final = frozenset({"labels", "threshold", "offsets"})


@dataclass(frozen=True)
class Options:
    """What is wanted of one request.

    Attributes:
        labels: The labels that are wanted, or None for all.
        threshold: The least score that is wanted, from 0 to 1, or None for any.
        offsets: The unit of ``start`` and ``end``, one of ``web.offsets.UNITS``.
    """

    labels: tuple[str, ...] | None = None
    threshold: float | None = None
    offsets: str = "codepoint"

    @classmethod
    def from_json(cls, body: Mapping[str, Any]) -> Options:
        """The options among the keys of *body*; raises InvalidOptionError.

        >>> Options.from_json({"text": "x", "labels": ["PER"], "threshold": 1})
        Options(labels=('PER',), threshold=1, offsets='codepoint')
        """
        return cls(
            labels=_labels(body["labels"]) if "labels" in body else None,
            threshold=_threshold(body["threshold"]) if "threshold" in body else None,
            offsets=_offsets(body["offsets"]) if "offsets" in body else "codepoint",
        )

    def to_upstream(self) -> dict[str, Any]:
        """The keys that TorchServe is to see: the unit is ours to convert, so that offsets can be checked first."""
        sent: dict[str, Any] = {}
        if self.labels is not None:
            sent["labels"] = list(self.labels)
        if self.threshold is not None:
            sent["threshold"] = self.threshold
        return sent


def from_query(query: Mapping[str, str]) -> dict[str, Any]:
    """The options in *query* as a JSON object would have them; raises InvalidOptionError.

    >>> from_query({"labels": "PER,ORG", "threshold": "0.5", "offsets": "utf16"})
    {'labels': ['PER', 'ORG'], 'threshold': 0.5, 'offsets': 'utf16'}
    """
    body: dict[str, Any] = {name: query[name] for name in sorted(NAMES & query.keys(), key=_ORDER.index)}
    if "labels" in body:
        body["labels"] = body["labels"].split(",")
    if "threshold" in body:
        try:
            body["threshold"] = float(body["threshold"])
        except ValueError as error:
            raise InvalidOptionError(f"{_THRESHOLD}, got something else.") from error
    return body


_ORDER: Final = ["labels", "threshold", "offsets"]
_LABELS: Final = 'Expected a list of labels, not empty, for "labels"'
_THRESHOLD: Final = 'Expected a number from 0 to 1 for "threshold"'
_OFFSETS: Final = f'Expected one of {", ".join(UNITS)} for "offsets"'


def _labels(value: object) -> tuple[str, ...]:
    if not isinstance(value, list):
        raise InvalidOptionError(f"{_LABELS}, got something else.")
    if not value:
        raise InvalidOptionError(f"{_LABELS}, got an empty one.")
    if not all(isinstance(label, str) and label for label in value):
        raise InvalidOptionError(f"{_LABELS}, got a list with something else in it.")
    return tuple(value)


def _threshold(value: object) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise InvalidOptionError(f"{_THRESHOLD}, got something else.")
    if not 0 <= value <= 1:
        raise InvalidOptionError(f"{_THRESHOLD}, got another number.")
    return value


def _offsets(value: object) -> str:
    if not isinstance(value, str) or value not in UNITS:
        raise InvalidOptionError(f"{_OFFSETS}, got something else.")
    return value
