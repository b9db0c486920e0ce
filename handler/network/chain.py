"""The CRF of packed sentences in numpy: best paths, and probabilities of pieces of paths.  No torch needed.

Viterbi, and forward-backward with scaling, follow Rabiner (1989, "A Tutorial
on Hidden Markov Models and Selected Applications in Speech Recognition", V.A).
Both run over all sentences of a :class:`handler.network.packing.Packing` at once, step
by step; forward and backward run side by side, as a sentence read from its end
is a chain as well.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from handler.network.packing import Packing

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
    """Probabilities that the sentences of *packing* carry given tags on given tokens, all other tags summed over."""

    def __init__(self, chain: Chain, emissions: Scores, packing: Packing) -> None:
        """*emissions* are (N, K)."""
        self._packing = packing
        self._num_tags = num_tags = emissions.shape[1]
        below = np.maximum(emissions - emissions.max(1, keepdims=True), _FLOOR)
        weights = np.exp(below)
        self._moves = np.exp(chain.transitions - chain.transitions.max())
        # Forward and backward stand side by side, in 2 K columns: the ways to each tag without its own emission, and
        # with it, the latter divided by totals so that no float runs out.
        self._weights = np.concatenate([weights, weights[packing.mirror]], axis=1)
        moves = np.zeros((2 * num_tags, 2 * num_tags))
        moves[:num_tags, :num_tags], moves[num_tags:, num_tags:] = self._moves, self._moves.T
        self._before, self._after = np.empty_like(self._weights), np.empty_like(self._weights)
        self._totals = np.ones((len(emissions), 2, 1))
        ends = np.exp(np.concatenate([chain.start - chain.start.max(), chain.end - chain.end.max()]))
        self._before[: packing.counts[0]] = ends
        steps_at_once = self._steps_at_once(below.min())
        reached = self._after
        for t, (first, count) in enumerate(zip(packing.firsts.tolist(), packing.counts, strict=False)):
            step = slice(first, first + count)
            before, after = self._before[step], self._after[step]
            if first:
                np.dot(reached[:count], moves, out=before)
            np.multiply(before, self._weights[step], out=after)
            if t % steps_at_once == 0:
                halves, total = after.reshape(count, 2, num_tags), self._totals[step]
                np.add.reduce(halves, 2, keepdims=True, out=total)
                halves /= total
            reached = after

    def _steps_at_once(self, lowest: float) -> int:
        """Steps in which the ways to a tag cannot fall to 0, where no emission is below its largest by more."""
        least = self._moves[self._moves > 0].min()
        return max(1, int(-_FLOOR / (np.log(len(self._moves) / least) - lowest)))

    def likeliest_tags(self) -> Indices:
        """The tag of the largest marginal probability of each token, by itself, in the order given: (N,)."""
        places = self._packing.places
        onward = self._after[self._packing.mirror[places], self._num_tags :]
        tags: Indices = (self._before[places, : self._num_tags] * onward).argmax(1)
        return tags

    def of(self, tokens: Indices, tags: Indices, lengths: Indices) -> Scores:
        """Probabilities of M paths, each of ``lengths[n]`` *tags* on as many *tokens*: (L,), (L,), (M,) -> (M,).

        Tokens are counted through all sentences in the order given; those of a path follow each other in one sentence.
        """
        if not len(lengths):
            return np.zeros(0)
        num_tags = self._num_tags
        behind = np.cumsum(lengths)
        firsts, lasts = behind - lengths, behind - 1
        places = self._packing.places[tokens]
        last_places = places[lasts]
        onward = self._after[self._packing.mirror[last_places], num_tags:]  # (M, K)
        steps = self._weights[places, tags] / self._totals[places, 0, 0]
        steps[:-1] *= self._moves[tags[:-1], tags[1:]]
        steps[lasts] = self._before[places[firsts], tags[firsts]] * onward[np.arange(len(lengths)), tags[lasts]]
        with np.errstate(divide="ignore"):  # a tag that cannot be has probability 0
            scores = np.add.reduceat(np.log(steps), firsts)
        marginals: Scores = np.exp(scores) / (self._before[last_places, :num_tags] * onward).sum(1)
        return marginals
