"""Texts in, entities out, with no server in it."""

from __future__ import annotations

import contextlib
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np

from contract.entities import Entity, TokenWeight
from contract.limits import check_explained_sentence
from handler.bundle import Bundle, tags_of
from handler.calibration import SCORE_DIGITS, calibrated, log_odds
from handler.labels import Span
from handler.network.decoding import SpanDecoder
from handler.network.features import ERASED
from handler.network.inference import MAX_ROWS, MAX_TOKENS, Network, NotWantedError
from handler.network.packing import Packing
from handler.tokens import split_sentences

#: Decimals of a token's weight, in units of log-odds.
WEIGHT_DIGITS = 4


class TaggedText(NamedTuple):
    """The entities of a text, in text order; ``num_unseen`` of its tokens have no pretrained vector of their own."""

    entities: list[Entity]
    num_tokens: int
    num_unseen: int


class ScoredSpan(NamedTuple):
    """A span over tokens and its score, as :class:`contract.entities.Entity` has it."""

    span: Span
    score: float


class _TaggedSentence(NamedTuple):
    """The entities of a sentence, and how many of its tokens have no pretrained vector of their own."""

    spans: list[ScoredSpan]
    num_unseen: int


class Tagger:
    """Finds the entities of texts with the model of one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self.config = bundle.config
        self.digest = bundle.digest
        self._network = Network(bundle.model, bundle.encoder())
        self._decoder = SpanDecoder(bundle.model.crf.chain(), tags_of(bundle.config.model), bundle.config.model.scheme)

    @classmethod
    def load(cls, folder: Path) -> Tagger:
        """A tagger with the bundle in *folder*.

        Raises:
            BundleError: names what does not fit together.
        """
        return cls(Bundle.load(folder))

    def tag(self, texts: Sequence[str]) -> list[list[Entity]]:
        """Entities of each text, in text order; the same for a text alone and in any batch."""
        return [tagged.entities for tagged in self.tag_texts(texts)]

    def tag_texts(self, texts: Sequence[str], is_wanted: Callable[[int], bool] = lambda _: True) -> list[TaggedText]:
        """The same, with the number of tokens in each text.

        *is_wanted* is asked about a text, by its index, before each piece of work on it.  Once it says no, the rest
        of the text is left alone: what is found in it then is not all.
        """
        sentences = [(i, sentence) for i, text in enumerate(texts) for sentence in split_sentences(text)]
        entities: list[list[Entity]] = [[] for _ in texts]
        num_tokens, num_unseen = [0] * len(texts), [0] * len(texts)
        found = self._tag_sentences([tokens.words for _, tokens in sentences], lambda row: is_wanted(sentences[row][0]))
        for (i, tokens), tagged in zip(sentences, found, strict=True):
            num_tokens[i] += len(tokens.words)
            num_unseen[i] += tagged.num_unseen
            for (first, last, label), score in tagged.spans:
                start, end = tokens.starts[first], tokens.ends[last - 1]
                entities[i].append(Entity(texts[i][start:end], label, start, end, score))
        return list(map(TaggedText, entities, num_tokens, num_unseen))

    def explain(
        self, text: str, entities: Sequence[Entity], is_wanted: Callable[[], bool] = lambda: True
    ) -> list[list[TokenWeight]]:
        """For each of *entities*, found in *text* by :meth:`tag` and in text order, what its sentence's tokens weigh.

        Erasure (Li, Monroe and Jurafsky 2016, "Understanding Neural Networks through Representation Erasure"): each
        token is replaced by a word that the network knows nothing of, and its weight is what the log-odds of the
        score of exactly this span and label fall by (docs/decisions/0013).

        Raises:
            TextTooLongError: a sentence with one of *entities* has more than ``MAX_EXPLAINED_TOKENS`` tokens.
            NotWantedError: *is_wanted*, asked before each sentence with one of *entities*, said no.
        """
        sentences = split_sentences(text)
        starts = [sentence[0].start for sentence in sentences]
        spans_of: dict[int, list[Span]] = {}
        for entity in entities:
            place = bisect_right(starts, entity.start) - 1
            first = next(n for n, token in enumerate(sentences[place]) if token.start == entity.start)
            last = next(n for n, token in enumerate(sentences[place]) if token.end == entity.end)
            spans_of.setdefault(place, []).append(Span(first, last + 1, entity.label))
        for place in spans_of:
            check_explained_sentence(len(sentences[place]))
        explained = []
        for place, spans in spans_of.items():
            if not is_wanted():
                raise NotWantedError
            weights = self._erasure_weights([token.text for token in sentences[place]], spans)
            explained += [
                [TokenWeight(*token, weight) for token, weight in zip(sentences[place], of_span, strict=True)]
                for of_span in weights
            ]
        return explained

    def tag_words(
        self, sentences: Sequence[Sequence[str]], is_wanted: Callable[[int], bool] = lambda _: True
    ) -> list[list[ScoredSpan]]:
        """Entities over the words of each sentence; a sentence without words, or no longer wanted, has none."""
        return [sentence.spans for sentence in self._tag_sentences(sentences, is_wanted)]

    def _tag_sentences(
        self, sentences: Sequence[Sequence[str]], is_wanted: Callable[[int], bool]
    ) -> list[_TaggedSentence]:
        tagged = [_TaggedSentence([], 0) for _ in sentences]
        for group in _batches([len(sentence) for sentence in sentences]):
            rows = [row for row in group if is_wanted(row)]
            if not rows:
                continue
            with contextlib.suppress(NotWantedError):
                found = self._decode([sentences[row] for row in rows], partial(is_wanted, rows[0]))
                for row, one in zip(rows, found, strict=True):
                    tagged[row] = one
        return tagged

    def _decode(self, sentences: Sequence[Sequence[str]], is_wanted: Callable[[], bool]) -> list[_TaggedSentence]:
        lengths = [len(sentence) for sentence in sentences]
        packing = Packing.of(lengths)
        emissions, is_unseen = self._network.emit(sentences, packing, is_wanted)
        num_unseen = np.add.reduceat(is_unseen.astype(np.int64), np.cumsum([0, *lengths[:-1]])).tolist()
        tagged = [_TaggedSentence([], count) for count in num_unseen]
        for sentence, span, marginal in zip(*self._decoder.decode(emissions, packing), strict=True):
            tagged[sentence].spans.append(ScoredSpan(span, self._score(marginal, span.label)))
        return tagged

    def _erasure_weights(self, words: Sequence[str], spans: Sequence[Span]) -> list[list[float]]:
        """What each of *words* weighs for each of *spans*: a list a span, T numbers each."""
        variants = [list(words), *([*words[:i], ERASED, *words[i + 1 :]] for i in range(len(words)))]
        odds: list[list[float]] = []  # (T + 1, M), the sentence as it stands first
        for group in _batches([len(words)] * len(variants)):
            packing = Packing.of([len(words)] * len(group))
            emissions, _ = self._network.emit([variants[i] for i in group], packing)
            sentences = [n for n in range(len(group)) for _ in spans]
            marginals = self._decoder.marginals(emissions, packing, sentences, list(spans) * len(group))
            found = [log_odds(marginal) for marginal in marginals]
            odds += [found[n * len(spans) : (n + 1) * len(spans)] for n in range(len(group))]
        slope = self.config.calibration.slope if self.config.calibration else 1.0
        whole, *erased = odds
        return [
            [round(slope * (whole[n] - without[n]), WEIGHT_DIGITS) + 0.0 for without in erased]  # no -0.0
            for n in range(len(spans))
        ]

    def _score(self, marginal: float, label: str) -> float:
        calibration = self.config.calibration
        if calibration:
            return calibrated(marginal, calibration.slope, calibration.offsets[label])
        return min(1.0, max(0.0, round(marginal, SCORE_DIGITS)))


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of the non-empty sentences in groups that the network takes at once, the longest first.

    The groups are as even as may be: the steps of one cost the less a sentence the more there are.
    """
    ranked = sorted((i for i, length in enumerate(lengths) if length), key=lambda i: -lengths[i])
    most = math.ceil(len(ranked) / max(1, math.ceil(len(ranked) / MAX_ROWS)))
    group: list[int] = []
    num_tokens = 0
    for i in ranked:
        if group and (len(group) == most or num_tokens + lengths[i] > MAX_TOKENS):
            yield group
            group, num_tokens = [], 0
        group.append(i)
        num_tokens += lengths[i]
    if group:
        yield group
