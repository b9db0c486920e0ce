"""Packing against PyTorch's own, and by what it means."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_sequence

from handler.network.packing import Packing

LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=9)


@given(LENGTHS)
def test_positions_are_those_of_a_packed_sequence(lengths):
    numbers = torch.arange(sum(lengths)).split(lengths)
    packed = pack_sequence(numbers, enforce_sorted=False)

    packing = Packing.of(lengths)

    assert packing.batch_sizes == packed.batch_sizes.tolist()
    assert packing.lengths.tolist() == lengths
    assert packing.sorted_lengths.tolist() == sorted(lengths, reverse=True)
    assert [lengths[i] for i in packing.sorted_indices] == packing.sorted_lengths.tolist()
    assert packing.tokens[packing.positions].tolist() == list(range(sum(lengths)))
    assert packing.offsets.tolist() == [0, *packed.batch_sizes.cumsum(0).tolist()]
    # PyTorch may rank sentences of one length in another order.
    for size, first in zip(packing.batch_sizes, packing.offsets, strict=False):
        assert sorted(packing.tokens[first : first + size]) == sorted(packed.data[first : first + size].tolist())


@given(LENGTHS)
def test_mirrored_positions_are_as_far_from_the_other_end(lengths):
    packing = Packing.of(lengths)
    bounds = np.cumsum([0, *lengths])
    sentence = np.searchsorted(bounds, packing.tokens, side="right") - 1

    assert (packing.tokens + packing.tokens[packing.mirror] == bounds[sentence] + bounds[sentence + 1] - 1).all()


@given(LENGTHS, st.data())
def test_a_selection_has_the_positions_of_its_sentences(lengths, data):
    packing = Packing.of(lengths)
    ranks = np.array(sorted(data.draw(st.sets(st.integers(0, len(lengths) - 1), min_size=1))))

    part, positions = packing.select(ranks)

    sentences = [list(range(*bounds)) for bounds in zip(np.cumsum([0, *lengths]), np.cumsum(lengths), strict=False)]
    expected = [token for rank in ranks for token in sentences[packing.sorted_indices[rank]]]
    in_part = np.empty(len(positions), int)
    in_part[part.tokens] = packing.tokens[positions]
    assert in_part.tolist() == expected
