"""Texts with entities as spans of characters, and their sentences and words as the server splits them."""

from __future__ import annotations

import logging
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from handler.labels import Span
from handler.text.sentences import split_sentences
from handler.text.tokens import Token
from training.corpora.sentences import LabelMap, Sentence, mapped
from training.errors import CorpusError

logger = logging.getLogger(__name__)


class Entity(NamedTuple):
    """Half-open code-point offsets into a text, and a label."""

    start: int
    end: int
    label: str


class Document(NamedTuple):
    """A text and its entities; ``where`` is the file and the line or item that it comes from, for messages."""

    text: str
    entities: tuple[Entity, ...]
    where: str

    def mapped(self, labels: LabelMap | None) -> Document:
        """This document with mapped labels and each entity once, in order.

        Raises:
            CorpusError: a label is not in *labels*, or two entities overlap.
        """
        entities = {entity._replace(label=mapped(entity.label, labels, self.where)) for entity in self.entities}
        kept = sorted(entity for entity in entities if entity.label != "O")
        for before, after in pairwise(kept):
            if before.end > after.start:
                raise CorpusError(
                    f"{self.where}: expected entities that do not overlap, {before[:2]} and {after[:2]} do"
                )
        return self._replace(entities=tuple(kept))


def sentences_of(path: Path, items: Iterable[tuple[int, Document | Sentence]]) -> Iterator[tuple[int, Sentence]]:
    """Sentences of *items*, mapped ones that come from *path* with their lines; logs what the server cannot find."""
    num_entities = 0
    lost: list[int] = []  # lines of the entities that the server cannot find
    for number, item in items:
        if isinstance(item, Sentence):
            yield number, item
            continue
        sentences, num_lost = _aligned(item.text, item.entities, item.where)
        num_entities += len(item.entities)
        lost += [number] * num_lost
        for sentence in sentences:
            yield number, sentence
    if lost:
        logger.warning(
            "%s: %d of %d entities cannot be found, the first in line %d: they begin or end within a word that the"
            " server does not split, or continue across a sentence end of the server's; training splits the word and"
            " joins the sentences, scores count the entities as missed",
            *(path, len(lost), num_entities, lost[0]),
        )


def _aligned(text: str, entities: Sequence[Entity], where: str) -> tuple[list[Sentence], int]:
    """Sentences of *text* with *entities*, which are sorted, as spans; and how many of them the server cannot find."""
    borders = sorted({offset for entity in entities for offset in (entity.start, entity.end)})
    tokens: list[Token] = []
    sentence_starts: list[int] = []
    cuts: set[int] = set()
    joined: list[int] = []
    for sentence in split_sentences(text):
        sentence_starts.append(len(tokens))
        for token in sentence:
            inner = borders[bisect_right(borders, token.start) : bisect_left(borders, token.end)]
            cuts.update(inner)
            parts = pairwise([token.start, *inner, token.end])
            joined += range(len(tokens) + 1, len(tokens) + 1 + len(inner))
            tokens += [Token(text[start:end], start, end) for start, end in parts] if inner else [token]
    token_starts = [token.start for token in tokens]
    spans = []
    for start, end, label in entities:
        span = Span(bisect_left(token_starts, start), bisect_left(token_starts, end), label)
        if span.start == span.end:
            raise CorpusError(f"{where}: expected an entity to hold a word, {(start, end)} holds none")
        spans.append(span)
    inside = {i for span in spans for i in range(span.start + 1, span.end)}
    ended = [i for i in sentence_starts if i in inside]
    sentence_starts = [i for i in sentence_starts if i not in inside]
    span_starts = [span.start for span in spans]
    sentences = []
    for first, last in pairwise([*sentence_starts, len(tokens)]):
        own = spans[bisect_left(span_starts, first) : bisect_left(span_starts, last)]
        sentences.append(
            Sentence(
                tuple(token.text for token in tokens[first:last]),
                tuple(Span(start - first, end - first, label) for start, end, label in own),
                joined=tuple(i - first for i in _between(joined, first, last)),
                ended=tuple(i - first for i in _between(ended, first, last)),
            )
        )
    num_lost = sum(
        not cuts.isdisjoint(entity[:2]) or bool(_between(ended, span.start + 1, span.end))
        for entity, span in zip(entities, spans, strict=True)
    )
    return sentences, num_lost


def _between(numbers: Sequence[int], first: int, last: int) -> Sequence[int]:
    """Those of *numbers*, which are sorted, in [first, last)."""
    return numbers[bisect_left(numbers, first) : bisect_left(numbers, last)]
