"""What a request may ask for beside its text: which entities, and the unit of their offsets."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass

from handler.entities import Entity
from handler.errors import InvalidOptionError

_SIZES: Mapping[str, Callable[[str], int]] = {
    "codepoint": len,
    "utf16": lambda text: len(text.encode("utf-16-le", "surrogatepass")) // 2,
    "utf8": lambda text: len(text.encode("utf-8", "surrogatepass")),
}

OPTION_KEYS = frozenset({"labels", "threshold", "offsets"})


@dataclass(frozen=True)
class Options:
    """The options of one request.

    Attributes:
        labels: Entities with other labels are left out; None keeps all.
        threshold: Entities with a lower score are left out.
        offsets: The unit of ``start`` and ``end``: ``"codepoint"``, ``"utf16"`` or ``"utf8"``.
    """

    labels: frozenset[str] | None = None
    threshold: float = 0.0
    offsets: str = "codepoint"

    def keep(self, entities: Iterable[Entity]) -> list[Entity]:
        """Those of *entities* that are asked for."""
        if self.labels is None and not self.threshold:
            return list(entities)
        return [
            entity
            for entity in entities
            if entity.score >= self.threshold and (self.labels is None or entity.label in self.labels)
        ]

    def places(self, text: str, offsets: Iterable[int]) -> Callable[[int], int]:
        """A function from each of *offsets*, code points into *text*, to the same place in the unit asked for."""
        if self.offsets == "codepoint" or text.isascii():
            return int
        size = _SIZES[self.offsets]
        found: dict[int, int] = {}
        before = place = 0
        for offset in sorted(set(offsets)):
            place += size(text[before:offset])
            found[offset] = place
            before = offset
        return found.__getitem__


#: What holds where nothing is asked.
_USUAL = Options()


def read_options(values: Mapping[str, object], labels: Sequence[str]) -> Options:
    """The options in *values*, which has no other keys, for a model that knows *labels*.

    Raises:
        InvalidOptionError: names the option and what it may be.
    """
    if not values:
        return _USUAL
    asked = values.get("labels")
    if "labels" in values and (
        not isinstance(asked, list) or not asked or not all(isinstance(item, str) and item in labels for item in asked)
    ):
        raise InvalidOptionError(f"labels: expected a list of some of {', '.join(labels)}, got something else")
    threshold = values.get("threshold", 0.0)
    if isinstance(threshold, bool) or not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
        raise InvalidOptionError("threshold: expected a number from 0 to 1, got something else")
    offsets = values.get("offsets", "codepoint")
    if not isinstance(offsets, str) or offsets not in _SIZES:
        raise InvalidOptionError(f"offsets: expected one of {', '.join(_SIZES)}, got something else")
    return Options(frozenset(asked) if isinstance(asked, list) else None, float(threshold), offsets)
