"""The network against itself one row at a time, and against a plain loop over PyTorch's own cells."""

import pytest
import torch
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from handler.network.model import CharCNN

SENTENCES = [["the", "Paris", "xyzzy"], ["Obama"], ["the", "1984", "apple", ",", "Apple", "."], ["Paris", "."]]


@pytest.fixture
def bundle(make_bundle):
    return make_bundle()


@pytest.fixture
def model(bundle):
    return bundle.model.double().eval()


def encode(bundle, sentences):
    return bundle.encoder().batch(sentences, torch.float64)


def test_padding_changes_no_emission(bundle, model):
    together = model.emissions(encode(bundle, SENTENCES))

    for row, sentence in enumerate(SENTENCES):
        alone = model.emissions(encode(bundle, [sentence]))
        torch.testing.assert_close(together[row, : len(sentence)], alone[0], rtol=0, atol=1e-12)


def test_contexts_are_what_an_lstm_cell_computes_token_by_token(bundle, model):
    batch = encode(bundle, [SENTENCES[2]])
    vectors = torch.where(batch.known.unsqueeze(1), batch.vectors, model.unknown)
    features = torch.cat([vectors, model.char_cnn(batch.chars), model.case_embedding(batch.cases)], dim=1)
    tokens = features[batch.words[0]]

    def run(order, suffix):
        cell = torch.nn.LSTMCell(tokens.size(1), 4).double()
        names = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
        cell.load_state_dict({name: getattr(model.lstm, f"{name}_l0{suffix}") for name in names})
        state, outputs = None, {}
        for t in order:
            state = cell(tokens[t : t + 1], state)
            outputs[t] = state[0][0]
        return torch.stack([outputs[t] for t in range(len(tokens))])

    length = len(tokens)
    contexts = torch.cat([run(range(length), ""), run(range(length - 1, -1, -1), "_reverse")], dim=1)
    torch.testing.assert_close(model.emissions(batch)[0], model.linear(contexts), rtol=0, atol=1e-12)


def test_char_cnn_looks_at_real_characters_alone():
    torch.manual_seed(1)
    cnn = CharCNN(num_chars=9, char_dim=4, num_filters=6, kernel=3).eval()
    words = torch.tensor([[2, 5, 6, 3]])

    padded = torch.nn.functional.pad(words, (0, 7))

    torch.testing.assert_close(cnn(padded), cnn(words))


def test_char_cnn_is_the_largest_response_of_each_filter():
    torch.manual_seed(1)
    cnn = CharCNN(num_chars=9, char_dim=4, num_filters=6, kernel=3).eval()
    chars = torch.tensor([[2, 5, 6, 7, 3]])
    embedded = torch.nn.functional.pad(cnn.embedding(chars)[0].T, (1, 1))  # (4, 7)

    responses = torch.stack(
        [(cnn.convolution.weight * embedded[:, i : i + 3]).sum((1, 2)) + cnn.convolution.bias for i in range(5)]
    )

    torch.testing.assert_close(cnn(chars)[0], responses.amax(0).relu())


def test_loss_is_the_negative_log_likelihood_a_token(bundle, model):
    batch = encode(bundle, SENTENCES)
    tags = torch.zeros(batch.mask.shape, dtype=torch.long)

    loss = model.loss(batch, tags)

    alone = [
        model.crf.log_likelihood(
            model.emissions(encode(bundle, [sentence])),
            torch.zeros(1, len(sentence), dtype=torch.long),
            torch.ones(1, len(sentence), dtype=torch.bool),
        ).item()
        for sentence in SENTENCES
    ]
    assert loss.item() == pytest.approx(-sum(alone) / sum(map(len, SENTENCES)))


def test_word_dropout_hides_words_in_training_alone(bundle, model):
    batch = encode(bundle, SENTENCES)
    model.dropout.p, model.word_dropout = 0.0, 0.999
    evaluated = model.emissions(batch)

    model.train()
    hidden = model.emissions(batch)

    unknown = model.eval().emissions(batch._replace(known=torch.zeros_like(batch.known)))
    torch.testing.assert_close(hidden[batch.mask], unknown[batch.mask])
    assert not torch.allclose(evaluated[batch.mask], unknown[batch.mask])


def test_contexts_and_gradients_are_those_that_packed_rows_give(bundle, model):
    batch = encode(bundle, SENTENCES)
    tokens = torch.randn(*batch.mask.shape, model.lstm.input_size, dtype=torch.float64)
    packed, unpacked = tokens.clone().requires_grad_(), tokens.clone().requires_grad_()
    at_random = torch.randn(*batch.mask.shape, 8, dtype=torch.float64)

    rows = pack_padded_sequence(packed, batch.mask.sum(1), batch_first=True, enforce_sorted=False)
    expected, _ = pad_packed_sequence(model.lstm(rows)[0], batch_first=True)
    (expected * at_random).sum().backward()
    gradients = [weight.grad.clone() for weight in model.lstm.parameters()]
    model.zero_grad()
    contexts = model._contexts(unpacked, batch.mask)
    (contexts * at_random).sum().backward()

    torch.testing.assert_close(contexts, expected, rtol=0, atol=1e-12)
    torch.testing.assert_close(unpacked.grad, packed.grad, rtol=0, atol=1e-12)
    for weight, gradient in zip(model.lstm.parameters(), gradients, strict=True):
        torch.testing.assert_close(weight.grad, gradient, rtol=0, atol=1e-12)
