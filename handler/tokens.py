"""Text to sentences of tokens, with exact offsets; no numpy or torch.

``text[token.start:token.end] == token.text`` for any ``str``: nothing is
normalised here, and every code point but separators (white space, control and
invisible formatting characters) is in exactly one token.

Words follow the Penn Treebank (Marcus et al. 1993), as the training corpora do:
``do|n't``, ``John|'s``, ``U.S.``, ``Mr.``, ``British-based``.  Scripts without
spaces (Han, kana) give a token for each character; an emoji sequence (UTS #51)
is one token.
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby, pairwise
from typing import NamedTuple

from handler.pieces import PIECE, Check, in_pieces, never


class Token(NamedTuple):
    """A token and its half-open code-point offsets into the text as given."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens in text order as three lists of one length; a :class:`Token` is made only when asked for.

    Attributes:
        words: Text of each token.
        starts: Start of each token, in code points of the text as given.
        ends: End of each token, exclusive.
    """

    words: list[str]
    starts: list[int]
    ends: list[int]

    def __len__(self) -> int:
        return len(self.words)

    def __getitem__(self, i: int) -> Token:
        return Token(self.words[i], self.starts[i], self.ends[i])

    def __iter__(self) -> Iterator[Token]:
        return map(Token, self.words, self.starts, self.ends)


def _char_class(code_points: Iterable[int]) -> str:
    """Sorted *code_points* as ranges inside a regular expression's ``[...]``."""
    runs = []
    for _, group in groupby(enumerate(code_points), key=lambda pair: pair[1] - pair[0]):
        run = [code_point for _, code_point in group]
        runs.append(f"\\U{run[0]:08x}-\\U{run[-1]:08x}")
    return "".join(runs)


# ``re`` has no \p{M}.  All combining marks are below U+20000 but for the variation selectors of plane 14.
_MARKS = (
    _char_class(i for i in range(0x300, 0x20000) if unicodedata.category(chr(i))[0] == "M") + "\U000e0100-\U000e01ef"
)
_JOINERS = "\u00ad\u200c\u200d\u2060"  # invisible; part of a word when inside one
_SEPARATORS = r"\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\u00ad"
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # kana and Han
_PICTURES = "\u2190-\u21ff\u2300-\u23ff\u2460-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\U0001f000-\U0001faff"

_LETTERS = rf"[^\W{_UNSPACED}]++"
_WORD = rf"{_LETTERS}(?:(?:(?![{_UNSPACED}])[{_MARKS}])++|[{_JOINERS}](?=[\w{_MARKS}])|{_LETTERS})*+"
_TOKEN = re.compile(
    rf"""
      [A-Za-z]++(?=[.,]?(?!\S)) | [.,](?!\S)                              # most tokens, that others below match too
    | (?:https?://|www\.)[^\s<>"]{{0,2000}}[^\s<>"'.,;:!?()\[\]]          # a URL, without the full stop after it
    | [\w.+-]{{1,64}}@(?:[\w-]{{1,63}}\.){{1,8}}[^\W\d_]{{2,24}}          # e-mail (RFC 5321: 64 octets before the @)
    | [@\#](?=\w){_WORD}                                                  # handle, hashtag
    | (?:(?:[^\W\d_]\.){{1,20}}[^\W\d_](?!\w)\.?|Ph\.D\.)(?:-(?=\w){_WORD})*   # U.S., p.m., U.S.-led
    | {_WORD}(?:(?:[-‐‑&'’·]|(?<=\d)[.,:/](?=\d)|\.(?=[a-z]))(?=\w){_WORD})*   # word, number, compound
    | [:;=8][-o'^]?[)(\]\[DPp/\\|](?!\w)                                  # emoticon
    | [\U0001f1e6-\U0001f1ff]{{2}}                                        # flag
    | [{_PICTURES}][{_MARKS}\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*
      (?:\u200d[{_PICTURES}][{_MARKS}\U0001f3fb-\U0001f3ff]*)*            # emoji sequence
    | ``|''|\.{{2,}}|-{{2,}}|[!?]{{2,}}|={{2,}}|\*{{2,}}|~{{2,}}|_{{2,}}|\#{{2,}}   # runs with one meaning
    | [^{_SEPARATORS}][{_MARKS}]*                                         # anything else
    """,
    re.VERBOSE,
)

