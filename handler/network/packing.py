"""Sentences of unequal lengths packed step by step, so that no padding is computed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Indices = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Packing:
    """The order in which N tokens of B sentences are computed, as in PyTorch's ``PackedSequence``.

    Step *t* holds token *t* of every sentence that has one, the longest
    sentence first; the steps follow each other in N positions.

    Attributes:
        lengths: Tokens of each sentence, in the order given: (B,).
        sorted_indices: The sentences by falling length: (B,).
        sorted_lengths: ``lengths[sorted_indices]``: (B,).
        batch_sizes: Sentences in each step: T numbers, falling.
        offsets: First position of each step, and N: (T + 1,).
        tokens: Token at each position, counted through all sentences in the order given: (N,).
        positions: Position of each token, the inverse of ``tokens``: (N,).
        mirror: Position of the token as far from its sentence's end as this one is from the start: (N,).
    """

    lengths: Indices
    sorted_indices: Indices
    sorted_lengths: Indices
    batch_sizes: Sequence[int]
    offsets: Indices
    tokens: Indices
    positions: Indices
    mirror: Indices

    @classmethod
    def of(cls, lengths: Sequence[int] | Indices) -> Packing:
        """The packing of sentences with *lengths* tokens, at least 1 each: (B,)."""
        lengths = np.asarray(lengths, np.int64)
        sorted_indices = np.argsort(-lengths, kind="stable")
        sorted_lengths = lengths[sorted_indices]
        batch_sizes, offsets, step, rank = _steps(sorted_lengths)
        tokens = (np.cumsum(lengths) - lengths)[sorted_indices][rank] + step
        positions = np.empty_like(tokens)
        positions[tokens] = np.arange(len(tokens))
        mirror = offsets[sorted_lengths[rank] - 1 - step] + rank
        return cls(lengths, sorted_indices, sorted_lengths, batch_sizes.tolist(), offsets, tokens, positions, mirror)

    def select(self, ranks: Indices) -> tuple[Packing, Indices]:
        """The packing of ``sorted_indices[ranks]`` alone, *ranks* rising, and the position here of each of its own."""
        lengths = self.sorted_lengths[ranks]
        _, _, step, rank = _steps(lengths)
        return Packing.of(lengths), self.offsets[step] + ranks[rank]


def _steps(sorted_lengths: Indices) -> tuple[Indices, Indices, Indices, Indices]:
    """Batch sizes (T,) and offsets (T + 1,) of sentences of falling length; step and rank at each position: (N,)."""
    batch_sizes = np.cumsum(np.bincount(sorted_lengths)[::-1])[::-1][1:]
    offsets = np.zeros(len(batch_sizes) + 1, np.int64)
    np.cumsum(batch_sizes, out=offsets[1:])
    step = np.repeat(np.arange(len(batch_sizes)), batch_sizes)
    return batch_sizes, offsets, step, np.arange(len(step)) - offsets[step]
