"""Rounds in which every contestant has its turn, and the spread of what they came to."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

Result = TypeVar("Result")


class Spread(NamedTuple):
    """The median of what was measured in several rounds, with the lowest and the highest.

    >>> Spread.of([3.0, 1.0, 2.0])
    Spread(median=2.0, low=1.0, high=3.0, rounds=(3.0, 1.0, 2.0))
    """

    median: float
    low: float
    high: float
    rounds: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one value or more, in the order of the rounds."""
        return cls(statistics.median(values), min(values), max(values), tuple(values))


def ratio(values: Sequence[float], others: Sequence[float]) -> Spread:
    """How many times as large as *others* the *values* are, round by round, and the spread of that.

    A round's two measurements are neighbours in time, so what slowed the machine down slowed both.

    >>> ratio([8.0, 2.0], [4.0, 1.0]).median
    2.0
    """
    return Spread.of([value / other for value, other in zip(values, others, strict=True)])


def interleaved(
    contestants: Mapping[str, Callable[[int], Result]], num_rounds: int, progress: Progress | None = None
) -> dict[str, list[Result]]:
    """What each of *contestants* came to in each round: A B C, C B A, A B C, ...

    A contestant is called with the number of the round, so that all can be given the same work in it.
    """
    results: dict[str, list[Result]] = {name: [] for name in contestants}
    for number in range(num_rounds):
        for name in in_turn(list(contestants), number):
            if progress:
                progress.step(name)
            results[name].append(contestants[name](number))
    return results


def in_turn(names: Sequence[str], number: int) -> Iterator[str]:
    """*names* in the order of round *number*: every other round runs backwards."""
    return iter(names) if number % 2 == 0 else reversed(names)


class Progress:
    """Says on stderr what is being measured: one line that changes on a terminal, else a line a title."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._title = ""
        self._done = self._steps = 0
        self._is_terminal = sys.stderr.isatty()

    def begin(self, title: str, num_steps: int = 0) -> None:
        """Something new begins that takes *num_steps* steps."""
        self._title, self._done, self._steps = title, 0, num_steps
        if self._is_terminal:
            self._show("")
        else:
            print(f"{self._elapsed()} {title}", file=sys.stderr, flush=True)

    def step(self, name: str) -> None:
        """One step of it begins."""
        self._done += 1
        if self._is_terminal:
            self._show(name)

    def clear(self) -> None:
        """Leave the terminal's line empty."""
        if self._is_terminal:
            print("\r\x1b[K", end="", file=sys.stderr, flush=True)

    def _show(self, name: str) -> None:
        count = f"  {self._done}/{self._steps}" if self._steps else ""
        print(f"\r\x1b[K{self._elapsed()} {self._title}{count}  {name}", end="", file=sys.stderr, flush=True)

    def _elapsed(self) -> str:
        minutes, seconds = divmod(int(time.monotonic() - self._began_s), 60)
        return f"{minutes:3}:{seconds:02}"