_UNSPACED_CHAR = re.compile(f"[{_UNSPACED}]")

_CONTRACTION = re.compile(r"(?i)(?<=\w)(?:n['’]t|['’](?:s|m|d|re|ve|ll))$")
_APOSTROPHES = frozenset("'’")

#: Titles and the like: a full stop after one never ends a sentence.
_OPENING_ABBREVIATIONS = frozenset(
    """
    mr mrs ms mx dr prof gen col sgt capt cmdr lt adm sen rep gov pres rev fr hon sr st mt ft messrs mme supt vs
    viz cf al fig figs eq ed eds vol pp approx dept univ assn
    """.split()
)
#: Abbreviations that may also end a sentence.
_ABBREVIATIONS = _OPENING_ABBREVIATIONS | frozenset(
    "jr inc corp co ltd llc plc bros etc ave blvd rd jan feb aug sept oct nov dec esq ph.d".split()
)
#: Words that are abbreviations only before a digit ("No. 5", "Mar. 3").
_NUMBER_ABBREVIATIONS = frozenset("no nos mar apr jun jul sep p art sec ch".split())

#: Words that start sentences far more often than names.
_STARTERS = frozenset(
    """
    A After Although An And As At Because But By For From He Her His However I If In It Its Meanwhile My No On Our
    She Since So That The Their There These They This Those Though To We What When Where Which While Who With You
    Your
    """.split()
)
_ENDS = frozenset("。！？｡")
_STOPS = _ENDS | frozenset(".!?…")
_CLOSERS = frozenset("\"'”’»)]}」』")
_OPENERS = frozenset("\"'“‘«([{「『`")
_BULLETS = frozenset("-*•‣◦–—·#>")
_BREAKS = r"\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029"
_BREAK = re.compile(f"[{_BREAKS}]")
_LINE_OR_CELL_END = re.compile(rf"[\t{_BREAKS}]\s*")
_HARD_BREAK = re.compile(r"(?:\r\n?+|\n)[^\S\r\n]*(?:\r\n?|\n)|[\t\x0b\x0c\x1c-\x1e\u2029]")

#: A line of at least this length may be wrapped: its end alone does not end a sentence.
_WRAPPED_LINE_CHARS = 50


def tokenize(text: str) -> Tokens:
    """Tokens of *text*.

    >>> tokenize("Mr. O'Neil didn't leave the U.S. office.").words
    ['Mr.', "O'Neil", 'did', "n't", 'leave', 'the', 'U.S.', 'office', '.']
    """
    return _tokens_and_stops(text, never)[0]


def split_sentences(text: str, check: Check = never) -> list[Tokens]:
    """Sentences of *text*, none empty; blank lines, tabs and most line ends separate sentences, too.

    >>> [sentence.words for sentence in split_sentences("Dr. No left. He ran!")]
    [['Dr.', 'No', 'left', '.'], ['He', 'ran', '!']]

    Raises:
        CancelledError: by *check*, which is called between pieces of the text.
    """
    tokens, stops = _tokens_and_stops(text, check)
    words, starts, ends = tokens.words, tokens.starts, tokens.ends
    if not words:
        return []
    sentence_ends, line_ends = _sentence_ends(tokens, in_pieces(stops, check)), _line_ends(text, tokens, check)
    cuts = {0, *sentence_ends, *line_ends, len(words)}
    bounds = in_pieces(pairwise(sorted(cuts)), check)
    return [Tokens(words[i:j], starts[i:j], ends[i:j]) for i, j in bounds]


