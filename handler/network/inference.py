"""The trained network as it is served: words -> emissions, fast, and the same whatever else is in the batch.

Computes what :meth:`handler.network.model.BiLSTMCRF.emissions` does.  Sentences of N tokens in all, W distinct words
that are not cached yet; D features a word, H units a direction (rounded up to ``_LANES``), K tags::

    words (W) -> features (W, D) -> gate inputs (2, W, 4H) -> cache (2, CACHED_WORDS, 4H)   once for each word
    tokens (N) -> packed gate inputs (2, N, 4H) -> hidden (2, N, H) -> emissions (N, K) -> spans
                  from the cache                   R rows a step:      float64             handler.network.decoding
                                                   (2, R, H) @ (2, H, 4H)

- Everything before the recurrence depends on a word alone, and is cached.  The
  character CNN is a table for each place of its kernel, with the embedding
  multiplied in.
- Sentences are packed (:mod:`handler.network.packing`): no padding is computed.
  Both directions of the BiLSTM run side by side, a matrix product a step.
- sigmoid(x) = (1 + tanh(x / 2)) / 2, with the halves in the weights: one
  function for all four gates.

Hidden states are bit-identical alone or in a batch.  Matrix libraries choose
their order of summation by the number of rows, so every float32 product has a
number of rows from a short list that is tried at load (:func:`row_step`).
Emissions agree to 1e-14: the linear layer and the CRF take any number of rows,
in float64.  Replies are byte-identical, as scores are rounded to six decimals;
only a score that close to a rounding boundary, about one in 10**8, could differ
in its last digit.  On a machine without such a list everything is float64, and
hidden states agree like emissions (docs/decisions/0016).
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Hashable, Iterator, Sequence
from itertools import chain
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from handler.network.features import MAX_CACHED_CHARS, FeatureEncoder, Words
from handler.network.model import BiLSTMCRF
from handler.network.packing import Indices, Packing
from handler.network.recurrence import Recurrence, State, round_up
from handler.pieces import Check, never

#: Rows of the largest matrix product, and so sentences in one pass.
MAX_ROWS: Final = 48

#: Tokens in one pass, which bounds its memory; a longer sentence is run in windows of half as many.
MAX_TOKENS: Final = 2048

#: Words whose gate inputs are cached; a pass needs at most ``MAX_TOKENS``, and twice as many gained 2 % of speed.
CACHED_WORDS: Final = MAX_TOKENS

_ROW_STEPS: Final = (2, 6, 8, 12, 16, 24)

#: The width of the hidden state is a multiple of this, so that vector instructions never have a remainder.
_LANES: Final = 32


class Emitted(NamedTuple):
    """The network's output for B sentences of N tokens in all.

    Attributes:
        emissions: By position of the packing: (N, K).
        is_unseen: True for tokens without a pretrained vector of their own, in the order given: (N,).
    """

    emissions: npt.NDArray[np.float64]
    is_unseen: npt.NDArray[np.bool_]


def row_step(weights: Sequence[Tensor]) -> int | None:
    """The smallest step *s* for which products of *s*, 2 *s*, ... ``MAX_ROWS`` rows have equal rows; None without one.

    *weights* are the right sides, (2, inputs, outputs) each.  Every number of rows is tried with random values from a
    fixed seed: the order of summation depends on shapes, not on values.
    """
    return next((step for step in _ROW_STEPS if all(_has_equal_rows(weight, step) for weight in weights)), None)


def _has_equal_rows(weight: Tensor, step: int) -> bool:
    generator = torch.Generator().manual_seed(0)
    rows, added = (
        torch.randn(2, MAX_ROWS, width, generator=generator).to(weight.dtype) for width in weight.shape[1:]
    )  # some kernels begin with what is added, others end with it
    whole = torch.baddbmm(added, rows, weight)
    return all(
        torch.equal(torch.baddbmm(added[:, -count:], rows[:, -count:], weight), whole[:, -count:])
        for count in range(step, MAX_ROWS, step)
    )


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """PyTorch with one thread: more gain nothing for products this small, and change their order of summation."""
    num_threads = torch.get_num_threads()
    if num_threads == 1:
        yield
        return
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(num_threads)


class Network:
    """Emissions of the trained *model*, with features from *encoder*; threads that share it take turns."""

    def __init__(self, model: BiLSTMCRF, encoder: FeatureEncoder) -> None:
        self._encoder = encoder
        self._lock = threading.Lock()
        with torch.inference_mode(), _one_thread():
            weights = _FoldedWeights(model, torch.float32)
            step = row_step([weights.weight_ih, weights.weight_hh])
            if step is None:
                step, weights = 1, _FoldedWeights(model, torch.float64)
            self._row_step, self._weights = step, weights
            self._recurrence = Recurrence(weights.weight_hh, step)
            self._gate_inputs = weights.weight_hh.new_empty(2, CACHED_WORDS, weights.weight_hh.size(2))
        self._is_unseen = np.zeros(CACHED_WORDS, np.bool_)
        self._slots: OrderedDict[str, int] = OrderedDict()  # least recently used first
        self._free = list(range(CACHED_WORDS))

    def emit(self, sentences: Sequence[Sequence[str]], packing: Packing, check: Check = never) -> Emitted:
        """Emissions of B non-empty *sentences*, ``MAX_TOKENS`` tokens at most or a single sentence, by *packing*.

        Raises:
            CancelledError: by *check*, which is called before each window of a longer sentence.
        """
        words = list(chain.from_iterable(sentences))
        with self._lock, torch.inference_mode(), _one_thread():
            if len(words) > MAX_TOKENS:
                return self._emit_long(words, check)
            slots = self._slots_of(words)
            forward = slots[packing.tokens]
            hidden, _ = self._run_lstm(forward, forward[packing.mirror], packing.batch_sizes, None)
            of_forward, of_backward = self._weights.emissions(hidden).numpy()
            return Emitted(of_forward + of_backward[packing.mirror], self._is_unseen[slots])

    def _emit_long(self, words: Sequence[str], check: Check) -> Emitted:
        """The same for one long sentence, in windows that each direction runs through from its own end."""
        num_tokens, width = len(words), MAX_TOKENS // 2
        emissions = torch.zeros(num_tokens, self._weights.num_tags, dtype=torch.float64)
        is_unseen = np.empty(num_tokens, np.bool_)
        state = None
        for first in range(0, num_tokens, width):
            check()
            last = min(first + width, num_tokens)
            ahead, behind = slice(first, last), slice(num_tokens - last, num_tokens - first)
            slots = self._slots_of([*words[ahead], *words[behind][::-1]])
            is_unseen[ahead] = self._is_unseen[slots[: last - first]]
            forward, backward = slots.reshape(2, -1)
            hidden, state = self._run_lstm(forward, backward, [1] * (last - first), state)
            of_forward, of_backward = self._weights.emissions(hidden)
            emissions[ahead] += of_forward
            emissions[behind] += of_backward.flip(0)
        return Emitted(emissions.numpy(), is_unseen)

    def _run_lstm(
        self, forward: Indices, backward: Indices, batch_sizes: Sequence[int], state: State | None
    ) -> tuple[Tensor, State]:
        """Doubled hidden states (2, N, H) and the last state, from the cache slots (N,) of each direction's tokens."""
        weight_hh = self._weights.weight_hh
        padding = np.repeat(forward[:1], self._recurrence.num_rows(batch_sizes[0]))  # for the rows of the last steps
        gate_inputs = weight_hh.new_empty(2, len(forward) + len(padding), weight_hh.size(2))
        for direction, slots in enumerate((forward, backward)):
            padded = torch.from_numpy(np.concatenate([slots, padding]))
            torch.index_select(self._gate_inputs[direction], 0, padded, out=gate_inputs[direction])
        return self._recurrence.run(gate_inputs, batch_sizes, state)

    def _slots_of(self, words: Sequence[str]) -> Indices:
        """Cache slots (N,) of N *words*, at most ``MAX_TOKENS`` distinct ones; computes those that are missing."""
        slots = self._slots
        here: dict[str, int] = {}
        missing = []
        for word in dict.fromkeys(words):
            slot = slots.get(word)
            if slot is None:
                missing.append(word)
            else:
                slots.move_to_end(word)
                here[word] = slot
        if missing:
            here |= self._add(missing)
        found = np.fromiter(map(here.__getitem__, words), np.int64, len(words))
        for word in missing:
            if len(word) > MAX_CACHED_CHARS and word in slots:
                self._free.append(slots.pop(word))
        return found

    def _add(self, words: list[str]) -> dict[str, int]:
        """The slots of *words*, computed in the place of the least recently used ones; alike words share one.

        Only the first of them is cached, so that a slot has one word.
        """
        of_key: dict[Hashable, str] = {}
        originals = {word: of_key.setdefault(self._encoder.key(word), word) for word in words}
        distinct = list(of_key.values())
        while len(self._free) < len(distinct):
            self._free.append(self._slots.popitem(last=False)[1])
        for first in range(0, len(distinct), MAX_ROWS):
            some = distinct[first : first + MAX_ROWS]
            slots = [self._free.pop() for _ in some]
            features = self._encoder.words(some)
            gate_inputs = self._weights.gate_inputs(features, round_up(len(some), self._row_step))
            self._gate_inputs.index_copy_(1, torch.tensor(slots), gate_inputs[:, : len(some)])
            self._is_unseen[slots] = features.rows < 0
            self._slots.update(zip(some, slots, strict=True))
        return {word: self._slots[original] for word, original in originals.items()}


