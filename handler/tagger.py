"""Texts in, entities out, with no server in it.

All arithmetic behind the word vectors runs in float64 and scores are rounded
to ``SCORE_DIGITS``: matrix kernels round differently for different batch
shapes, and only so does a text get the same answer, to the byte, alone and in
any batch (docs/decisions/0003).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import torch

from handler.bundle import Bundle, tags_of
from handler.calibration import SCORE_DIGITS, calibrated
from handler.labels import Span, span_tags, tags_to_spans
from handler.tokens import split_sentences

#: Tokens in one pass of the network, padding included, unless one sentence alone has more.
MAX_BATCH_TOKENS = 2048


class Entity(NamedTuple):
    """A named entity: ``text == given_text[start:end]``, half-open code-point offsets.

    ``score`` is the calibrated marginal probability of exactly this span with
    this label, in [0, 1]; of a bundle without a calibration, the CRF's own
    marginal probability.
    """

    text: str
    label: str
    start: int
    end: int
    score: float


class ScoredSpan(NamedTuple):
    """A span over tokens and its score, as :class:`Entity` has it."""

    span: Span
    score: float


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
        sentences = [(i, sentence) for i, text in enumerate(texts) for sentence in split_sentences(text)]
        found = self.tag_words([[token.text for token in sentence] for _, sentence in sentences])
        entities: list[list[Entity]] = [[] for _ in texts]
        for (i, sentence), spans in zip(sentences, found, strict=True):
            for (first, last, label), score in spans:
                start, end = sentence[first].start, sentence[last - 1].end
                entities[i].append(Entity(texts[i][start:end], label, start, end, score))
        return entities

    def tag_words(self, sentences: Sequence[Sequence[str]]) -> list[list[ScoredSpan]]:
        """Entities over the words of each sentence; a sentence without words has none."""
        spans: list[list[ScoredSpan]] = [[] for _ in sentences]
        for rows in _batches([len(sentence) for sentence in sentences]):
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
        paths = [[self._tag_ids[tag] for tag in span_tags(span.label, span.end - span.start, scheme)] for span in spans]
        starts = [span.start for span in spans]
        marginals = self._model.crf.path_marginals(emissions, batch.mask, rows, starts, paths)
        if scheme == "BIO":  # a path B I* may go on: take away the part that does
            inside = [n for n, span in enumerate(spans) if span.end < len(sentences[rows[n]])]
            longer = [[*paths[n], self._tag_ids[f"I-{spans[n].label}"]] for n in inside]
            marginals[inside] -= self._model.crf.path_marginals(
                emissions, batch.mask, [rows[n] for n in inside], [starts[n] for n in inside], longer
            )
        scored: list[list[ScoredSpan]] = [[] for _ in sentences]
        for row, span, marginal in zip(rows, spans, marginals.tolist(), strict=True):
            scored[row].append(ScoredSpan(span, self._score(marginal, span.label)))
        return scored

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
