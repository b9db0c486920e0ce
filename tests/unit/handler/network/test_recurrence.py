"""The steps of a single sentence: the bits of a whole step's product, in fewer rows where these have them."""

import pytest
import torch

from handler.network import recurrence
from handler.network.inference import row_step
from handler.network.recurrence import Recurrence


def weights(hidden_dim):
    generator = torch.Generator().manual_seed(hidden_dim)
    return torch.randn(2, hidden_dim, 4 * hidden_dim, generator=generator) / hidden_dim**0.5


def inputs(num_tokens, hidden_dim):
    generator = torch.Generator().manual_seed(num_tokens)
    return torch.randn(2, num_tokens, 4 * hidden_dim, generator=generator)


class WrongProduct:
    """The fastest product: it leaves the gates as they are."""

    def __init__(self, weight_hh):
        self.hidden, self.gates = weight_hh.new_zeros(2, 1, weight_hh.size(1)), weight_hh.new_zeros(2, 1, 1)

    def add_to(self, _inputs):
        pass


@pytest.mark.parametrize("hidden_dim", [32, 160, 256])
def test_a_sentence_has_the_same_bits_alone_as_in_a_whole_step(hidden_dim):
    step = row_step([weights(hidden_dim)])
    recurrence = Recurrence(weights(hidden_dim), step)
    alone = inputs(40, hidden_dim)
    whole = alone[:, :, None].expand(-1, -1, step, -1).reshape(2, 40 * step, -1)  # the sentence, *step* times
    padding = alone.new_zeros(2, step, 4 * hidden_dim)

    in_step, _ = recurrence.run(torch.cat([whole, padding], 1), [step] * 40, None)
    hidden, _ = recurrence.run(torch.cat([alone, padding], 1), [1] * 40, None)

    assert torch.equal(hidden, in_step[:, ::step])
    assert hidden.abs().min() > 0


def test_a_product_with_other_bits_is_not_taken(monkeypatch):
    candidates = recurrence._candidates
    monkeypatch.setattr(
        recurrence, "_candidates", lambda weight, step: [WrongProduct(weight), *candidates(weight, step)]
    )

    found = recurrence._single_row_product(weights(32), 6)

    assert not isinstance(found, WrongProduct)


def test_a_sentence_goes_on_from_the_state_of_its_first_part():
    recurrence = Recurrence(weights(32), 6)
    alone, padding = inputs(40, 32), torch.zeros(2, 6, 128)

    whole, _ = recurrence.run(torch.cat([alone, padding], 1), [1] * 40, None)
    first, state = recurrence.run(torch.cat([alone[:, :17], padding], 1), [1] * 17, None)
    second, _ = recurrence.run(torch.cat([alone[:, 17:], padding], 1), [1] * 23, state)

    assert torch.equal(torch.cat([first, second], 1), whole)
