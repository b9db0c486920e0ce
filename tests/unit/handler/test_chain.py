"""One long row in numpy: against brute force, and against the batched CRF in PyTorch."""

import itertools
import math

import numpy as np
import pytest
import torch

from handler.chain import Chain, best_path, piece_marginals
from handler.crf import LinearChainCRF
from handler.labels import Span, tag_rules, tag_set, tags_to_spans

TAGS = {"BIO": tag_set(["PER", "LOC"], "BIO"), "IOBES": tag_set(["PER"], "IOBES")}


@pytest.fixture(params=list(TAGS))
def scheme(request):
    return request.param


@pytest.fixture
def crf(scheme):
    torch.manual_seed(3)
    crf = LinearChainCRF(5, tag_rules(TAGS[scheme], scheme)).double().requires_grad_(False)
    for parameter in crf.parameters():
        parameter.normal_(std=2)
    return crf


def spans_and_marginals(chain, emissions, scheme):
    """The entities on the best path, and their probabilities."""
    path = best_path(chain, emissions)
    tags = TAGS[scheme]
    spans = tags_to_spans([tags[i] for i in path], scheme)
    unlike = [tags.index(f"I-{span.label}") if scheme == "BIO" else -1 for span in spans]
    first, last = [span.start for span in spans], [span.end - 1 for span in spans]
    marginals = piece_marginals(
        chain, emissions, path, first=np.array(first, int), last=np.array(last, int), unlike=np.array(unlike, int)
    )
    return path.tolist(), spans, marginals.tolist()


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize("num_tokens", [1, 2, 6])
def test_path_and_marginals_are_those_of_brute_force(crf, scheme, seed, num_tokens):
    emissions = np.random.default_rng(seed).normal(scale=2, size=(num_tokens, 5))
    chain = crf.chain()
    tags = TAGS[scheme]

    def score(path):
        moves = sum(chain.transitions[i, j] for i, j in itertools.pairwise(path))
        return chain.start[path[0]] + moves + chain.end[path[-1]] + sum(emissions[t, i] for t, i in enumerate(path))

    scores = {path: score(path) for path in itertools.product(range(5), repeat=num_tokens)}
    largest = max(scores.values())
    total = sum(math.exp(one - largest) for one in scores.values())

    path, spans, marginals = spans_and_marginals(chain, emissions, scheme)

    assert tuple(path) == max(scores, key=scores.get)
    for span, marginal in zip(spans, marginals, strict=True):
        holds = [one for one in scores if span in tags_to_spans([tags[i] for i in one], scheme)]
        assert marginal == pytest.approx(sum(math.exp(scores[one] - largest) for one in holds) / total, rel=1e-9)


def test_a_long_row_is_what_the_batched_crf_makes_of_it(crf, scheme):
    emissions = np.random.default_rng(1).normal(scale=2, size=(3000, 5))
    row = torch.from_numpy(emissions).unsqueeze(0)
    mask = torch.ones(1, 3000, dtype=torch.bool)

    path, spans, marginals = spans_and_marginals(crf.chain(), emissions, scheme)

    assert [path] == crf.viterbi_decode(row, mask)
    paths = [path[span.start : span.end] for span in spans]
    starts = [span.start for span in spans]
    expected = crf.path_marginals(row, mask, [0] * len(spans), starts, paths)
    if scheme == "BIO":
        rows = [n for n, span in enumerate(spans) if span.end < 3000]
        longer = [[*paths[n], TAGS[scheme].index(f"I-{spans[n].label}")] for n in rows]
        expected[rows] -= crf.path_marginals(row, mask, [0] * len(rows), [starts[n] for n in rows], longer)
    assert len(spans) > 300
    assert marginals == pytest.approx(expected.tolist(), rel=1e-9)


def test_an_entity_may_be_as_long_as_its_row():
    inside = np.array([[-50.0, -50.0, 9.0]] * 4000)
    inside[0] = [-50.0, 9.0, -50.0]
    chain = Chain(np.zeros(3), np.array([[0, 0, -1e4], [0, 0, 0], [0, 0, 0]], float), np.zeros(3))
    path = best_path(chain, inside)

    spans = tags_to_spans([["O", "B-PER", "I-PER"][i] for i in path], "BIO")
    (marginal,) = piece_marginals(chain, inside, path, first=np.array([0]), last=np.array([3999]), unlike=np.array([2]))

    assert spans == [Span(0, 4000, "PER")]
    assert marginal == pytest.approx(1)


def test_without_entities_there_are_no_marginals(crf, scheme):
    none = np.array([], int)
    emissions = np.zeros((7, 5))

    marginals = piece_marginals(
        crf.chain(), emissions, best_path(crf.chain(), emissions), first=none, last=none, unlike=none
    )

    assert marginals.tolist() == []
