"""Emissions to entities: the spans on the best path of each sentence, and how probable each of them is."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from handler.labels import Scheme, Span, span_tags, split_tag
from handler.network.chain import Chain, Indices, PathMarginals, Scores, viterbi_decode
from handler.network.packing import Packing

#: The least probability of a path that is taken for the best one without looking at others; rounding is far below.
_SURE: Final = 0.5 + 1e-6


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
        paths = PathMarginals(self._chain, emissions, packing)
        lengths = packing.given
        tags = self._best_tags(emissions, packing, paths)
        (firsts,) = np.nonzero(self._begins[tags])
        if not len(firsts):
            return Decoded([], [], [])
        bounds = np.cumsum(lengths)
        (lasts,) = np.nonzero(self._is_last(tags, bounds))
        sentences = np.searchsorted(bounds, firsts, side="right")
        starts = firsts - (bounds - lengths)[sentences]
        sizes = lasts + 1 - firsts
        labels = [self._labels[tag] for tag in tags[firsts].tolist()]
        spans = list(map(Span, starts.tolist(), (starts + sizes).tolist(), labels))
        tokens = _ranges(firsts, sizes)
        marginals = self._marginals(paths, tokens, tags[tokens], sizes, lasts + 1 < bounds[sentences])
        return Decoded(sentences.tolist(), spans, marginals.tolist())

    def marginals(
        self, emissions: Scores, packing: Packing, sentences: Sequence[int], spans: Sequence[Span]
    ) -> list[float]:
        """Probability that sentence ``sentences[n]`` holds exactly the entity ``spans[n]``: (N, K) -> M numbers.

        Raises:
            ValueError: a span is empty or leaves its sentence.
        """
        lengths = packing.given
        for sentence, span in zip(sentences, spans, strict=True):
            if not 0 <= span.start < span.end <= lengths[sentence]:
                raise ValueError(f"expected a span within {lengths[sentence]} tokens, got [{span.start}, {span.end})")
        tags = [
            self._tag_ids[tag] for span in spans for tag in span_tags(span.label, span.end - span.start, self._scheme)
        ]
        of_span = np.array(sentences, np.int64)
        starts, ends = (np.array([span[i] for span in spans], np.int64) for i in (0, 1))
        firsts = (np.cumsum(lengths) - lengths)[of_span] + starts
        paths = PathMarginals(self._chain, emissions, packing)
        numbers: list[float] = self._marginals(
            paths, _ranges(firsts, ends - starts), np.array(tags, np.int64), ends - starts, ends < lengths[of_span]
        ).tolist()
        return numbers

    def _best_tags(self, emissions: Scores, packing: Packing, paths: PathMarginals) -> Indices:
        """The best path of every sentence, one after another in the order given: (N, K) -> (N,).

        The path through the likeliest tag of each token is the best one wherever its probability is above one half,
        as all others share the rest.  That is so in most sentences; Viterbi runs for the others.
        """
        tags = paths.likeliest_tags()
        is_unsure = paths.of(np.arange(len(tags)), tags, packing.given) < _SURE
        if is_unsure.any():
            part, places = packing.of_ranks(np.flatnonzero(is_unsure[packing.order]))
            tags[packing.tokens[places]] = viterbi_decode(self._chain, emissions[places], part)
        return tags

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
        self,
        paths: PathMarginals,
        tokens: Indices,
        tags: Indices,
        sizes: Indices,
        goes_on: npt.NDArray[np.bool_],
    ) -> Scores:
        """Of M entities: their *tokens* and *tags* in one row, their sizes, and whether a token follows each."""
        marginals = paths.of(tokens, tags, sizes)
        if self._scheme == "BIO" and goes_on.any():  # a path B I* may go on: take away the part that does
            behind = np.cumsum(sizes)
            kept = np.repeat(goes_on, sizes + 1)
            longer = np.insert(tokens, behind, tokens[behind - 1] + 1)[kept]
            inside = np.insert(tags, behind, tags[behind - sizes] + 1)[kept]  # I follows B in the tag set
            marginals[goes_on] -= paths.of(longer, inside, sizes[goes_on] + 1)
        return marginals


def _ranges(firsts: Indices, sizes: Indices) -> Indices:
    """The numbers from each of *firsts* on, as many as its size says, in one row."""
    numbers: Indices = np.arange(sizes.sum()) + np.repeat(firsts - (np.cumsum(sizes) - sizes), sizes)
    return numbers
