"""Annotated corpora: CoNLL columns to sentences of words and spans, and back."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from handler.labels import Scheme, Span, spans_to_tags, split_tag
from training.errors import CorpusError

#: Native label -> label of the model, or ``"O"`` for labels that are dropped.
LabelMap = Mapping[str, str]

_PREFIXES = frozenset("BIESLU")  # IOB1, BIO, IOBES and BILOU


class Sentence(NamedTuple):
    """Words and the entities over them; spans are in order and do not overlap."""

    words: tuple[str, ...]
    spans: tuple[Span, ...]


def read_conll(path: Path, labels: LabelMap | None = None) -> list[Sentence]:
    """Sentences of *path*: a token first and its tag last on each line, blank lines between sentences.

    Columns are parted by tabs, or by white space where a line has no tab;
    ``-DOCSTART-`` lines are skipped.  IOB1, BIO and IOBES tags are understood.
    *labels* maps native labels; one that it does not name is an error.

    Raises:
        CorpusError: names the file and the line that cannot be read.
    """
    sentences = []
    for first_line, rows in _blocks(path):
        words = tuple(word for word, _ in rows)
        spans = _spans([tag for _, tag in rows], path, first_line)
        if labels is not None:
            spans = [Span(span.start, span.end, _mapped(span.label, labels, path, first_line)) for span in spans]
        sentences.append(Sentence(words, tuple(span for span in spans if span.label != "O")))
    if not sentences:
        raise CorpusError(f"{path}: expected sentences of TOKEN and TAG, got none")
    return sentences


def write_conll(path: Path, sentences: Iterable[Sentence], scheme: Scheme = "BIO") -> None:
    """Write *sentences* to *path*, a token, a tab and its tag a line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for sentence in sentences:
            tags = spans_to_tags(sentence.spans, len(sentence.words), scheme)
            file.writelines(f"{word}\t{tag}\n" for word, tag in zip(sentence.words, tags, strict=True))
            file.write("\n")


def read_label_map(path: Path) -> LabelMap:
    """The label map in the JSON file *path*: ``{"person": "PER", "time": "O", ...}``.

    Raises:
        CorpusError: the file is no JSON object of strings.
    """
    try:
        labels = json.loads(path.read_bytes())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CorpusError(f"{path}: expected a JSON object of native labels to labels: {error}") from error
    if not isinstance(labels, dict) or not all(isinstance(label, str) for label in labels.values()):
        raise CorpusError(f"{path}: expected a JSON object of native labels to labels, all strings")
    return labels


def label_set(sentences: Iterable[Sentence]) -> list[str]:
    """All labels of *sentences*, sorted."""
    return sorted({span.label for sentence in sentences for span in sentence.spans})


def _blocks(path: Path) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """The (token, tag) rows of each sentence and the number of the sentence's first line."""
    try:
        lines = path.read_bytes().decode("utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: expected a UTF-8 text file: {error}") from error
    rows: list[tuple[str, str]] = []
    for number, line in enumerate([*lines, ""], 1):
        if not line.strip() or line.startswith("-DOCSTART-"):
            if rows:
                yield number - len(rows), rows
            rows = []
            continue
        columns = line.rstrip("\r").split("\t") if "\t" in line else line.split()
        if len(columns) < 2 or not columns[0].strip():
            raise CorpusError(f"{path}:{number}: expected a token and a tag, got {len(columns)} column(s)")
        tag = columns[-1].strip()
        prefix, label = split_tag(tag)
        if tag != "O" and (prefix not in _PREFIXES or not label):
            raise CorpusError(f"{path}:{number}: expected O or a tag such as B-PER, got {tag!r}")
        rows.append((columns[0], tag))


def _spans(tags: Sequence[str], path: Path, first_line: int) -> list[Span]:
    """Spans of IOB1, BIO or IOBES *tags*: a new one starts at B, S or U, after E or L, and where the label changes."""
    spans: list[Span] = []
    start, label, closed = 0, "", True
    for i, tag in enumerate([*tags, "O"]):
        prefix, next_label = split_tag(tag)
        if label and (closed or prefix in {"O", "B", "S", "U"} or next_label != label):
            spans.append(Span(start, i, label))
            label = ""
        if prefix != "O" and not label:
            start, label = i, next_label
        closed = prefix in {"E", "L", "S", "U"}
    for before, after in pairwise(spans):
        if before.end > after.start:
            raise CorpusError(f"{path}:{first_line + after.start}: expected spans that do not overlap")
    return spans


def _mapped(label: str, labels: LabelMap, path: Path, first_line: int) -> str:
    try:
        return labels[label]
    except KeyError as error:
        raise CorpusError(f"{path}:{first_line}: label {label!r} is not in the label map") from error
