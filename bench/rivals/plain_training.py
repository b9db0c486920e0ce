"""Training as one writes it without thinking of speed: an embedding for every word, padded batches, a plain loop.

The same CRF, sizes and settings as ``nerserve train``.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import Final

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence

from handler.config import ModelConfig, TrainingConfig
from handler.labels import spans_to_tags, tag_rules, tag_set
from handler.network.crf import LinearChainCRF
from handler.network.features import CASES, case_of
from handler.vectors import WordVectors
from training.corpora import Sentence, label_set

CHAR_FILTERS: Final = 100
HIDDEN_DIM: Final = 320
MAX_CHARS: Final = 20


class PlainModel(nn.Module):
    """The network of ``handler/network/model.py``, which looks up and convolves each token anew."""

    def __init__(self, *, vectors: Tensor, freezes_vectors: bool, num_chars: int, tags: Sequence[str]) -> None:
        super().__init__()
        defaults = ModelConfig(labels=("PER",))
        self.words = nn.Embedding(len(vectors), vectors.size(1), padding_idx=0)
        self.words.weight = nn.Parameter(vectors, requires_grad=not freezes_vectors)
        self.cases = nn.Embedding(len(CASES) + 1, defaults.case_dim, padding_idx=0)
        self.chars = nn.Embedding(num_chars, defaults.char_dim, padding_idx=0)
        self.convolution = nn.Conv1d(defaults.char_dim, CHAR_FILTERS, defaults.char_kernel, padding="same")
        width = vectors.size(1) + defaults.case_dim + CHAR_FILTERS
        self.lstm = nn.LSTM(width, HIDDEN_DIM // 2, bidirectional=True, batch_first=True)
        self.linear = nn.Linear(HIDDEN_DIM, len(tags))
        self.dropout = nn.Dropout(TrainingConfig().dropout)
        self.crf = LinearChainCRF(len(tags), tag_rules(tags, "IOBES"))

    def loss(self, words: Tensor, cases: Tensor, chars: Tensor, tags: Tensor, lengths: Tensor) -> Tensor:
        """Negative log-likelihood of the tags, a mean over the tokens; chars are (B, T, C), the others (B, T), (B,)."""
        num_rows, num_tokens, num_chars = chars.shape
        chars = self.chars(chars.view(-1, num_chars)).transpose(1, 2)  # (B * T, char_dim, C)
        pooled = self.convolution(chars).amax(dim=2).relu().view(num_rows, num_tokens, -1)
        tokens = self.dropout(torch.cat([self.words(words), self.cases(cases), pooled], dim=2))
        packed = pack_padded_sequence(tokens, lengths, batch_first=True, enforce_sorted=False)
        contexts, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True)
        emissions = self.linear(self.dropout(contexts))
        mask = torch.arange(num_tokens) < lengths.unsqueeze(1)
        return -self.crf.log_likelihood(emissions, tags, mask).sum() / mask.sum()


class PlainLoop:
    """The plain loop over *sentences*; the ids of the corpus's words are looked up beforehand."""

    def __init__(self, sentences: Sequence[Sentence], vectors: WordVectors, *, freezes_vectors: bool) -> None:
        words = vectors.words()
        chars = {char: i for i, char in enumerate(sorted({char for word in words for char in word}), 1)}
        tags = tag_set(label_set(sentences), "IOBES")
        rows = torch.from_numpy(vectors.take(np.arange(len(words))))
        torch.manual_seed(0)
        self._model = PlainModel(
            vectors=nn.functional.pad(rows, (0, 0, 1, 0)),
            freezes_vectors=freezes_vectors,
            num_chars=len(chars) + 1,
            tags=tags,
        )
        self._word_ids = {word: i for i, word in enumerate(words, 1)}
        self._cases = {word: case_of(word) + 1 for word in words}
        self._chars = {word: torch.tensor([chars[char] for char in word[:MAX_CHARS]]) for word in words}
        self._tag_ids = {tag: i for i, tag in enumerate(tags)}
        self._sentences = list(sentences)

    def fit(self) -> None:
        """Train for an epoch."""
        settings = TrainingConfig()
        parameters = [parameter for parameter in self._model.parameters() if parameter.requires_grad]
        optimizer = torch.optim.Adam(parameters, lr=settings.learning_rate)
        self._model.train()
        for batch in self._batches(settings.batch_size):
            optimizer.zero_grad()
            loss = self._model.loss(*batch)
            torch.autograd.backward(loss)
            nn.utils.clip_grad_norm_(parameters, settings.clip_norm)
            optimizer.step()
            loss.item()  # as in a loop that reports its loss

    def _batches(self, num_rows: int) -> Iterator[list[Tensor]]:
        random.shuffle(self._sentences)
        for first in range(0, len(self._sentences), num_rows):
            yield self._collated(self._sentences[first : first + num_rows])

    def _collated(self, sentences: Sequence[Sentence]) -> list[Tensor]:
        """The arguments of the model's loss."""
        all_words = [sentence.words for sentence in sentences]
        all_tags = [spans_to_tags(sentence.spans, len(sentence.words), "IOBES") for sentence in sentences]
        lengths = torch.tensor([len(words) for words in all_words])
        chars = pad_sequence([self._chars[word] for words in all_words for word in words], batch_first=True)
        return [
            _padded([[self._word_ids[word] for word in words] for words in all_words]),
            _padded([[self._cases[word] for word in words] for words in all_words]),
            pad_sequence([*torch.split(chars, lengths.tolist())], batch_first=True),
            _padded([[self._tag_ids[tag] for tag in tags] for tags in all_tags]),
            lengths,  # stays on the CPU, for packing
        ]


def _padded(rows: Sequence[Sequence[int]]) -> Tensor:
    return pad_sequence([torch.tensor(row) for row in rows], batch_first=True)
