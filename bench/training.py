"""How fast training is on one core: ``nerserve train``'s own loop beside a plain PyTorch loop, in one run.

All train a model of the size that we ship on the same sentences, one after the
other within each round, so that a change of the machine's mood meets all of
them.  The plain loop is what one writes without thinking of speed: an
``nn.Embedding`` for all words of the corpus, a character CNN over every token,
shuffled batches of 32 padded sentences, packed for the LSTM, Adam, and the same
CRF.  It is measured twice: with word vectors that are trained, the usual way,
and with frozen ones, as ours are.  It gets every fourth sentence, as each of its
steps costs the same; ours takes sentences of one length together, and gets all.

Ours runs with the default settings, which do more: perturbed sentences, an
average of the weights, sums in one order.  It is charged for the first look at
every word, for scoring a dev sentence, and for writing the run's state and its
best epoch.  Time is CPU time, so that a second thread would be charged for, too;
the share of the clock says how much of a core the loop got.

    python -m bench.training                                two to four minutes on an idle machine
    python -m bench.training --train train.conll --json     with sentences of a file of yours
"""

from __future__ import annotations

import argparse
import json
import math
import random
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from handler.config import BundleConfig, ModelConfig, TrainingConfig
from handler.errors import NERError
from handler.labels import Span, spans_to_tags, tag_rules, tag_set
from handler.network.crf import LinearChainCRF
from handler.network.features import CASES, case_of
from handler.vectors import WordVectors
from training.corpora import Sentence, label_set, read_corpus
from training.errors import TrainingError
from training.examples import OR
from training.trainer import Trainer

LABELS = ("LOC", "MISC", "ORG", "PER")
WORD_DIM, CHAR_FILTERS, HIDDEN_DIM = 150, 100, 320
MAX_PLAIN_CHARS = 20
PLAIN_EVERY = 4
WARM_UP = 64

#: Of the generated corpus: like newspapers, 22 tokens a sentence on average, one in a hundred above 60.
MEAN_TOKENS, LENGTH_SIGMA, MAX_TOKENS = 22, 0.5, 150
NUM_WORDS = 15_000

OURS, TRAINED, FROZEN = "nerserve train", "plain loop", "plain loop, frozen vectors"


class Lap(NamedTuple):
    """An epoch: its tokens, and the seconds that it took of CPU time and by the clock."""

    num_tokens: int
    cpu_s: float
    clock_s: float

    @property
    def speed(self) -> float:
        """Tokens a second of CPU time."""
        return self.num_tokens / self.cpu_s


def generated(num_sentences: int) -> list[Sentence]:
    """Sentences of made-up words, which are as often and as long as English ones are; the same each time."""
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


class PlainBatch(NamedTuple):
    """Shapes: B sentences, T tokens, C characters; ``lengths`` are on the CPU, as packing wants them."""

    words: Tensor
    cases: Tensor
    chars: Tensor
    tags: Tensor
    lengths: Tensor


