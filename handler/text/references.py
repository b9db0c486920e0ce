"""HTML character references in a text, and where the characters they stand for are in the text as given."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Sequence
from html import unescape

from handler.pieces import Check, in_pieces

_REFERENCE = re.compile(r"&(?:#(?:[0-9]{1,7}|[xX][0-9A-Fa-f]{1,6})|[A-Za-z][A-Za-z0-9]{1,31});")


class Unescaped:
    """A text with its character references replaced, and the way back to offsets into the text as given.

    ``&amp;``, ``&#39;`` and ``&nbsp;`` are replaced; what lacks its semicolon, or stands for no character or for more
    than one, stays as it is.

    Attributes:
        text: The text that a reader sees.
    """

    def __init__(self, text: str, check: Check) -> None:
        parts: list[str] = []
        place = length = 0  # of what is copied: its end in the text as given, and its length unescaped
        self._after: list[int] = [0]  # offsets behind each reference, unescaped
        self._longer: list[int] = [0]  # by how much the text as given is longer up to there
        for match in in_pieces(_REFERENCE.finditer(text), check):
            char = unescape(match.group())
            if len(char) != 1 or char == "\ufffd":
                continue
            start, end = match.span()
            parts += (text[place:start], char)
            length += start - place + 1
            place = end
            self._after.append(length)
            self._longer.append(end - length)
        self.text = "".join([*parts, text[place:]]) if parts else text

    def given(self, offsets: Sequence[int]) -> list[int]:
        """*offsets* into ``text`` as offsets into the text as given.

        >>> unescaped = Unescaped("AT&amp;T won", lambda: None)
        >>> unescaped.text, unescaped.given([0, 5]), unescaped.given([4, 8])
        ('AT&T won', [0, 9], [8, 12])
        """
        after, longer = self._after, self._longer
        if len(after) == 1:
            return list(offsets)
        return [offset + longer[bisect_right(after, offset) - 1] for offset in offsets]
