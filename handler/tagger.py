"""Texts to entities with the model of one bundle, and what each token contributes to an entity's score."""

from __future__ import annotations

import contextlib
import math
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import accumulate
from pathlib import Path
from typing import NamedTuple

import numpy as np

from contract.entities import Elsewhere, Entity, Explanation, TokenWeight
from contract.limits import check_explained_sentence
from contract.options import DEFAULT
from handler.bundle import Bundle, tags_of
from handler.calibration import SCORE_DIGITS, calibrated, log_odds
from handler.documents import Mention, agreed, deciding, find_shifts
from handler.labels import Span
from handler.network.chain import Scores
from handler.network.decoding import Shift, SpanDecoder
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


class _Found(NamedTuple):
    """A span over the words of its sentence, and its marginal probability."""

    span: Span
    marginal: float


class ScoredSpan(NamedTuple):
    """A span over tokens and its score, as in :class:`contract.entities.Entity`."""

    span: Span
    score: float


@dataclass(slots=True)
class _Sentence:
    """A sentence of T words, and what is known of it so far.

    Attributes:
        words: The words.
        num_unseen: How many of them have no pretrained vector of their own.
        emissions: Of the network, word by word: (T, K); None where no second look is taken.
        alone: Spans that the sentence alone has, with their marginals.
        shifts: What the rest of the text adds to its scores.
        again: Spans by these scores; :func:`documents.agreed` makes them ``found``.
        found: Spans that are answered.
    """

    words: Sequence[str]
    num_unseen: int = 0
    emissions: Scores | None = None
    alone: Sequence[_Found] = ()
    shifts: Sequence[Shift] = ()
    again: Sequence[_Found] = ()
    found: Sequence[_Found] = ()

    @property
    def heard(self) -> list[_Found]:
        """What speaks for a label elsewhere: the spans of the sentence alone, and others by the second look."""
        more = {found.span: found for found in [*self.again, *self.alone]}
        return [more[span] for span in sorted(more)]


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
        self,
        texts: Sequence[str],
        is_cancelled: Callable[[int], bool] = lambda _: False,
        contexts: Sequence[str] | None = None,
    ) -> list[TaggedText]:
        """Entities and number of tokens of each text.

        *is_cancelled* is asked with the index of a text before each piece of work on it; where it is true, the rest of
        the text is skipped, and its result is incomplete.  *contexts* has one of ``contract.options.CONTEXTS`` for each
        text, by default the first for all.
        """
        rows: list[tuple[int, Tokens]] = []
        documents: list[range] = []
        for i, text in enumerate(texts):
            with contextlib.suppress(CancelledError):
                first = len(rows)
                rows += [(i, one) for one in split_sentences(text, check_by(partial(is_cancelled, i)))]
                if contexts is None or contexts[i] == DEFAULT.context:
                    documents.append(range(first, len(rows)))
        sentences = self._tag([tokens.words for _, tokens in rows], documents, lambda row: is_cancelled(rows[row][0]))
        entities: list[list[Entity]] = [[] for _ in texts]
        num_tokens, num_unseen = [0] * len(texts), [0] * len(texts)
        for (i, tokens), sentence in zip(rows, sentences, strict=True):
            num_tokens[i] += len(tokens.words)
            num_unseen[i] += sentence.num_unseen
            entities[i] += [self._entity(texts[i], tokens, found) for found in sentence.found]
        return list(map(TaggedText, entities, num_tokens, num_unseen))

    def explain(
        self, text: str, entities: Sequence[Entity], check: Check = never, context: str = DEFAULT.context
    ) -> list[Explanation]:
        """Why each of *entities* was found in *text* by :meth:`tag_texts` with the same *context*.

        Erasure (Li, Monroe and Jurafsky 2016, "Understanding Neural Networks through Representation Erasure"): each
        token in turn is replaced by a word of which the network knows nothing; its weight is what the log-odds of
        exactly this span and label fall by (docs/decisions/0013).  What the rest of the text adds stays as it is; it is
        told beside the tokens of an entity that differs from its sentence's own.

        Raises:
            TextTooLongError: the sentence of an entity has more than ``MAX_EXPLAINED_TOKENS`` tokens.
            CancelledError: by *check*, which is called between pieces of the work.
        """
        if not entities:
            return []
        rows = split_sentences(text, check)
        starts = [row[0].start for row in rows]
        spans_of: dict[int, list[Span]] = {}
        for entity in entities:
            i = bisect_right(starts, entity.start) - 1
            first, last = rows[i].starts.index(entity.start), rows[i].ends.index(entity.end)
            spans_of.setdefault(i, []).append(Span(first, last + 1, entity.label))
        for i in spans_of:
            check_explained_sentence(len(rows[i]))
        documents = [range(len(rows))] if context == DEFAULT.context else []

        def is_cancelled(_: int) -> bool:
            check()
            return False

        sentences = self._tag([row.words for row in rows], documents, is_cancelled)
        explained = []
        for i, spans in spans_of.items():
            weights = self._erasure_weights(sentences[i], spans, check)
            for span, of_span in zip(spans, weights, strict=True):
                tokens = [
                    TokenWeight(text[start:end], start, end, weight)
                    for (_, start, end), weight in zip(rows[i], of_span, strict=True)
                ]
                explained.append(Explanation(tokens, self._elsewhere(text, rows, sentences, i, span)))
        return explained

    def tag_words(self, sentences: Sequence[Sequence[str]]) -> list[list[ScoredSpan]]:
        """Entities over the words of each sentence by itself; a sentence without words has none."""
        return [list(map(self._scored, one.found)) for one in self._tag(sentences, [], lambda _: False)]

    def tag_documents(self, documents: Sequence[Sequence[Sequence[str]]]) -> list[list[list[ScoredSpan]]]:
        """Entities over the words of each sentence of each document; a name that stands elsewhere in it counts."""
        stops = list(accumulate(map(len, documents), initial=0))
        ranges = list(map(range, stops[:-1], stops[1:]))
        sentences = self._tag([words for document in documents for words in document], ranges, lambda _: False)
        return [[list(map(self._scored, sentences[row].found)) for row in rows] for rows in ranges]

    def _tag(
        self, sentences: Sequence[Sequence[str]], documents: Sequence[range], is_cancelled: Callable[[int], bool]
    ) -> list[_Sentence]:
        """*sentences*, tagged one by one, and then again as the texts that *documents* make of them."""
        tagged = [_Sentence(words) for words in sentences]
        several = [rows for rows in documents if len(rows) > 1]
        kept = {row for rows in several for row in rows}
        for rows, check in _pieces(tagged, range(len(tagged)), is_cancelled):
            with contextlib.suppress(CancelledError):
                packing = Packing.of([len(tagged[row].words) for row in rows])
                emissions, is_unseen = self._network.emit([tagged[row].words for row in rows], packing, check)
                found = self._decode(emissions, packing, check)
                by_word = emissions[packing.positions] if not kept.isdisjoint(rows) else None
                stops = np.cumsum(packing.lengths)
                num_unseen = np.add.reduceat(is_unseen.astype(np.int64), stops - packing.lengths).tolist()
                for row, count, spans, stop in zip(rows, num_unseen, found, stops.tolist(), strict=True):
                    sentence = tagged[row]
                    sentence.num_unseen, sentence.alone, sentence.found = count, spans, spans
                    if by_word is not None and row in kept:
                        sentence.emissions = by_word[stop - len(sentence.words) : stop]
        if several:
            self._look_again(tagged, several, is_cancelled)
        return tagged

    def _look_again(
        self, tagged: Sequence[_Sentence], documents: Sequence[range], is_cancelled: Callable[[int], bool]
    ) -> None:
        """Decode the sentences again in which a name stands that their document has elsewhere, too."""
        changed: list[range] = []
        shifted: dict[int, Scores] = {}
        for rows in documents:
            document = [tagged[row] for row in rows]
            if not any(one.alone for one in document) or any(one.emissions is None and one.words for one in document):
                continue  # nothing is known, or not all of it
            with contextlib.suppress(CancelledError):
                mentions = [Mention(i, *found) for i, one in enumerate(document) for found in one.alone]
                words = [one.words for one in document]
                shifts: list[list[Shift]] = [[] for _ in document]
                for i, shift in find_shifts(words, mentions, check_by(partial(is_cancelled, rows[0]))):
                    shifts[i].append(shift)
                for one, of_one in zip(document, shifts, strict=True):
                    one.shifts = of_one
            for row, one in zip(rows, document, strict=True):
                if one.shifts and one.emissions is not None:
                    shifted[row] = self._decoder.shifted(one.emissions, one.shifts)
            if not shifted.keys().isdisjoint(rows):
                changed.append(rows)
        for part, check in _pieces(tagged, list(shifted), is_cancelled):
            packing = Packing.of([len(tagged[row].words) for row in part])
            emissions = np.concatenate([shifted[row] for row in part])[packing.tokens]
            with contextlib.suppress(CancelledError):
                for row, found in zip(part, self._decode(emissions, packing, check), strict=True):
                    tagged[row].found = found
        for rows in changed:
            document = [tagged[row] for row in rows]
            mentions = [Mention(i, *found) for i, one in enumerate(document) for found in one.found]
            agreeing: list[list[_Found]] = [[] for _ in document]
            for i, span, marginal in agreed([one.words for one in document], mentions):
                agreeing[i].append(_Found(span, marginal))
            for one, found in zip(document, agreeing, strict=True):
                one.again, one.found = one.found, found

    def _decode(self, emissions: Scores, packing: Packing, check: Check) -> list[list[_Found]]:
        """The spans of each sentence, in the order given: (N, K) by position of *packing*."""
        found: list[list[_Found]] = [[] for _ in packing.lengths]
        decoded = self._decoder.decode(emissions, packing, check)
        for sentence, span, marginal in in_pieces(zip(*decoded, strict=True), check):
            found[sentence].append(_Found(span, marginal))
        return found

    def _elsewhere(
        self, text: str, rows: Sequence[Tokens], sentences: Sequence[_Sentence], i: int, span: Span
    ) -> Elsewhere | None:
        """Why *span* of sentence *i* is not as its sentence alone has it; None if it is."""
        here = sentences[i]
        alone = [found for found in here.alone if found.span.start < span.end and span.start < found.span.end]
        ours = [found for found in here.found if found.span == span]
        if not ours or list(map(self._scored, alone)) == list(map(self._scored, ours)):
            return None
        words = [sentence.words for sentence in sentences]
        mentions = [Mention(row, *one) for row, sentence in enumerate(sentences) for one in sentence.heard]
        shifted = [Span(*shift[:3]) for shift in here.shifts]  # of a neighbour, where nothing is known of the span
        decided = deciding(words, mentions, i, [span]) or deciding(words, mentions, i, shifted)
        closest = min(alone, key=lambda found: found.span[:2] != span[:2], default=None)
        return Elsewhere(
            None if closest is None else self._entity(text, rows[i], closest),
            [self._entity(text, rows[row], _Found(found, marginal)) for row, found, marginal in decided],
        )

    def _scored(self, found: _Found) -> ScoredSpan:
        return ScoredSpan(found.span, self._score(found.marginal, found.span.label))

    def _entity(self, text: str, tokens: Tokens, found: _Found) -> Entity:
        (first, last, label), score = self._scored(found)
        start, end = tokens.starts[first], tokens.ends[last - 1]
        return Entity(text[start:end], label, start, end, score)

    def _erasure_weights(self, sentence: _Sentence, spans: Sequence[Span], check: Check) -> list[list[float]]:
        """Weights of the T words of *sentence* for each of M *spans*: M lists of T numbers."""
        words = sentence.words
        variants = [list(words), *([*words[:i], ERASED, *words[i + 1 :]] for i in range(len(words)))]
        odds: list[list[float]] = []  # (T + 1, M), those of the sentence as given first
        for batch in _batches([len(words)] * len(variants)):
            check()
            packing = Packing.of([len(words)] * len(batch))
            emissions, _ = self._network.emit([variants[i] for i in batch], packing)
            rows = range(len(batch))
            if sentence.shifts:
                by_word = emissions[packing.positions]
                shifts = [
                    shift._replace(start=shift.start + row * len(words), end=shift.end + row * len(words))
                    for row in rows
                    for shift in sentence.shifts
                ]
                emissions = self._decoder.shifted(by_word, shifts)[packing.tokens]
            marginals = self._decoder.marginals(
                emissions, packing, [row for row in rows for _ in spans], list(spans) * len(batch)
            )
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


def _pieces(
    sentences: Sequence[_Sentence], rows: Sequence[int], is_cancelled: Callable[[int], bool]
) -> Iterator[tuple[list[int], Check]]:
    """Those of *rows* that are not cancelled in batches that fit the network, and the check of each batch."""
    for batch in _batches([len(sentences[row].words) for row in rows]):
        part = [rows[i] for i in batch if not is_cancelled(rows[i])]
        if part:
            yield part, check_by(partial(is_cancelled, part[0])) if len(part) == 1 else never  # else it is short


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