class PlainTagger(nn.Module):
    """The network of ``handler/network/model.py`` without its economies: each token is looked up and convolved anew."""

    def __init__(self, *, vectors: Tensor, freezes_vectors: bool, num_chars: int, tags: Sequence[str]) -> None:
        super().__init__()
        defaults = ModelConfig(labels=LABELS)
        self.words = nn.Embedding(len(vectors), vectors.size(1), padding_idx=0)
        self.words.weight.data.copy_(vectors)
        self.words.weight.requires_grad_(not freezes_vectors)
        self.cases = nn.Embedding(len(CASES) + 1, defaults.case_dim, padding_idx=0)
        self.chars = nn.Embedding(num_chars, defaults.char_dim, padding_idx=0)
        self.convolution = nn.Conv1d(defaults.char_dim, CHAR_FILTERS, defaults.char_kernel, padding="same")
        width = vectors.size(1) + defaults.case_dim + CHAR_FILTERS
        self.lstm = nn.LSTM(width, HIDDEN_DIM // 2, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(HIDDEN_DIM, len(tags))
        self.dropout = nn.Dropout(TrainingConfig().dropout)
        self.crf = LinearChainCRF(len(tags), tag_rules(tags, "IOBES"))

    def loss(self, batch: PlainBatch) -> Tensor:
        """Negative log-likelihood of the tags, a mean over the tokens: a scalar."""
        num_rows, num_tokens, num_chars = batch.chars.shape
        chars = self.chars(batch.chars.view(-1, num_chars)).transpose(1, 2)  # (B * T, char_dim, C)
        pooled = self.convolution(chars).amax(dim=2).relu().view(num_rows, num_tokens, -1)
        tokens = self.dropout(torch.cat([self.words(batch.words), self.cases(batch.cases), pooled], dim=2))
        packed = pack_padded_sequence(tokens, batch.lengths, batch_first=True, enforce_sorted=False)
        contexts, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        emissions = self.linear(self.dropout(contexts))
        mask = torch.arange(num_tokens) < batch.lengths.unsqueeze(1)
        return -self.crf.log_likelihood(emissions, batch.tags, mask).sum() / mask.sum()


class PlainLoop:
    """The plain loop over *sentences*; the ids of all words of the corpus are looked up beforehand."""

    def __init__(self, sentences: Sequence[Sentence], vectors: WordVectors, *, freezes_vectors: bool) -> None:
        words = vectors.words()
        chars = {char: i for i, char in enumerate(sorted({char for word in words for char in word}), 1)}
        tags = tag_set(label_set(sentences), "IOBES")
        rows = torch.from_numpy(vectors.take(np.arange(len(words))))
        torch.manual_seed(0)
        self._model = PlainTagger(
            vectors=nn.functional.pad(rows, (0, 0, 1, 0)),
            freezes_vectors=freezes_vectors,
            num_chars=len(chars) + 1,
            tags=tags,
        )
        self._word_ids = {word: i for i, word in enumerate(words, 1)}
        self._cases = {word: case_of(word) + 1 for word in words}
        self._chars = {word: torch.tensor([chars[char] for char in word[:MAX_PLAIN_CHARS]]) for word in words}
        self._tag_ids = {tag: i for i, tag in enumerate(tags)}
        self._sentences = list(sentences)

    def fit(self) -> None:
        """Train for an epoch."""
        settings = TrainingConfig()
        parameters = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate)
        self._model.train()
        for batch in self._batches(settings.batch_size):
            optimizer.zero_grad()
            loss = self._model.loss(batch)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
            optimizer.step()
            loss.item()  # as a loop that reports its loss

    def _batches(self, num_rows: int) -> Iterator[PlainBatch]:
        random.shuffle(self._sentences)
        for first in range(0, len(self._sentences), num_rows):
            yield self._collated(self._sentences[first : first + num_rows])

    def _collated(self, sentences: Sequence[Sentence]) -> PlainBatch:
        lengths = torch.tensor([len(sentence.words) for sentence in sentences])
        chars = pad_sequence(
            [self._chars[word] for sentence in sentences for word in sentence.words], batch_first=True
        )  # (tokens, C)
        return PlainBatch(
            words=_padded([[self._word_ids[word] for word in sentence.words] for sentence in sentences]),
            cases=_padded([[self._cases[word] for word in sentence.words] for sentence in sentences]),
            chars=pad_sequence([*torch.split(chars, lengths.tolist())], batch_first=True),
            tags=_padded(
                [
                    [self._tag_ids[tag] for tag in spans_to_tags(sentence.spans, len(sentence.words), "IOBES")]
                    for sentence in sentences
                ]
            ),
            lengths=lengths,
        )


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True)


def our_loop(sentences: Sequence[Sentence], vectors: WordVectors, run: Path) -> Trainer:
    """The loop of ``nerserve train``, for one epoch with its default settings."""
    model = ModelConfig(
        labels=tuple(label_set(sentences)),
        word_dim=vectors.dim,
        char_filters=CHAR_FILTERS,
        hidden_dim=HIDDEN_DIM,
    )
    return Trainer(
        config=BundleConfig(name="bench", version="1.0", model=model, training=TrainingConfig(max_epochs=1)),
        vectors=vectors,
        train={"train": sentences},
        dev={"dev": sentences[:1]},
        run=run,
        threads=1,
    )


def lap(sentences: Sequence[Sentence], vectors: WordVectors, name: str) -> Lap:
    """An epoch of a new model with the loop called *name*; what comes before it is not counted."""
    with tempfile.TemporaryDirectory() as folder:
        fit: Callable[[], object]
        if name == OURS:
            fit = our_loop(sentences, vectors, Path(folder)).fit
        else:
            sentences = sentences[::PLAIN_EVERY]
            fit = PlainLoop(sentences, vectors, freezes_vectors=name == FROZEN).fit
        cpu_s, clock_s = time.process_time(), time.perf_counter()
        fit()
        cpu_s, clock_s = time.process_time() - cpu_s, time.perf_counter() - clock_s
    return Lap(sum(len(sentence.words) for sentence in sentences), cpu_s, clock_s)


