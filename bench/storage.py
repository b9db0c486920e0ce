"""What smaller word vectors cost: the same weights scored on dev files with vectors of several sizes.

Packs the vector files of a bundle anew for each choice of storage and number
of words, puts them under the bundle's weights and prints micro-F1 on each
file, their mean and the size of ``vectors/``.  Nothing is trained: what is
measured is the loss by storing less, not what training on less would give.

    python -m bench.storage models/en --vectors a.txt b.txt --dev dev-news.conll dev-web.conll
    python -m bench.storage models/en --vectors a.txt --dev dev.conll --choices float32:200000 int8:50000
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from handler.bundle import Bundle
from handler.tables import STORAGES, Storage
from handler.tagger import Tagger
from handler.vectors import WordVectors
from training.corpora import label_set, read_corpus
from training.evaluation import evaluate
from training.pretrained import join
from training.vector_files import read_vectors

CHOICES = "float32:200000 float16:200000 int8:200000 int8:50000 int8:100000 int8:400000"


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table; 2 when the vectors are not the bundle's."""
    parser = argparse.ArgumentParser(prog="python -m bench.storage", description=__doc__.splitlines()[0])
    parser.add_argument("bundle", type=Path, metavar="BUNDLE")
    parser.add_argument("--vectors", nargs="+", type=Path, required=True, metavar="FILE", help="in the bundle's order")
    parser.add_argument("--dev", nargs="+", type=Path, required=True, metavar="FILE", help="CoNLL or .jsonl")
    parser.add_argument("--choices", nargs="+", type=_choice, default=[*map(_choice, CHOICES.split())], metavar="S:N")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)

    bundle = Bundle.load(given.bundle)
    parts = [read_vectors(path) for path in given.vectors]
    width = sum(part.table.shape[1] for part in parts)
    if width != bundle.config.model.word_dim:
        print(f"expected vectors of width {bundle.config.model.word_dim}, as {given.bundle} has, got {width}")
        return 2
    corpora = {path.stem: read_corpus(path) for path in given.dev}
    print(f"{'storage':8} {'words':>8} {'MB':>7}", *(f"{name:>15}" for name in corpora), f"{'mean':>8}")
    for storage, max_words in given.choices:
        vectors = join(parts, max_words=max_words, storage=storage)
        tagger = Tagger(replace(bundle, vectors=vectors))
        f1s = [evaluate(tagger, corpus, label_set(corpus)).micro.f1 for corpus in corpora.values()]
        print(
            f"{storage:8} {len(vectors):8,} {_num_bytes(vectors) / 1e6:7.1f}",
            *(f"{f1:15.2%}" for f1 in f1s),
            f"{sum(f1s) / len(f1s):8.2%}",
            flush=True,
        )
    return 0


def _choice(text: str) -> tuple[Storage, int]:
    name, _, words = text.partition(":")
    for storage in STORAGES:
        if name == storage and words.isdecimal() and int(words):
            return storage, int(words)
    raise argparse.ArgumentTypeError(f"expected {' or '.join(STORAGES)}, a colon and a number of words, got {text!r}")


def _num_bytes(vectors: WordVectors) -> int:
    with tempfile.TemporaryDirectory() as folder:
        vectors.save(Path(folder))
        return sum(path.stat().st_size for path in Path(folder).iterdir())


if __name__ == "__main__":
    sys.exit(main())
