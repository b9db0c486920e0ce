"""What ``nerserve predict`` prints: a table for people, and the forms that programs read."""

from __future__ import annotations

import json
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, Protocol, TextIO

from contract.entities import Entity
from contract.strict_json import to_json
from contract.tables import aligned
from handler.labels import Span, spans_to_tags
from handler.text.sentences import split_sentences
from nerserve.answers import Answer
from nerserve.inputs import Input


class Writer(Protocol):
    """Writes answers, one after the other."""

    def write(self, given: Input, answer: Answer) -> None:
        """Write *answer* to *given*."""

    def close(self) -> None:
        """Write what comes after the last."""


class Table:
    """A table for each text, with where it comes from above it if there may be several."""

    def __init__(self, out: TextIO, *, has_several: bool) -> None:
        self._out, self._has_several = out, has_several
        self._separator = ""

    def write(self, given: Input, answer: Answer) -> None:
        """A row for each entity."""
        if answer.failure is not None and not self._has_several:
            return  # standard error has said it
        rows = [("TEXT", "LABEL", "SCORE", "START", "END")]
        for one in answer.entities:
            rows.append((_shown(one.text), one.label, f"{one.score:.3f}", str(one.start), str(one.end)))
        if answer.failure is not None:
            text = f"error: {answer.failure.message}"
        else:
            text = aligned(rows) if answer.entities else "no entities"
        title = f"{given.name or _shown(given.text[:72])}\n" if self._has_several else ""
        self._out.write(f"{self._separator}{title}{text}\n")
        self._separator = "\n" if self._has_several else ""

    def close(self) -> None:
        """Nothing."""


class JsonLines:
    """The reply of the API to each text on a line."""

    def __init__(self, out: TextIO, **_: object) -> None:
        self._out = out

    def write(self, _: Input, answer: Answer) -> None:
        """Model and entities, or the error."""
        self._out.write(f"{to_json(answer.to_json())}\n")

    def close(self) -> None:
        """Nothing."""


class Conll:
    """A token and its BIO tag on a line, an empty line after each sentence, ``-DOCSTART-`` before each text but one."""

    def __init__(self, out: TextIO, *, has_several: bool) -> None:
        self._out, self._has_several = out, has_several

    def write(self, given: Input, answer: Answer) -> None:
        """The tokens of a text; of one without an answer, nothing."""
        if answer.failure is not None:
            return
        if self._has_several:
            self._out.write("-DOCSTART-\tO\n\n")
        for tokens in split_sentences(given.text):
            spans = [_span(tokens.starts, tokens.ends, entity) for entity in answer.entities]
            tags = spans_to_tags([span for span in spans if span is not None], len(tokens.words), "BIO")
            lines = [f"{word}\t{tag}\n" for word, tag in zip(tokens.words, tags, strict=True)]
            self._out.write("".join([*lines, "\n"]))

    def close(self) -> None:
        """Nothing."""


class Displacy:
    """A JSON list for displaCy's manual rendering of entities; texts without an answer are left out."""

    def __init__(self, out: TextIO, **_: object) -> None:
        self._out = out
        self._separator = "["

    def write(self, given: Input, answer: Answer) -> None:
        """A text with its entities."""
        if answer.failure is not None:
            return
        ents = [{"start": one.start, "end": one.end, "label": one.label} for one in answer.entities]
        document: Mapping[str, Any] = {"text": given.text, "ents": ents, "title": given.name or None}
        self._out.write(f"{self._separator}{to_json(document)}")
        self._separator = ",\n "

    def close(self) -> None:
        """The end of the list."""
        self._out.write("]\n" if self._separator != "[" else "[]\n")


FORMATS: Final[Mapping[str, Callable[..., Writer]]] = {
    "table": Table,
    "jsonl": JsonLines,
    "conll": Conll,
    "displacy": Displacy,
}


#: Without a width of their own; Persian and Indic names and emoji have them.
_JOINERS: Final = "\u200c\u200d"


def _shown(text: str) -> str:
    r"""*text* on one line, with escapes for what would change the terminal.

    >>> _shown("Kofi\n Annan\x1b[31m")
    'Kofi Annan\\u001b[31m'
    """
    words = " ".join(text.split())
    return "".join(char if char.isprintable() or char in _JOINERS else json.dumps(char)[1:-1] for char in words)


def _span(starts: Sequence[int], ends: Sequence[int], entity: Entity) -> Span | None:
    """The tokens of *entity* by their *starts* and *ends*, if it is among them."""
    first, last = bisect_right(ends, entity.start), bisect_left(starts, entity.end)
    return Span(first, last, entity.label) if first < last else None
