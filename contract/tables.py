"""Tables of text for people."""

from __future__ import annotations

from collections.abc import Sequence


def aligned(rows: Sequence[Sequence[str]], num_left: int | None = None) -> str:
    """*rows* of as many cells each as lines of columns; all, or the first *num_left*, are aligned to the left.

    >>> print(aligned([("MODEL", "READY"), ("en", "2")]))
    MODEL  READY
    en     2
    >>> print(aligned([("a", "10"), ("bcd", "9")], num_left=1))
    a    10
    bcd   9
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    num_left = len(widths) if num_left is None else num_left
    justify = [str.ljust if i < num_left else str.rjust for i in range(len(widths))]
    lines = ("  ".join(f(cell, width) for f, cell, width in zip(justify, row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)
