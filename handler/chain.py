"""One row of a linear-chain CRF, of any length, in numpy: its best path and the marginals of pieces of it.

The same recursions as in :mod:`handler.crf`.  That module is made for batches
of sentences and for gradients, and at one row per step it spends its time
between its kernels; here a step costs a quarter, memory is two arrays as large
as the emissions, and no array grows with the product of two lengths.  No torch
needed.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Scores = npt.NDArray[np.float64]
Indices = npt.NDArray[np.int64]


class Chain(NamedTuple):
    """Scores of K tags: ``start`` (K,), ``transitions`` (K, K) of tag *j* directly after tag *i*, ``end`` (K,)."""

    start: Scores
    transitions: Scores
    end: Scores


def best_path(chain: Chain, emissions: Scores) -> Indices:
    """The best tag ids (Viterbi): (T, K) -> (T,)."""
    num_tokens, num_tags = emissions.shape
    before = np.empty((num_tokens, num_tags), np.min_scalar_type(num_tags))
    to_after = np.ascontiguousarray(chain.transitions.T)  # (K after, K before)
    best = chain.start + emissions[0]
    for t in range(1, num_tokens):
        longer = best + to_after
        argmax = longer.argmax(1)
        before[t] = argmax
        best = longer.max(1) + emissions[t]
    path = np.empty(num_tokens, np.int64)
    tag = int((best + chain.end).argmax())
    for t in range(num_tokens - 1, 0, -1):
        path[t] = tag
        tag = int(before[t, tag])
    path[0] = tag
    return path


def piece_marginals(
    chain: Chain, emissions: Scores, path: Indices, *, first: Indices, last: Indices, unlike: Indices
) -> Scores:
    """Probability of the tags of *path* from token ``first[n]`` to token ``last[n]``: (T, K), (T,), (N,)... -> (N,).

    Both ends are included; pieces are in order and do not overlap.  Where
    ``unlike[n]`` is not -1, and a token follows the piece, it is the
    probability of the piece with another tag than this one behind it.
    """
    steps = emissions[np.arange(len(path)), path]
    steps[1:] += chain.transitions[path[:-1], path[1:]]
    scores = _forward_scores(chain, emissions)
    log_partition = _log_sum_exp(scores[-1] + chain.end)
    reached = scores[first, path[first]] + _sums(steps, first + 1, last + 1) - log_partition
    scores = _backward_scores(chain, emissions, out=scores)
    marginals: Scores = np.exp(reached + scores[last, path[last]])
    (rows,) = np.nonzero((unlike >= 0) & (last + 1 < len(path)))
    behind, at = unlike[rows], last[rows] + 1
    moved = chain.transitions[path[last[rows]], behind] + emissions[at, behind]
    marginals[rows] -= np.exp(reached[rows] + moved + scores[at, behind])
    return marginals


def _sums(values: Scores, start: Indices, end: Indices) -> Scores:
    """``values[start:end].sum()`` of each pair; the ranges do not overlap."""
    sums = np.zeros(len(start))
    (full,) = np.nonzero(end > start)
    if len(full):
        bounds = np.stack([start[full], end[full]], axis=1).ravel()
        sums[full] = np.add.reduceat(np.append(values, 0.0), bounds)[::2]
    return sums


def _log_sum_exp(scores: Scores) -> np.float64:
    largest = scores.max()
    return np.float64(np.log(np.exp(scores - largest).sum()) + largest)


def _forward_scores(chain: Chain, emissions: Scores) -> Scores:
    """Log-sum-exp over all ways to reach each tag, its emission included: (T, K)."""
    to_after = np.ascontiguousarray(chain.transitions.T)  # (K after, K before)
    scores = np.empty_like(emissions)
    scores[0] = alpha = chain.start + emissions[0]
    for t in range(1, len(emissions)):
        paths = to_after + alpha
        largest = paths.max(1)
        alpha = np.log(np.exp(paths - largest[:, None]).sum(1)) + largest + emissions[t]
        scores[t] = alpha
    return scores


def _backward_scores(chain: Chain, emissions: Scores, out: Scores) -> Scores:
    """Log-sum-exp over all ways on from each tag, its emission left out: (T, K), written to *out*."""
    out[-1] = beta = chain.end
    for t in range(len(emissions) - 1, 0, -1):
        paths = chain.transitions + (emissions[t] + beta)
        largest = paths.max(1)
        beta = np.log(np.exp(paths - largest[:, None]).sum(1)) + largest
        out[t - 1] = beta
    return out
