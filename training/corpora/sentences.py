"""Sentences of words with spans, which all readers give, and the maps of their labels."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from handler.labels import Span
from training.errors import CorpusError

#: Native label -> label of the model, or ``"O"`` to drop it.
LabelMap = Mapping[str, str]


class Sentence(NamedTuple):
    """Words and the entities over them.

    Where an annotation contradicts the server's word and sentence boundaries, training follows the annotation, and
    ``joined`` and ``ended`` keep the server's boundaries.

    Attributes:
        words: The words; each entity begins and ends at a word boundary.
        spans: Over ``words``, in order and without overlap.
        joined: Indices of the words that the server does not split from the word before.
        ended: Indices of the words at which the server begins a new sentence.
    """

    words: tuple[str, ...]
    spans: tuple[Span, ...]
    joined: tuple[int, ...] = ()
    ended: tuple[int, ...] = ()

    @property
    def served(self) -> list[list[int]]:
        """For each of the server's sentences, the indices in ``words`` at which its words begin, and its end.

        >>> Sentence(("Who", "?", "Paris", "-based"), (Span(0, 3, "MISC"),), joined=(3,), ended=(2,)).served
        [[0, 1, 2], [2, 4]]
        """
        begins = [i for i in range(len(self.words)) if i not in self.joined]
        bounds = pairwise([0, *self.ended, len(self.words)])
        return [[*(i for i in begins if first <= i < last), last] for first, last in bounds]


def label_set(sentences: Iterable[Sentence]) -> list[str]:
    """All labels of *sentences*, sorted."""
    return sorted({span.label for sentence in sentences for span in sentence.spans})


def read_label_map(path: Path) -> LabelMap:
    """The label map in *path*, ``{"person": "PER", "time": "O", ...}``; raises CorpusError if it is none."""
    try:
        labels = json.loads(path.read_bytes())
    except OSError as error:
        raise CorpusError(f"{path}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CorpusError(f"{path}: expected a JSON object of native labels to labels: {error}") from error
    if not isinstance(labels, dict) or not all(label and isinstance(label, str) for label in labels.values()):
        raise CorpusError(f"{path}: expected a JSON object of native labels to labels, all strings and none empty")
    return labels


def mapped(label: str, labels: LabelMap | None, where: str) -> str:
    """*label* as *labels* map it; raises CorpusError, which begins with *where*, if they do not have it."""
    if labels is None:
        return label
    try:
        return labels[label]
    except KeyError as error:
        raise CorpusError(f"{where}: label {label!r} is not in the label map") from error
