"""The CRF against brute force over all tag sequences."""

import itertools
import math

import pytest
import torch

from handler.labels import tag_rules, tag_set
from handler.network.crf import LinearChainCRF

K = 5
LENGTHS = [4, 1, 5, 2]
BIO_TAGS = tag_set(["PER", "LOC"], "BIO")
IOBES_TAGS = tag_set(["PER"], "IOBES")
RULES = {"free": None, "BIO": tag_rules(BIO_TAGS, "BIO"), "IOBES": tag_rules(IOBES_TAGS, "IOBES")}


@pytest.fixture(params=list(RULES))
def crf(request):
    torch.manual_seed(3)
    crf = LinearChainCRF(K, RULES[request.param]).double()
    with torch.no_grad():
        for parameter in crf.parameters():
            parameter.normal_(std=2)
    return crf


@pytest.fixture
def batch():
    """Ragged rows; padding is filled with 1e4 so that a leak shows."""
    torch.manual_seed(4)
    mask = torch.arange(max(LENGTHS)) < torch.tensor(LENGTHS).unsqueeze(1)
    emissions = torch.randn(len(LENGTHS), max(LENGTHS), K, dtype=torch.float64) * 2
    return emissions.masked_fill(~mask.unsqueeze(2), 1e4), mask


def path_score(crf, emissions, path):
    """Score of one path, step by step in plain Python; a forbidden step makes it minus infinity."""
    steps = list(itertools.pairwise(path))
    allowed = (
        crf.start_allowed[path[0]]
        and crf.end_allowed[path[-1]]
        and all(crf.transitions_allowed[i, j] for i, j in steps)
    )
    if not allowed:
        return -float("inf")
    score = crf.start_weights[path[0]].item() + crf.end_weights[path[-1]].item()
    score += sum(emissions[t, tag].item() for t, tag in enumerate(path))
    return score + sum(crf.transition_weights[i, j].item() for i, j in steps)


def every_path(crf, emissions):
    """All (score, path) pairs of one row; emissions are (T, K)."""
    paths = itertools.product(range(K), repeat=len(emissions))
    return [(path_score(crf, emissions, path), list(path)) for path in paths]


def rows_of(emissions):
    return [row[:n] for row, n in zip(emissions, LENGTHS, strict=True)]


def log_sum_exp(scores):
    return torch.logsumexp(torch.tensor(scores, dtype=torch.float64), dim=0).item()


def test_log_partition_sums_over_all_paths(crf, batch):
    emissions, mask = batch

    log_partition = crf.log_partition(emissions, mask)

    expected = [log_sum_exp([score for score, _ in every_path(crf, row)]) for row in rows_of(emissions)]
    assert log_partition.tolist() == pytest.approx(expected, rel=1e-12)


def test_score_adds_up_the_steps_of_a_path(crf, batch):
    emissions, mask = batch
    best = [max(every_path(crf, row))[1] for row in rows_of(emissions)]
    tags = torch.tensor([path + [0] * (max(LENGTHS) - len(path)) for path in best])

    score = crf.score(emissions, tags, mask)

    expected = [path_score(crf, row, path) for row, path in zip(rows_of(emissions), best, strict=True)]
    assert score.tolist() == pytest.approx(expected, rel=1e-12)


def test_log_likelihood_of_all_paths_sums_to_one(crf, batch):
    emissions, mask = batch
    row, row_mask = emissions[:1, :3], mask[:1, :3]
    paths = torch.tensor(list(itertools.product(range(K), repeat=3)))

    total = crf.log_likelihood(row.expand(len(paths), -1, -1), paths, row_mask.expand(len(paths), -1)).exp().sum()

    assert total.item() == pytest.approx(1, abs=1e-9)


def test_gradients_are_finite_where_rules_forbid_steps(crf, batch):
    emissions, mask = batch
    emissions = emissions.masked_fill(~mask.unsqueeze(2), 0).requires_grad_()
    tags = torch.zeros(mask.shape, dtype=torch.long)

    (-crf.log_likelihood(emissions, tags, mask).mean()).backward()

    assert all(torch.isfinite(parameter.grad).all() for parameter in [*crf.parameters(), emissions])


def path_probabilities(crf, emissions):
    """Probability of every path of one row: {path: p}."""
    scored = every_path(crf, emissions)
    log_partition = log_sum_exp([score for score, _ in scored])
    return {tuple(path): math.exp(score - log_partition) for score, path in scored}


def test_subset_log_likelihood_sums_over_the_allowed_paths(crf, batch):
    emissions, mask = batch
    best = [max(every_path(crf, row))[1] for row in rows_of(emissions)]
    allowed = torch.rand(emissions.shape) < 0.4
    for row, path in enumerate(best):  # at least one sequence is allowed
        allowed[row, torch.arange(len(path)), path] = True

    log_likelihood = crf.subset_log_likelihood(emissions, allowed, mask)

    for row, row_emissions in enumerate(rows_of(emissions)):
        probability = sum(
            p
            for path, p in path_probabilities(crf, row_emissions).items()
            if all(allowed[row, t, tag] for t, tag in enumerate(path))
        )
        assert log_likelihood[row].item() == pytest.approx(math.log(probability), abs=1e-6)
