"""Text to tokens with exact offsets.

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
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
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
OPENING_ABBREVIATIONS = frozenset(
    """
    mr mrs ms mx dr prof gen col sgt capt cmdr lt adm sen rep gov pres rev fr hon sr st mt ft messrs mme supt vs
    viz cf al fig figs eq ed eds vol pp approx dept univ assn
    """.split()
)
#: Abbreviations that may also end a sentence.
_ABBREVIATIONS = OPENING_ABBREVIATIONS | frozenset(
    "jr inc corp co ltd llc plc bros etc ave blvd rd jan feb aug sept oct nov dec esq ph.d".split()
)
#: Words that are abbreviations only before a digit ("No. 5", "Mar. 3").
_NUMBER_ABBREVIATIONS = frozenset("no nos mar apr jun jul sep p art sec ch".split())

ENDS = frozenset("。！？｡")
STOPS = ENDS | frozenset(".!?…")


def tokenize(text: str) -> Tokens:
    """Tokens of *text*.

    >>> tokenize("Mr. O'Neil didn't leave the U.S. office.").words
    ['Mr.', "O'Neil", 'did', "n't", 'leave', 'the', 'U.S.', 'office', '.']
    """
    return tokens_and_stops(text, never)[0]


def tokens_and_stops(text: str, check: Check) -> tuple[Tokens, list[int]]:
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
            if word[-1] in STOPS:
                stops.append(len(words) - 1)
    return Tokens(words, starts, ends), stops


def _takes_full_stop(word: str, following: str) -> bool:
    """True if a full stop directly after *word* is a part of it; *following* is the text after the full stop."""
    if len(word) == 1:
        return word.isupper() and word != "I"  # an initial
    folded = word.lower()
    if folded in _NUMBER_ABBREVIATIONS:
        return following.lstrip()[:1].isdigit()
    return folded in _ABBREVIATIONS
