"""Text to sentences of tokens."""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise

from handler.pieces import Check, in_pieces, never
from handler.text.abbreviations import announces
from handler.text.initials import STARTERS, is_surname, word_after, words_before
from handler.text.lines import lay_out
from handler.text.tokens import ENDS, Tokens, tokens_and_stops

_CLOSERS = frozenset("\"'”’»)]}」』*_~") | {"**", "***", "__", "___", "~~", "''"}
_BREAK_TAGS = frozenset("<br> <br/> <hr> <hr/> <BR> <BR/> <HR> <HR/>".split())
_OPENERS = frozenset("\"'“‘«([{「『`*_~")
#: Acronyms that read like the initials of a person.
_ACRONYMS = frozenset(
    """
    A.D. A.M. B.A. B.C. B.S. D.C. E.U. J.D. K.C. L.A. M.A. M.D. M.P. M.S. N.C. N.D. N.H. N.J. N.M. N.Y. P.M. P.S. Q.C.
    R.I. R.N. S.C. S.D. U.K. U.N. U.S. a.m. p.m.
    """.split()
)

#: Names that are written with a mark at their end, and capitalised words that go on with the name or tell what it is.
_MARKED_NAMES = {
    "Yahoo": """
        Answers Asia Auctions Briefcase Buzz Directory Europe Fantasy Finance Games Geocities Groups India Japan Kids
        Labs Local Mail Maps Messenger Movies Music News Photos Pipes Research Screen Search Shopping Site Sports Store
        Taiwan Tech Travel Voice Weather
    """,
    "Yum": "Brands China Restaurants",
    "Guess": "Jeans Watches",
    "E": "Channel Entertainment Network News Online",
    "Jeopardy": "Champion Host Masters Tournament",
    "Panic": "At",
    "You": "Black",  # Godspeed You! Black Emperor
    "Ahoy": "Cookies",
    "Jeb": "Bush",
    "Hello": "Magazine",
    "OK": "Magazine",
    "Which": "Magazine",
}
_FOLLOWERS = {name: frozenset(following.split()) for name, following in _MARKED_NAMES.items()}
_OFFICES = frozenset("CEO CFO COO CTO Chairman Chief Founder President".split())
_FIRM_SUFFIXES = frozenset(
    "AG Co. Corp Corp. Corporation GmbH Inc Inc. Incorporated LLC Limited Ltd Ltd. PLC plc".split()
)
#: Words that are a sentence by themselves.
_EXCLAMATIONS = frozenset(
    """
    Ah Alas Bravo But Congratulations Great Help Hey Hi How Huh No Nonsense Now Oh Ok Okay Please Really Right So Sorry
    Stop Sure Thanks True Wait Well What When Where Which Who Why Wow Yes You
    """.split()
)


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
    of_sentences = _sentence_ends(layout.text, tokens, in_pieces(stops, check))
    of_lines = (bisect_left(starts, cut) for cut in in_pieces(layout.cuts, check))
    cuts = {0, *of_sentences, *of_lines, len(words)}
    bounds = in_pieces(pairwise(sorted(cuts)), check)
    return [Tokens(words[i:j], starts[i:j], ends[i:j]) for i, j in bounds]


def _sentence_ends(text: str, tokens: Tokens, stops: Iterable[int]) -> Iterator[int]:
    """Indices of the tokens before which one of *stops*, or the closing marks directly after it, ends a sentence."""
    words, starts, ends = tokens.words, tokens.starts, tokens.ends
    for stop in stops:
        if words[stop][-1] == ">":
            yield stop if words[stop][1] != "/" and words[stop] not in _BREAK_TAGS else stop + 1
            continue
        after = stop + 1
        while after < len(words) and _closes(words[after]) and ends[after - 1] == starts[after]:
            after += 1
        if after < len(words) and _ends_sentence(text, tokens, stop, after):
            yield after


def _closes(word: str) -> bool:
    return word in _CLOSERS or word[:2] == "</"


def _ends_sentence(text: str, tokens: Tokens, stop: int, after: int) -> bool:
    """True if token *stop* ends a sentence; token *after* is the first after its closing marks."""
    words = tokens.words
    mark, following = words[stop], words[after]
    if mark[-1] in ENDS:
        return len(mark) == 1  # a URL may end in one
    if tokens.ends[after - 1] == tokens.starts[after]:
        return _lacks_space(tokens, stop, after)
    opens = following[0] in _OPENERS and after + 1 < len(words)
    first = words[after + 1] if opens else following
    if len(mark) > 1 and mark[-1] == "." and mark.strip("."):  # "Mr.", "W.", "U.S.", "Inc."
        return first in STARTERS and _may_end(text, tokens, stop, None if opens else after)
    return not first[0].islower() and first[0] not in ",;:" and (mark == "." or not _goes_on(words, stop, after))


def _may_end(text: str, tokens: Tokens, stop: int, after: int | None) -> bool:
    """True if the abbreviation at *stop* may end a sentence; a starter, at *after* if no mark is before it, follows."""
    words = tokens.words
    mark = words[stop]
    if announces(mark):
        return stop > 0 and words[stop - 1] + mark in _ACRONYMS  # "U. S."
    if after is None or mark[1] != "." or mark in _ACRONYMS:
        return True
    return not is_surname(words_before(text, tokens, stop), mark, words[after], word_after(text, tokens, after))


def _lacks_space(tokens: Tokens, stop: int, after: int) -> bool:
    """True if the sentence ends at token *stop* though no space is behind it, as in "end.Next" and "Merkel.she was"."""
    words = tokens.words
    mark, before, following = words[stop], words[stop - 1], words[after]
    if mark not in (".", "!", "?") or not stop or tokens.ends[stop - 1] != tokens.starts[stop]:
        return False
    if mark != ".":
        return before.isalpha() and following in STARTERS
    if following[0].isupper():
        return before.islower() or (len(before) > 1 and before.isalpha() and following in STARTERS)
    return before[-1].isalnum() and following.isalpha() and following.islower()


def _goes_on(words: Sequence[str], stop: int, after: int) -> bool:
    """True if the "!" or "?" at *stop* is part of a name that goes on, as in "Yahoo! Inc." and "Yum! Brands"."""
    before, following = words[stop - 1] if stop else "", words[after]
    if not before[:1].isupper() or after != stop + 1:
        return False
    if following in _FIRM_SUFFIXES:
        second = words[after + 1] if after + 1 < len(words) else ""
        return before not in _EXCLAMATIONS and second.lower() not in ("magazine", "magazines")
    return before in _FOLLOWERS and (following in _FOLLOWERS[before] or (before == "Yahoo" and following in _OFFICES))
