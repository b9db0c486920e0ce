"""Annotated corpora, CoNLL columns or JSON lines with character spans, as sentences of words and spans."""

from __future__ import annotations

import json
import logging
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from handler.labels import Scheme, Span, spans_to_tags, split_tag
from handler.tokens import Token, split_sentences
from training.errors import CorpusError

logger = logging.getLogger(__name__)

#: Native label -> label of the model, or ``"O"`` to drop it.
LabelMap = Mapping[str, str]

_PREFIXES = frozenset("BIESLUM")  # IOB1, BIO, IOBES, BILOU and BMES

#: Share of a file's distinct words that the server may split without a warning; of tweets it is 4%.
_SPLIT_SHARE = 0.05

_ENTITY_KEYS = ("entities", "spans", "label", "labels")  # ours and spaCy's, Prodigy's, doccano's new and old


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


def read_corpus(path: Path, labels: LabelMap | None = None) -> list[Sentence]:
    """Sentences of *path*: JSON lines if it ends in ``.jsonl``, else CoNLL columns.

    **CoNLL columns**: a token first and its tag last on each line, a blank line after each sentence.  Columns are
    separated by tabs, or by spaces if a line has no tab; those in between are ignored, ``-DOCSTART-`` lines skipped.
    IOB1, BIO, IOBES, BILOU and BMES are understood.  Words are taken as they are, with a warning if the server would
    split many of them.

    **JSON lines**: ``{"text": "...", "entities": [{"start": 0, "end": 12, "label": "PER"}, ...]}`` on each, with
    half-open offsets in code points.  ``[0, 12, "PER"]`` is an entity too, and ``entities`` may be named ``spans``,
    ``label`` or ``labels``, as spaCy, Prodigy and doccano export them.  Lines with an ``answer`` other than ``accept``
    (Prodigy) are skipped.  The text is split as the server splits it, except that no sentence ends within an entity,
    and a word is split where an entity begins or ends within it.  Both are logged, as the server cannot find such an
    entity; if there are many, the offsets are probably not in code points.

    *labels* maps native labels and must contain all of them.

    Raises:
        CorpusError: names the file and the line that cannot be read.
    """
    return [sentence for _, sentence in numbered_sentences(path, labels)]


def read_conll(path: Path, labels: LabelMap | None = None) -> list[Sentence]:
    """:func:`read_corpus` for CoNLL columns, whatever the suffix of *path*."""
    return [sentence for _, sentence in _not_empty(_conll(path, labels), path)]


def numbered_sentences(path: Path, labels: LabelMap | None = None) -> list[tuple[int, Sentence]]:
    """The sentences of :func:`read_corpus`, each with the number of its first line, counted from 1."""
    read = _jsonl if path.suffix.lower() == ".jsonl" else _conll
    return _not_empty(read(path, labels), path)


def write_conll(path: Path, sentences: Iterable[Sentence], scheme: Scheme = "BIO") -> None:
    """Write *sentences* to *path*: on each line a token, a tab and its tag."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for sentence in sentences:
            tags = spans_to_tags(sentence.spans, len(sentence.words), scheme)
            file.writelines(f"{word}\t{tag}\n" for word, tag in zip(sentence.words, tags, strict=True))
            file.write("\n")


def read_label_map(path: Path) -> LabelMap:
    """The label map in *path*, ``{"person": "PER", "time": "O", ...}``; raises CorpusError if it is none."""
    try:
        labels = json.loads(path.read_bytes())
    except (OSError, UnicodeDecodeError, json.JSONDecodeError) as error:
        raise CorpusError(f"{path}: expected a JSON object of native labels to labels: {error}") from error
    if not isinstance(labels, dict) or not all(label and isinstance(label, str) for label in labels.values()):
        raise CorpusError(f"{path}: expected a JSON object of native labels to labels, all strings and none empty")
    return labels


def label_set(sentences: Iterable[Sentence]) -> list[str]:
    """All labels of *sentences*, sorted."""
    return sorted({span.label for sentence in sentences for span in sentence.spans})


def _not_empty(numbered: Iterable[tuple[int, Sentence]], path: Path) -> list[tuple[int, Sentence]]:
    sentences = list(numbered)
    if not sentences:
        raise CorpusError(f"{path}: expected sentences, got none")
    return sentences


def _lines(path: Path) -> list[str]:
    """Lines of *path*, which end in LF or CR LF; within JSON, other line separators are text."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise CorpusError(f"{path}: expected a UTF-8 text file: {error}") from error
    return [line.rstrip("\r") for line in text.split("\n")]


