"""The network of a trained model as serving runs it: words in, emissions out, fast and the same in any company.

What :meth:`handler.network.model.BiLSTMCRF.emissions` computes, with what does not
change between requests computed once:

- Everything in front of the recurrent steps depends on a word alone: its
  vector, characters and case, through the LSTM's input weights.  The result is
  remembered for the latest words.  The character CNN is looked up in one table
  for each place of its kernel, where the embedding is multiplied in already.
- Sentences are packed (:mod:`handler.network.packing`) and both directions of the
  BiLSTM run side by side, one matrix product a step, without padding.
- sigmoid(x) = (1 + tanh(x / 2)) / 2, with the halves in the weights: one
  function for all four gates.

A sentence must get the same emissions, to the bit, alone and in any batch.
Matrix products choose their order of summation by the number of rows, so all
that are in float32 have a number of rows from a short list, for which that was
tried at load (:func:`row_step`).  Where a machine has no such list everything
runs in float64, whose differences the rounding of scores hides
(docs/decisions/0016).
"""

from __future__ import annotations

import contextlib
import threading
from collections import OrderedDict
from collections.abc import Callable, Iterator, Sequence
from itertools import chain, groupby
from typing import Any, Final, NamedTuple

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from handler.network.features import REMEMBERED_CHARS, FeatureEncoder, Words
from handler.network.model import BiLSTMCRF
from handler.network.packing import Packing, Places

#: Rows of the largest matrix product, and so sentences in one pass.
MAX_ROWS: Final = 48

#: Tokens in one pass, which bounds its memory; a longer sentence is seen through windows of half as many.
MAX_TOKENS: Final = 2048

#: Words whose input to the BiLSTM is remembered, at least as many as a pass can hold; twice as many gave 2 % of speed.
REMEMBERED_WORDS: Final = MAX_TOKENS

_STEPS: Final = (2, 6, 8, 12, 16, 24)

#: Width of the recurrent state is a multiple of it, so that vector instructions never meet a rest.
_LANES: Final = 32


class Emitted(NamedTuple):
    """What the network says of B sentences of N tokens in all, K tags.

    Attributes:
        emissions: Of each place of the packing: (N, K).
        is_unseen: True on each token without a pretrained vector of its own, through all sentences in order: (N,).
    """

    emissions: npt.NDArray[np.float64]
    is_unseen: npt.NDArray[np.bool_]


class NotWantedError(Exception):
    """Nobody waits for this sentence any more."""


def row_step(weights: Sequence[Tensor]) -> int | None:
    """The smallest step *s* such that products of *s*, 2 *s*, ... ``MAX_ROWS`` rows give equal rows; None without one.

    *weights* are (2, inputs, outputs) each, as they are multiplied with.  Every such number of rows is tried, on
    numbers drawn with a fixed seed: what a library does depends on shapes, not on values.
    """
    return next((step for step in _STEPS if all(_has_equal_rows(weight, step) for weight in weights)), None)


def _has_equal_rows(weight: Tensor, step: int) -> bool:
    generator = torch.Generator().manual_seed(0)
    rows, added = (
        torch.randn(2, MAX_ROWS, width, generator=generator).to(weight.dtype) for width in weight.shape[1:]
    )  # what is added matters: some kernels begin with it, others end with it
    whole = torch.baddbmm(added, rows, weight)
    return all(
        torch.equal(torch.baddbmm(added[:, -count:], rows[:, -count:], weight), whole[:, -count:])
        for count in range(step, MAX_ROWS, step)
    )


