"""Decoding of a linear-chain CRF in numpy: best paths and marginal probabilities of packed sentences; no torch needed.

All sentences of a :class:`handler.network.packing.Packing` are decoded at
once, step by step.  Shapes: B sentences, N tokens in all, K tags.
"""

from __future__ import annotations

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from handler.network.packing import Indices, Packing
from handler.pieces import Check, in_pieces, never

Scores = npt.NDArray[np.float64]

#: Lowest emission relative to the token's largest: exp(-600) is still a float64 above 0.
_MIN_RELATIVE_EMISSION: Final = -600.0


class Chain(NamedTuple):
    """CRF scores: ``start`` (K,), ``transitions[i, j]`` (K, K) of tag *j* directly after tag *i*, ``end`` (K,)."""

    start: Scores
    transitions: Scores
    end: Scores


def viterbi_decode(chain: Chain, emissions: Scores, packing: Packing, check: Check = never) -> Indices:
    """Tag ids of every sentence's best path (Viterbi 1967): (N, K) by position -> (N,) by position.

    The way back looks for the best predecessor again, which is cheaper than back-pointers for every tag.

    Raises:
        CancelledError: by *check*, which is called between pieces of the steps.
    """
    sizes, offsets = packing.batch_sizes, packing.offsets.tolist()
    to_after = chain.transitions[:, None, :]
    delta = np.empty_like(emissions)  # score of the best path that ends in each tag
    np.add(chain.start, emissions[: sizes[0]], out=delta[: sizes[0]])
    for t in in_pieces(range(1, len(sizes)), check):
        first, size = offsets[t], sizes[t]
        paths = delta[offsets[t - 1] : offsets[t - 1] + size].T[:, :, None] + to_after  # (K before, rows, K after)
        np.add(np.maximum.reduce(paths, 0), emissions[first : first + size], out=delta[first : first + size])

    lasts = packing.offsets[packing.sorted_lengths - 1] + np.arange(len(packing.lengths))
    last_tags = (delta[lasts] + chain.end).argmax(1)  # (B,)
    to_before = np.ascontiguousarray(chain.transitions.T)  # (K after, K before)
    path = np.empty(len(emissions), np.int64)
    tags = last_tags[:0]
    for t in in_pieces(range(len(sizes) - 1, -1, -1), check):
        first, size, size_after = offsets[t], sizes[t], len(tags)
        if size_after:
            tags = (delta[first : first + size_after] + to_before[tags]).argmax(1)
        if size > size_after:
            tags = np.concatenate([tags, last_tags[size_after:size]])
        path[first : first + size] = tags
    return path


class ForwardBackward:
    """Marginal probabilities of tags under the CRF.

    Forward-backward with scaling, as in Rabiner (1989, "A Tutorial on Hidden
    Markov Models and Selected Applications in Speech Recognition", V.A).
    """

    def __init__(self, chain: Chain, emissions: Scores, packing: Packing, check: Check = never) -> None:
        """*emissions* are (N, K) by position of *packing*.

        Raises:
            CancelledError: by *check*, which is called between pieces of the steps.
        """
        self._packing = packing
        num_tags = emissions.shape[1]
        relative = np.maximum(emissions - emissions.max(1, keepdims=True), _MIN_RELATIVE_EMISSION)
        self._emission_potentials = np.exp(relative)
        self._transition_potentials = transitions = np.exp(chain.transitions - chain.transitions.max())

        # Both recursions run side by side in 2 K columns: a sentence read from its end is a chain, too.
        potentials = np.concatenate([self._emission_potentials, self._emission_potentials[packing.mirror]], axis=1)
        both_ways = np.zeros((2 * num_tags, 2 * num_tags))
        both_ways[:num_tags, :num_tags], both_ways[num_tags:, num_tags:] = transitions, transitions.T
        predicted = np.empty_like(potentials)  # sum over the paths to each tag, without its own emission
        updated = np.empty_like(potentials)  # with it, divided by the scale
        scales = np.ones((len(emissions), 2, 1))
        ends = np.concatenate([chain.start - chain.start.max(), chain.end - chain.end.max()])
        predicted[: packing.batch_sizes[0]] = np.exp(ends)
        # The most steps between two scalings in which no sum can underflow.
        max_log_fall = np.log(num_tags / transitions[transitions > 0].min()) - relative.min()  # in one step
        scaling_interval = max(1, int(-_MIN_RELATIVE_EMISSION / max_log_fall))
        before = updated
        steps = in_pieces(zip(packing.offsets.tolist(), packing.batch_sizes, strict=False), check)
        for t, (first, size) in enumerate(steps):
            step = slice(first, first + size)
            arriving, leaving = predicted[step], updated[step]
            if first:
                np.dot(before[:size], both_ways, out=arriving)
            np.multiply(arriving, potentials[step], out=leaving)
            if t % scaling_interval == 0:
                halves, scale = leaving.reshape(size, 2, num_tags), scales[step]
                np.add.reduce(halves, 2, keepdims=True, out=scale)
                halves /= scale
            before = leaving
        self._alpha = predicted[:, :num_tags]  # by position, without the token's own emission
        self._beta = updated[:, num_tags:]  # by mirrored position, with it
        self._scales = scales[:, 0, 0]

    def max_marginal_tags(self) -> Indices:
        """The tag of the largest marginal probability of each token by itself, in the order given: (N,)."""
        positions = self._packing.positions
        tags: Indices = (self._alpha[positions] * self._beta[self._packing.mirror[positions]]).argmax(1)
        return tags

    def marginals(self, tokens: Indices, tags: Indices, lengths: Indices) -> Scores:
        """Probabilities that M runs of tokens carry given tags, all other tags summed over: (L,), (L,), (M,) -> (M,).

        Run *m* has ``lengths[m]`` *tokens*, which follow each other in one sentence, and as many *tags*.  Tokens are
        counted through all sentences in the order given.
        """
        if not len(lengths):
            return np.zeros(0)
        stops = np.cumsum(lengths)
        firsts, lasts = stops - lengths, stops - 1
        positions = self._packing.positions[tokens]
        last_positions = positions[lasts]
        beta = self._beta[self._packing.mirror[last_positions]]  # (M, K)
        factors = self._emission_potentials[positions, tags] / self._scales[positions]
        factors[:-1] *= self._transition_potentials[tags[:-1], tags[1:]]
        factors[lasts] = self._alpha[positions[firsts], tags[firsts]] * beta[np.arange(len(lengths)), tags[lasts]]
        with np.errstate(divide="ignore"):  # a forbidden tag has probability 0
            log_scores = np.add.reduceat(np.log(factors), firsts)
        marginals: Scores = np.exp(log_scores) / (self._alpha[last_positions] * beta).sum(1)
        return marginals
