"""Text to tokens with exact offsets.

Every code point but separators (white space, control and invisible formatting
characters) is in exactly one token.  A token's word is what a reader reads:
``text[token.start:token.end]``, but for HTML character references, which are
replaced, the apostrophe of an ending, which is a plain one, and a footnote
number behind a word, which is an asterisk.

Words follow the Penn Treebank (Marcus et al. 1993), as the training corpora do:
``do|n't``, ``John|'s``, ``U.S.``, ``Mr.``, ``British-based``.  Scripts without
spaces (Han, kana) give a token for each character; an emoji sequence (UTS #51)
is one token, and so is an HTML tag without attributes.  Marks of emphasis,
footnote numbers and a stop without a space behind it are tokens of their own.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from typing import NamedTuple

from handler.pieces import PIECE, Check, in_pieces, never
from handler.text.abbreviations import takes_full_stop
from handler.text.references import Unescaped


class Token(NamedTuple):
    """A word and its half-open code-point offsets into the text as given."""

    text: str
    start: int
    end: int


@dataclass(frozen=True, slots=True)
class Tokens:
    """Tokens in text order as three lists of one length; a :class:`Token` is made only when asked for.

    Attributes:
        words: Each token as it is read.
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
SEPARATORS = r"\s\x00-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u206f\ufeff\u00ad"
_UNSPACED = "\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # kana and Han
_PICTURES = "\u2190-\u21ff\u2300-\u23ff\u2460-\u27bf\u2900-\u297f\u2b00-\u2bff\u3030\u303d\U0001f000-\U0001faff"
# Footnote marks (superscript or in circles) and fractions.
_RAISED = "\u02b0-\u02b8\u1d2c-\u1d6a\u1d9b-\u1dbf\u2071\u207f"
_RAISED += "\u00b2\u00b3\u00b9\u00bc-\u00be\u2070-\u2079\u2150-\u215f\u2189\u2460-\u249b\u24ea-\u24ff\u2776-\u2793"

# Look-alikes of an apostrophe: those that are one inside any word, and those that are one in an ending only.
_LETTER_APOSTROPHES = "\u02b9\u02bc"  # to Unicode, these are letters
_APOSTROPHES = f"'’\u00b4\uff07{_LETTER_APOSTROPHES}"
_ALL_APOSTROPHES = f"{_APOSTROPHES}`‘‛′"
_ENDING = r"(?:[smdSMD]|re|ve|ll|RE|VE|LL)(?!\w)"

_TAGS = (
    "abbr|b|big|blockquote|body|br|center|cite|code|dd|del|div|dl|dt|em|h[1-6]|head|hr|html|i|img|ins|li|mark|ol|p|pre"
    "|q|s|small|span|strike|strong|sub|sup|table|tbody|td|th|thead|title|tr|tt|u|ul"
)

