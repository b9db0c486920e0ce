"""Emissions to entities: the spans on the best path of each sentence, and how probable each of them is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from handler.chain import Chain, Indices, PathMarginals, Scores, viterbi_decode
from handler.labels import Scheme, Span, span_tags, split_tag
from handler.packing import Packing


class Decoded(NamedTuple):
    """M entities of B sentences: of each its sentence's index, its span and the probability of exactly that.

    They are in order, sentence by sentence.
    """

    sentences: list[int]
    spans: list[Span]
    marginals: list[float]


class SpanDecoder:
    """Reads entities off emissions by the CRF of *chain*, whose tag ids stand for *tags* of *scheme*.

    The chain forbids what the scheme does: every best path is well-formed.
    """

    def __init__(self, chain: Chain, tags: Sequence[str], scheme: Scheme) -> None:
        self._chain = chain
        self._scheme = scheme
        self._tag_ids = {tag: i for i, tag in enumerate(tags)}
        prefixes, self._labels = zip(*map(split_tag, tags), strict=True)
        self._begins = np.array([prefix in {"B", "S"} for prefix in prefixes])
        self._ends = np.array([prefix in {"E", "S"} for prefix in prefixes])
        self._continues = np.array([prefix == "I" for prefix in prefixes])
        self._outside = self._tag_ids["O"]

    def decode(self, emissions: Scores, packing: Packing) -> Decoded:
        """The entities on the best paths: (N, K)."""
        tags = np.empty(len(emissions), np.int64)  # of the sentences one after another
        tags[packing.tokens] = viterbi_decode(self._chain, emissions, packing)
        (firsts,) = np.nonzero(self._begins[tags])
        if not len(firsts):
            return Decoded([], [], [])
        lengths = np.empty_like(packing.lengths)
        lengths[packing.order] = packing.lengths
        bounds = np.cumsum(lengths)
        (lasts,) = np.nonzero(self._is_last(tags, bounds))
        sentences = np.searchsorted(bounds, firsts, side="right")
        starts = firsts - (bounds - lengths)[sentences]
        sizes = lasts + 1 - firsts
        labels = [self._labels[tag] for tag in tags[firsts].tolist()]
        spans = list(map(Span, starts.tolist(), (starts + sizes).tolist(), labels))
        places = np.arange(sizes.sum()) + np.repeat(firsts - (np.cumsum(sizes) - sizes), sizes)
        marginals = self._marginals(
            emissions, packing, sentences=sentences, starts=starts, sizes=sizes, tags=tags[places]
        )
        return Decoded(sentences.tolist(), spans, marginals.tolist())

    def marginals(
        self, emissions: Scores, packing: Packing, sentences: Sequence[int], spans: Sequence[Span]
    ) -> list[float]:
        """Probability that sentence ``sentences[n]`` holds exactly the entity ``spans[n]``: (N, K) -> M numbers."""
        tags = [
            self._tag_ids[tag] for span in spans for tag in span_tags(span.label, span.end - span.start, self._scheme)
        ]
        starts, ends = (np.array([span[i] for span in spans], np.int64) for i in (0, 1))
        of_spans = self._marginals(
            emissions,
            packing,
            sentences=np.array(sentences, np.int64),
            starts=starts,
            sizes=ends - starts,
            tags=np.array(tags, np.int64),
        )
        numbers: list[float] = of_spans.tolist()
        return numbers

    def _is_last(self, tags: Indices, bounds: Indices) -> npt.NDArray[np.bool_]:
        """True where an entity ends; in BIO that shows only in the next token."""
        is_last: npt.NDArray[np.bool_]
        if self._scheme == "IOBES":
            is_last = self._ends[tags]
            return is_last
        following = np.append(tags[1:], self._outside)
        following[bounds - 1] = self._outside
        is_last = (self._begins[tags] | self._continues[tags]) & ~self._continues[following]
        return is_last

    def _marginals(
        self, emissions: Scores, packing: Packing, *, sentences: Indices, starts: Indices, sizes: Indices, tags: Indices
    ) -> Scores:
        """Of M entities: their sentences, their first tokens in them, their sizes, and the tags of all, in one row."""
        rank_of = np.empty_like(packing.order)
        rank_of[packing.order] = np.arange(len(packing.order))
        needed, ranks = np.unique(rank_of[sentences], return_inverse=True)
        if len(needed) < len(packing.order):
            packing, places = packing.of_ranks(needed)
            emissions = emissions[places]
        paths = PathMarginals(self._chain, emissions, packing)
        marginals = paths.of(ranks, starts, sizes, tags)
        if self._scheme == "BIO":  # a path B I* may go on: take away the part that does
            (inside,) = np.nonzero(starts + sizes < packing.lengths[ranks])
            behind = np.cumsum(sizes)
            begin = tags[behind - sizes]
            longer = np.insert(tags, behind, begin + 1)  # I follows B in the tag set
            goes_on = np.repeat(np.isin(np.arange(len(sizes)), inside), sizes + 1)
            marginals[inside] -= paths.of(ranks[inside], starts[inside], sizes[inside] + 1, longer[goes_on])
        return marginals
