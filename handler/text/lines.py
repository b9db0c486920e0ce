"""Which line ends, and ends of table cells, also end a sentence; and the marks of quoted lines.

Programs that wrap lines break a paragraph where the next word would not have fitted.  A text is read in *blocks*: lines
without a blank line, or a change of the depth of quotation, between them.  Line ends before a small letter are wraps;
they tell how wide the lines around them are and how ragged, and so which of the line ends before a capital letter are
wraps, too (docs/decisions/0028).
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import accumulate, chain, groupby, pairwise, takewhile
from typing import NamedTuple

from handler.pieces import PIECE, Check, in_pieces
from handler.text.abbreviations import TITLES
from handler.text.tokens import ENDS, SEPARATORS

#: Line ends that always end a paragraph: of a page, of a record, of a paragraph.
_HARD_ENDS = frozenset("\x0b\x0c\x1c\x1d\x1e\u2029")
#: White space, and characters that are not seen at either end of a line.
_INVISIBLE = "".join(re.findall(f"[{SEPARATORS}]", "".join(map(chr, range(0x10000)))))

#: What comments in programs, and some mail programs, put before each line.
_COMMENT_MARK = re.compile(r"(?:\#+|//+|;+|%+|\|)(?!\S)")
_MARKS_BEGIN = frozenset(">#/;%|")

#: What an item of a list, a heading or an option of a command begins with.
_ITEM = re.compile(
    r"""
      [-*+•‣◦–—·○●▪■□✓](?!\S) | \#{1,6}(?!\S) | >
    | \(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{2,5})\)(?!\S) | (?:\d{1,2}|[a-z]|[ivx]{2,5})\.(?:\d{1,2}\.?)*(?!\S)
    | \[\w{1,4}\](?!\S) | --?[a-z][a-z-]*(?!\S) | :\w+:(?!\S)
    """,
    re.VERBOSE,
)
_HEADING = re.compile(r"\#{1,6}\s")
_FIELD = re.compile(r"[A-Z][\w.-]{0,24}:(?!\S)")
_RULE = re.compile(r"[\W_]+\Z")

#: Characters of the longest abbreviations of small letters, with the full stop.
_LONG_WORD = 7

_STOPS = ENDS | frozenset(".!?…")
_CLOSERS = "\"'”’»)]}」』*_"
_FIRST_LETTER = re.compile(r"[\W_]*(\w)")

#: Words after which a phrase goes on: a line that ends in one goes on in the next.
_LEADING_WORDS = frozenset(
    """
    a an the of and or for from by with into between during than at to in on as his her their its our my your whose
    de la le del della di du des van von der den zu al el bin ibn
    The New San Los Las Santa Saint Sao São El La Le De Von Van Der Al Fort Mount Cape Port Hong Sri Saudi Buenos Tel
    Abu Costa Puerto Sierra Rio
    """.split()
)
_TITLES = frozenset(
    """
    Sir Lord Lady King Queen Prince Princess Pope President Senator Chancellor Governor Professor Doctor Captain General
    Colonel Mayor Minister Secretary
    """.split()
)
#: Words of every running text, and of few lists.
_COMMON_WORDS = frozenset(
    """
    a about after all an and are as at be been but by can do for from had has have he her his i in into is it its no not
    of on or our out she so than that the their them then there these they this to was we were what when which who will
    with would you your
    """.split()
)
#: Words that follow the rest of a name more often than the name that begins a sentence.
_LINKS = frozenset("of in on at to for from with by during after before since until as who which whose".split())
_STOPS_OF_NAMES = frozenset(".;)!?")
_ARTICLES = frozenset("the a an".split())

#: Lines whose ends are judged by the same wraps: theirs, and those of as many lines before and behind.
_STRETCH = 8
#: Columns of the widest lines that are taken for wrapped without a wrap before a small letter among them.
_MAX_WIDTH = 120


class Layout(NamedTuple):
    """A text without its quote marks and the line ends in its blocks, and where its lines and cells end sentences.

    Attributes:
        text: The text with blanks in their place: each other code point is where it was.
        cuts: Offsets, in text order, before which a sentence ends.
    """

    text: str
    cuts: list[int]


class _Line(NamedTuple):
    """A line, without the marks of quotation: ``content`` begins at ``start`` of the text, in column ``indent``.

    ``mark`` is the depth of quotation, or the mark of a comment; ``ends_hard`` if no paragraph goes on behind it.
    """

    content: str
    start: int
    indent: int
    mark: int | str
    ends_hard: bool


def lay_out(text: str, check: Check) -> Layout:
    """The lines of *text*.

    Raises:
        CancelledError: by *check*.
    """
    raw_lines = text.splitlines(keepends=True)
    if len(raw_lines) < 2 and "\t" not in text:
        return Layout(text, [])
    lines = []
    is_marked = False
    end = 0
    for raw in in_pieces(raw_lines, check):
        start, end = end, end + len(raw)
        content = raw.strip()
        if content and not "!" <= content[0] <= "~":
            content = content.lstrip(_INVISIBLE)
        if not content:
            lines.append(_Line("", start, 0, 0, False))
            continue
        indent = 0 if raw[0] == content[0] else raw.index(content[0])
        is_marked = is_marked or content[0] in _MARKS_BEGIN
        lines.append(_Line(content, start + indent, indent, 0, raw[-1] in _HARD_ENDS))
    marks: list[tuple[int, int]] = []
    if is_marked:
        lines, marks = _without_marks(lines, check)
    cuts: list[int] = []
    gaps: list[tuple[int, int]] = []
    block: list[_Line] = []
    for line in in_pieces(lines, check):
        if block and (not line.content or "\t" in line.content or block[-1].ends_hard or line.mark != block[-1].mark):
            _read(block, cuts, gaps, check)
            block = []
        if "\t" in line.content:
            starts, last = _cells_of(line)
            cuts += starts
            block.append(last)
        elif line.content:
            block.append(line)
    if block:
        _read(block, cuts, gaps, check)
    return Layout(_blanked(_blanked(text, marks), gaps), cuts)


def _cells_of(line: _Line) -> tuple[list[int], _Line]:
    """Where the cells of a *line* of a table start, but for the last; and the last cell."""
    *cells, last = line.content.split("\t")
    starts = list(accumulate((len(cell) + 1 for cell in cells), initial=line.start))
    return starts[:-1], line._replace(content=last, start=starts[-1], indent=line.indent + starts[-1] - line.start)


def _blanked(text: str, spans: Sequence[tuple[int, int]]) -> str:
    """*text* with blanks in the place of *spans*."""
    if not spans:
        return text
    parts = []
    last = 0
    for start, end in spans:
        parts += [text[last:start], " " * (end - start)]
        last = end
    return "".join([*parts, text[last:]])


def _without_marks(lines: Sequence[_Line], check: Check) -> tuple[list[_Line], list[tuple[int, int]]]:
    """*lines* without the marks of quotations and comments, and the spans of these marks in the text."""
    found: list[_Line] = []
    spans: list[tuple[int, int]] = []
    for kind, run in groupby(in_pieces(lines, check), key=_kind_of_mark):
        marked = list(run)
        if kind and len(marked) > 1:
            bare = list(map(_unmarked, marked))
            if (_is_quotation if kind == ">" else _is_comment)(bare):
                spans += [(line.start, one.start) for line, one in zip(marked, bare, strict=True)]
                marked = bare
        found += marked
    return found, spans


def _kind_of_mark(line: _Line) -> str:
    """The mark that *line* begins with, ``>`` for quotations of any depth; empty without a mark."""
    content = line.content
    if content[:1] not in _MARKS_BEGIN:
        return ""
    if content[0] == ">":
        return ">"
    mark = _COMMENT_MARK.match(content)
    return mark[0].rstrip() if mark else ""


def _unmarked(line: _Line) -> _Line:
    """*line* without its marks."""
    content = line.content.lstrip("> \t" if line.content[0] == ">" else f"{line.content[0]} \t")
    skipped = len(line.content) - len(content)
    marks = line.content[:skipped].rstrip()
    return _Line(content, line.start + skipped, skipped - len(marks) - 1, marks.count(">") or marks, line.ends_hard)


def _is_quotation(bare: Sequence[_Line]) -> bool:
    """True if the ``>`` before neighbouring lines quote them, rather than compare, prompt or close tags."""
    filled = [line for line in bare if line.content]
    if all(line.mark == 3 for line in bare):
        return False  # the prompt of Python; nobody quotes a quotation of a quotation alone
    return 2 * sum(" " in line.content and line.content[0] != "=" for line in filled) >= max(1, len(filled))


def _is_comment(bare: Sequence[_Line]) -> bool:
    """True if the lines behind the marks are running text that goes over line ends."""
    filled = [line.content for line in bare if line.content]
    words = [word for content in filled for word in content.split()]
    return (
        len(words) >= 4 * len(filled)
        and 2 * sum(map(str.islower, words)) >= len(words)
        and any(
            (after[0].islower() and before[-1] not in _STOPS) or before.split()[-1] in _LEADING_WORDS
            for before, after in pairwise(filled)
        )
    )


def _read(block: Sequence[_Line], cuts: list[int], gaps: list[tuple[int, int]], check: Check) -> None:
    """Add to *cuts* where lines of *block* begin sentences, and to *gaps* what is between its lines."""
    cuts.append(block[0].start)
    if len(block) == 1:
        return
    ends = _Ends(block, check)
    for i, (line, following) in enumerate(in_pieces(pairwise(block), check)):
        gaps.append((line.start + len(line.content), following.start))
        if ends.end_sentence(i):
            cuts.append(following.start)


class _Wraps(NamedTuple):
    """How the lines of a stretch are wrapped.

    Attributes:
        width: Columns of the longest line that ends in a wrap.
        longest: Columns that no wrapped line exceeds.
        slack: Columns that may be left in a wrapped line although the next word fits; 0 unless lines are ragged.
    """

    width: int
    longest: float
    slack: float

    def fit(self, width: int, need: int) -> bool:
        """True if a line of *width* columns ends like them, with *need* columns for it and the next word."""
        return width <= self.longest and self.width + 1 - need <= self.slack


class _Ends:
    """The line ends of a block; line end *i* is between the lines *i* and *i + 1*."""

    def __init__(self, block: Sequence[_Line], check: Check) -> None:
        self.block = block
        self.contents: list[str] = []
        self.words: list[list[str]] = []
        self.is_item: list[bool] = []
        self.is_row: list[bool] = []
        self.is_small: list[bool] = []
        self.has_stop: list[bool] = []
        self.widths: list[int] = []
        for first in range(0, len(block), PIECE):
            check()
            lines = block[first : first + PIECE]
            contents = [line.content for line in lines]
            self.contents += contents
            self.words += [content.split() for content in contents]
            self.is_item += [_ITEM.match(content) is not None for content in contents]
            self.is_row += map(_is_row, contents)
            self.is_small += map(_begins_small, contents)
            self.has_stop += map(_ends_with_stop, contents)
            self.widths += [line.indent + len(line.content) for line in lines]
        fields = [_FIELD.match(content) is not None if ":" in content else False for content in self.contents]
        self.is_field = fields if sum(fields) > 1 else [False] * len(block)
        self.is_hard = [
            item or row or next_row or field
            for item, row, next_row, field in zip(
                self.is_item[1:], self.is_row, self.is_row[1:], self.is_field[1:], strict=False
            )
        ]
        self.needs = [width + 1 + len(words[0]) for width, words in zip(self.widths, self.words[1:], strict=False)]
        self._wraps: dict[int, _Wraps | None] = {}

    def end_sentence(self, i: int) -> bool:
        """True if line end *i* ends a sentence by itself."""
        if self.is_hard[i] or (self.is_item[i] and _HEADING.match(self.contents[i])):
            return True
        if self.is_small[i + 1] and not self.has_stop[i]:
            return not self._is_running(i)
        if self.has_stop[i] and (
            len(last := self.words[i][-1]) == 1 or (len(last) > _LONG_WORD and last[:-1].islower())
        ):
            return True  # no abbreviation
        return not (self._is_wrap(i) or self._goes_on(i))

    def _is_running(self, i: int) -> bool:
        """True if the line is of running text: no list, and no message of a chat without capital letters."""
        near = slice(max(0, i - _STRETCH), i + _STRETCH)
        is_folded = _is_folded(self.contents[i]) and all(map(_is_folded, self.contents[near]))
        if is_folded and not self._is_wrap(i):
            return False
        if not is_folded and (len(self.words[i]) >= 5 or self.words[i][-1] in _LEADING_WORDS):
            return True
        words = list(chain.from_iterable(self.words[near]))
        num_common = sum(word in _COMMON_WORDS for word in words)
        return num_common > 1 and 6 * num_common >= len(words)

    def _is_wrap(self, i: int) -> bool:
        """True if the next word would not have fitted into line *i*, as the wraps around it show."""
        stretch = i // _STRETCH if len(self.block) > 3 * _STRETCH else 1
        if stretch not in self._wraps:
            self._wraps[stretch] = self._wraps_of(stretch)
        wraps = self._wraps[stretch]
        return wraps is not None and wraps.fit(self.widths[i], self.needs[i]) and not self._begins_paragraph(i + 1)

    def _wraps_of(self, stretch: int) -> _Wraps | None:
        """How the lines around *stretch* are wrapped; None if they are not."""
        first, last = max(0, (stretch - 1) * _STRETCH), min(len(self.block) - 1, (stretch + 2) * _STRETCH)
        ends = [i for i in range(first, last) if not self.is_hard[i]]
        words = list(chain.from_iterable([self.words[i] for i in ends]))
        if not words or len(words) < 3 * len(ends) or not _are_running(words):
            return None
        widths, needs, is_small, has_stop = self.widths, self.needs, self.is_small, self.has_stop
        open_ends = [i for i in ends if not has_stop[i]]
        soft = [i for i in open_ends if is_small[i + 1]]
        if not soft:
            width = max(widths[first : last + 1])
            num_full = sum([needs[i] > width for i in ends])
            is_full = num_full >= max(5, 0.8 * len(ends)) and len(words) >= 5 * len(ends) and width <= _MAX_WIDTH
            return _Wraps(width, width, 0) if is_full else None
        width = max([widths[i] for i in soft])
        soft_needs = [needs[i] for i in soft]
        raggedness = max(0, width + 1 - min(soft_needs))
        if raggedness > 0.45 * width:
            return None
        slack = raggedness * (1 + 1 / len(soft))
        wraps = _Wraps(width, max(soft_needs) + slack, slack)
        fit = [i for i in open_ends if not is_small[i + 1] and wraps.fit(widths[i], needs[i])]
        if fit:
            spread = max([widths[i] for i in fit]) + 1 - min([needs[i] for i in fit])
            if spread > max(2 * slack, 0.1 * width):
                return None
        return wraps if len(open_ends) <= 2 * len(soft) + 2 * len(fit) else None

    def _begins_paragraph(self, i: int) -> bool:
        """True if the indentation of line *i* says that a paragraph begins."""
        deeper = self.block[i].indent - self.block[i - 1].indent
        if deeper >= 2:
            hangs = self.is_item[i - 1] or self.is_field[i - 1] or i == 1
            goes_back = i + 1 < len(self.block) and self.block[i + 1].indent < self.block[i].indent
            return not hangs or (goes_back and not self.is_hard[i])
        return deeper <= -2 and i > 1 and not self.is_item[i - 1]

    def _goes_on(self, i: int) -> bool:
        """True if the words on both sides of line end *i* belong together."""
        words, following = self.words[i], self.words[i + 1]
        num_lower = sum(map(str.islower, words))
        is_phrase = num_lower > 1 or (num_lower and num_lower + sum(map(str.islower, following)) > 2)
        if not is_phrase or len(words) < 2 or self._begins_paragraph(i + 1):
            return False
        last, before = words[-1], words[-2]
        if last in _LEADING_WORDS:
            return last.islower() or not before[0].isupper()
        if following[0].lower() in _COMMON_WORDS or following[0].lower() in _LINKS:
            return False
        if last in _TITLES:
            return before.islower() and before not in _ARTICLES
        if last[-1] in ".-":
            return _is_shortened(last) or (last[-1] == "-" and last[-2:-1].isalpha())
        may_be_cut = num_lower > 2 and not self.has_stop[i] and last[-1].isalnum() and self._may_wrap(i)
        return may_be_cut and _is_cut_name(words, following)

    def _may_wrap(self, i: int) -> bool:
        """True if no line near line end *i* is so long that the next word would have fitted."""
        return _MAX_WIDTH >= self.needs[i] > 0.9 * max(self.widths[max(0, i - _STRETCH) : i + _STRETCH])


def _is_cut_name(words: Sequence[str], following: Sequence[str]) -> bool:
    """True if the last of *words* and the first of *following* are likelier one name than two."""
    name = list(takewhile(_is_inside_name, reversed(words)))
    if not name and not words[-1].islower():
        return False
    num_rest = len(list(takewhile(_is_inside_name, following)))
    link = ""
    if num_rest < len(following):
        link = following[num_rest]
        if link[0].isupper():  # the name ends in a mark
            num_rest, link = num_rest + 1, link[-1]
    if not num_rest or link in _STOPS_OF_NAMES:
        return num_rest > 0
    length = sum(word not in _TITLES for word in name)
    if length == 1 and num_rest <= 2 and link in _LINKS:
        return True
    before = words[-1 - len(name)] if len(name) < len(words) else ""
    return before in _ARTICLES and length <= 2 and link in _LINKS


def _are_running(words: Sequence[str]) -> bool:
    """True if *words* are of running text, be it in capital letters; a list of names is not."""
    if 3 * sum(map(str.islower, words)) >= len(words):
        return True
    if 3 * sum(map(str.isupper, words)) < 2 * len(words):
        return False
    return 5 * sum(word.lower() in _COMMON_WORDS for word in words) >= len(words)


def _is_shortened(word: str) -> bool:
    """True if *word* is an initial or an abbreviation before a name."""
    return word[-1] == "." and (len(word) == 2 or word[:-1].lower() in TITLES)


def _is_inside_name(word: str) -> bool:
    return word[0].isupper() and (word[-1].isalnum() or _is_shortened(word)) and "," not in word


def _is_row(content: str) -> bool:
    """True if *content* is a row of a table or of a table of contents, a rule, or the time code of a subtitle."""
    return (
        "    " in content
        or "...." in content
        or ". . . " in content
        or "-->" in content
        or (not content[0].isalnum() and _RULE.match(content) is not None)
    )


def _ends_with_stop(content: str) -> bool:
    """True if *content* ends with a mark that may end a sentence, and the marks that close it."""
    return not content[-1].isalnum() and content.rstrip(_CLOSERS)[-1:] in _STOPS


def _is_folded(content: str) -> bool:
    """True if *content* has no capital letter."""
    return content == content.lower()


def _begins_small(content: str) -> bool:
    """True if the first letter of *content* has no capital form or is small, or a mark goes on with the line before."""
    first = content[0]
    if first.isalpha():
        return not first.isupper()
    if first in ",;)":
        return True
    letter = _FIRST_LETTER.match(content)
    return letter is not None and letter[1].isalpha() and not letter[1].isupper()
