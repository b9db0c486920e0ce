"""The recurrence of a BiLSTM over packed sentences, both directions side by side, a matrix product a step.

Shapes: R rows of a step, N tokens in all, H units a direction; the gates are in the order i, f, o, g.
Hidden states are doubled, and sigmoid(x) = (1 + tanh(x / 2)) / 2 with the halves in the weights
(:mod:`handler.network.inference`).

Products take a multiple of ``row_step`` rows, so that each row is the same alone or in a batch.  Where one sentence is
left, most of these rows would be padding: a way to the same bits with fewer of them is looked for at load
(:func:`_single_row_product`), and takes a third of the time on processors where the step is six.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import partial
from itertools import groupby
from typing import Final, Protocol, TypeAlias

import torch
from torch import Tensor

#: Doubled hidden state and cell state: (2, R, H) each.
State: TypeAlias = tuple[Tensor, Tensor]

_TRIALS: Final = 20


class _SingleRowProduct(Protocol):
    """A step's product for one row: *hidden* (2, 1, H) in, *gates* (2, 1, 4H) out, both buffers of its own."""

    hidden: Tensor
    gates: Tensor

    def add_to(self, inputs: Tensor) -> None:
        """Set ``gates`` to *inputs* (2, 1, 4H) plus the product of ``hidden`` and the weights."""


class _PaddedRows:
    """The product of a few rows, all but the first of them padding."""

    def __init__(self, weight_hh: Tensor, num_rows: int) -> None:
        self._weight_hh = weight_hh
        self._hidden, self._inputs, self._gates = (
            weight_hh.new_zeros(2, num_rows, weight_hh.size(axis)) for axis in (1, 2, 2)
        )
        self.hidden, self.gates = self._hidden[:, :1], self._gates[:, :1]

    def add_to(self, inputs: Tensor) -> None:
        self._inputs[:, :1] = inputs
        torch.baddbmm(self._inputs, self._hidden, self._weight_hh, out=self._gates)


class _OneDNN:
    """oneDNN's product with packed weights: each direction's row with the weights of both, and half of that is used.

    It uses AVX-512 where MKL, which takes its generic path on processors of other makers, does not.
    """

    def __init__(self, weight_hh: Tensor) -> None:
        width = weight_hh.size(2)
        both = weight_hh.permute(0, 2, 1).reshape(2 * width, -1)  # (8H, H), as of a linear layer
        self._packed = torch.ops.mkldnn._reorder_linear_weight.default(both, 2)
        self._product = torch.ops.mkldnn._linear_pointwise.default
        self._view = (2, 1, width), (3 * width, width, 1)  # the first half of the first row, the second of the second
        self.hidden, self.gates = weight_hh.new_zeros(2, 1, weight_hh.size(1)), weight_hh.new_zeros(2, 1, width)
        self._hidden = self.hidden[:, 0]

    def add_to(self, inputs: Tensor) -> None:
        product = self._product(self._hidden, self._packed, None, "none", [], "")  # (2, 8H)
        torch.add(inputs, product.as_strided(*self._view), out=self.gates)


def _single_row_product(weight_hh: Tensor, row_step: int) -> _SingleRowProduct:
    """The fastest product for one row with the bits of *row_step* rows: tried with random values from a fixed seed."""
    generator = torch.Generator().manual_seed(1)
    hiddens, inputs = (
        torch.randn(_TRIALS, 2, row_step, width, generator=generator).to(weight_hh.dtype)
        for width in weight_hh.shape[1:]
    )
    expected = [torch.baddbmm(one, hidden, weight_hh)[:, :1] for one, hidden in zip(inputs, hiddens, strict=True)]
    found: list[tuple[float, int, _SingleRowProduct]] = []
    for rank, product in enumerate(_candidates(weight_hh, row_step)):
        seconds = math.inf
        for one, hidden, gates in zip(inputs[:, :, :1], hiddens[:, :, :1], expected, strict=True):
            product.hidden.copy_(hidden)
            began_s = time.perf_counter()
            product.add_to(one)
            seconds = min(seconds, time.perf_counter() - began_s)
            if not torch.equal(product.gates, gates):
                break
        else:
            found.append((seconds, rank, product))
    return min(found)[2]


def _candidates(weight_hh: Tensor, row_step: int) -> Iterator[_SingleRowProduct]:
    """Products for one row; the last gives equal bits in any case."""
    if weight_hh.dtype == torch.float32 and torch.backends.mkldnn.is_available():  # type: ignore[no-untyped-call]
        yield _OneDNN(weight_hh)
    for num_rows in range(1, row_step + 1):
        yield _PaddedRows(weight_hh, num_rows)


