"""Comma-separated columns with a header: ``Sentence #,Word,POS,Tag``, as Kaggle's corpus has them."""

from __future__ import annotations

import csv
from collections.abc import Iterator
from pathlib import Path

from training.corpora.conll import numbered
from training.corpora.sentences import LabelMap, Sentence
from training.corpora.tags import read_tags
from training.errors import CorpusError

_SENTENCES = {"sentence #", "sentence", "sentence_id", "sentence id", "sentence_idx"}
_WORDS = {"word", "token", "words", "tokens"}
_TAGS = {"tag", "tags", "label", "labels", "ner", "ner_tag", "ner_tags"}


def is_csv(text: str) -> bool:
    r"""True if the first line of *text* names a column of words and one of tags, with commas between.

    >>> is_csv("Sentence #,Word,POS,Tag\n"), is_csv("word\tO\n")
    (True, False)
    """
    names = _names(text)
    return len(names) > 1 and not _WORDS.isdisjoint(names) and not _TAGS.isdisjoint(names)


def read(path: Path, text: str, labels: LabelMap | None = None) -> Iterator[tuple[int, Sentence]]:
    """The sentences of *text*, the content of *path*, each with its first line.

    A sentence begins where its column is neither empty nor as before.

    Raises:
        CorpusError: names the line that cannot be read.
    """
    names = _names(text)
    at: list[int] = []
    for kind, known in (("sentences", _SENTENCES), ("words", _WORDS), ("tags", _TAGS)):
        found = [i for i, name in enumerate(names) if name in known]
        if len(found) != 1:
            raise CorpusError(f"{path}:1: expected one column of {kind} in the header, got {len(found)}")
        at += found
    sentence_at, word_at, tag_at = at
    words: list[str] = []
    tags: list[str] = []
    lines: list[int] = []
    starts: list[int] = []
    sentence = ""
    reader = csv.reader([line + "\n" for line in text.split("\n")], strict=True)
    try:
        for row in reader:
            if reader.line_num == 1 or not row:
                continue
            if len(row) != len(names):
                raise CorpusError(f"{path}:{reader.line_num}: expected {len(names)} columns, got {len(row)}")
            word, name = row[word_at].strip(" "), row[sentence_at].strip()
            if not word.strip():
                raise CorpusError(f"{path}:{reader.line_num}: expected a token, got white space")
            if not words or name not in {"", sentence}:
                starts.append(len(words))
                sentence = name
            words.append(word)
            tags.append(row[tag_at].strip())
            lines.append(reader.line_num)
    except csv.Error as error:
        raise CorpusError(f"{path}:{reader.line_num}: expected comma-separated columns: {error}") from error
    if words:
        prefixed = read_tags(dict(zip(reversed(tags), reversed(lines), strict=True)), path)
        yield from numbered(path, words, [prefixed[tag] for tag in tags], lines=lines, starts=starts, labels=labels)


def _names(text: str) -> list[str]:
    return [name.strip(' "').casefold() for name in text.partition("\n")[0].split(",")]
