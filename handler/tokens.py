"""Text to sentences of tokens, with exact offsets; standard library only.

``text[token.start:token.end] == token.text`` for any ``str``: nothing is
normalised here, and every code point that is no separator (white space,
control and invisible formatting characters) lies in exactly one token.

Words follow the conventions of the Penn Treebank, which the training corpora
share: ``do|n't``, ``John|'s``, ``U.S.``, ``Mr.``, ``British-based``.  Text
without spaces between words (Han, kana) gives one token a character; an emoji
sequence (UTS #51) is one token.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from itertools import groupby
from typing import NamedTuple


class Token(NamedTuple):
    """A token and where it stands: half-open code-point offsets into the text as given."""

    text: str
    start: int
    end: int


def _char_class(code_points: Iterable[int]) -> str:
    """The inside of a regular expression's ``[...]`` for sorted *code_points*."""
    runs = []
    for _, group in groupby(enumerate(code_points), key=lambda pair: pair[1] - pair[0]):
        run = [code_point for _, code_point in group]
        runs.append(f"\\U{run[0]:08x}-\\U{run[-1]:08x}")
    return "".join(runs)


# ``re`` knows no \p{M}.  All combining marks lie below U+20000 but for the variation selectors of plane 14.
_MARKS = (
    _char_class(i for i in range(0x300, 0x20000) if unicodedata.category(chr(i))[0] == "M") + "\U000e0100-\U000e01ef"
)
_JOINERS = "\u00ad\u200c\u200d\u2060"  # invisible, and inside a word a part of it
_SEPARATORS = r"\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\u00ad"
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # kana and Han
_PICTURES = "\u2190-\u21ff\u2300-\u23ff\u2460-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\U0001f000-\U0001faff"

_LETTER = rf"(?:(?![{_UNSPACED}])[\w{_MARKS}])"
_WORD = rf"(?:(?![{_UNSPACED}])\w(?:{_LETTER}|[{_JOINERS}](?=[\w{_MARKS}]))*)"
_TOKEN = re.compile(
    rf"""
      (?:https?://|www\.)[^\s<>"]{{0,2000}}[^\s<>"'.,;:!?()\[\]]          # an address, without the full stop behind it
    | [\w.+-]{{1,64}}@(?:[\w-]{{1,63}}\.){{1,8}}[^\W\d_]{{2,24}}          # e-mail (RFC 5321: 64 octets before the @)
    | [@\#](?=\w){_WORD}                                                  # handle, hashtag
    | (?:(?:[^\W\d_]\.){{1,20}}[^\W\d_](?!\w)\.?|Ph\.D\.)(?:-(?=\w){_WORD})*   # U.S., p.m., U.S.-led
    | {_WORD}(?:(?:[-‐‑&'’·]|(?<=\d)[.,:/](?=\d)|\.(?=[a-z]))(?=\w){_WORD})*   # word, number, compound
    | [:;=8][-o'^]?[)(\]\[DPp/\\|](?!\w)                                  # emoticon
    | [\U0001f1e6-\U0001f1ff]{{2}}                                        # flag
    | [{_PICTURES}][{_MARKS}\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*
      (?:\u200d[{_PICTURES}][{_MARKS}\U0001f3fb-\U0001f3ff]*)*            # emoji sequence
    | ``|''|\.{{2,}}|-{{2,}}|[!?]{{2,}}|={{2,}}|\*{{2,}}|~{{2,}}|_{{2,}}|\#{{2,}}   # runs that mean one thing
    | [^{_SEPARATORS}][{_MARKS}]*                                         # anything else
    """,
    re.VERBOSE,
)

_CONTRACTION = re.compile(r"(?i)(?<=\w)(?:n['’]t|['’](?:s|m|d|re|ve|ll))$")
_APOSTROPHES = frozenset("'’")

#: Titles and the like: a full stop behind one never ends a sentence.
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
#: Ordinary words too: abbreviations only in front of a digit ("No. 5", "Mar. 3").
_NUMBER_ABBREVIATIONS = frozenset("no nos mar apr jun jul sep p art sec ch".split())

#: Words that start sentences far more often than they start a name.
_STARTERS = frozenset(
    """
    A After Although An And As At Because But By For From He Her His However I If In It Its Meanwhile My No On Our
    She Since So That The Their There These They This Those Though To We What When Where Which While Who With You
    Your
    """.split()
)
_ENDS = frozenset("。！？｡")
_CLOSERS = frozenset("\"'”’»)]}」』")
_OPENERS = frozenset("\"'“‘«([{「『`")
_BULLETS = frozenset("-*•‣◦–—·#>")
_BREAK = re.compile(r"[\n\r\x0b\x0c\x1c-\x1e\x85\u2028\u2029]")
_HARD_BREAK = re.compile(r"(?:\r\n?|\n)[^\S\r\n]*(?:\r\n?|\n)|[\t\x0b\x0c\x1c-\x1e\u2029]")

