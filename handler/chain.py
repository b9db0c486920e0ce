"""The CRF of packed sentences in numpy: best paths, and probabilities of pieces of paths.  No torch needed.

Viterbi, and forward-backward with scaling, follow Rabiner (1989, "A Tutorial
on Hidden Markov Models and Selected Applications in Speech Recognition", V.A).
Both run over all sentences of a :class:`handler.packing.Packing` at once, step
by step; forward and backward run side by side, as a sentence read from its end
is a chain as well.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from handler.packing import Packing

Scores = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]

#: The most by which one emission of a token may lie below its largest: exp(-600) is still a float64 above 0.
_FLOOR: Final = -600.0


class Chain(NamedTuple):
    """Scores of K tags: ``start`` (K,), ``transitions`` (K, K) of tag *j* directly after tag *i*, ``end`` (K,)."""

    start: Scores
    transitions: Scores
    end: Scores


def viterbi_decode(chain: Chain, emissions: Scores, packing: Packing) -> Indices:
    """The best tag ids of every sentence, at its places: (N, K) -> (N,)."""
    counts, firsts = packing.counts, packing.firsts.tolist()
    to_before = chain.transitions[:, None, :]
    best = np.empty_like(emissions)  # of the paths that end in each tag
    np.add(chain.start, emissions[: counts[0]], out=best[: counts[0]])
    for t in range(1, len(counts)):
        at, count = firsts[t], counts[t]
        paths = best[firsts[t - 1] : firsts[t - 1] + count].T[:, :, None] + to_before  # (K before, rows, K after)
        np.add(np.maximum.reduce(paths, 0), emissions[at : at + count], out=best[at : at + count])

    lasts = packing.firsts[packing.lengths - 1] + np.arange(len(packing.lengths))
    final = (best[lasts] + chain.end).argmax(1)  # (B,)
    to_after = np.ascontiguousarray(chain.transitions.T)  # (K after, K before)
    path = np.empty(len(emissions), np.int64)
    num_behind = 0
    tags = final[:0]
    for t in range(len(counts) - 1, -1, -1):
        at, count = firsts[t], counts[t]
        if num_behind:
            tags = (best[at : at + num_behind] + to_after[tags]).argmax(1)
        if count > num_behind:
            tags = np.concatenate([tags, final[num_behind:count]])
        path[at : at + count] = tags
        num_behind = count
    return path


class PathMarginals:
    """Probabilities that the sentences of *packing* carry given tags at given places, all other tags summed over."""

    def __init__(self, chain: Chain, emissions: Scores, packing: Packing) -> None:
        """*emissions* are (N, K)."""
        self._packing = packing
        weights = np.exp(np.maximum(emissions - emissions.max(1, keepdims=True), _FLOOR))
        self._weights = np.stack([weights, weights[packing.mirror]])  # (2, N, K)
        self._moves = np.exp(chain.transitions - chain.transitions.max())
        moves = np.stack([self._moves, self._moves.T])
        ends = np.exp(np.stack([chain.start - chain.start.max(), chain.end - chain.end.max()]))
        # Ways to each tag without and with its own emission, forward and backward; the latter add up to 1.
        self._before, self._after = np.empty_like(self._weights), np.empty_like(self._weights)
        self._totals = np.empty((2, len(emissions), 1))
        self._before[:, : packing.counts[0]] = ends[:, None]
        reached = self._after
        for first, count in zip(packing.firsts.tolist(), packing.counts, strict=False):
            step = slice(first, first + count)
            before, after, total = self._before[:, step], self._after[:, step], self._totals[:, step]
            if first:
                np.matmul(reached[:, :count], moves, out=before)
            np.multiply(before, self._weights[:, step], out=after)
            np.add.reduce(after, 2, keepdims=True, out=total)
            after /= total
            reached = after

    def of(self, ranks: Indices, starts: Indices, lengths: Indices, tags: Indices) -> Scores:
        """Probability that the sentence of ``ranks[n]`` carries the next ``lengths[n]`` of *tags* from a token on.

        That token is ``starts[n]``: M ranks, starts and lengths of at least 1, and the sum of lengths tags -> (M,).

        Raises:
            ValueError: a path is empty or leaves its sentence.
        """
        num_tokens = self._packing.lengths[ranks]
        (wrong,) = np.nonzero((lengths < 1) | (starts < 0) | (starts + lengths > num_tokens))
        if len(wrong):
            n = wrong[0]
            raise ValueError(f"expected a path within {num_tokens[n]} tokens, got {lengths[n]} from token {starts[n]}")
        if not len(ranks):
            return np.zeros(0)
        firsts = np.cumsum(lengths) - lengths
        lasts = firsts + lengths - 1
        tokens = np.arange(len(tags)) + np.repeat(starts - firsts, lengths)
        places = self._packing.firsts[tokens] + np.repeat(ranks, lengths)
        with np.errstate(divide="ignore"):  # a tag that cannot be has probability 0
            steps = np.log(self._weights[0, places, tags] / self._totals[0, places, 0])
            steps[:-1] += np.log(self._moves[tags[:-1], tags[1:]])
            steps[lasts] = 0
            behind = self._after[1, self._packing.mirror[places[lasts]]]  # (M, K)
            total = (self._before[0, places[lasts]] * behind).sum(1)
            scores = (
                np.log(self._before[0, places[firsts], tags[firsts]])
                + np.add.reduceat(steps, firsts)
                + np.log(behind[np.arange(len(ranks)), tags[lasts]])
                - np.log(total)
            )
        marginals: Scores = np.exp(scores)
        return marginals