def _tokens_and_stops(text: str, check: Check) -> tuple[Tokens, list[int]]:
    """Tokens of *text*, and the indices of those whose last character may end a sentence.

    No token contains a space, and only a full stop depends on what follows one: chunks between spaces are split by
    themselves, and a chunk of letters and digits, as most are, is a token.
    """
    words: list[str] = []
    starts: list[int] = []
    ends: list[int] = []
    stops: list[int] = []
    end = -1
    for chunk in in_pieces(text.split(" "), check):
        start = end + 1
        end = start + len(chunk)
        if chunk.isalnum() and (chunk.isascii() or not _UNSPACED_CHAR.search(chunk)):
            words.append(chunk)
            starts.append(start)
            ends.append(end)
            continue
        matches = _TOKEN.finditer(text, start, end)
        for match in matches if len(chunk) <= PIECE else in_pieces(matches, check):
            word = match.group()
            first, last = match.span()
            if word == "." and words and ends[-1] == first and _takes_full_stop(words[-1], text[last : last + 2]):
                words[-1] += word
                ends[-1] = last
            else:
                if not _APOSTROPHES.isdisjoint(word) and (contraction := _CONTRACTION.search(word)):
                    cut = first + contraction.start()
                    words.append(text[first:cut])
                    starts.append(first)
                    ends.append(cut)
                    first, word = cut, contraction.group()
                words.append(word)
                starts.append(first)
                ends.append(last)
            if word[-1] in _STOPS:
                stops.append(len(words) - 1)
    return Tokens(words, starts, ends), stops


def _sentence_ends(tokens: Tokens, stops: Iterable[int]) -> Iterator[int]:
    """Indices of the tokens before which one of *stops*, or the closing marks directly after it, ends a sentence."""
    words, starts, ends = tokens.words, tokens.starts, tokens.ends
    for stop in stops:
        after = stop + 1
        while after < len(words) and words[after] in _CLOSERS and ends[after - 1] == starts[after]:
            after += 1
        if after < len(words) and _ends_sentence(tokens, stop, after):
            yield after


def _line_ends(text: str, tokens: Tokens, check: Check) -> Iterator[int]:
    """Indices of the tokens before which the end of a line or a table cell ends a sentence."""
    known = 0
    for line_end in in_pieces(_LINE_OR_CELL_END.finditer(text), check):
        after = bisect_right(tokens.starts, line_end.start())
        if known < after < len(tokens.starts):
            known = after
            if _breaks_line(text, tokens, after):
                yield after


def _takes_full_stop(word: str, following: str) -> bool:
    """True if a full stop directly after *word* is a part of it; *following* is the text after the full stop."""
    if len(word) == 1:
        return word.isupper() and word != "I"  # an initial
    folded = word.lower()
    if folded in _NUMBER_ABBREVIATIONS:
        return following.lstrip()[:1].isdigit()
    return folded in _ABBREVIATIONS


def _ends_sentence(tokens: Tokens, stop: int, after: int) -> bool:
    """True if token *stop* ends a sentence; token *after* is the first after its closing marks."""
    words = tokens.words
    mark, following = words[stop], words[after]
    if mark[-1] in _ENDS:
        return len(mark) == 1  # a URL may end in one
    if tokens.ends[after - 1] == tokens.starts[after]:  # only a missing space, as in "end.Next", is an end here
        return mark == "." and stop > 0 and words[stop - 1].islower() and following[0].isupper()
    opens = following[0] in _OPENERS and after + 1 < len(words)
    first = words[after + 1] if opens else following
    if len(mark) > 1 and mark[-1] == "." and mark.strip("."):  # "Mr.", "W.", "U.S.", "Inc."
        return mark[:-1].lower() not in _OPENING_ABBREVIATIONS and first in _STARTERS
    return not first[0].islower() and first[0] not in ",;:"


def _breaks_line(text: str, tokens: Tokens, after: int) -> bool:
    """True if the line or cell that ends before token *after* also ends a sentence."""
    end = tokens.ends[after - 1]
    if _HARD_BREAK.search(text, end, tokens.starts[after]) or tokens.words[after][0] in _BULLETS:
        return True
    reach = text[max(0, end - _WRAPPED_LINE_CHARS) : end]
    return len(reach) < _WRAPPED_LINE_CHARS or _BREAK.search(reach) is not None
