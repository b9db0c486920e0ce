"""Long work asks between its pieces whether it is cancelled, in every stage, and ends there if it is."""

import numpy as np
import pytest

from handler.network.chain import Chain, ForwardBackward, viterbi_decode
from handler.network.packing import Packing
from handler.pieces import PIECE, CancelledError, check_by
from handler.tagger import Tagger
from handler.text.sentences import split_sentences

NUM_PIECES = 4
TEXTS = {
    "Han": "\u5317\u4eac" * (PIECE * NUM_PIECES // 2),
    "one-letter words": "a " * (PIECE * NUM_PIECES),
    "lines": "a\n" * (PIECE * NUM_PIECES),
    "full stops": "a . " * (PIECE * NUM_PIECES),
    "closing marks": ".)" * (PIECE * NUM_PIECES),
    "emoji": "\U0001f600" * (PIECE * NUM_PIECES),
}


class Cancelled:
    """Becomes true when it is asked after *num_asked* times; counts."""

    def __init__(self, num_asked):
        self.left = num_asked

    def __call__(self, *_):
        self.left -= 1
        return self.left < 0


def num_pieces(work):
    """How often *work* asks if nothing cancels it."""
    check = Cancelled(10**9)
    work(check_by(check))
    return 10**9 - check.left


def chain_and_emissions(num_tokens):
    draw = np.random.default_rng(1)
    return Chain(draw.normal(size=3), draw.normal(size=(3, 3)), draw.normal(size=3)), draw.normal(size=(num_tokens, 3))


def decode(stage):
    chain, emissions = chain_and_emissions(PIECE * NUM_PIECES)
    return lambda check: stage(chain, emissions, Packing.of([len(emissions)]), check)


STAGES = {f"split {kind}": lambda check, text=text: split_sentences(text, check) for kind, text in TEXTS.items()} | {
    "forward-backward": decode(ForwardBackward),
    "Viterbi": decode(viterbi_decode),
}


@pytest.mark.parametrize("stage", STAGES)
def test_each_stage_asks_as_often_as_it_has_pieces_and_ends_when_it_is_cancelled(stage):
    count = num_pieces(STAGES[stage])

    assert count >= NUM_PIECES
    for num_asked in range(count):
        check = Cancelled(num_asked)
        with pytest.raises(CancelledError):
            STAGES[stage](check_by(check))
        assert check.left == -1  # never asked again


@pytest.mark.parametrize("kind", ["Han", "one-letter words"])
def test_a_text_is_given_up_at_any_moment_and_its_neighbour_is_tagged(make_bundle, kind):
    tagger = Tagger(make_bundle())
    text, neighbour = TEXTS[kind][:5000], "Obama saw Paris"
    total = Cancelled(10**9)
    whole, expected = tagger.tag_texts([text, neighbour], lambda i: i == 0 and total())
    assert whole.num_tokens >= 2500
    count = 10**9 - total.left

    assert count >= 10  # in windows of 1024 tokens, and in every stage
    for num_asked in range(count):
        cancelled = Cancelled(num_asked)
        late, tagged = tagger.tag_texts([text, neighbour], lambda i, cancelled=cancelled: i == 0 and cancelled())
        assert (late.entities, tagged) == ([], expected)
        assert cancelled.left >= -2  # at most the next stage asks again
