"""Best paths and marginals of packed sentences: against brute force over all tag sequences, and PyTorch's gradients."""

import itertools
import math

import numpy as np
import pytest
import torch

from handler.labels import tag_rules, tag_set
from handler.network.chain import Chain, ForwardBackward, viterbi_decode
from handler.network.crf import LinearChainCRF
from handler.network.packing import Packing

K = 5
LENGTHS = [2, 4, 1, 3, 4]
RULES = {
    "free": None,
    "BIO": tag_rules(tag_set(["PER", "LOC"], "BIO"), "BIO"),
    "IOBES": tag_rules(tag_set(["PER"], "IOBES"), "IOBES"),
}


@pytest.fixture(params=list(RULES))
def crf(request):
    torch.manual_seed(3)
    crf = LinearChainCRF(K, RULES[request.param]).double().requires_grad_(False)
    for parameter in crf.parameters():
        parameter.normal_(std=2)
    return crf


@pytest.fixture
def chain(crf):
    return crf.chain()


@pytest.fixture
def packing():
    return Packing.of(LENGTHS)


@pytest.fixture
def rows():
    """Emissions of each sentence: (T, K)."""
    random = np.random.default_rng(4)
    return [random.normal(scale=2, size=(length, K)) for length in LENGTHS]


def packed(rows, packing):
    return np.concatenate(rows)[packing.tokens]


def every_path(chain, emissions):
    """The score of every path of one sentence, step by step in plain Python."""
    scores = {}
    for path in itertools.product(range(K), repeat=len(emissions)):
        moves = sum(chain.transitions[i, j] for i, j in itertools.pairwise(path))
        emitted = sum(emissions[t, i] for t, i in enumerate(path))
        scores[path] = chain.start[path[0]] + moves + chain.end[path[-1]] + emitted
    return scores


def paths_of(path, packing):
    """The tags of each sentence, in the order given."""
    tags = np.empty_like(path)
    tags[packing.tokens] = path
    bounds = np.cumsum([0, *LENGTHS])
    return [tuple(tags[a:b].tolist()) for a, b in itertools.pairwise(bounds)]


def test_viterbi_decode_finds_the_best_path_of_every_sentence(chain, rows, packing):
    path = viterbi_decode(chain, packed(rows, packing), packing)

    scores = [every_path(chain, row) for row in rows]
    assert paths_of(path, packing) == [max(one, key=one.get) for one in scores]


def marginals_of(forward_backward, pieces):
    """Probability of each piece: sentence, first token in it, and tags."""
    bounds = np.cumsum([0, *LENGTHS])
    tokens = [bounds[sentence] + start + i for sentence, start, tags in pieces for i in range(len(tags))]
    tags = [tag for _, _, tags in pieces for tag in tags]
    lengths = [len(tags) for _, _, tags in pieces]
    return forward_backward.marginals(np.array(tokens, int), np.array(tags, int), np.array(lengths, int))


def test_marginals_sum_over_all_paths_through_the_piece(chain, rows, packing):
    pieces = [
        (sentence, start, piece)
        for sentence, length in enumerate(LENGTHS)
        for start in range(length)
        for size in range(1, min(3, length - start) + 1)
        for piece in itertools.product(range(K), repeat=size)
    ]

    marginals = marginals_of(ForwardBackward(chain, packed(rows, packing), packing), pieces)

    expected = []
    scores = [every_path(chain, row) for row in rows]
    weights = [{path: math.exp(score) for path, score in one.items()} for one in scores]
    for sentence, start, piece in pieces:
        of_sentence = weights[sentence]
        through = sum(weight for path, weight in of_sentence.items() if path[start : start + len(piece)] == piece)
        expected.append(through / sum(of_sentence.values()))
    assert marginals.tolist() == pytest.approx(expected, rel=1e-9, abs=1e-12)


def test_max_marginal_tags_are_those_of_the_largest_marginals(chain, rows, packing):
    forward_backward = ForwardBackward(chain, packed(rows, packing), packing)

    tags = forward_backward.max_marginal_tags()

    cells = [(sentence, t, (tag,)) for sentence, n in enumerate(LENGTHS) for t in range(n) for tag in range(K)]
    assert tags.tolist() == marginals_of(forward_backward, cells).reshape(-1, K).argmax(1).tolist()


def test_the_marginal_of_a_tag_is_the_gradient_of_the_log_partition(crf, rows):
    leaves = [torch.tensor(row[None], requires_grad=True) for row in rows]
    for leaf in leaves:
        crf.log_partition(leaf, torch.ones(leaf.shape[:2], dtype=torch.bool)).sum().backward()

    for leaf, row in zip(leaves, rows, strict=True):
        alone = Packing.of([len(row)])
        cells = list(itertools.product(range(len(row)), range(K)))
        tokens, tags = map(np.array, zip(*cells, strict=True))
        marginals = ForwardBackward(crf.chain(), row, alone).marginals(tokens, tags, np.ones_like(tags))
        assert marginals.tolist() == pytest.approx([leaf.grad[0, t, tag].item() for t, tag in cells], abs=1e-9)


def test_marginals_of_nothing_are_empty(chain, rows, packing):
    none = np.array([], int)

    assert ForwardBackward(chain, packed(rows, packing), packing).marginals(none, none, none).shape == (0,)


def test_a_path_may_be_a_whole_very_long_sentence():
    inside = np.array([[-50.0, -50.0, 9.0]] * 4000)
    inside[0] = [-50.0, 9.0, -50.0]
    chain = Chain(np.zeros(3), np.array([[0, 0, -1e4], [0, 0, 0], [0, 0, 0]], float), np.zeros(3))
    packing = Packing.of([4000])
    path = viterbi_decode(chain, inside, packing)

    marginals = ForwardBackward(chain, inside, packing).marginals(np.arange(4000), path, np.array([4000]))

    assert path.tolist() == [1] + [2] * 3999
    assert marginals == pytest.approx(1)


@pytest.mark.parametrize("gap", [300.0, 590.0])
def test_emissions_may_be_far_apart(gap):
    """The likeliest first tag may not start: what remains is as likely as if it were not there."""
    emissions = np.array([[0.0, 1.0, gap], [0.0, gap, 0.0]])
    chain = Chain(np.array([0, 0, -1e4]), np.zeros((3, 3)), np.array([0, 0, -1e4]))
    packing = Packing.of([2])

    marginals = ForwardBackward(chain, emissions, packing).marginals(
        np.array([0, 1]), np.array([1, 1]), np.array([1, 1])
    )

    assert marginals.tolist() == pytest.approx([math.e / (1 + math.e), 1])
