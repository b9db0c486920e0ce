"""Long work in pieces: between two of them it looks whether its request is cancelled."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Final, TypeAlias, TypeVar

from handler.errors import NERError

T = TypeVar("T")

#: Raises CancelledError if the request is cancelled.
Check: TypeAlias = Callable[[], None]

#: Steps of a loop in one piece: at most some 20 ms of any of ours.
PIECE: Final = 2048


class CancelledError(NERError):
    """The request was cancelled: its deadline passed."""


def never() -> None:
    """The check of work that is not cancelled."""


def in_pieces(items: Iterable[T], check: Check) -> Iterator[T]:
    """*items*, with a call of *check* before each ``PIECE`` of them."""
    for i, item in enumerate(items):
        if not i % PIECE:
            check()
        yield item


def check_by(is_cancelled: Callable[[], bool]) -> Check:
    """The check that raises CancelledError once *is_cancelled* is true."""

    def check() -> None:
        if is_cancelled():
            raise CancelledError

    return check
