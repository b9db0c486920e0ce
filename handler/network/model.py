"""The network as it is trained: word vectors, character CNN and case features -> BiLSTM -> linear -> CRF.

The architecture of Ma and Hovy (2016, "End-to-end Sequence Labeling via
Bi-directional LSTM-CNNs-CRF") with the case feature of Chiu and Nichols (2016,
"Named Entity Recognition with Bidirectional LSTM-CNNs").
"""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn

from handler.labels import TagRules
from handler.network.crf import LinearChainCRF


class Batch(NamedTuple):
    """Sentences as arrays; the features of a word are there once for each distinct word.

    Shapes: B sentences, T tokens, W distinct words, C characters, D vector width.

    Attributes:
        words: Index of each token's word, 0 on padding: (B, T).
        mask: True on real tokens, which come first in every row: (B, T).
        vectors: Word vectors, zeros for unknown words: (W, D).
        known: True for words that have a vector: (W,).
        cases: Case classes: (W,).
        chars: Character ids, 0 on padding: (W, C).
    """

    words: Tensor
    mask: Tensor
    vectors: Tensor
    known: Tensor
    cases: Tensor
    chars: Tensor


class CharCNN(nn.Module):
    """Convolution over a word's characters, max-pooled over the real ones: (W, C) ids -> (W, num_filters)."""

    def __init__(self, *, num_chars: int, char_dim: int, num_filters: int, kernel: int) -> None:
        super().__init__()
        self.embedding = nn.Embedding(num_chars, char_dim, padding_idx=0)
        self.convolution = nn.Conv1d(char_dim, num_filters, kernel, padding=kernel // 2)

    def forward(self, chars: Tensor) -> Tensor:
        """Features of each word: (W, C) -> (W, num_filters)."""
        padding = (chars == 0).unsqueeze(1)  # (W, 1, C)
        embedded = self.embedding(chars).transpose(1, 2).masked_fill(padding, 0)  # as the convolution pads
        pooled: Tensor = self.convolution(embedded).masked_fill(padding, -torch.inf).amax(dim=2)
        return pooled.relu()


class BiLSTMCRF(nn.Module):
    """Emissions from words in context, and the CRF on top.

    Takes plain sizes; only ``Bundle.new`` turns a configuration into them.
    ``hidden_dim`` is the width of the BiLSTM output, both directions together.
    """

    def __init__(
        self,
        *,
        num_chars: int,
        num_cases: int,
        num_tags: int,
        word_dim: int,
        char_dim: int = 30,
        char_filters: int = 50,
        char_kernel: int = 3,
        case_dim: int = 8,
        hidden_dim: int = 200,
        dropout: float = 0.5,
        word_dropout: float = 0.0,
        rules: TagRules | None = None,
    ) -> None:
        super().__init__()
        self.word_dropout = word_dropout
        self.unknown = nn.Parameter(torch.zeros(word_dim))
        self.char_cnn = CharCNN(num_chars=num_chars, char_dim=char_dim, num_filters=char_filters, kernel=char_kernel)
        self.case_embedding = nn.Embedding(num_cases, case_dim)
        self.dropout = nn.Dropout(dropout)
        self.lstm = nn.LSTM(word_dim + char_filters + case_dim, hidden_dim // 2, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(hidden_dim, num_tags)
        self.crf = LinearChainCRF(num_tags, rules)

    def emissions(self, batch: Batch) -> Tensor:
        """Tag scores of every token, before the CRF: (B, T, K)."""
        known = batch.known
        if self.training and self.word_dropout:
            known = known & (torch.rand(known.shape, device=known.device) >= self.word_dropout)
        vectors = torch.where(known.unsqueeze(1), batch.vectors, self.unknown)
        features = torch.cat([vectors, self.char_cnn(batch.chars), self.case_embedding(batch.cases)], dim=1)  # (W, *)
        tokens = self.dropout(nn.functional.embedding(batch.words, features))  # (B, T, *)
        emissions: Tensor = self.linear(self.dropout(self._contexts(tokens, batch.mask)))
        return emissions

    def loss(self, batch: Batch, tags: Tensor) -> Tensor:
        """Negative log-likelihood of *tags*, divided by the number of tokens: a scalar.

        *tags* are ids (B, T), or bool (B, T, K): True for every tag that the token may have.
        """
        emissions = self.emissions(batch)
        log_likelihood = self.crf.subset_log_likelihood if tags.dtype == torch.bool else self.crf.log_likelihood
        return -log_likelihood(emissions, tags, batch.mask).sum() / batch.mask.sum()

    def _contexts(self, tokens: Tensor, mask: Tensor) -> Tensor:
        """BiLSTM output, zeros on padding: (B, T, *), (B, T) -> (B, T, hidden_dim).

        One fused kernel for each direction takes half the time of ``pack_padded_sequence``.  Rows are reversed within
        their lengths for the backward direction, so that it reads no padding before a token.
        """
        if mask.all():
            contexts: Tensor = self.lstm(tokens)[0]
            return contexts
        lengths, steps = mask.sum(1, keepdim=True), torch.arange(mask.size(1), device=mask.device)
        mirror = torch.where(mask, lengths - 1 - steps, steps).unsqueeze(2)  # (B, T, 1)
        forward = self._run_lstm(tokens, "")
        backward = self._run_lstm(tokens.gather(1, mirror.expand_as(tokens)), "_reverse")
        both = torch.cat([forward, backward.gather(1, mirror.expand_as(backward))], dim=2)
        return both.masked_fill(~mask.unsqueeze(2), 0)

    def _run_lstm(self, tokens: Tensor, suffix: str) -> Tensor:
        """Hidden states of the direction with parameters named *suffix*: (B, T, *) -> (B, T, hidden_dim / 2)."""
        names = ("weight_ih_l0", "weight_hh_l0", "bias_ih_l0", "bias_hh_l0")
        weights = [getattr(self.lstm, f"{name}{suffix}") for name in names]
        zeros = tokens.new_zeros(1, len(tokens), self.lstm.hidden_size)
        output, _, _ = torch.lstm(tokens, (zeros, zeros), weights, True, 1, 0.0, self.training, False, True)
        return output
