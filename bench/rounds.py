"""Rounds in which the contestants are measured in turn, and the spread of the results."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import NamedTuple, TypeVar

Result = TypeVar("Result")


class Spread(NamedTuple):
    """The median of a measurement over the rounds, with the lowest and the highest.

    >>> Spread.of([3.0, 1.0, 2.0])
    Spread(median=2.0, low=1.0, high=3.0, rounds=(3.0, 1.0, 2.0))
    """

    median: float
    low: float
    high: float
    rounds: tuple[float, ...]

    @classmethod
    def of(cls, values: Sequence[float]) -> Spread:
        """The spread of one or more values, in the order of the rounds."""
        return cls(statistics.median(values), min(values), max(values), tuple(values))


def each(results: Sequence[object], name: str, scale: float = 1.0) -> list[float]:
    """The attribute *name* of each of *results*, times *scale*."""
    return [scale * getattr(result, name) for result in results]


def spreads(results: Sequence[object], *names: str) -> list[Spread]:
    """The spread over *results* of each attribute in *names*.

    >>> [spread.median for spread in spreads([1 + 2j, 3 + 4j], "real", "imag")]
    [2.0, 3.0]
    """
    return [Spread.of(each(results, name)) for name in names]


def ratio(values: Sequence[float], others: Sequence[float]) -> Spread:
    """The spread of *values* over *others*, divided round by round.

    The two measurements of a round are neighbours in time, so a slow spell of the machine cancels out.

    >>> ratio([8.0, 2.0], [4.0, 1.0]).median
    2.0
    """
    return Spread.of([value / other for value, other in zip(values, others, strict=True)])


def interleaved(
    contestants: Mapping[str, Callable[[int], Result]], num_rounds: int, progress: StatusLine | None = None
) -> dict[str, list[Result]]:
    """The results of each contestant, one a round, taken in the order A B C, C B A, A B C, ...

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
    """*names* in the order of round *number*: reversed in every other round."""
    return iter(names) if number % 2 == 0 else reversed(names)


class StatusLine:
    """Shows on stderr what is being measured: one changing line on a terminal, else a line for each title."""

    def __init__(self) -> None:
        self._began_s = time.monotonic()
        self._title = ""
        self._done = self._steps = 0
        self._start, self._end = ("\r\x1b[K", "") if sys.stderr.isatty() else ("", "\n")

    def begin(self, title: str, num_steps: int = 0) -> None:
        """Start a measurement of *num_steps* steps."""
        self._title, self._done, self._steps = title, 0, num_steps
        self._print(title)

    def step(self, name: str) -> None:
        """Start its next step."""
        self._done += 1
        if self._start:
            self._print(f"{self._title}  {self._done}/{self._steps}  {name}")

    def clear(self) -> None:
        """Clear the terminal's line."""
        print(self._start, end="", file=sys.stderr, flush=True)

    def _print(self, words: str) -> None:
        minutes, seconds = divmod(int(time.monotonic() - self._began_s), 60)
        print(f"{self._start}{minutes:3}:{seconds:02} {words}", end=self._end, file=sys.stderr, flush=True)
