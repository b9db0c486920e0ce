"""Emissions to entities: the spans on the best path of each sentence, and the marginal probability of each span."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from handler.labels import Scheme, Span, span_tags, split_tag
from handler.network.chain import Chain, ForwardBackward, Scores, viterbi_decode
from handler.network.packing import Indices, Packing
from handler.pieces import Check, never

#: A path with a probability above one half is the best one; the margin is far above rounding errors.
_MIN_SURE_PROBABILITY: Final = 0.5 + 1e-6


class Decoded(NamedTuple):
    """M entities, sentence by sentence in text order: index of the sentence, span over its tokens, marginal."""

    sentences: list[int]
    spans: list[Span]
    marginals: list[float]


class Shift(NamedTuple):
    """By how much the log-odds of an entity over exactly the tokens ``start`` to ``end`` rise."""

    start: int
    end: int
    label: str
    log_odds: float


class SpanDecoder:
    """Reads entities off emissions with the CRF scores of *chain*, whose tag ids stand for *tags* of *scheme*.

    The chain forbids what the scheme forbids: every best path is well-formed.
    Shapes used below: B sentences, N tokens in all, K tags, M entities.
    """

    def __init__(self, chain: Chain, tags: Sequence[str], scheme: Scheme) -> None:
        self._chain = chain
        self._scheme = scheme
        self._tag_ids = {tag: i for i, tag in enumerate(tags)}
        prefixes, self._labels = zip(*map(split_tag, tags), strict=True)
        self._begins = np.isin(prefixes, ["B", "S"])
        self._ends = np.isin(prefixes, ["E", "S"])
        self._continues = np.isin(prefixes, ["I"])

    def decode(self, emissions: Scores, packing: Packing, check: Check = never) -> Decoded:
        """The entities on the best paths: (N, K) by position of *packing*.

        Raises:
            CancelledError: by *check*, which is called between pieces of the work.
        """
        forward_backward = ForwardBackward(self._chain, emissions, packing, check)
        tags = self._best_tags(emissions, packing, forward_backward, check)
        check()
        (firsts,) = np.nonzero(self._begins[tags])
        if not len(firsts):
            return Decoded([], [], [])
        stops = np.cumsum(packing.lengths)  # of the sentences
        (lasts,) = np.nonzero(self._is_last(tags, stops))
        sentences = np.searchsorted(stops, firsts, side="right")
        starts = firsts - (stops - packing.lengths)[sentences]
        sizes = lasts + 1 - firsts
        labels = [self._labels[tag] for tag in tags[firsts].tolist()]
        spans = list(map(Span, starts.tolist(), (starts + sizes).tolist(), labels))
        tokens = _ranges(firsts, sizes)
        has_next = lasts + 1 < stops[sentences]
        marginals = self._span_marginals(forward_backward, tokens, tags[tokens], sizes, has_next)
        return Decoded(sentences.tolist(), spans, marginals.tolist())

    def marginals(
        self, emissions: Scores, packing: Packing, sentences: Sequence[int], spans: Sequence[Span]
    ) -> list[float]:
        """Probability that sentence ``sentences[m]`` holds exactly the entity ``spans[m]``: (N, K) -> M numbers.

        Raises:
            ValueError: a span is empty or leaves its sentence.
        """
        lengths = packing.lengths
        for sentence, span in zip(sentences, spans, strict=True):
            if not 0 <= span.start < span.end <= lengths[sentence]:
                raise ValueError(f"expected a span within {lengths[sentence]} tokens, got [{span.start}, {span.end})")
        tags = [
            self._tag_ids[tag] for span in spans for tag in span_tags(span.label, span.end - span.start, self._scheme)
        ]
        indices = np.array(sentences, np.int64)
        starts, ends = (np.array([span[i] for span in spans], np.int64) for i in (0, 1))
        tokens = _ranges((np.cumsum(lengths) - lengths)[indices] + starts, ends - starts)
        forward_backward = ForwardBackward(self._chain, emissions, packing)
        marginals: list[float] = self._span_marginals(
            forward_backward, tokens, np.array(tags, np.int64), ends - starts, ends < lengths[indices]
        ).tolist()
        return marginals

    def shifted(self, emissions: Scores, shifts: Sequence[Shift]) -> Scores:
        """*emissions* (N, K), token by token, with *shifts*: each is spread over the tags of its entity.

        The log-odds of a path that holds the entity rise by ``log_odds`` against one that holds none of its tags.
        """
        tokens: list[int] = []
        tags: list[int] = []
        amounts: list[float] = []
        for start, end, label, log_odds in shifts:
            tokens += range(start, end)
            tags += [self._tag_ids[tag] for tag in span_tags(label, end - start, self._scheme)]
            amounts += [log_odds / (end - start)] * (end - start)
        result = emissions.copy()
        np.add.at(result, (tokens, tags), amounts)
        return result

    def _best_tags(
        self, emissions: Scores, packing: Packing, forward_backward: ForwardBackward, check: Check
    ) -> Indices:
        """The best path of every sentence, one after another in the order given: (N, K) -> (N,).

        A path with a probability above one half is the best one, as all others share the rest.  For most sentences
        the tags of the largest marginals are such a path; Viterbi runs for the others alone.
        """
        tags = forward_backward.max_marginal_tags()
        is_unsure = forward_backward.marginals(np.arange(len(tags)), tags, packing.lengths) < _MIN_SURE_PROBABILITY
        if is_unsure.any():
            part, positions = packing.select(np.flatnonzero(is_unsure[packing.sorted_indices]))
            tags[packing.tokens[positions]] = viterbi_decode(self._chain, emissions[positions], part, check)
        return tags

    def _is_last(self, tags: Indices, stops: Indices) -> npt.NDArray[np.bool_]:
        """True where an entity ends: (N,), (B,) -> (N,); in BIO only the next token shows it."""
        is_last: npt.NDArray[np.bool_] = self._ends[tags]
        if self._scheme == "BIO":
            goes_on = np.append(self._continues[tags[1:]], False)
            goes_on[stops - 1] = False
            is_last = (self._begins[tags] | self._continues[tags]) & ~goes_on
        return is_last

    def _span_marginals(
        self,
        forward_backward: ForwardBackward,
        tokens: Indices,
        tags: Indices,
        sizes: Indices,
        has_next: npt.NDArray[np.bool_],
    ) -> Scores:
        """Marginals (M,) of entities of *sizes* (M,) *tokens*, with their *tags*; *has_next*: a token follows (M,)."""
        marginals = forward_backward.marginals(tokens, tags, sizes)
        if self._scheme == "BIO" and has_next.any():  # B I* may be part of a longer entity: subtract the paths that are
            stops = np.cumsum(sizes)
            kept = np.repeat(has_next, sizes + 1)
            longer = np.insert(tokens, stops, tokens[stops - 1] + 1)[kept]
            inside = np.insert(tags, stops, tags[stops - sizes] + 1)[kept]  # I follows B in the tag set
            marginals[has_next] -= forward_backward.marginals(longer, inside, sizes[has_next] + 1)
        return marginals


def _ranges(firsts: Indices, sizes: Indices) -> Indices:
    """``sizes[m]`` numbers from ``firsts[m]`` on, for each *m* in turn: (M,), (M,) -> (sizes.sum(),)."""
    numbers: Indices = np.arange(sizes.sum()) + np.repeat(firsts - (np.cumsum(sizes) - sizes), sizes)
    return numbers