def measured(sentences: Sequence[Sentence], num_rounds: int) -> dict[str, list[Lap]]:
    """The laps of each loop, one a round; the first pass, over a few sentences, is not counted."""
    words = sorted({word for sentence in sentences for word in sentence.words})
    random_vectors = np.random.default_rng(0).normal(size=(len(words), WORD_DIM)).astype(np.float32)
    vectors = WordVectors.new(words, random_vectors, "int8")
    laps: dict[str, list[Lap]] = {name: [] for name in (OURS, TRAINED, FROZEN)}
    for name in laps:
        lap(sentences[:WARM_UP], vectors, name)
    for number in range(num_rounds):
        for name in list(laps)[:: -1 if number % 2 else 1]:
            laps[name].append(lap(sentences, vectors, name))
            print(f"round {number + 1}/{num_rounds}: {name} {laps[name][-1].clock_s:.1f} s", file=sys.stderr)
    return laps


def ratios(laps: Mapping[str, Sequence[Lap]], name: str) -> list[float]:
    """How many times as fast ours is as the loop called *name*, round by round."""
    return [ours.speed / theirs.speed for ours, theirs in zip(laps[OURS], laps[name], strict=True)]


def _sentences(path: Path | None, num_sentences: int) -> list[Sentence]:
    if path is None:
        return generated(num_sentences)
    sentences = [sentence for sentence in read_corpus(path) if sentence.words]
    if open_labels := [label for label in label_set(sentences) if OR in label]:
        raise SystemExit(f"{path}: expected one label for each entity, got {open_labels[0]}")
    chance = random.Random(0)
    return chance.sample(sentences, min(num_sentences, len(sentences)))


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure, and print the table or JSON; 1 when the file cannot be read."""
    parser = argparse.ArgumentParser(prog="python -m bench.training", description=__doc__.splitlines()[0])
    parser.add_argument("--train", type=Path, metavar="FILE", help="CoNLL or .jsonl (default: generated sentences)")
    parser.add_argument("--sentences", type=_positive, default=6000, metavar="N", help="at most (%(default)s)")
    parser.add_argument("--rounds", type=_positive, default=5, metavar="N", help="epochs of each loop (%(default)s)")
    parser.add_argument("--json", action="store_true", help="print JSON, with every round")
    given = parser.parse_args(arguments)
    torch.set_num_threads(1)
    try:
        sentences = _sentences(given.train, given.sentences)
        laps = measured(sentences, given.rounds)
    except (NERError, TrainingError) as error:
        print(error, file=sys.stderr)
        return 1
    if given.json:
        document = {
            "torch": torch.__version__,
            "laps": {name: [{**one._asdict(), "tokens_per_s": one.speed} for one in laps[name]] for name in laps},
            "ratios": {name: ratios(laps, name) for name in (TRAINED, FROZEN)},
        }
        print(json.dumps(document, indent=2))
        return 0
    num_tokens = laps[OURS][0].num_tokens
    print(
        f"{len(sentences):,} sentences, {num_tokens:,} tokens, {given.rounds} rounds, one thread,"
        f" PyTorch {torch.__version__}\n\n"
        f"{'tokens/s of CPU time':28} {'median':>8} {'lowest':>8} {'highest':>8} {'of the clock':>13}"
    )
    for name, of_loop in laps.items():
        share = sum(one.cpu_s for one in of_loop) / sum(one.clock_s for one in of_loop)
        print(f"{name:28} {_spread([one.speed for one in of_loop], ',.0f')} {share:13.0%}")
    print(f"\n{OURS} is so many times as fast as")
    for name in (TRAINED, FROZEN):
        print(f"{name:28} {_spread(ratios(laps, name), '.2f')}")
    return 0


def _spread(values: Sequence[float], form: str) -> str:
    return " ".join(f"{value:8{form}}" for value in (statistics.median(values), min(values), max(values)))


def _positive(text: str) -> int:
    if not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(f"expected a whole number above 0, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
