"""A bundle run the plain way, as a good tutorial would: ``nn.LSTM`` on one sentence, Viterbi a token at a time.

The same weights, tokens and features as :class:`handler.tagger.Tagger`, and so
the same entities; without scores, which would double its cost.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from handler.bundle import Bundle, tags_of
from handler.labels import tag_rules, tags_to_spans
from handler.network.features import case_of, normalize
from handler.text.sentences import split_sentences
from handler.vectors import back_off

_FORBIDDEN = -1e4
_UNKNOWN, _BEGIN, _END, _NUM_SPECIAL = 1, 2, 3, 4


class Found(NamedTuple):
    """An entity without a score."""

    text: str
    label: str
    start: int
    end: int


class PlainNetwork(nn.Module):
    """Embeddings, character CNN, BiLSTM and linear layer, whose parameters have their names in a bundle."""

    def __init__(self, weights: dict[str, Tensor]) -> None:
        super().__init__()
        chars, kernel = weights["char_cnn.embedding.weight"], weights["char_cnn.convolution.weight"]
        recurrent, inputs = weights["lstm.weight_hh_l0"], weights["lstm.weight_ih_l0"]
        self.unknown = nn.Parameter(weights["unknown"])
        self.char_cnn = nn.ModuleDict({
            "embedding": nn.Embedding(chars.size(0), chars.size(1), padding_idx=0),
            "convolution": nn.Conv1d(kernel.size(1), kernel.size(0), kernel.size(2), padding=kernel.size(2) // 2),
        })  # fmt: skip
        self.case_embedding = nn.Embedding(*weights["case_embedding.weight"].shape)
        self.lstm = nn.LSTM(inputs.size(1), recurrent.size(1), bidirectional=True, batch_first=True)
        self.linear = nn.Linear(weights["linear.weight"].size(1), weights["linear.weight"].size(0))
        self.load_state_dict({name: weight for name, weight in weights.items() if not name.startswith("crf.")})

    def forward(self, vectors: Tensor, cases: Tensor, chars: Tensor) -> Tensor:
        """Emissions of one sentence: (T, D), (T,), (T, C) -> (T, K)."""
        padding = (chars == 0).unsqueeze(1)  # (T, 1, C)
        embedded = self.char_cnn["embedding"](chars).transpose(1, 2)
        pooled = self.char_cnn["convolution"](embedded).masked_fill(padding, -torch.inf).amax(dim=2).relu()
        tokens = torch.cat([vectors, pooled, self.case_embedding(cases)], dim=1)
        emissions: Tensor = self.linear(self.lstm(tokens.unsqueeze(0))[0][0])
        return emissions


class PlainTagger:
    """Finds the entities of texts, sentence by sentence."""

    def __init__(self, folder: Path) -> None:
        bundle = Bundle.load(folder)
        config = bundle.config.model
        self._scheme, self._max_word_chars = config.scheme, config.max_word_chars
        self._tags = tags_of(config)
        self._vectors = bundle.vectors
        self._rows = {word: row for row, word in enumerate(bundle.vectors.words())}
        self._char_ids = {char: i for i, char in enumerate(bundle.chars, _NUM_SPECIAL)}
        weights = {name: weight.float() for name, weight in bundle.model.state_dict().items()}
        self._network = PlainNetwork(weights).eval()
        rules = tag_rules(self._tags, self._scheme)
        self._start, self._transitions, self._end = (
            weights[f"crf.{name}_weights"].masked_fill(~torch.tensor(allowed), _FORBIDDEN)
            for name, allowed in (("start", rules.start), ("transition", rules.transitions), ("end", rules.end))
        )

    def tag(self, text: str) -> list[Found]:
        """The entities of *text*, in order."""
        found = []
        for sentence in split_sentences(text):
            path = self._viterbi(self._emissions([token.text for token in sentence]))
            for first, last, label in tags_to_spans([self._tags[i] for i in path], self._scheme):
                start, end = sentence[first].start, sentence[last - 1].end
                found.append(Found(text[start:end], label, start, end))
        return found

    @torch.inference_mode()
    def _emissions(self, words: Sequence[str]) -> Tensor:
        plain = [normalize(word) for word in words]
        rows = np.array(
            [next((self._rows[form] for form in back_off(word) if form in self._rows), -1) for word in plain]
        )
        vectors = torch.from_numpy(self._vectors.take(rows))
        vectors[torch.from_numpy(rows < 0)] = self._network.unknown
        chars = nn.utils.rnn.pad_sequence([torch.tensor(self._chars_of(word)) for word in plain], batch_first=True)
        emissions: Tensor = self._network(vectors, torch.tensor([case_of(word) for word in plain]), chars)
        return emissions

    def _chars_of(self, word: str) -> list[int]:
        half = self._max_word_chars // 2
        seen = word if len(word) <= self._max_word_chars else word[:half] + word[-half:]
        return [_BEGIN, *(self._char_ids.get(char, _UNKNOWN) for char in seen), _END]

    @torch.inference_mode()
    def _viterbi(self, emissions: Tensor) -> list[int]:
        """The best path of tag ids: (T, K) -> T numbers."""
        best = self._start + emissions[0]
        pointers = []
        for emission in emissions[1:]:
            longer, before = (best.unsqueeze(1) + self._transitions).max(dim=0)
            best = longer + emission
            pointers.append(before)
        path = [int((best + self._end).argmax())]
        for before in reversed(pointers):
            path.append(int(before[path[-1]]))
        return path[::-1]
