"""Text to sentences of tokens."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import pairwise

from handler.pieces import Check, in_pieces, never
from handler.text.lines import lay_out
from handler.text.tokens import ENDS, OPENING_ABBREVIATIONS, Tokens, tokens_and_stops

#: Words that start sentences far more often than names.
_STARTERS = frozenset(
    """
    A After Although An And As At Because But By For From He Her His However I If In It Its Meanwhile My No On Our
    She Since So That The Their There These They This Those Though To We What When Where Which While Who With You
    Your
    """.split()
)
_CLOSERS = frozenset("\"'”’»)]}」』")
_OPENERS = frozenset("\"'“‘«([{「『`")


def split_sentences(text: str, check: Check = never) -> list[Tokens]:
    """Sentences of *text*, none empty; blank lines, tabs and most line ends separate sentences, too.

    >>> [sentence.words for sentence in split_sentences("Dr. No left. He ran!")]
    [['Dr.', 'No', 'left', '.'], ['He', 'ran', '!']]

    Raises:
        CancelledError: by *check*, which is called between pieces of the text.
    """
    layout = lay_out(text, check)
    tokens, stops = tokens_and_stops(layout.text, check)
    words, starts, ends = tokens.words, tokens.starts, tokens.ends
    if not words:
        return []
    of_sentences = _sentence_ends(tokens, in_pieces(stops, check))
    of_lines = (bisect_left(starts, cut) for cut in in_pieces(layout.cuts, check))
    cuts = {0, *of_sentences, *of_lines, len(words)}
    bounds = in_pieces(pairwise(sorted(cuts)), check)
    return [Tokens(words[i:j], starts[i:j], ends[i:j]) for i, j in bounds]


def _sentence_ends(tokens: Tokens, stops: Iterable[int]) -> Iterator[int]:
    """Indices of the tokens before which one of *stops*, or the closing marks directly after it, ends a sentence."""
    words, starts, ends = tokens.words, tokens.starts, tokens.ends
    for stop in stops:
        after = stop + 1
        while after < len(words) and words[after] in _CLOSERS and ends[after - 1] == starts[after]:
            after += 1
        if after < len(words) and _ends_sentence(tokens, stop, after):
            yield after


def _ends_sentence(tokens: Tokens, stop: int, after: int) -> bool:
    """True if token *stop* ends a sentence; token *after* is the first after its closing marks."""
    words = tokens.words
    mark, following = words[stop], words[after]
    if mark[-1] in ENDS:
        return len(mark) == 1  # a URL may end in one
    if tokens.ends[after - 1] == tokens.starts[after]:  # only a missing space, as in "end.Next", is an end here
        return mark == "." and stop > 0 and words[stop - 1].islower() and following[0].isupper()
    opens = following[0] in _OPENERS and after + 1 < len(words)
    first = words[after + 1] if opens else following
    if len(mark) > 1 and mark[-1] == "." and mark.strip("."):  # "Mr.", "W.", "U.S.", "Inc."
        return mark[:-1].lower() not in OPENING_ABBREVIATIONS and first in _STARTERS
    return not first[0].islower() and first[0] not in ",;:"
