"""Sentences of unequal lengths laid out step by step, so that no padding is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Places = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Packing:
    """Where each token of B sentences, N tokens in all, stands in a row of N places.

    The sentences are ranked, the longest first.  Step *t* is the token *t* of
    each sentence that has one, in rank order: as in PyTorch's packed sequences.

    Attributes:
        given: Tokens of each sentence, in the order given: (B,).
        order: The index of the sentence of each rank: (B,).
        lengths: Its number of tokens, at least 1: (B,).
        counts: Sentences that have a token in each step: T numbers, falling.
        firsts: The place where each step begins, and N: (T + 1,).
        tokens: Which token, counted through all sentences in the order given, stands at each place: (N,).
        places: Where each of these tokens stands: (N,).
        mirror: The place of the token as far from the end of its sentence as this one is from its beginning: (N,).
    """

    given: Places
    order: Places
    lengths: Places
    counts: Sequence[int]
    firsts: Places
    tokens: Places
    places: Places
    mirror: Places

    @classmethod
    def of(cls, lengths: Sequence[int] | Places) -> Packing:
        """The packing of sentences with so many tokens each, none without."""
        given = np.asarray(lengths, np.int64)
        order = np.argsort(-given, kind="stable")
        ranked = given[order]
        counts, firsts, step, rank = _steps(ranked)
        tokens = (np.cumsum(given) - given)[order][rank] + step
        places = np.empty_like(tokens)
        places[tokens] = np.arange(len(tokens))
        return cls(
            given=given,
            order=order,
            lengths=ranked,
            counts=counts.tolist(),
            firsts=firsts,
            tokens=tokens,
            places=places,
            mirror=firsts[ranked[rank] - 1 - step] + rank,
        )

    def of_ranks(self, ranks: Places) -> tuple[Packing, Places]:
        """The packing of the sentences of rising *ranks* alone, and where its places are in this one: (N',)."""
        lengths = self.lengths[ranks]
        packing = Packing.of(lengths)
        _, _, step, rank = _steps(lengths)
        return packing, self.firsts[step] + ranks[rank]


def _steps(lengths: Places) -> tuple[Places, Places, Places, Places]:
    """Of falling *lengths*: sentences in each step, where each step begins, and of each place the step and the rank."""
    num_tokens = int(lengths.sum())
    counts = np.cumsum(np.bincount(lengths)[::-1])[::-1][1:]
    firsts = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=firsts[1:])
    step = np.repeat(np.arange(len(counts)), counts)
    return counts, firsts, step, np.arange(num_tokens) - firsts[step]
