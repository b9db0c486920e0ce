"""Annotated corpora as sentences of words and spans: what tools and people write, a module for each format."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from pathlib import Path

from training.corpora import conll
from training.corpora.boundaries import document_sizes
from training.corpora.conll import write_conll
from training.corpora.documents import sentences_of
from training.corpora.formats import read_items
from training.corpora.sentences import LabelMap, Sentence, label_set, read_label_map
from training.corpora.sources import decode, read_data
from training.errors import CorpusError

__all__ = [
    "LabelMap",
    "Sentence",
    "document_sizes",
    "label_set",
    "numbered_sentences",
    "read_conll",
    "read_corpus",
    "read_label_map",
    "write_conll",
]


def read_corpus(path: Path, labels: LabelMap | None = None) -> list[Sentence]:
    """Sentences of *path*, whose content says which format it has.

    **Words and tags**: CoNLL columns (a token on each line, a blank line after each sentence), Kaggle's comma-separated
    columns, or JSON with ``tokens`` and ``ner_tags``.  Every usual scheme and spelling of tags is understood, also none
    (IO).  Words are taken as they are, with a warning if the server would split many of them.

    **Texts and character spans**: JSON, a text on each line or a list of them, as nerserve, doccano, Prodigy, Label
    Studio, spaCy and Hugging Face write them, or a ``.spacy`` file.  Offsets are half-open and count code points.  The
    text is split as the server splits it, except that no sentence ends within an entity, and a word is split where an
    entity begins or ends within it.  Both are logged, as the server cannot find such an entity; if there are many, the
    offsets are probably not in code points.

    *labels* maps native labels and must contain all of them.

    Raises:
        CorpusError: names the file and the line that cannot be read.
    """
    return [sentence for _, sentence in numbered_sentences(path, labels)]


def read_conll(path: Path, labels: LabelMap | None = None) -> list[Sentence]:
    """:func:`read_corpus` for CoNLL columns, whatever the content of *path*."""
    return [sentence for _, sentence in _not_empty(conll.read(path, decode(read_data(path), path), labels), path)]


def numbered_sentences(
    path: Path, labels: LabelMap | None = None, *, without: Collection[int] = ()
) -> list[tuple[int, Sentence]]:
    """The sentences of :func:`read_corpus`, each with the number of its first line, counted from 1.

    Lines whose numbers are in *without* are as if they were blank, where each line stands for itself.
    """
    return _not_empty(sentences_of(path, read_items(path, labels, without=without)), path)


def _not_empty(numbered: Iterable[tuple[int, Sentence]], path: Path) -> list[tuple[int, Sentence]]:
    sentences = list(numbered)
    if not sentences:
        raise CorpusError(f"{path}: expected sentences, got none")
    return sentences
