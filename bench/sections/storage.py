"""The loss of F1 by smaller word vectors: the same weights scored on dev files with vectors of several sizes.

Packs the vector files of a bundle anew for each choice of storage and number of
words, and scores the bundle's weights with them.  Nothing is trained: this is the
loss by storing less, not the result of training on less.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from bench.errors import BenchInputError
from bench.report import Cell, Report, Table
from bench.settings import Settings
from handler.bundle import Bundle
from handler.errors import errors_name
from handler.tables import STORAGES, Storage
from handler.tagger import Tagger
from handler.vectors import WordVectors
from training.corpora import label_set, read_corpus
from training.scoring.evaluation import evaluate
from training.vectors.pretrained import join
from training.vectors.vector_files import read_vectors


def run(
    report: Report, _: Settings, bundle: Path, vectors: Sequence[Path], dev: Sequence[Path], choices: Sequence[str]
) -> None:
    """Score *bundle* on the files *dev* with *vectors*, its own vector files in order, stored by each of *choices*."""
    torch.set_num_threads(1)
    stored = [_choice(text) for text in choices]
    with errors_name(bundle):
        whole = Bundle.load(bundle)
    parts = [read_vectors(path) for path in vectors]
    corpora = {path.stem: read_corpus(path) for path in dev}
    width, expected = sum(part.table.shape[1] for part in parts), whole.config.model.word_dim
    if width != expected:
        raise BenchInputError(f"expected vectors of width {expected}, as {bundle} has, got {width}")
    table = Table(f"F1 of {bundle.name} with smaller vectors", ("storage", "words", "MB", *corpora, "mean"))
    report.progress.begin(table.title, len(stored))
    for storage, max_words in stored:
        report.progress.step(f"{storage}, {max_words:,} words")
        smaller = join(parts, max_words=max_words, storage=storage)
        tagger = Tagger(replace(whole, vectors=smaller))
        f1s = [evaluate(tagger, corpus, label_set(corpus)).micro.f1 for corpus in corpora.values()]
        row: list[Cell] = [storage, len(smaller), _num_bytes(smaller) / 1e6]
        table.rows.append([*row, *(f"{f1:.2%}" for f1 in [*f1s, sum(f1s) / len(f1s)])])
    report.add(table)


def _choice(text: str) -> tuple[Storage, int]:
    name, _, words = text.partition(":")
    for storage in STORAGES:
        if name == storage and words.isdecimal() and int(words):
            return storage, int(words)
    expected = f"{' or '.join(STORAGES)}, a colon and a number of words"
    raise BenchInputError(f"--choices: expected {expected}, got {text!r}")


def _num_bytes(vectors: WordVectors) -> int:
    with tempfile.TemporaryDirectory() as folder:
        vectors.save(Path(folder))
        return sum(path.stat().st_size for path in Path(folder).iterdir())
