"""spaCy's ``.spacy`` files (``DocBin``), where spaCy is installed."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from pathlib import Path

from training.corpora.documents import Document, Entity
from training.errors import CorpusError

#: The first bytes of a file that zlib made with its default settings, as spaCy does; no UTF-8 text begins so.
_ZLIB = b"x\x9c"


def is_docbin(data: bytes, suffix: str) -> bool:
    """True if *data* is a ``.spacy`` file rather than text; *suffix* alone is not enough."""
    return data.startswith(_ZLIB) or (suffix == ".spacy" and not data[:1].isascii())


def read(path: Path, data: bytes) -> Iterator[tuple[int, Document]]:
    """The texts of *data*, the content of *path*, with the entities (``Doc.ents``) of each, and their numbers from 1.

    Raises:
        CorpusError: spaCy is not installed, or cannot read *path*, or a text has no entities annotated.
    """
    try:
        from spacy.tokens import DocBin
        from spacy.vocab import Vocab
    except ImportError as error:
        raise CorpusError(
            f"{path}: spaCy is needed to read its files, and is not installed: .venv/bin/pip install spacy"
        ) from error
    try:
        docs = list(DocBin().from_bytes(data).get_docs(Vocab()))
        entities = [tuple(Entity(span.start_char, span.end_char, span.label_) for span in doc.ents) for doc in docs]
    except (KeyError, TypeError, ValueError, zlib.error) as error:
        raise CorpusError(f"{path}: expected a file of spaCy's DocBin: {error}") from error
    for number, (doc, found) in enumerate(zip(docs, entities, strict=True), 1):
        where = f"{path}: text {number}"
        if not doc.has_annotation("ENT_IOB", require_complete=True):
            missing = "not all" if doc.has_annotation("ENT_IOB") else "no"
            groups = ", ".join(doc.spans) or "none"
            raise CorpusError(
                f"{where}: expected entities in doc.ents, got {missing} tokens annotated there; span groups: {groups}"
            )
        yield number, Document(doc.text, found, where)