def _conll(path: Path, labels: LabelMap | None) -> Iterator[tuple[int, Sentence]]:
    first_lines: dict[str, int] = {}
    for first_line, rows in _blocks(path):
        for number, (word, _) in enumerate(rows, first_line):
            first_lines.setdefault(word, number)
        spans = []
        for start, end, native in _spans([tag for _, tag in rows]):
            label = _mapped(native, labels, f"{path}:{first_line + start}")
            if label != "O":
                spans.append(Span(start, end, label))
        yield first_line, Sentence(tuple(word for word, _ in rows), tuple(spans))
    split = [line for word, line in first_lines.items() if sum(map(len, split_sentences(word))) > 1]
    if len(split) > _SPLIT_SHARE * len(first_lines):
        logger.warning(
            "%s: the server parts %.0f%% of the distinct words, the first in line %d, so that it does not see texts as"
            " training and scores do; is the first column a word alone, as a tokeniser makes it?",
            *(path, 100 * len(split) / len(first_lines), split[0]),
        )


def _blocks(path: Path) -> Iterator[tuple[int, list[tuple[str, str]]]]:
    """The number of each sentence's first line, and its rows (token, tag)."""
    rows: list[tuple[str, str]] = []
    for number, line in enumerate([*_lines(path), ""], 1):
        if not line.strip() or line.startswith("-DOCSTART-"):
            if rows:
                yield number - len(rows), rows
            rows = []
            continue
        columns = line.split("\t") if "\t" in line else [column for column in line.split(" ") if column]
        word, tag = columns[0].strip(" "), columns[-1].strip()
        prefix, label = split_tag(tag)
        problem = ""
        if len(columns) < 2:
            problem = f"expected a token and a tag, got {len(columns)} column(s)"
        elif not word.strip():
            problem = "expected a token and a tag, got white space for a token"
        elif tag != "O" and (prefix not in _PREFIXES or not label):
            problem = f"expected O or a tag such as B-PER, got {tag!r}"
        if problem:
            hint = "; a file of JSON lines must end in .jsonl" if line.startswith('{"') else ""
            raise CorpusError(f"{path}:{number}: {problem}{hint}")
        rows.append((word, tag))


def _spans(tags: Sequence[str]) -> list[Span]:
    """Spans of *tags* of any scheme: one starts at B, S or U, after E or L, and where the label changes."""
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
    return spans


class _Entity(NamedTuple):
    """Half-open code-point offsets into a text, and a label."""

    start: int
    end: int
    label: str


def _jsonl(path: Path, labels: LabelMap | None) -> Iterator[tuple[int, Sentence]]:
    num_entities = 0
    lost: list[int] = []  # lines of the entities that the server cannot find
    for number, line in enumerate(_lines(path), 1):
        if not line.strip():
            continue
        where = f"{path}:{number}"
        document = _document(line, where)
        if document.get("answer", "accept") != "accept":
            continue
        text = document["text"]
        native = [_entity(item, len(text), where) for item in _items(document, where)]
        mapped = [entity._replace(label=_mapped(entity.label, labels, where)) for entity in native]
        entities = sorted(entity for entity in mapped if entity.label != "O")
        for before, after in pairwise(entities):
            if before.end > after.start:
                raise CorpusError(f"{where}: expected entities that do not overlap, {before[:2]} and {after[:2]} do")
        sentences, num_lost = _aligned(text, entities, where)
        num_entities += len(entities)
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


def _document(line: str, where: str) -> dict[str, Any]:
    """The JSON object in *line*, whose ``text`` is a string."""
    try:
        document = json.loads(line)
    except (ValueError, RecursionError) as error:  # ValueError: also a number of thousands of digits
        raise CorpusError(f"{where}: expected a JSON object: {error}") from error
    if not isinstance(document, dict) or not isinstance(document.get("text"), str):
        raise CorpusError(f'{where}: expected a JSON object with "text", a string')
    return document


def _items(document: Mapping[str, Any], where: str) -> list[object]:
    """The list of entities in *document*, under one of ``_ENTITY_KEYS``."""
    keys = [key for key in _ENTITY_KEYS if key in document]
    if len(keys) != 1:
        expected = " or ".join(f'"{key}"' for key in _ENTITY_KEYS)
        got = " and ".join(f'"{key}"' for key in keys) or "none of them"
        raise CorpusError(f"{where}: expected {expected}, got {got}")
    items = document[keys[0]]
    if not isinstance(items, list):
        raise CorpusError(f'{where}: expected "{keys[0]}" to be a list, got {type(items).__name__}')
    return items


def _entity(item: object, num_chars: int, where: str) -> _Entity:
    """*item*, an object or a list of three, as an entity."""
    match [item.get(key) for key in _Entity._fields] if isinstance(item, dict) else item:
        case [int(start), int(end), str(label)] if label:
            if not 0 <= start < end <= num_chars:
                raise CorpusError(f"{where}: expected 0 <= start < end <= {num_chars}, got start {start}, end {end}")
            return _Entity(start, end, label)
    raise CorpusError(f"{where}: expected an entity to have start and end, whole numbers, and a label")


def _aligned(text: str, entities: Sequence[_Entity], where: str) -> tuple[list[Sentence], int]:
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
            tokens += [Token(text[start:end], start, end) for start, end in parts]
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


def _mapped(label: str, labels: LabelMap | None, where: str) -> str:
    if labels is None:
        return label
    try:
        return labels[label]
    except KeyError as error:
        raise CorpusError(f"{where}: label {label!r} is not in the label map") from error
