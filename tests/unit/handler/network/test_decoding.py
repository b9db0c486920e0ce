"""Entities and their probabilities: against brute force over all tag sequences of a sentence."""

import itertools
import math

import numpy as np
import pytest
import torch

from handler.labels import Span, span_tags, tag_rules, tag_set, tags_to_spans
from handler.network.crf import LinearChainCRF
from handler.network.decoding import Shift, SpanDecoder
from handler.network.packing import Packing

TAGS = {"BIO": tag_set(["PER", "LOC"], "BIO"), "IOBES": tag_set(["PER"], "IOBES")}
K = 5


@pytest.fixture(params=list(TAGS))
def scheme(request):
    return request.param


@pytest.fixture
def chain(scheme):
    torch.manual_seed(3)
    crf = LinearChainCRF(K, tag_rules(TAGS[scheme], scheme)).double().requires_grad_(False)
    for parameter in crf.parameters():
        parameter.normal_(std=2)
    return crf.chain()


@pytest.fixture
def decoder(chain, scheme):
    return SpanDecoder(chain, TAGS[scheme], scheme)


def brute_force(chain, emissions, scheme):
    """The spans on the best path, and the probability of every span."""
    scores = {}
    for path in itertools.product(range(K), repeat=len(emissions)):
        moves = sum(chain.transitions[i, j] for i, j in itertools.pairwise(path))
        emitted = sum(emissions[t, i] for t, i in enumerate(path))
        scores[path] = chain.start[path[0]] + moves + chain.end[path[-1]] + emitted
    largest = max(scores.values())
    total = sum(math.exp(score - largest) for score in scores.values())
    probabilities = {}
    for path, score in scores.items():
        for span in tags_to_spans([TAGS[scheme][i] for i in path], scheme):
            probabilities[span] = probabilities.get(span, 0) + math.exp(score - largest) / total
    best = max(scores, key=scores.get)
    return tags_to_spans([TAGS[scheme][i] for i in best], scheme), probabilities


@pytest.mark.parametrize("seed", range(8))
def test_entities_and_marginals_are_those_of_brute_force(decoder, chain, scheme, seed):
    random = np.random.default_rng(seed)
    lengths = random.integers(1, 6, 6).tolist()
    rows = [random.normal(scale=2, size=(length, K)) for length in lengths]
    rows[2] = np.tile([9.0, 0, 0, 0, 0], (lengths[2], 1))  # a sentence without entities
    packing = Packing.of(lengths)

    found = decoder.decode(np.concatenate(rows)[packing.tokens], packing)

    expected = [brute_force(chain, row, scheme) for row in rows]
    assert list(zip(found.sentences, found.spans, strict=True)) == [
        (i, span) for i, (spans, _) in enumerate(expected) for span in spans
    ]
    assert len(found.spans) > 2
    assert 2 not in found.sentences
    assert found.marginals == pytest.approx(
        [expected[i][1][span] for i, span in zip(found.sentences, found.spans, strict=True)], rel=1e-9
    )


def test_marginals_are_of_the_spans_that_are_asked_for(decoder, chain, scheme):
    random = np.random.default_rng(1)
    rows = [random.normal(scale=2, size=(length, K)) for length in (3, 5, 4)]
    packing = Packing.of([3, 5, 4])
    asked = [
        (i, Span(start, end, "PER"))
        for i in (2, 0)  # in any order, and not in every sentence
        for start in range(len(rows[i]))
        for end in range(start + 1, len(rows[i]) + 1)
    ]
    sentences, spans = zip(*asked, strict=True)

    marginals = decoder.marginals(np.concatenate(rows)[packing.tokens], packing, sentences, spans)

    expected = [brute_force(chain, rows[i], scheme)[1].get(span, 0.0) for i, span in asked]
    assert marginals == pytest.approx(expected, rel=1e-9, abs=1e-15)
    assert sum(marginal > 0.01 for marginal in marginals) > 5


@pytest.mark.parametrize("span", [Span(0, 0, "PER"), Span(-1, 1, "PER"), Span(2, 4, "PER")])
def test_a_span_that_leaves_its_sentence_is_refused(decoder, span):
    with pytest.raises(ValueError, match="expected a span within 3 tokens"):
        decoder.marginals(np.zeros((8, K)), Packing.of([5, 3]), [1], [span])


def test_without_entities_there_is_nothing(decoder):
    packing = Packing.of([3, 1])

    assert decoder.decode(np.tile([99.0, 0, 0, 0, 0], (4, 1)), packing) == ([], [], [])


def test_a_long_sentence_has_the_marginals_of_pytorch(decoder, chain, scheme):
    emissions = np.random.default_rng(1).normal(scale=2, size=(3000, K))
    found = decoder.decode(emissions, Packing.of([3000]))

    leaf = torch.tensor(emissions[None], requires_grad=True)
    crf = LinearChainCRF(K, tag_rules(TAGS[scheme], scheme)).double()
    for name, scores in zip(("start", "transition", "end"), chain, strict=True):
        getattr(crf, f"{name}_weights").data = torch.tensor(scores)
    crf.log_partition(leaf, torch.ones(1, 3000, dtype=torch.bool)).sum().backward()
    single = "S-PER" if scheme == "IOBES" else None
    ones = [(span, p) for span, p in zip(found.spans, found.marginals, strict=True) if span.end - span.start == 1]
    assert len(found.spans) > 300
    assert len(ones) > 100
    for span, marginal in ones:
        if single:
            assert marginal == pytest.approx(leaf.grad[0, span.start, TAGS[scheme].index(single)].item(), rel=1e-6)
        else:  # in BIO a longer entity may begin there as well
            assert marginal <= leaf.grad[0, span.start, TAGS[scheme].index(f"B-{span.label}")].item() + 1e-9


@pytest.mark.parametrize("seed", range(4))
def test_a_shift_moves_the_log_odds_of_one_entity(decoder, chain, scheme, seed):
    random = np.random.default_rng(seed)
    row = random.normal(scale=2, size=(4, K))
    start, end = [(0, 1), (1, 4), (0, 4), (2, 3)][seed]

    shifted = decoder.shifted(row, [Shift(start, end, "PER", 1.5)])

    tags = [TAGS[scheme].index(tag) for tag in span_tags("PER", end - start, scheme)]
    by_hand = row.copy()
    for t, tag in zip(range(start, end), tags, strict=True):
        by_hand[t, tag] += 1.5 / (end - start)
    packing = Packing.of([4])
    found = decoder.decode(shifted[packing.tokens], packing)
    best, probabilities = brute_force(chain, by_hand, scheme)
    assert found.spans == best
    assert found.marginals == pytest.approx([probabilities[span] for span in best], rel=1e-9)
    assert probabilities[Span(start, end, "PER")] > brute_force(chain, row, scheme)[1][Span(start, end, "PER")]
