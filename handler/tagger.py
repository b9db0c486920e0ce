"""Texts to entities with the model of one bundle, and what each token contributes to an entity's score."""

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
from handler.network.inference import MAX_ROWS, MAX_TOKENS, Network
from handler.network.packing import Packing
from handler.pieces import CancelledError, Check, check_by, in_pieces, never
from handler.text.sentences import split_sentences
from handler.text.tokens import Tokens

#: Decimals of a token's weight, in log-odds.
WEIGHT_DIGITS = 4


class TaggedText(NamedTuple):
    """The entities of a text, in text order; ``num_unseen`` of its tokens have no pretrained vector of their own."""

    entities: list[Entity]
    num_tokens: int
    num_unseen: int


class ScoredSpan(NamedTuple):
    """A span over tokens and its score, as in :class:`contract.entities.Entity`."""

    span: Span
    score: float


class _TaggedSentence(NamedTuple):
    """The entities of a sentence; ``num_unseen`` of its tokens have no pretrained vector of their own."""

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
        """A tagger with the bundle in *folder*; raises BundleError."""
        return cls(Bundle.load(folder))

    def tag(self, texts: Sequence[str]) -> list[list[Entity]]:
        """Entities of each text, in text order; a text's are equal alone and in any batch."""
        return [tagged.entities for tagged in self.tag_texts(texts)]

    def tag_texts(
        self, texts: Sequence[str], is_cancelled: Callable[[int], bool] = lambda _: False
    ) -> list[TaggedText]:
        """Entities and number of tokens of each text.

        *is_cancelled* is asked with the index of a text before each piece of work on it; where it is true, the rest of
        the text is skipped, and its result is incomplete.
        """
        sentences: list[tuple[int, Tokens]] = []
        for i, text in enumerate(texts):
            with contextlib.suppress(CancelledError):
                sentences += [(i, one) for one in split_sentences(text, check_by(partial(is_cancelled, i)))]
        entities: list[list[Entity]] = [[] for _ in texts]
        num_tokens, num_unseen = [0] * len(texts), [0] * len(texts)
        found = self._tag_sentences(
            [tokens.words for _, tokens in sentences], lambda row: is_cancelled(sentences[row][0])
        )
        for (i, tokens), tagged in zip(sentences, found, strict=True):
            num_tokens[i] += len(tokens.words)
            num_unseen[i] += tagged.num_unseen
            for (first, last, label), score in tagged.spans:
                start, end = tokens.starts[first], tokens.ends[last - 1]
                entities[i].append(Entity(texts[i][start:end], label, start, end, score))
        return list(map(TaggedText, entities, num_tokens, num_unseen))

    def explain(self, text: str, entities: Sequence[Entity], check: Check = never) -> list[list[TokenWeight]]:
        """For each of *entities*, found in *text* by :meth:`tag`, the weights of the tokens of its sentence.

        Erasure (Li, Monroe and Jurafsky 2016, "Understanding Neural Networks through Representation Erasure"): each
        token in turn is replaced by a word of which the network knows nothing; its weight is what the log-odds of the
        score of exactly this span and label fall by (docs/decisions/0013).

        Raises:
            TextTooLongError: the sentence of an entity has more than ``MAX_EXPLAINED_TOKENS`` tokens.
            CancelledError: by *check*, which is called between pieces of the work.
        """
        sentences = split_sentences(text, check)
        starts = [sentence[0].start for sentence in sentences]
        spans_of: dict[int, list[Span]] = {}
        for entity in entities:
            i = bisect_right(starts, entity.start) - 1
            first, last = sentences[i].starts.index(entity.start), sentences[i].ends.index(entity.end)
            spans_of.setdefault(i, []).append(Span(first, last + 1, entity.label))
        for i in spans_of:
            check_explained_sentence(len(sentences[i]))
        explained = []
        for i, spans in spans_of.items():
            explained += [
                [
                    TokenWeight(text[start:end], start, end, weight)
                    for (_, start, end), weight in zip(sentences[i], weights, strict=True)
                ]
                for weights in self._erasure_weights(sentences[i].words, spans, check)
            ]
        return explained

    def tag_words(self, sentences: Sequence[Sequence[str]]) -> list[list[ScoredSpan]]:
        """Entities over the words of each sentence; a sentence without words has none."""
        return [tagged.spans for tagged in self._tag_sentences(sentences, lambda _: False)]

    def _tag_sentences(
        self, sentences: Sequence[Sequence[str]], is_cancelled: Callable[[int], bool]
    ) -> list[_TaggedSentence]:
        tagged = [_TaggedSentence([], 0) for _ in sentences]
        for batch in _batches([len(sentence) for sentence in sentences]):
            rows = [row for row in batch if not is_cancelled(row)]
            if not rows:
                continue
            with contextlib.suppress(CancelledError):
                check = check_by(partial(is_cancelled, rows[0])) if len(rows) == 1 else never  # else it is short
                found = self._decode([sentences[row] for row in rows], check)
                for row, sentence in zip(rows, found, strict=True):
                    tagged[row] = sentence
        return tagged

    def _decode(self, sentences: Sequence[Sequence[str]], check: Check) -> list[_TaggedSentence]:
        lengths = [len(sentence) for sentence in sentences]
        packing = Packing.of(lengths)
        emissions, is_unseen = self._network.emit(sentences, packing, check)
        num_unseen = np.add.reduceat(is_unseen.astype(np.int64), np.cumsum([0, *lengths[:-1]])).tolist()
        tagged = [_TaggedSentence([], count) for count in num_unseen]
        decoded = self._decoder.decode(emissions, packing, check)
        for sentence, span, marginal in in_pieces(zip(*decoded, strict=True), check):
            tagged[sentence].spans.append(ScoredSpan(span, self._score(marginal, span.label)))
        return tagged

    def _erasure_weights(self, words: Sequence[str], spans: Sequence[Span], check: Check) -> list[list[float]]:
        """Weights of T *words* for each of M *spans*: M lists of T numbers."""
        variants = [list(words), *([*words[:i], ERASED, *words[i + 1 :]] for i in range(len(words)))]
        odds: list[list[float]] = []  # (T + 1, M), those of the sentence as given first
        for batch in _batches([len(words)] * len(variants)):
            check()
            packing = Packing.of([len(words)] * len(batch))
            emissions, _ = self._network.emit([variants[i] for i in batch], packing)
            sentences = [n for n in range(len(batch)) for _ in spans]
            marginals = self._decoder.marginals(emissions, packing, sentences, list(spans) * len(batch))
            found = [log_odds(marginal) for marginal in marginals]
            odds += [found[n : n + len(spans)] for n in range(0, len(found), len(spans))]
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
    """Indices of the non-empty sentences in batches that fit the network, the longest first.

    The batches are as even as possible: the more sentences share a step, the less it costs for each.
    """
    ranked = sorted((i for i, length in enumerate(lengths) if length), key=lambda i: -lengths[i])
    max_rows = math.ceil(len(ranked) / max(1, math.ceil(len(ranked) / MAX_ROWS)))
    batch: list[int] = []
    num_tokens = 0
    for i in ranked:
        if batch and (len(batch) == max_rows or num_tokens + lengths[i] > MAX_TOKENS):
            yield batch
            batch, num_tokens = [], 0
        batch.append(i)
        num_tokens += lengths[i]
    if batch:
        yield batch
