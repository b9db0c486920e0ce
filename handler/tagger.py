"""Texts in, entities out, with no server in it.

All arithmetic behind the word vectors runs in float64 and scores are rounded
to ``SCORE_DIGITS``: matrix kernels round differently for different batch
shapes, and only so does a text get the same answer, to the byte, alone and in
any batch (docs/decisions/0003).
"""

from __future__ import annotations

import contextlib
import math
from bisect import bisect_right
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from handler.bundle import Bundle, tags_of
from handler.calibration import SCORE_DIGITS, calibrated, log_odds
from handler.chain import best_path, piece_marginals
from handler.entities import Entity, TaggedText, TokenWeight
from handler.features import ERASED
from handler.labels import Span, span_tags, tags_to_spans
from handler.limits import check_explained_sentence
from handler.model import Batch
from handler.tokens import split_sentences

#: Tokens in one pass of the network, padding included; a sentence that has more is seen through windows of as many.
MAX_BATCH_TOKENS = 2048

#: Decimals of a token's weight, in units of log-odds.
WEIGHT_DIGITS = 4


class ScoredSpan(NamedTuple):
    """A span over tokens and its score, as :class:`handler.entities.Entity` has it."""

    span: Span
    score: float


class _NotWantedError(Exception):
    """Nobody waits for this sentence any more."""