@contextlib.contextmanager
def _one_thread() -> Iterator[None]:
    """PyTorch with one thread: products this small gain nothing by more, and what they add up to depends on it."""
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
    """The network of *model* behind the features of *encoder*; threads may share it, and take turns."""

    def __init__(self, model: BiLSTMCRF, encoder: FeatureEncoder) -> None:
        self._encoder = encoder
        self._lock = threading.Lock()
        with torch.inference_mode(), _one_thread():
            weights = _Weights.of(model, torch.float32)
            step = row_step([weights.inputs, weights.recurrent])
            if step is None:
                step, weights = 1, _Weights.of(model, torch.float64)
            self._step, self._weights = step, weights
            width = weights.recurrent.size(2)
            self._projected = torch.empty(2, REMEMBERED_WORDS, width, dtype=weights.inputs.dtype)
        self._is_unseen = np.zeros(REMEMBERED_WORDS, np.bool_)
        self._slots: OrderedDict[str, int] = OrderedDict()
        self._free = list(range(REMEMBERED_WORDS))

    def emit(
        self, sentences: Sequence[Sequence[str]], packing: Packing, is_wanted: Callable[[], bool] = lambda: True
    ) -> Emitted:
        """Emissions of *sentences*, whose *packing* has at most ``MAX_TOKENS`` tokens or one sentence.

        Raises:
            NotWantedError: *is_wanted*, asked before each window of a longer sentence, said no.
        """
        words = list(chain.from_iterable(sentences))
        with self._lock, torch.inference_mode(), _one_thread():
            if len(words) <= MAX_TOKENS:
                slots = self._slots_of(words)
                forward = slots[packing.tokens]
                hidden, _ = self._run(forward, forward[packing.mirror], packing.counts, None)
                ahead, behind = self._weights.emissions(hidden).numpy()
                return Emitted(ahead + behind[packing.mirror], self._is_unseen[slots])
            return self._emit_long(words, is_wanted)

    def _emit_long(self, words: Sequence[str], is_wanted: Callable[[], bool]) -> Emitted:
        """The same of one sentence that no pass can hold, through windows that follow each other from both ends."""
        num_tokens, width = len(words), MAX_TOKENS // 2
        emissions = torch.zeros(num_tokens, self._weights.num_tags, dtype=torch.float64)
        is_unseen = np.empty(num_tokens, np.bool_)
        state = None
        for first in range(0, num_tokens, width):
            if not is_wanted():
                raise NotWantedError
            last = min(first + width, num_tokens)
            ahead, behind = slice(first, last), slice(num_tokens - last, num_tokens - first)
            slots = self._slots_of([*words[ahead], *words[behind][::-1]])
            is_unseen[ahead] = self._is_unseen[slots[: last - first]]
            forward, backward = slots.reshape(2, -1)
            hidden, state = self._run(forward, backward, [1] * (last - first), state)
            of_ahead, of_behind = self._weights.emissions(hidden)
            emissions[ahead] += of_ahead
            emissions[behind] += of_behind.flip(0)
        return Emitted(emissions.numpy(), is_unseen)

    def _run(
        self, forward: Places, backward: Places, counts: Sequence[int], state: _State | None
    ) -> tuple[Tensor, _State]:
        """Twice the output of both directions: slots (N,) and (N,), rows of each step -> (2, N, H) and the state.

        The state has at least as many rows as the next step; those that are too many hold what nobody reads.
        """
        weights, step = self._weights.recurrent, self._step
        most = _padded(counts[0], step)
        spare = np.repeat(forward[:1], most)  # what rows too many read behind the last place
        inputs = weights.new_empty(2, len(forward) + most, weights.size(2))
        for direction, places in enumerate((forward, backward)):
            slots = torch.from_numpy(np.concatenate([places, spare]))
            torch.index_select(self._projected[direction], 0, slots, out=inputs[direction])
        outputs = weights.new_empty(2, len(forward) + most, weights.size(1))
        nothing = weights.new_zeros(2, most, weights.size(1))
        hidden, cell = state or (nothing, nothing.clone())
        at = 0
        for count, run in groupby(counts):
            num_steps, rows = len(list(run)), _padded(count, step)
            hidden, cell = hidden[:, :rows], cell[:, :rows].contiguous()
            gates, seen = weights.new_empty(2, rows, weights.size(2)), torch.empty_like(cell)
            entering, keeping, leaving, candidate = gates.chunk(4, 2)
            for put_in, put_out in zip(
                _windows(inputs, at, count, rows, num_steps), _windows(outputs, at, count, rows, num_steps), strict=True
            ):
                torch.baddbmm(put_in, hidden, weights, out=gates).tanh_()
                cell.addcmul_(keeping, cell)
                candidate.addcmul_(entering, candidate)
                torch.lerp(cell, candidate, 0.5, out=cell)
                torch.tanh(cell, out=seen)
                hidden = torch.addcmul(seen, leaving, seen, out=put_out)
            at += num_steps * count
        return outputs[:, : len(forward)], (hidden, cell)

    def _slots_of(self, words: Sequence[str]) -> Places:
        """Where the input of each of *words* stands, at most ``MAX_TOKENS`` distinct ones; computed where it is new."""
        slots = self._slots
        missing = []
        for word in dict.fromkeys(words):
            if word in slots:
                slots.move_to_end(word)
            else:
                missing.append(word)
        if missing:
            self._add(missing)
        found = np.fromiter(map(slots.__getitem__, words), np.int64, len(words))
        for word in missing:
            if len(word) > REMEMBERED_CHARS:  # words from outside must not fill the memory
                self._free.append(slots.pop(word))
        return found

    def _add(self, words: list[str]) -> None:
        while len(self._free) < len(words):
            self._free.append(self._slots.popitem(last=False)[1])
        taken = [self._free.pop() for _ in words]
        at = torch.tensor(taken)
        for i in range(0, len(words), MAX_ROWS):
            some = words[i : i + MAX_ROWS]
            features = self._encoder.words(some)
            projected = self._weights.project(features, _padded(len(some), self._step))
            self._projected.index_copy_(1, at[i : i + MAX_ROWS], projected[:, : len(some)])
            self._is_unseen[taken[i : i + MAX_ROWS]] = features.rows < 0
        self._slots.update(zip(words, taken, strict=True))