_LETTER = rf"[^\W_{_UNSPACED}{_RAISED}{_LETTER_APOSTROPHES}]"
_LETTERS = rf"{_LETTER}++"
_INSIDE = rf"(?:(?![{_UNSPACED}])[{_MARKS}])++|[{_JOINERS}](?=[{_MARKS}]|{_LETTER})|{_LETTERS}|_++(?={_LETTER})"
_WORD = rf"{_LETTERS}(?:{_INSIDE})*+"
_TOKEN = re.compile(
    rf"""
      [A-Za-z]++(?=[.,]?(?!\S)) | [.,](?!\S)                              # most tokens, that others below match too
    | [()"“”\[\]](?![{_MARKS}])
    | (?:https?://|www\.)(?:(?!\]\()[^\s<>"]){{0,2000}}[^\s<>"'.,;:!?()\[\]]   # a URL, without the full stop after it
    | [\w.+-]{{1,64}}@(?:[\w-]{{1,63}}\.){{1,8}}[^\W\d_]{{2,24}}          # e-mail (RFC 5321: 64 octets before the @)
    | [@\#](?=\w)_*+{_WORD}(?:_++(?!\S))?                                 # handle, hashtag
    | </?(?i:{_TAGS})\s?/?>                                               # HTML tag
    | (?:(?:[^\W\d_]\.){{1,20}}[^\W\d_](?!\w)\.?                          # U.S., p.m., U.S.-led
        |(?:Ph|Ed|Psy|Th)\.D\.|[BMD]\.(?:Sc|Ed|Phil|Eng|Litt|Mus|Tech)\.)(?:-(?={_LETTER}){_WORD})*
    | (?<!\w)__[a-z][a-z\d]*+(?:_[a-z\d]++)*+__(?:\.[a-z]++)?(?!\w)       # __init__, __init__.py
    | (?<!\w)_{{1,2}}[A-Za-z][A-Za-z\d]*+(?:_[A-Za-z\d]++)++(?:\.[a-z]++)?(?!\w)   # _snake_case
    | (?<=[`./])_[a-z\d]++(?!\w)                                        # `_private`
    | (?![A-Z][a-z])[^\W\d_]{{1,2}}[{_RAISED}]++(?!\w) | \d++(?:[.,]\d++)*+[{_RAISED}]++(?!\w)   # m², x², 10², 2½
    | [{_RAISED}]++(?:[A-Z][a-z]?(?!\w))?                                 # ², ¹⁴C
    | {_WORD}(?:(?:
          [-‐‑·{_APOSTROPHES}]
        | [`‘‛′](?=(?:{_ENDING}|[tT](?!\w)))
        | (?<=(?<!\w)\w)&(?=\w{{1,4}}(?!\w)) | &(?=\w(?!\w))              # M&Ms, AT&T
        | (?<=(?<!\w)[A-Z]{{2}})&(?=[A-Z]{{2,4}}(?!\w)) | (?<=(?<!\w)[A-Z]{{3}})&(?=[A-Z]{{2}}(?!\w))
        | (?<=\d)[.,:/](?=\d)
        | \.(?=[a-z]|(?:NET|JS|COM|Com|ORG|Org)(?!\w))
      )(?={_LETTER}){_WORD})*                                             # word, number, compound
    | (?<=\S)[{_APOSTROPHES}]{_ENDING} | ['’]{_ENDING}(?!['’])        # U.S.|'s
    | [:;=8][-o'^]?[)(\]\[DPp/\\|](?!\w)                                  # emoticon
    | [\U0001f1e6-\U0001f1ff]{{2}}                                        # flag
    | [{_PICTURES}][{_MARKS}\U0001f3fb-\U0001f3ff\U000e0020-\U000e007f]*
      (?:\u200d[{_PICTURES}][{_MARKS}\U0001f3fb-\U0001f3ff]*)*            # emoji sequence
    | ``|''|\.{{2,}}|-{{2,}}|[!?]{{2,}}|={{2,}}|\*{{2,}}|~{{2,}}|_{{1,}}|\#{{2,}}   # runs with one meaning
    | [^{SEPARATORS}][{_MARKS}]*                                         # anything else
    """,
    re.VERBOSE,
)

_FOOTNOTE_MARK = re.compile(f"[{_RAISED}]+")
_NOT_ONE_WORD = re.compile(f"[{_UNSPACED}{_RAISED}{_LETTER_APOSTROPHES}]")

_CONTRACTION = re.compile(f"(?i)(?<=\\w)(?:n[{_ALL_APOSTROPHES}]t|[{_ALL_APOSTROPHES}](?:s|m|d|re|ve|ll))$")
_COMMON_MARKS = frozenset(".,")
_ANY_APOSTROPHE = frozenset(_ALL_APOSTROPHES)
_PLAIN_APOSTROPHE = dict.fromkeys(map(ord, _ANY_APOSTROPHE - {"’"}), "'")

#: Words after a stop whose space is missing ("Merkel.she was"): they are no top-level domains.
_SECOND_WORDS = frozenset(
    """
    after also although an and anybody anyone are because before both but can could did does each even every
    everybody everyone everything had have he her his however i if its later many maybe most nobody not nothing our
    she should since some somebody someone something soon still such that the their then there these they this those
    was we were what when where which while who why would you your
    """.split()
)
# Those that are one, with a word that no domain in a sentence is followed by ("Siemens.it is").
_SECOND_PHRASE = re.compile(
    r"(?:as (?:a|he|it|of|she|soon|the|they|we)|at (?:first|last|least|the|\d+)|by (?:a|his|then|the)"
    r"|in (?:a|his|the|\d+)|is (?:he|it|she|that|there|this)|it (?:also|became|can|did|does|had|has|is|makes|may|might"
    r"|said|seems|should|takes|took|was|will|would)|it['’]s|my [a-z]+|no (?:doubt|longer|matter|one)"
    r"|so (?:far|he|I|it|she|that|the|they|we)|to (?:be|the))\b"
)
_BEFORE_STOP = frozenset("./@:")  # in addresses
_AFTER_SECOND_WORD = frozenset(["", ",", *" \t\r\n"])

#: Tags that begin or end a paragraph, a heading, a line, a list's item or a table's cell.
_BLOCK_TAG = re.compile("</?(?i:blockquote|br|center|dd|div|dl|dt|h[1-6]|hr|li|ol|p|pre|table|td|th|title|tr|ul)\\b")
ENDS = frozenset("。！？｡")
_MAY_END = ENDS | frozenset(".!?…>")