class Tagger:
    """Finds the entities of texts with the model of one bundle."""

    def __init__(self, bundle: Bundle) -> None:
        self.config = bundle.config
        self.digest = bundle.digest
        self._encoder = bundle.encoder()
        self._model = bundle.model.double().eval()
        self._tags = tags_of(bundle.config.model)
        self._tag_ids = {tag: i for i, tag in enumerate(self._tags)}

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
        words = [[token.text for token in sentence] for _, sentence in sentences]
        entities: list[list[Entity]] = [[] for _ in texts]
        counts: list[Counter[str]] = [Counter() for _ in texts]
        found_in = self.tag_words(words, lambda row: is_wanted(sentences[row][0]))
        for (i, sentence), of_sentence, spans in zip(sentences, words, found_in, strict=True):
            counts[i].update(of_sentence)
            for (first, last, label), score in spans:
                start, end = sentence[first].start, sentence[last - 1].end
                entities[i].append(Entity(texts[i][start:end], label, start, end, score))
        return [
            TaggedText(found, of_text.total(), self._encoder.num_unseen(of_text))
            for found, of_text in zip(entities, counts, strict=True)
        ]

    def explain(self, text: str, entities: Sequence[Entity]) -> list[list[TokenWeight]]:
        """For each of *entities*, found in *text* by :meth:`tag` and in text order, what its sentence's tokens weigh.

        Erasure (Li, Monroe and Jurafsky 2016, "Understanding Neural Networks through Representation Erasure"): each
        token is replaced by a word that the network knows nothing of, and its weight is what the log-odds of the
        score of exactly this span and label fall by (docs/decisions/0013).

        Raises:
            TextTooLongError: a sentence with one of *entities* has more than ``MAX_EXPLAINED_TOKENS`` tokens.
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
        spans: list[list[ScoredSpan]] = [[] for _ in sentences]
        for group in _batches([len(sentence) for sentence in sentences]):
            rows = [row for row in group if is_wanted(row)]
            if not rows:
                continue
            if len(sentences[rows[0]]) > MAX_BATCH_TOKENS:
                with contextlib.suppress(_NotWantedError):
                    spans[rows[0]] = self._decode_long(sentences[rows[0]], partial(is_wanted, rows[0]))
                continue
            for row, found in zip(rows, self._decode([sentences[row] for row in rows]), strict=True):
                spans[row] = found
        return spans

    @torch.inference_mode()
    def _decode(self, sentences: Sequence[Sequence[str]]) -> list[list[ScoredSpan]]:
        batch = self._encoder.batch(sentences, torch.float64)
        emissions = self._model.emissions(batch)
        scheme = self.config.model.scheme
        rows: list[int] = []
        spans: list[Span] = []
        for row, path in enumerate(self._model.crf.viterbi_decode(emissions, batch.mask)):
            found = tags_to_spans([self._tags[i] for i in path], scheme)
            rows += [row] * len(found)
            spans += found
        marginals = self._span_marginals(emissions, batch.mask, rows, spans)
        scored: list[list[ScoredSpan]] = [[] for _ in sentences]
        for row, span, marginal in zip(rows, spans, marginals, strict=True):
            scored[row].append(ScoredSpan(span, self._score(marginal, span.label)))
        return scored

    def _span_marginals(
        self, emissions: Tensor, mask: Tensor, rows: Sequence[int], spans: Sequence[Span]
    ) -> list[float]:
        """Probability that row ``rows[n]`` holds exactly the entity ``spans[n]``: (B, T, K), (B, T) -> N numbers."""
        scheme = self.config.model.scheme
        paths = [[self._tag_ids[tag] for tag in span_tags(span.label, span.end - span.start, scheme)] for span in spans]
        starts = [span.start for span in spans]
        marginals = self._model.crf.path_marginals(emissions, mask, rows, starts, paths)
        if scheme == "BIO":  # a path B I* may go on: take away the part that does
            lengths = mask.sum(1).tolist()
            inside = [n for n, span in enumerate(spans) if span.end < lengths[rows[n]]]
            longer = [[*paths[n], self._tag_ids[f"I-{spans[n].label}"]] for n in inside]
            marginals[inside] -= self._model.crf.path_marginals(
                emissions, mask, [rows[n] for n in inside], [starts[n] for n in inside], longer
            )
        numbers: list[float] = marginals.tolist()
        return numbers

    @torch.inference_mode()
    def _erasure_weights(self, words: Sequence[str], spans: Sequence[Span]) -> list[list[float]]:
        """What each of *words* weighs for each of *spans*: a list a span, T numbers each."""
        variants = [list(words), *([*words[:i], ERASED, *words[i + 1 :]] for i in range(len(words)))]
        at_once = max(1, MAX_BATCH_TOKENS // len(words))
        odds: list[list[float]] = []  # (T + 1, N), the sentence as it stands first
        for i in range(0, len(variants), at_once):
            batch = self._encoder.batch(variants[i : i + at_once], torch.float64)
            num_rows = len(batch.words)
            rows = [row for row in range(num_rows) for _ in spans]
            marginals = self._span_marginals(self._model.emissions(batch), batch.mask, rows, list(spans) * num_rows)
            found = [log_odds(marginal) for marginal in marginals]
            odds += [found[row * len(spans) : (row + 1) * len(spans)] for row in range(num_rows)]
        slope = self.config.calibration.slope if self.config.calibration else 1.0
        whole, *erased = odds
        return [
            [round(slope * (whole[n] - without[n]), WEIGHT_DIGITS) + 0.0 for without in erased]  # no -0.0
            for n in range(len(spans))
        ]

    @torch.inference_mode()
    def _decode_long(self, sentence: Sequence[str], is_wanted: Callable[[], bool]) -> list[ScoredSpan]:
        """The same for one sentence of any length, in memory that is bounded but for K numbers a token.

        Raises:
            _NotWantedError: *is_wanted*, asked before each window, said no.
        """

        def window(i: int) -> Batch:
            if not is_wanted():
                raise _NotWantedError
            words = sentence[i * MAX_BATCH_TOKENS : (i + 1) * MAX_BATCH_TOKENS]
            return self._encoder.batch([words], torch.float64)

        num_windows = math.ceil(len(sentence) / MAX_BATCH_TOKENS)
        emissions = self._model.emissions_of_windows(window, num_windows)[0].numpy()
        chain = self._model.crf.chain()
        path = best_path(chain, emissions)
        scheme = self.config.model.scheme
        spans = tags_to_spans([self._tags[i] for i in path.tolist()], scheme)
        first = np.array([span.start for span in spans], np.int64)
        last = np.array([span.end - 1 for span in spans], np.int64)
        unlike = [self._tag_ids[f"I-{span.label}"] if scheme == "BIO" else -1 for span in spans]
        marginals = piece_marginals(chain, emissions, path, first=first, last=last, unlike=np.array(unlike, np.int64))
        return [
            ScoredSpan(span, self._score(marginal, span.label))
            for span, marginal in zip(spans, marginals.tolist(), strict=True)
        ]

    def _score(self, marginal: float, label: str) -> float:
        calibration = self.config.calibration
        if calibration:
            return calibrated(marginal, calibration.slope, calibration.offsets[label])
        return min(1.0, max(0.0, round(marginal, SCORE_DIGITS)))


def _batches(lengths: Sequence[int]) -> Iterator[list[int]]:
    """Indices of the non-empty sentences in groups of like length, each within ``MAX_BATCH_TOKENS`` when padded.

    Padding stays below a quarter of a group.
    """
    group: list[int] = []
    for i in sorted((i for i, length in enumerate(lengths) if length), key=lambda i: lengths[i]):
        longest = lengths[i]
        if group and (longest * (len(group) + 1) > MAX_BATCH_TOKENS or longest * 3 > lengths[group[0]] * 4 + 12):
            yield group
            group = []
        group.append(i)
    if group:
        yield group