#: Hidden state, twice what the LSTM's is, and cell state: (2, rows, H) each.
_State = tuple[Tensor, Tensor]


class _Weights(NamedTuple):
    """The weights of a trained network, folded.  F filters, D inputs, H the width of a direction, K tags.

    The gates stand in the order input, forget, output, candidate; H is filled up with units that stay 0.

    Attributes:
        unknown: The vector of unknown words: (word_dim,).
        chars: The part of each place of the kernel in a filter, for each character: (kernel, num_chars, F).
        char_bias: (F,).
        cases: (num_cases, case_dim).
        inputs: (2, D, 4 H).
        bias: (2, 1, 4 H).
        recurrent: (2, H, 4 H), of twice the hidden state.
        outputs: (2, H, K), likewise.
        output_bias: With the forward direction, and none with the backward one: (2, 1, K).
    """

    unknown: npt.NDArray[np.floating[Any]]
    chars: npt.NDArray[np.floating[Any]]
    char_bias: npt.NDArray[np.floating[Any]]
    cases: npt.NDArray[np.floating[Any]]
    inputs: Tensor
    bias: Tensor
    recurrent: Tensor
    outputs: Tensor
    output_bias: Tensor

    @classmethod
    def of(cls, model: BiLSTMCRF, dtype: torch.dtype) -> _Weights:
        """Those of *model*, for arithmetic in *dtype*; what is behind the BiLSTM is float64 always."""
        cnn, lstm, linear = model.char_cnn, model.lstm, model.linear
        embedded = cnn.embedding.weight.double().clone()
        embedded[0] = 0  # padding, as beyond the end of a word
        chars = torch.stack([embedded @ place.T for place in cnn.convolution.weight.double().unbind(2)])
        width = -(-lstm.hidden_size // _LANES) * _LANES
        inputs, bias, recurrent = [], [], []
        for suffix in ("", "_reverse"):
            of_input, of_hidden, bias_1, bias_2 = (
                getattr(lstm, f"{name}_l0{suffix}").double()
                for name in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            )
            inputs.append(_gates(of_input, width).T)
            bias.append(_gates((bias_1 + bias_2).unsqueeze(1), width).T)
            recurrent.append(nn.functional.pad(_gates(of_hidden, width).T / 2, (0, 0, 0, width - lstm.hidden_size)))
        outputs = [
            nn.functional.pad(half.T / 2, (0, 0, 0, width - lstm.hidden_size))
            for half in linear.weight.double().chunk(2, 1)
        ]
        return cls(
            unknown=model.unknown.detach().to(dtype).numpy(),
            chars=chars.to(dtype).numpy(),
            char_bias=cnn.convolution.bias.detach().to(dtype).numpy(),  # type: ignore[union-attr]
            cases=model.case_embedding.weight.detach().to(dtype).numpy(),
            inputs=torch.stack(inputs).to(dtype),
            bias=torch.stack(bias).to(dtype),
            recurrent=torch.stack(recurrent).to(dtype),
            outputs=torch.stack(outputs),
            output_bias=torch.stack([linear.bias, torch.zeros_like(linear.bias)]).double().unsqueeze(1),
        )

    @property
    def num_tags(self) -> int:
        """K."""
        return self.outputs.size(2)

    def project(self, words: Words, num_rows: int) -> Tensor:
        """What *words* put into the gates: W words -> (2, num_rows, 4 H), of which the first W rows count."""
        features = self.inputs.new_zeros(num_rows, self.inputs.size(1))
        num_words, word_dim = words.vectors.shape
        columns = features.numpy()[:num_words]
        columns[:, :word_dim] = words.vectors
        columns[~words.known, :word_dim] = self.unknown
        columns[:, word_dim : -self.cases.shape[1]] = self._filtered(words.chars)
        columns[:, -self.cases.shape[1] :] = self.cases[words.cases]
        return torch.baddbmm(self.bias, features.expand(2, -1, -1), self.inputs)

    def _filtered(self, words: Sequence[tuple[int, ...]]) -> npt.NDArray[np.floating[Any]]:
        """What the character CNN makes of the character ids of W *words*: (W, F)."""
        margin = len(self.chars) // 2 * (0,)  # what the kernel sees beyond the ends of a word
        row = np.array([*margin, *chain.from_iterable((*word, *margin) for word in words)])
        num_places = len(row) - 2 * len(margin)
        responses = self.chars[0].take(row[:num_places], 0)
        for place in range(1, len(self.chars)):
            responses += self.chars[place].take(row[place : place + num_places], 0)
        lengths = np.array([len(word) for word in words])
        firsts = np.cumsum(lengths + len(margin)) - (lengths + len(margin))
        columns = np.minimum(
            np.arange(lengths.max()), lengths[:, None] - 1
        )  # words are filled up with their last place
        largest = responses.take(firsts[:, None] + columns, 0).max(1)
        filtered: npt.NDArray[np.floating[Any]] = np.maximum(largest + self.char_bias, 0)
        return filtered

    def emissions(self, hidden: Tensor) -> Tensor:
        """The parts of both directions in the emissions: (2, N, H) -> (2, N, K) in float64."""
        return torch.baddbmm(self.output_bias, hidden.double(), self.outputs)


def _gates(weight: Tensor, width: int) -> Tensor:
    """PyTorch's gates (input, forget, candidate, output) in our order, *width* each: (4 H, *) -> (4 H', *)."""
    entering, keeping, candidate, leaving = weight.chunk(4)
    rest = (0, 0, 0, width - len(entering))
    return torch.cat([nn.functional.pad(one, rest) for one in (entering / 2, keeping / 2, leaving / 2, candidate)])


def _windows(places: Tensor, first: int, count: int, rows: int, num_steps: int) -> Sequence[Tensor]:
    """Of (2, N, *): *rows* places from *first* on, and *count* further on for each next step; ``num_steps`` of them.

    Where there are more rows than *count*, the last ones of a step are overwritten by the next.
    """
    direction, place, lane = places.stride()
    size = (num_steps, 2, rows, places.size(2))
    steps = places.as_strided(size, (count * place, direction, place, lane), first * place)
    return steps.unbind(0)


def _padded(count: int, step: int) -> int:
    return -(-count // step) * step