#: A line at least this long may be wrapped: its end alone does not end a sentence.
_WRAPPED_LINE_CHARS = 50


def tokenize(text: str) -> list[Token]:
    """Tokens of *text*, in order.

    >>> [token.text for token in tokenize("Mr. O'Neil didn't leave the U.S. office.")]
    ['Mr.', "O'Neil", 'did', "n't", 'leave', 'the', 'U.S.', 'office', '.']
    """
    tokens: list[Token] = []
    for match in _TOKEN.finditer(text):
        start, end = match.span()
        word = match.group()
        if len(word) > 1 and not _APOSTROPHES.isdisjoint(word):
            contraction = _CONTRACTION.search(word)
            if contraction:
                cut = start + contraction.start()
                tokens.append(Token(text[start:cut], start, cut))
                start, word = cut, contraction.group()
        elif (
            word == "."
            and tokens
            and tokens[-1].end == start
            and _takes_full_stop(tokens[-1].text, text[end : end + 2])
        ):
            before = tokens.pop()
            start, word = before.start, before.text + word
        tokens.append(Token(word, start, end))
    return tokens


def split_sentences(text: str) -> list[list[Token]]:
    """Sentences of *text*, none empty; a blank line, a tab and most line ends part sentences too.

    >>> [[token.text for token in sentence] for sentence in split_sentences("Dr. No left. He ran!")]
    [['Dr.', 'No', 'left', '.'], ['He', 'ran', '!']]
    """
    tokens = tokenize(text)
    sentences: list[list[Token]] = []
    first = 0
    for i in range(1, len(tokens)):
        if _parts(text, tokens, i):
            sentences.append(tokens[first:i])
            first = i
    if tokens:
        sentences.append(tokens[first:])
    return sentences


def _takes_full_stop(word: str, following: str) -> bool:
    """True when a full stop directly behind *word* is a part of it; *following* is what comes behind both."""
    if len(word) == 1:
        return word.isupper() and word != "I"  # an initial
    folded = word.lower()
    if folded in _NUMBER_ABBREVIATIONS:
        return following.lstrip()[:1].isdigit()
    return folded in _ABBREVIATIONS


def _parts(text: str, tokens: list[Token], i: int) -> bool:
    """True when a sentence ends between token ``i - 1`` and token *i*."""
    before, after = tokens[i - 1], tokens[i]
    gap = text[before.end : after.start]
    if gap and _breaks_line(text, before, after, gap):
        return True
    # A closer belongs to what it closes; and so a run of closers is walked back over just once.
    return (gap != "" or after.text not in _CLOSERS) and _ends_sentence(tokens, i, gap)


def _ends_sentence(tokens: list[Token], i: int, gap: str) -> bool:
    """True when token ``i - 1``, or the mark in front of the closers there, ends a sentence, by token *i* behind it."""
    after = tokens[i]
    end = i - 1
    while end > 0 and tokens[end].text in _CLOSERS and tokens[end - 1].end == tokens[end].start:
        end -= 1
    mark = tokens[end].text
    if mark in _ENDS:
        return True
    if mark[-1] not in ".!?…":
        return False
    if not gap:  # "end.Next": a space was forgotten; anything else without one is no sentence end
        return mark == "." and end > 0 and tokens[end - 1].text.islower() and after.text[0].isupper()
    opens = after.text[0] in _OPENERS and i + 1 < len(tokens)
    first = tokens[i + 1].text if opens else after.text
    if len(mark) > 1 and mark[-1] == "." and mark.strip("."):  # "Mr.", "W.", "U.S.", "Inc."
        return mark[:-1].lower() not in _OPENING_ABBREVIATIONS and first in _STARTERS
    return not first[0].islower() and first[0] not in ",;:"


def _breaks_line(text: str, before: Token, after: Token, gap: str) -> bool:
    """True when the line or the cell that *before* stands in ends for good in *gap*."""
    if _HARD_BREAK.search(gap):
        return True
    line_end = _BREAK.search(gap)
    if line_end is None:
        return False
    if after.text[0] in _BULLETS:
        return True
    reach = text[max(0, before.end - _WRAPPED_LINE_CHARS) : before.end]
    return len(reach) < _WRAPPED_LINE_CHARS or _BREAK.search(reach) is not None
