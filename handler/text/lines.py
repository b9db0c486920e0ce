"""Which line ends, and ends of table cells, also end a sentence."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator

from handler.pieces import Check, in_pieces
from handler.text.tokens import Tokens

_BULLETS = frozenset("-*•‣◦–—·#>")
_BREAKS = r"\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029"
_BREAK = re.compile(f"[{_BREAKS}]")
_LINE_OR_CELL_END = re.compile(rf"[\t{_BREAKS}]\s*")
_HARD_BREAK = re.compile(r"(?:\r\n?+|\n)[^\S\r\n]*(?:\r\n?|\n)|[\t\x0b\x0c\x1c-\x1e\u2029]")

#: A line of at least this length may be wrapped: its end alone does not end a sentence.
_WRAPPED_LINE_CHARS = 50


def line_ends(text: str, tokens: Tokens, check: Check) -> Iterator[int]:
    """Indices of the tokens before which the end of a line or a table cell ends a sentence."""
    known = 0
    for line_end in in_pieces(_LINE_OR_CELL_END.finditer(text), check):
        after = bisect_right(tokens.starts, line_end.start())
        if known < after < len(tokens.starts):
            known = after
            if _breaks_line(text, tokens, after):
                yield after


def _breaks_line(text: str, tokens: Tokens, after: int) -> bool:
    """True if the line or cell that ends before token *after* also ends a sentence."""
    end = tokens.ends[after - 1]
    if _HARD_BREAK.search(text, end, tokens.starts[after]) or tokens.words[after][0] in _BULLETS:
        return True
    reach = text[max(0, end - _WRAPPED_LINE_CHARS) : end]
    return len(reach) < _WRAPPED_LINE_CHARS or _BREAK.search(reach) is not None