def tokenize(text: str) -> Tokens:
    """Tokens of *text*.

    >>> tokenize("Mr. O'Neil didn't leave the U.S. office.").words
    ['Mr.', "O'Neil", 'did', "n't", 'leave', 'the', 'U.S.', 'office', '.']
    """
    return tokens_and_stops(text, never)[0]


def tokens_and_stops(text: str, check: Check) -> tuple[Tokens, list[int]]:
    """Tokens of *text*, and the indices of those whose last character may end a sentence, and of the block tags."""
    if "&" not in text or (unescaped := Unescaped(text, check)).text is text:
        return _cut(text, check)
    tokens, stops = _cut(unescaped.text, check)
    return Tokens(tokens.words, unescaped.given(tokens.starts), unescaped.given(tokens.ends)), stops


def _cut(text: str, check: Check) -> tuple[Tokens, list[int]]:
    """Tokens and stops of *text*, whose character references are replaced.

    No token contains a space, and only a full stop depends on what follows one: chunks between spaces are split by
    themselves.  A chunk of letters and digits, as most are, is a token, and the comma or full stop behind letters, too.
    """
    tokens = Tokens([], [], [])
    words, starts, ends = tokens.words, tokens.starts, tokens.ends
    stops: list[int] = []
    end = -1
    chunks = text.split(" ")
    for piece in range(0, len(chunks), PIECE):  # not in_pieces(): a step for each chunk would cost as much as the rest
        check()
        for chunk in chunks[piece : piece + PIECE]:
            start = end + 1
            end = start + len(chunk)
            if chunk.isalnum() and (chunk.isascii() or not _NOT_ONE_WORD.search(chunk)):
                words.append(chunk)
                starts.append(start)
                ends.append(end)
            elif chunk[-1:] in _COMMON_MARKS and chunk.isascii() and chunk[:-1].isalpha():
                words.append(chunk[:-1])
                starts.append(start)
                ends.append(end - 1)
                is_stop = chunk[-1] == "."
                if is_stop and takes_full_stop(text, tokens, end):
                    words[-1] = chunk
                    ends[-1] = end
                else:
                    words.append(chunk[-1])
                    starts.append(end - 1)
                    ends.append(end)
                if is_stop:
                    stops.append(len(words) - 1)
            elif chunk:
                matches = _TOKEN.finditer(text, start, end)
                _add(text, matches if len(chunk) <= PIECE else in_pieces(matches, check), tokens, stops)
    return tokens, stops


def _add(text: str, matches: Iterable[re.Match[str]], tokens: Tokens, stops: list[int]) -> None:
    """Add *matches* in *text* to *tokens*, and those that may end a sentence to *stops*."""
    words, starts, ends = tokens.words, tokens.starts, tokens.ends
    for match in matches:
        word = match.group()
        first, last = match.span()
        if word == "." and words and ends[-1] == first and takes_full_stop(text, tokens, last):
            words[-1] += word
            ends[-1] = last
        else:
            if "." in word and (cut := _missing_space(word, text, first)):
                _add(text, _TOKEN.finditer(text, first, first + cut + 1), tokens, stops)
                first, word = first + cut + 1, word[cut + 1 :]
            if not _ANY_APOSTROPHE.isdisjoint(word) and (contraction := _CONTRACTION.search(word)):
                cut = first + contraction.start()
                words.append(text[first:cut])
                starts.append(first)
                ends.append(cut)
                first, word = cut, contraction.group().translate(_PLAIN_APOSTROPHE)
            elif not word.isascii() and words and ends[-1] == first and _FOOTNOTE_MARK.fullmatch(word):
                word = "*"
            words.append(word)
            starts.append(first)
            ends.append(last)
        if word[-1] in _MAY_END and (word[-1] != ">" or _BLOCK_TAG.match(word)):
            stops.append(len(words) - 1)


def _missing_space(word: str, text: str, start: int) -> int:
    """Where in *word*, which begins at *start* of *text*, a full stop ends a sentence, or 0 if nowhere.

    >>> text = "Merkel.she left Siemens.it is example.com"
    >>> [_missing_space(word, text, text.index(word)) for word in ("Merkel.she", "Siemens.it", "example.com")]
    [6, 7, 0]
    """
    cut = word.rfind(".")
    before, behind = word[:cut], word[cut + 1 :]
    if cut < 2 or not before[-1].isalnum() or not _BEFORE_STOP.isdisjoint(before) or not behind:
        return 0
    if _CONTRACTION.sub("", behind) in _SECOND_WORDS:
        following = text[start + len(word) : start + len(word) + 1]
        return cut if following in _AFTER_SECOND_WORD else 0
    return cut if before[0].isupper() and _SECOND_PHRASE.match(text, start + cut + 1) else 0
