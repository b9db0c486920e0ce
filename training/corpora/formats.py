"""Which reader reads a file: its content decides, and its suffix where the content leaves it open."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from training.corpora import conll, docbin, kaggle
from training.corpora.annotations import TaggedWords, read_annotation
from training.corpora.documents import Document
from training.corpora.json_files import Value, has_value_a_line, is_json, read_values
from training.corpora.sentences import LabelMap, Sentence
from training.corpora.sources import decode, read_data
from training.corpora.tags import read_tags
from training.errors import CorpusError

logger = logging.getLogger(__name__)


def read_items(
    path: Path,
    labels: LabelMap | None = None,
    *,
    tag_column: int | None = None,
    tag_names: Sequence[str] = (),
    without: Collection[int] = (),
) -> Iterator[tuple[int, Document | Sentence]]:
    """The sentences of *path*, or its documents where it holds texts, with mapped labels, each with its first line.

    *tag_column* is the column of tags in CoNLL columns, counted from 1; *tag_names* are the names of the tags 0, 1, ...
    Of CoNLL columns and JSON lines, the lines whose numbers are in *without* are as if they were blank.

    Raises:
        CorpusError: names the file and the line that cannot be read, what was expected and the way out.
    """
    data = read_data(path)
    suffix = path.suffix.lower()
    binary = docbin.is_docbin(data, suffix)
    text = "" if binary else decode(data, path)
    if tag_column is not None and (binary or is_json(text, suffix) or kaggle.is_csv(text)):
        raise CorpusError(f"{path}: expected CoNLL columns, as a column of tags is given, got another format")
    if binary:
        for number, document in docbin.read(path, data):
            yield number, document.mapped(labels)
        return
    if without and (has_value_a_line(text) if is_json(text, suffix) else not kaggle.is_csv(text)):
        text = "\n".join("" if number in without else line for number, line in enumerate(text.split("\n"), 1))
    if is_json(text, suffix):
        yield from _annotations(path, text, labels, tag_names)
    elif kaggle.is_csv(text):
        yield from kaggle.read(path, text, labels)
    else:
        yield from conll.read(path, text, labels, tag_column)


def _annotations(
    path: Path, text: str, labels: LabelMap | None, tag_names: Sequence[str]
) -> Iterator[tuple[int, Document | Sentence]]:
    items = [(value, read_annotation(value.value, value.where)) for value in _unpacked(read_values(path, text))]
    first_lines: dict[str, int] = {}
    for value, item in items:
        if isinstance(item, TaggedWords):
            item.tags[:] = [_tag_name(tag, tag_names, value, path) for tag in item.tags]
            for tag in item.tags:
                first_lines.setdefault(str(tag), value.line)
    tags = read_tags(first_lines, path)
    for value, item in items:
        if isinstance(item, Document):
            yield value.line, item.mapped(labels)
        elif item is not None and item.words:
            known = [tags[str(tag)] for tag in item.tags]
            yield from conll.numbered(
                path, item.words, known, lines=[value.line] * len(known), starts=[0], labels=labels
            )
    left_out = sum(item is None for _, item in items)
    if items and left_out == len(items):
        raise CorpusError(f"{path}: expected sentences, got none: all texts are rejected, ignored or not annotated")
    if left_out:
        logger.info("%s: %d of %d texts are rejected, ignored or not annotated", path, left_out, len(items))


def _unpacked(values: Iterable[Value]) -> Iterator[Value]:
    """*values*; of one with ``classes``, as NER Annotator writes them, the items of ``annotations``."""
    for value in values:
        if (
            isinstance(value.value, dict)
            and "classes" in value.value
            and isinstance(value.value.get("annotations"), list)
        ):
            for number, item in enumerate(value.value["annotations"], 1):
                if item is not None:
                    yield Value(item, value.line, f"{value.where}, item {number}")
        else:
            yield value


def _tag_name(tag: str | int, names: Sequence[str], value: Value, path: Path) -> str:
    """*tag*, or the one of *names* that it is the number of."""
    if isinstance(tag, str):
        return tag.strip()
    if not names:
        raise CorpusError(
            f"{value.where}: expected names of tags, got numbers; give their names in order:"
            f" nerserve data convert {path} --tag-names O,B-PER,I-PER --out NEW.conll"
            ' (Hugging Face: dataset.features["ner_tags"].feature.names)'
        )
    if not 0 <= tag < len(names):
        raise CorpusError(f"{value.where}: expected a tag from 0 to {len(names) - 1}, as there are names, got {tag}")
    return names[tag]
