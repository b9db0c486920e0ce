"""The profile of a model: counts of its training files, and of what it finds in its dev files."""

from __future__ import annotations

from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from handler.calibration import SCORE_BOUNDS
from handler.config import Profile, TextCounts
from handler.labels import Span
from handler.network.features import FeatureEncoder
from training.corpora import Sentence
from training.examples import OR
from training.scoring.evaluation import TaggedSentence


def profile(
    train: Sequence[Sentence], dev: Sequence[Sentence], found: Iterable[TaggedSentence], encoder: FeatureEncoder
) -> Profile:
    """The profile of the model with *encoder*, trained on *train*; *found* is *dev* with all that it finds."""
    annotated = (span for sentence in train for span in sentence.spans if OR not in span.label)
    entities = [entity for sentence in found for entity in sentence.found]
    counts = Counter(bisect_left(SCORE_BOUNDS, entity.score) for entity in entities)
    return Profile(
        train=_counts(train, annotated, encoder),
        dev=_counts(dev, (entity.span for entity in entities), encoder),
        scores=tuple(counts[i] for i in range(len(SCORE_BOUNDS))),
    )


def _counts(sentences: Sequence[Sentence], spans: Iterable[Span], encoder: FeatureEncoder) -> TextCounts:
    """The counts of *sentences*, with the server's sentences and words, and of *spans*."""
    num_sentences = 0
    words = Counter[str]()
    for sentence in sentences:
        for edges in sentence.served:
            num_sentences += 1
            words.update("".join(sentence.words[start:end]) for start, end in pairwise(edges))
    num_unseen = sum(count for word, count in words.items() if encoder.word_features(word).row < 0)
    return TextCounts(num_sentences, words.total(), num_unseen, Counter(span.label for span in spans))
