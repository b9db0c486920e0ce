"""Any corpus as CoNLL columns or JSON lines."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate
from pathlib import Path
from typing import Literal, NamedTuple, get_args

from contract.strict_json import Encoder
from handler.text.tokens import tokenize
from training.corpora.conll import conll_text
from training.corpora.documents import Document, Entity, sentences_of
from training.corpora.formats import read_items
from training.corpora.sentences import LabelMap, Sentence
from training.errors import CorpusError

Format = Literal["conll", "jsonl"]
FORMATS: tuple[Format, ...] = get_args(Format)

_SUFFIXES: dict[str, Format] = {
    **dict.fromkeys((".conll", ".txt", ".tsv", ".iob", ".iob2", ".bio"), "conll"),
    **dict.fromkeys((".jsonl", ".ndjson"), "jsonl"),
}
_ENCODER = Encoder()


class Converted(NamedTuple):
    """What was written: sentences of CoNLL columns or texts of JSON lines, entities in them, and what was not kept."""

    num_written: int
    num_entities: int
    not_kept: list[str]


def output_format(out: Path) -> Format:
    """The format that the suffix of *out* stands for; raises CorpusError if it stands for none."""
    try:
        return _SUFFIXES[out.suffix.lower()]
    except KeyError as error:
        raise CorpusError(
            f"{out}: expected a name that ends in .conll or .jsonl, or --format conll or jsonl"
        ) from error


def convert(
    source: Path,
    out: Path,
    written_as: Format,
    labels: LabelMap | None = None,
    *,
    tag_column: int | None = None,
    tag_names: Sequence[str] = (),
    overwrite: bool = False,
) -> Converted:
    """Write *source*, whose labels *labels* map, to *out*, as a whole or not at all.

    *tag_column* and *tag_names* are as in :func:`~training.corpora.formats.read_items`.

    Raises:
        CorpusError: *source* cannot be read, or *out* not be written, or it is there and not to be overwritten.
    """
    if out.exists() and not overwrite:
        raise CorpusError(f"{out}: is there already; --overwrite replaces it")
    items = list(read_items(source, labels, tag_column=tag_column, tag_names=tag_names))
    if not items:
        raise CorpusError(f"{source}: expected sentences, got none")
    has_texts = any(isinstance(item, Document) for _, item in items)
    not_kept = ["ids, scores and other keys" if has_texts else "other columns, comments and the ends of documents"]
    if written_as == "conll":
        sentences = [sentence for _, sentence in sentences_of(source, items)]
        if has_texts:
            not_kept.append("the blanks between words and the ends of texts, which are split as the server splits them")
        count, num_entities = len(sentences), sum(len(sentence.spans) for sentence in sentences)
        content = conll_text(sentences, source)
    else:
        if any(isinstance(item, Sentence) for _, item in items):
            not_kept.append(
                "the words: each sentence becomes a text, joined by blanks, which the server splits by itself"
            )
        documents = [_as_document(item, f"{source}:{line}") for line, item in items]
        count, num_entities = len(documents), sum(len(document.entities) for document in documents)
        content = "".join(map(_json_line, documents))
    part = out.with_name(f"{out.name}.part")
    try:
        part.write_text(content, encoding="utf-8", newline="\n")
        part.replace(out)
    except OSError as error:
        raise CorpusError(f"{out}: cannot be written: {error.strerror}") from error
    return Converted(count, num_entities, not_kept)


def _as_document(item: Document | Sentence, where: str) -> Document:
    """*item* as a text, the words of a sentence joined by blanks.

    Raises:
        CorpusError: an entity holds nothing that the server sees, so that the text would be refused.
    """
    if isinstance(item, Sentence):
        starts = [0, *accumulate(len(word) + 1 for word in item.words)]
        entities = (Entity(starts[start], starts[end] - 1, label) for start, end, label in item.spans)
        item = Document(" ".join(item.words), tuple(entities), where)
    for start, end, _ in item.entities:
        if not len(tokenize(item.text[start:end])):
            raise CorpusError(f"{item.where}: expected an entity to hold a word, {(start, end)} of its text holds none")
    return item


def _json_line(document: Document) -> str:
    entities = [entity._asdict() for entity in document.entities]
    return _ENCODER.encode({"text": document.text, "entities": entities}) + "\n"