class _FoldedWeights:
    """The weights of *model* for arithmetic in *dtype*, with constant factors multiplied in.

    F filters, D features of a word, H units a direction, K tags.  H is filled up with units that stay 0, and the gates
    are in the order i, f, o, g.  The linear layer is float64 always.
    """

    def __init__(self, model: BiLSTMCRF, dtype: torch.dtype) -> None:
        cnn, lstm, linear = model.char_cnn, model.lstm, model.linear
        width = round_up(lstm.hidden_size, _LANES)
        new_units = (0, 0, 0, width - lstm.hidden_size)
        embedded = cnn.embedding.weight.double().clone()
        embedded[0] = 0  # padding, as beyond the ends of a word
        responses = torch.stack([embedded @ place.T for place in cnn.convolution.weight.double().unbind(2)])
        weights_ih, biases, weights_hh = [], [], []
        for suffix in ("", "_reverse"):
            weight_ih, weight_hh, bias_ih, bias_hh = (
                getattr(lstm, f"{name}_l0{suffix}").double()
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            weights_ih.append(_fold_gates(weight_ih, width).T)
            biases.append(_fold_gates((bias_ih + bias_hh).unsqueeze(1), width).T)
            weights_hh.append(nn.functional.pad(_fold_gates(weight_hh, width).T / 2, new_units))  # hidden is doubled
        halves = [nn.functional.pad(half.T / 2, new_units) for half in linear.weight.double().chunk(2, 1)]

        self.unknown: npt.NDArray[Any] = model.unknown.detach().to(dtype).numpy()  # (word_dim,)
        self.responses: npt.NDArray[Any] = responses.to(dtype).numpy()  # of the filters: (kernel, num_chars, F)
        self.char_bias: npt.NDArray[Any] = cnn.convolution.bias.detach().to(dtype).numpy()  # type: ignore[union-attr]
        self.cases: npt.NDArray[Any] = model.case_embedding.weight.detach().to(dtype).numpy()  # (num_cases, case_dim)
        self.weight_ih = torch.stack(weights_ih).to(dtype)  # (2, D, 4H)
        self.bias = torch.stack(biases).to(dtype)  # (2, 1, 4H)
        self.weight_hh = torch.stack(weights_hh).to(dtype)  # (2, H, 4H)
        self.linear = torch.stack(halves)  # (2, H, K)
        self.linear_bias = torch.stack([linear.bias, torch.zeros_like(linear.bias)]).double().unsqueeze(1)  # (2, 1, K)
        self.num_tags = linear.out_features

    def gate_inputs(self, words: Words, num_rows: int) -> Tensor:
        """Gate inputs of W *words*: (2, num_rows, 4H), of which the first W rows count."""
        features = self.weight_ih.new_zeros(num_rows, self.weight_ih.size(1))
        num_words, word_dim = words.vectors.shape
        columns = features.numpy()[:num_words]
        columns[:, :word_dim] = words.vectors
        columns[~words.known, :word_dim] = self.unknown
        columns[:, word_dim : -self.cases.shape[1]] = self._char_features(words.chars)
        columns[:, -self.cases.shape[1] :] = self.cases[words.cases]
        return torch.baddbmm(self.bias, features.expand(2, -1, -1), self.weight_ih)

    def _char_features(self, words: Sequence[tuple[int, ...]]) -> npt.NDArray[Any]:
        """Output of the character CNN for the character ids of W *words*: (W, F)."""
        margin = len(self.responses) // 2 * (0,)  # what the kernel reads beyond the ends of a word
        row = np.array([*margin, *chain.from_iterable((*word, *margin) for word in words)])
        num_places = len(row) - 2 * len(margin)
        responses = self.responses[0].take(row[:num_places], 0)
        for place in range(1, len(self.responses)):
            responses += self.responses[place].take(row[place : place + num_places], 0)
        lengths = np.array([len(word) for word in words])
        firsts = np.cumsum(lengths + len(margin)) - (lengths + len(margin))
        columns = np.minimum(np.arange(lengths.max()), lengths[:, None] - 1)  # shorter words repeat their last place
        largest = responses.take(firsts[:, None] + columns, 0).max(1)
        features: npt.NDArray[Any] = np.maximum(largest + self.char_bias, 0)
        return features

    def emissions(self, hidden: Tensor) -> Tensor:
        """Each direction's part of the emissions: doubled hidden states (2, N, H) -> (2, N, K) in float64."""
        return torch.baddbmm(self.linear_bias, hidden.double(), self.linear)


def _fold_gates(weight: Tensor, width: int) -> Tensor:
    """PyTorch's gates i, f, g, o as i / 2, f / 2, o / 2, g of *width* units each: (4 hidden_size, *) -> (4H, *)."""
    i, f, g, o = weight.chunk(4)
    new_units = (0, 0, 0, width - len(i))
    return torch.cat([nn.functional.pad(gate, new_units) for gate in (i / 2, f / 2, o / 2, g)])
