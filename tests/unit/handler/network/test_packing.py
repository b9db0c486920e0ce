"""Packing against PyTorch's own, and by what it means."""

import numpy as np
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.utils.rnn import pack_sequence

from handler.network.packing import Packing

LENGTHS = st.lists(st.integers(1, 12), min_size=1, max_size=9)


@given(LENGTHS)
def test_places_are_those_of_a_packed_sequence(lengths):
    numbers = torch.arange(sum(lengths)).split(lengths)
    packed = pack_sequence(numbers, enforce_sorted=False)

    packing = Packing.of(lengths)

    assert packing.counts == packed.batch_sizes.tolist()
    assert packing.lengths.tolist() == sorted(lengths, reverse=True)
    assert [lengths[i] for i in packing.order] == packing.lengths.tolist()
    assert packing.tokens[packing.places].tolist() == list(range(sum(lengths)))
    assert packing.firsts.tolist() == [0, *packed.batch_sizes.cumsum(0).tolist()]
    # PyTorch may rank sentences of one length in another order.
    for count, first in zip(packing.counts, packing.firsts, strict=False):
        assert sorted(packing.tokens[first : first + count]) == sorted(packed.data[first : first + count].tolist())


@given(LENGTHS)
def test_mirrored_places_are_as_far_from_the_other_end(lengths):
    packing = Packing.of(lengths)
    bounds = np.cumsum([0, *lengths])
    sentence = np.searchsorted(bounds, packing.tokens, side="right") - 1

    assert (packing.tokens + packing.tokens[packing.mirror] == bounds[sentence] + bounds[sentence + 1] - 1).all()


@given(LENGTHS, st.data())
def test_a_part_has_the_places_of_its_sentences(lengths, data):
    packing = Packing.of(lengths)
    ranks = np.array(sorted(data.draw(st.sets(st.integers(0, len(lengths) - 1), min_size=1))))

    part, places = packing.of_ranks(ranks)

    sentences = [list(range(*bounds)) for bounds in zip(np.cumsum([0, *lengths]), np.cumsum(lengths), strict=False)]
    expected = [token for rank in ranks for token in sentences[packing.order[rank]]]
    in_part = np.empty(len(places), int)
    in_part[part.tokens] = packing.tokens[places]
    assert in_part.tolist() == expected