class Recurrence:
    """Hidden states from gate inputs, with the recurrent weights *weight_hh* (2, H, 4H); not to be shared by threads.

    *row_step*: products of that many rows, and of multiples of it, have equal rows.
    """

    def __init__(self, weight_hh: Tensor, row_step: int) -> None:
        self._weight_hh = weight_hh
        self._row_step = row_step
        self._single = _single_row_product(weight_hh, row_step)

    def num_rows(self, num_sentences: int) -> int:
        """Rows of the product for a step of that many sentences, padding included."""
        return round_up(num_sentences, self._row_step)

    def run(self, gate_inputs: Tensor, batch_sizes: Sequence[int], state: State | None) -> tuple[Tensor, State]:
        """Doubled hidden states (2, N, H) and the last state, from *gate_inputs* (2, N + R, 4H) by position.

        The last R positions are for padding rows of the last steps; R is ``num_rows`` of the first step.
        """
        num_tokens = sum(batch_sizes)
        hiddens = gate_inputs.new_zeros(2, gate_inputs.size(1), self._weight_hh.size(1))  # nothing reads the padding
        zeros = gate_inputs.new_zeros(2, self.num_rows(batch_sizes[0]), self._weight_hh.size(1))
        hidden, cell = state or (zeros, zeros.clone())
        first = 0
        for size, run in groupby(batch_sizes):
            num_steps = len(list(run))
            inputs, outputs = (
                partial(_steps, packed, first, size, num_steps=num_steps) for packed in (gate_inputs, hiddens)
            )
            if size == 1:
                hidden, cell = self._run_single(inputs(rows=1), outputs(rows=1), hidden, cell)
            else:
                rows = self.num_rows(size)
                steps = zip(inputs(rows=rows), outputs(rows=rows), outputs(rows=size), strict=True)
                hidden, cell = self._run_steps(steps, size, hidden[:, :rows], cell)
            first += num_steps * size
        return hiddens[:, :num_tokens], (hidden, cell)

    def _run_steps(
        self, steps: Iterable[tuple[Tensor, Tensor, Tensor]], size: int, hidden: Tensor, cell: Tensor
    ) -> State:
        """The state after *steps* of *size* sentences: gate inputs (2, R, 4H), hidden (2, R, H) and its real rows.

        A step has padding rows up to a multiple of the row step; the next one overwrites them.
        """
        weight_hh = self._weight_hh
        cell = cell[:, :size].contiguous()
        gates = weight_hh.new_empty(2, hidden.size(1), weight_hh.size(2))
        update = _update_of(gates[:, :size], cell)
        for step_inputs, step_hidden, real_hidden in steps:
            torch.baddbmm(step_inputs, hidden, weight_hh, out=gates)
            update(real_hidden)
            hidden = step_hidden
        return hidden, cell

    def _run_single(self, inputs: Sequence[Tensor], outputs: Sequence[Tensor], hidden: Tensor, cell: Tensor) -> State:
        """The state after the steps of one sentence: gate inputs (2, 1, 4H) and hidden states (2, 1, H) of each."""
        product = self._single
        now = product.hidden
        now.copy_(hidden[:, :1])
        cell = cell[:, :1].contiguous()
        update = _update_of(product.gates, cell)
        for step_inputs, step_hidden in zip(inputs, outputs, strict=True):
            product.add_to(step_inputs)
            update(now)
            step_hidden.copy_(now)
        return now.clone(), cell


def _update_of(gates: Tensor, cell: Tensor) -> Callable[[Tensor], None]:
    """Gives a function that sets *cell* and the doubled hidden state, its argument, from *gates* as they then are.

    Shapes: *gates* (2, R, 4H), the others (2, R, H).
    """
    i, f, o, g = gates.chunk(4, 2)
    tanh_cell = torch.empty_like(cell)

    def update(hidden: Tensor) -> None:
        gates.tanh_()
        cell.addcmul_(f, cell)  # c (1 + tanh(f / 2)) = 2 sigmoid(f) c
        g.addcmul_(i, g)  # 2 sigmoid(i) tanh(g)
        torch.lerp(cell, g, 0.5, out=cell)  # sigmoid(f) c + sigmoid(i) tanh(g)
        torch.tanh(cell, out=tanh_cell)
        torch.addcmul(tanh_cell, o, tanh_cell, out=hidden)  # 2 sigmoid(o) tanh(c)

    return update


def _steps(packed: Tensor, first: int, size: int, *, rows: int, num_steps: int) -> Sequence[Tensor]:
    """Views (2, *rows*, *) of *num_steps* steps of *packed* (2, N, *) from position *first* on, *size* apart."""
    direction, position, unit = packed.stride()
    views = packed.as_strided(
        (num_steps, 2, rows, packed.size(2)), (size * position, direction, position, unit), first * position
    )
    return views.unbind(0)


def round_up(count: int, step: int) -> int:
    """The smallest multiple of *step* that is at least *count*."""
    return -(-count // step) * step
