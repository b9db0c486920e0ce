"""What a training sentence says of its tags: one for each token, or several where the annotation leaves it open.

Open are the tokens of an entity whose label stands for several (``"corporation|group"``; with ``O`` among them it may
be none), and the untagged tokens of a corpus that does not annotate every label: they may be entities of the others.
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

#: Between the labels that an entity may have.
OR = "|"


class Example(NamedTuple):
    """A training sentence.

    Attributes:
        sentence: Its words and entities.
        tags: For each token the ids of the tags that it may have.
        corpus: The name of the corpus that it comes from.
    """

    sentence: Sentence
    tags: tuple[tuple[int, ...], ...]
    corpus: str


class Annotator:
    """Makes examples of sentences, for one set of tags."""

    def __init__(self, model: ModelConfig, unannotated: Mapping[str, Collection[str]]) -> None:
        """*unannotated* names the labels that a corpus does not annotate.

        Raises:
            ConfigError: one of them is no label of the model.
        """
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
        """The example that *sentence* of *corpus* makes."""
        tags = [self._untagged.get(corpus, self._ids["O"])] * len(sentence.words)
        for span in sentence.spans:
            tags[span.start : span.end] = self._options(span)
        return Example(sentence, tuple(tags), corpus)

    def perturbed(self, example: Example, shares: Mapping[str, float], chance: random.Random) -> Example:
        """*Example*, or as often as the *shares* say, the same in another guise."""
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


def targets(examples: Sequence[Example], num_tags: int) -> Tensor:
    """What the loss is taken of: tag ids (B, T), or where any is open, the allowed ones (B, T, K) bool."""
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
    """The labels that entities of *sentences* have or may have, sorted.

    >>> all_labels([Sentence(("Queen",), (Span(0, 1, "group|person|O"),))])
    ['group', 'person']
    """
    return sorted(
        {label for sentence in sentences for span in sentence.spans for label in span.label.split(OR)} - {"O"}
    )
