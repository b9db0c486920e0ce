"""``nerserve train``'s own loop on one core, beside a plain PyTorch loop.

All train a model of the size that we ship on the same sentences, in turn within
each round, so that a slow spell of the machine meets all of them.  The plain
loop (``bench/rivals/plain_training.py``) is measured twice: with word vectors
that are trained, as is common, and with frozen ones, as ours are.  It gets every
fourth sentence, as each of its steps costs the same; ours groups sentences by
length, and gets all.

Ours runs with the default settings, which do more: perturbed sentences, an
average of the weights, sums in one order.  Its time includes the first look-up
of every word, the scoring of a dev sentence, and writing the run's state and
best epoch.  Time is CPU time, which a second thread would add to; the share of
the clock is the share of a core that the loop got.
"""

from __future__ import annotations

import math
import random
import tempfile
import time
from collections.abc import Callable, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch

from bench.errors import BenchInputError
from bench.report import Report, Table
from bench.rivals.plain_training import CHAR_FILTERS, HIDDEN_DIM, PlainLoop
from bench.rounds import each, interleaved, ratio, spreads
from bench.settings import Settings
from handler.config import BundleConfig, ModelConfig, TrainingConfig
from handler.labels import Span
from handler.vectors import WordVectors
from training.corpora import Sentence, label_set, read_corpus
from training.examples import OR
from training.trainer import Trainer

LABELS: Final = ("LOC", "MISC", "ORG", "PER")
WORD_DIM: Final = 150
PLAIN_EVERY: Final = 4
WARM_UP: Final = 64

#: Of the generated corpus: like newspapers, 22 tokens a sentence on average, one in a hundred above 60.
MEAN_TOKENS, LENGTH_SIGMA, MAX_TOKENS = 22, 0.5, 150
NUM_WORDS: Final = 15_000

OURS, TRAINED, FROZEN = "nerserve train", "plain loop", "plain loop, frozen vectors"


class Lap(NamedTuple):
    """An epoch: its tokens, and its seconds of CPU time and by the clock."""

    num_tokens: int
    cpu_s: float
    clock_s: float

    @property
    def speed(self) -> float:
        """Tokens a second of CPU time."""
        return self.num_tokens / self.cpu_s


def run(report: Report, settings: Settings, train: Path | None = None, sentences: int = 6000) -> None:
    """Measure epochs over at most *sentences* sentences of the file *train*, or generated ones."""
    torch.set_num_threads(1)
    corpus = _read(train, sentences) if train else generated(sentences)
    laps = _measured(report, corpus, settings.num_rounds)
    table = Table(
        "Training, one thread: tokens a second",
        ("loop", "tokens/s of CPU time", "of the clock", f"{OURS} / this one"),
        note=f"{len(corpus):,} sentences, {laps[OURS][0].num_tokens:,} tokens, {settings.num_rounds} rounds, "
        f"PyTorch {torch.__version__}",
    )
    for name, own in laps.items():
        share = sum(each(own, "cpu_s")) / sum(each(own, "clock_s"))
        compared = ratio(each(laps[OURS], "speed"), each(own, "speed")) if name != OURS else ""
        table.rows.append([name, *spreads(own, "speed"), f"{share:.0%}", compared])
    report.add(table)


def _measured(report: Report, sentences: Sequence[Sentence], num_rounds: int) -> dict[str, list[Lap]]:
    """The laps of each loop, one a round, after a warm-up over a few sentences."""
    words = sorted({word for sentence in sentences for word in sentence.words})
    random_vectors = np.random.default_rng(0).normal(size=(len(words), WORD_DIM)).astype(np.float32)
    vectors = WordVectors.new(words, random_vectors, "int8")
    names = (OURS, TRAINED, FROZEN)
    report.progress.begin("Training", num_rounds * len(names))
    for name in names:
        lap(sentences[:WARM_UP], vectors, name)
    turns = {name: lambda _, name=name: lap(sentences, vectors, name) for name in names}
    return interleaved(turns, num_rounds, report.progress)


def lap(sentences: Sequence[Sentence], vectors: WordVectors, name: str) -> Lap:
    """An epoch of a new model with the loop *name*; its preparation is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        fit: Callable[[], object]
        if name == OURS:
            fit = _our_loop(sentences, vectors, Path(folder)).fit
        else:
            sentences = sentences[::PLAIN_EVERY]
            fit = PlainLoop(sentences, vectors, freezes_vectors=name == FROZEN).fit
        cpu_s, clock_s = time.process_time(), time.perf_counter()
        fit()
        cpu_s, clock_s = time.process_time() - cpu_s, time.perf_counter() - clock_s
    return Lap(sum(len(sentence.words) for sentence in sentences), cpu_s, clock_s)


def _our_loop(sentences: Sequence[Sentence], vectors: WordVectors, folder: Path) -> Trainer:
    """The loop of ``nerserve train``, for one epoch with its default settings."""
    model = ModelConfig(
        labels=tuple(label_set(sentences)), word_dim=vectors.dim, char_filters=CHAR_FILTERS, hidden_dim=HIDDEN_DIM
    )
    return Trainer(
        config=BundleConfig(name="bench", version="1.0", model=model, training=TrainingConfig(max_epochs=1)),
        vectors=vectors,
        train={"train": sentences},
        dev={"dev": sentences[:1]},
        run=folder,
        threads=1,
    )


def _read(path: Path, num_sentences: int) -> list[Sentence]:
    """A sample of the sentences of *path*."""
    sentences = [sentence for sentence in read_corpus(path) if sentence.words]
    if open_labels := [label for label in label_set(sentences) if OR in label]:
        raise BenchInputError(f"{path}: expected one label for each entity, got {open_labels[0]}")
    return random.Random(0).sample(sentences, min(num_sentences, len(sentences)))


def generated(num_sentences: int) -> list[Sentence]:
    """Sentences of made-up words with the frequencies and lengths of English ones; the same each time."""
    chance = random.Random(0)
    words = [_word(rank, chance) for rank in range(NUM_WORDS)]
    weights = list(accumulate(1 / (rank + 1) for rank in range(NUM_WORDS)))  # Zipf
    sentences = []
    for _ in range(num_sentences):
        mu = math.log(MEAN_TOKENS) - LENGTH_SIGMA**2 / 2
        num_tokens = min(MAX_TOKENS, max(1, round(chance.lognormvariate(mu, LENGTH_SIGMA))))
        spans = []
        start = chance.randrange(12)
        while start < num_tokens:
            end = min(num_tokens, start + chance.choice((1, 1, 1, 2, 2, 3)))
            spans.append(Span(start, end, chance.choice(LABELS)))
            start = end + 1 + chance.randrange(20)
        sentences.append(Sentence(tuple(chance.choices(words, cum_weights=weights, k=num_tokens)), tuple(spans)))
    return sentences


def _word(rank: int, chance: random.Random) -> str:
    """A word of letters, longer where it is rarer; one in six has a capital."""
    length = max(1, round(chance.gauss(1.2 + 0.7 * math.log(rank + 2), 1.3)))
    word = "".join(chance.choices("etaoinshrdlucmfwypvbgkqjxz", range(26, 0, -1), k=length))
    return word.title() if chance.random() < 1 / 6 else word
