"""Training examples, with the allowed tags of each token, and the mini-batches of an epoch.

A token has several allowed tags if its entity's label is ambiguous (``"corporation|group"``; with ``O``, it may be no
entity), or if it is untagged in a corpus that does not annotate every label.
"""

from __future__ import annotations

import random
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from handler.bundle import tags_of
from handler.config import ModelConfig
from handler.errors import ConfigError
from handler.labels import Span, span_tags, split_tag
from training.corpora import Sentence
from training.perturbation import KEEPS_WORDS, PERTURBATIONS, draw

#: Separates the labels that an entity may have.
OR = "|"

#: Length of a typical sentence in tokens: ``batch_size`` sentences of this length fill a mini-batch.
_TYPICAL_LENGTH = 22


class Example(NamedTuple):
    """A training sentence.

    Attributes:
        sentence: Its words and entities.
        tags: The ids of the allowed tags of each token.
        corpus: The name of its corpus.
    """

    sentence: Sentence
    tags: tuple[tuple[int, ...], ...]
    corpus: str


class Annotator:
    """Makes examples of sentences, for the tags of one model."""

    def __init__(self, model: ModelConfig, unannotated: Mapping[str, Collection[str]]) -> None:
        """*unannotated*: labels that a corpus does not annotate, by its name; raises ConfigError for unknown labels."""
        tags = tags_of(model)
        self._scheme = model.scheme
        self._ids = {tag: (i,) for i, tag in enumerate(tags)}
        self._untagged: dict[str, tuple[int, ...]] = {}
        for corpus, labels in unannotated.items():
            if unknown := sorted(set(labels) - set(model.labels)):
                known = ", ".join(model.labels)
                raise ConfigError(f"training.unannotated: expected labels among {known} for {corpus}, got {unknown[0]}")
            self._untagged[corpus] = (0, *(i for i, tag in enumerate(tags) if split_tag(tag)[1] in labels))

    def example(self, sentence: Sentence, corpus: str) -> Example:
        """The example of *sentence*, which is of *corpus*."""
        tags = [self._untagged.get(corpus, self._ids["O"])] * len(sentence.words)
        for span in sentence.spans:
            tags[span.start : span.end] = self._options(span)
        return Example(sentence, tuple(tags), corpus)

    def perturbed(self, example: Example, shares: Mapping[str, float], chance: random.Random) -> Example:
        """*example*, perturbed with the probabilities in *shares*."""
        name = draw(shares, chance)
        if name is None:
            return example
        sentence = PERTURBATIONS[name](example.sentence, chance)
        return example._replace(sentence=sentence) if name in KEEPS_WORDS else self.example(sentence, example.corpus)

    def _options(self, span: Span) -> list[tuple[int, ...]]:
        length = span.end - span.start
        paths = [
            ["O"] * length if label == "O" else span_tags(label, length, self._scheme) for label in span.label.split(OR)
        ]
        return [tuple(i for tag in options for i in self._ids[tag]) for options in zip(*paths, strict=True)]


class BatchSampler:
    """Draws the mini-batches of an epoch, each of sentences of about one length.

    Sentences of one length need no padding, which the fused LSTM kernel does not skip; batches of short sentences are
    larger.  A corpus is drawn as often as *shares* says, by default once per epoch.
    """

    def __init__(self, examples: Sequence[Example], shares: Mapping[str, float], batch_size: int) -> None:
        self._lengths = [len(example.tags) for example in examples]
        self._shares = shares
        self._max_tokens = batch_size * _TYPICAL_LENGTH
        self._rows: dict[str, list[int]] = {}
        for row, example in enumerate(examples):
            self._rows.setdefault(example.corpus, []).append(row)

    def rows(self, shuffle: random.Random) -> list[int]:
        """Indices of the examples of an epoch, in random order."""
        drawn: list[int] = []
        for corpus, rows in self._rows.items():
            share = self._shares.get(corpus, 1)
            whole = int(share)
            drawn += rows * whole + shuffle.sample(rows, round((share - whole) * len(rows)))
        shuffle.shuffle(drawn)
        return drawn

    def batches(self, shuffle: random.Random) -> list[list[int]]:
        """Indices of the examples of each mini-batch, the batches in random order."""
        lengths = self._lengths
        rows = self.rows(shuffle)
        rows.sort(key=lambda row: lengths[row])  # stable: random within one length
        groups: list[list[int]] = []
        for row in rows:
            length = lengths[row]
            fits = groups and len(groups[-1]) * length < self._max_tokens and length <= lengths[groups[-1][0]] + 1
            if not fits:
                groups.append([])
            groups[-1].append(row)
        shuffle.shuffle(groups)
        return groups


def targets(examples: Sequence[Example], num_tags: int) -> Tensor:
    """The targets of the loss: tag ids (B, T) or, if a token has several allowed tags, a mask of them (B, T, K)."""
    first = nn.utils.rnn.pad_sequence(
        [torch.tensor([options[0] for options in example.tags]) for example in examples], batch_first=True
    )
    more = [
        (row, t, tag)
        for row, example in enumerate(examples)
        for t, options in enumerate(example.tags)
        for tag in options[1:]
    ]
    if not more:
        return first
    allowed = nn.functional.one_hot(first, num_tags).bool()
    rows, tokens, tags = torch.tensor(more).T
    allowed[rows, tokens, tags] = True
    return allowed


def all_labels(sentences: Iterable[Sentence]) -> list[str]:
    """The labels that the entities of *sentences* have or may have, sorted.

    >>> all_labels([Sentence(("Queen",), (Span(0, 1, "group|person|O"),))])
    ['group', 'person']
    """
    return sorted(
        {label for sentence in sentences for span in sentence.spans for label in span.label.split(OR)} - {"O"}
    )
