"""CoNLL columns: a line for each token, a blank line after each sentence."""

from __future__ import annotations

import logging
import re
from bisect import bisect_left
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import NamedTuple

from handler.labels import Scheme, Span, spans_to_tags
from handler.text.sentences import split_sentences
from training.corpora.sentences import LabelMap, Sentence, mapped
from training.corpora.tags import OUTSIDE, Tag, is_tag, read_tags, tag_spans
from training.errors import CorpusError

logger = logging.getLogger(__name__)

#: Share of a file's distinct words that the server may split without a warning; of tweets it is 4%.
_SPLIT_SHARE = 0.05

#: A line between two documents.
DOCUMENT = re.compile(r"-DOCSTART-(?!\S)")
_COMMENT = re.compile(r"#[ \t]+(?:[\w.:]+[ \t]*=|new(?:doc|par)\b)")  # of CoNLL-U
_NUMBER = re.compile(r"\d+|\(?\d+[.):]")
_RANGE = re.compile(r"\d+[-.]\d+")  # the number of a word of several tokens, or of one that is not in the text
_UNWRITABLE = re.compile(
    r"[\t\n\r\0\ud800-\udfff]|\A[ \ufeff]| \Z|\A-DOCSTART-(?!\S)"
)  # what is not read again as it is
_PLACEHOLDERS = frozenset({"_", "-", "-X-"})
_HEADER = frozenset(
    """
    id idx index tok token tokens word words form text lemma pos pos_tag pos_tags upos xpos chunk chunk_tags tag tags
    label labels ner ner_tag ner_tags entity iob bio
    """.split()
)
#: Labels of chunks, which are no entities: CoNLL-2000's, the German ones of CoNLL-2003, and Indian treebanks'.
_CHUNKS = frozenset(
    """
    ADJP ADVP CONJP INTJ LST NP PP PRT SBAR UCP VP ADJC ADVC NC PC VC BLK CCP FRAGP JJP NEGP RBP VGF VGINF VGNF VGNN
    """.split()
)


class _Table(NamedTuple):
    """Columns of one length, the line of each row, and the rows at which sentences begin.

    ``odd_line`` is the first line that is parted by spaces where the first row is by tabs, or the other way round.
    """

    columns: list[list[str]]
    lines: list[int]
    starts: list[int]
    odd_line: int | None


def read(
    path: Path, text: str, labels: LabelMap | None = None, tag_column: int | None = None
) -> Iterator[tuple[int, Sentence]]:
    """The sentences of *text*, the content of *path*, each with its first line.

    *tag_column* is the column of the tags, counted from 1; by default it is found.

    Raises:
        CorpusError: names the line that cannot be read.
    """
    table = _table(path, text)
    if not table.lines:
        return
    word_at = int(_is_numbered(path, table))
    tag_at = _tag_column(path, table, word_at, tag_column)
    if word_at:
        table = _without_ranges(path, table, tag_at)
    columns, lines, starts, odd_line = table
    words = [word.strip(" ") for word in columns[word_at]]
    names = columns[tag_at]
    first_lines = dict(zip(reversed(words), reversed(lines), strict=True))
    _check_first_column(path, table, word_at, tag_at)
    if blank := [line for word, line in first_lines.items() if not word.strip()]:
        raise CorpusError(
            f"{path}:{min(blank)}: expected a token and a tag, got white space for a token, which the server never"
            " sees; leave out the line, or write _ for the token"
        )
    tags = read_tags(dict(zip(reversed(names), reversed(lines), strict=True)), path)
    if odd_line and any(tag == ("I", name) for name, tag in tags.items()):  # a word could be taken for a label
        raise CorpusError(f"{path}:{odd_line}: expected columns parted as in line {lines[0]}, by tabs or by spaces")
    yield from numbered(path, words, [tags[name] for name in names], lines=lines, starts=starts, labels=labels)
    split = [line for word, line in first_lines.items() if sum(map(len, split_sentences(word))) > 1]
    if len(split) > _SPLIT_SHARE * len(first_lines):
        logger.warning(
            "%s: the server parts %.0f%% of the distinct words, the first in line %d, so that it does not see texts as"
            " training and scores do; is the first column a word alone, as a tokeniser makes it?",
            *(path, 100 * len(split) / len(first_lines), min(split)),
        )


def numbered(
    path: Path,
    words: Sequence[str],
    tags: Sequence[Tag],
    *,
    lines: Sequence[int],
    starts: Sequence[int],
    labels: LabelMap | None,
) -> Iterator[tuple[int, Sentence]]:
    """Sentences of *words* with *tags* and their *lines*, which begin at *starts*, each with its first line."""
    for first, last in pairwise([*starts, len(words)]):
        spans = []
        for start, end, native in tag_spans(tags[first:last]):
            label = mapped(native, labels, f"{path}:{lines[first + start]}")
            if label != "O":
                spans.append(Span(start, end, label))
        yield lines[first], Sentence(tuple(words[first:last]), tuple(spans))


def write_conll(path: Path, sentences: Iterable[Sentence], scheme: Scheme = "BIO") -> None:
    """Write *sentences* to *path* as :func:`conll_text` has them."""
    path.write_text(conll_text(sentences, path, scheme), encoding="utf-8", newline="\n")


def conll_text(sentences: Iterable[Sentence], path: Path, scheme: Scheme = "BIO") -> str:
    """*sentences* as CoNLL columns, on each line a token, a tab and its tag.

    Raises:
        CorpusError: names *path* and a word or a label that would not be read again as it is.
    """
    lines: list[str] = []
    for number, sentence in enumerate(sentences, 1):
        tags = spans_to_tags(sentence.spans, len(sentence.words), scheme)
        labels = {span.label for span in sentence.spans}
        for name in (*sentence.words, *labels):
            if _UNWRITABLE.search(name) or not name.strip() or (name in labels and name != name.strip()):
                raise CorpusError(f"{path}: sentence {number}: {name!r} cannot be written as a CoNLL column")
        lines += [f"{word}\t{tag}\n" for word, tag in zip(sentence.words, tags, strict=True)]
        lines.append("\n")
    return "".join(lines)


def _columns(line: str) -> list[str]:
    r"""The columns of *line*, parted by tabs, or by spaces if it has no tab; the last is not empty.

    >>> _columns("New York\tB-LOC\t"), _columns("Ann  NNP B-PER ")
    (['New York', 'B-LOC'], ['Ann', 'NNP', 'B-PER'])
    """
    if "\t" not in line:
        return [column for column in line.split(" ") if column]
    columns = line.split("\t")
    while not columns[-1].strip():
        columns.pop()
    return columns


def _table(path: Path, text: str) -> _Table:
    """The rows of *text* without comments and a header; raises CorpusError if one is not as wide as the first."""
    lines = text.split("\n")
    comments = _comments(lines)
    cells: list[str] = []
    numbers: list[int] = []
    starts: list[int] = []
    width, tabbed, odd_line, begins = 0, False, None, True
    for number, line in enumerate(lines, 1):
        if not line or line.isspace() or (line[0] == "-" and DOCUMENT.match(line)):
            begins = True
            continue
        if number in comments:
            continue
        row = _columns(line)
        if not width:
            first, width, tabbed = number, len(row), "\t" in line
            if len(row) > 1 and all(cell.strip().casefold() in _HEADER for cell in row):
                logger.warning("%s:%d: taken for a header and left out", path, number)
                continue
        if len(row) != width:
            raise CorpusError(
                f"{path}:{number}: expected {width} columns, as in line {first}, got {len(row)}; is a token or a"
                " tag missing?"
            )
        if ("\t" in line) != tabbed and not odd_line:
            odd_line = number
        if begins:
            starts.append(len(numbers))
            begins = False
        cells += row
        numbers.append(number)
    columns = [[cell.strip() for cell in cells[i::width]] if i else cells[::width] for i in range(width)]
    return _Table(columns, numbers, starts, odd_line)


def _comments(lines: Sequence[str]) -> set[int]:
    """The numbers of those of *lines*, counted from 1, that are comments; a row may begin with ``#``, too: a token."""
    doubtful = [number for number, line in enumerate(lines, 1) if line.startswith(("# ", "#\t"))]
    ordinary = (_columns(line) for line in lines if line.strip() and line[0] != "#" and not DOCUMENT.match(line))
    width = len(next(ordinary, ())) if doubtful else 0
    comments = set()
    tags: set[str] | None = None
    for number in doubtful:
        line = lines[number - 1]
        row = _columns(line)
        fits = "\t" in line and len(row) == width
        if fits and is_tag(row[-1].strip()):
            continue
        if tags is None:
            tags = {row[-1].strip() for row in ordinary}
        has_tag = is_tag(row[-1].strip()) or row[-1].strip() in tags
        if not (fits and has_tag) and (_COMMENT.match(line) or not (fits or has_tag)):
            comments.add(number)
    return comments


def _is_numbered(path: Path, table: _Table) -> bool:
    """True if the first column numbers the tokens; raises CorpusError if it is unclear, or there are no words."""
    values, starts = table.columns[0], set(table.starts)
    num_values = len(values)
    if 2 * sum(count for value, count in Counter(values).items() if _is_number(value)) < num_values:
        return False
    width = len(table.columns)
    if width < 2:
        return False
    if width > 2 and _PLACEHOLDERS.issuperset(table.columns[1]):
        return False
    before, progress = 0, False
    misfits: list[int] = []
    for i, value in enumerate(values):
        if _RANGE.fullmatch(value):
            continue
        follows = value == str(before + 1)
        if not follows and not (i in starts and value in {"0", "1"}):
            misfits.append(i)
        progress |= follows and i not in starts
        before = int(value) if value.isdecimal() and len(value) < 10 else before + 1
    first = misfits[0] if misfits else 0
    where = f"{path}:{table.lines[first]}"
    if width == 2:
        if num_values >= 5 and not misfits:
            raise CorpusError(f"{where}: expected a token and a tag, got token numbers without a column of tokens")
        return False
    if not misfits and progress:
        return True
    if 2 * len(misfits) < num_values or all(map(_is_number, values)):
        raise CorpusError(
            f"{where}: expected tokens in the first column, or their numbers in the sentence, got"
            f" {values[first][:40]!r}; where numbers are the tokens, write _ in the second column"
        )
    return False


def _check_first_column(path: Path, table: _Table, word_at: int, tag_at: int) -> None:
    """Raise CorpusError if what should be tokens are tags, or names of sentences or documents."""
    columns, where = table.columns, f"{path}:{table.lines[0]}"
    words, tags = (sum(map(is_tag, columns[i][:1000])) for i in (word_at, tag_at))
    if words > tags and 2 * words > len(columns[word_at][:1000]):
        raise CorpusError(f"{where}: expected a token and then its tag, got tags in column {word_at + 1}")
    if len(columns) > 2 and not word_at:
        bounds = list(pairwise([*table.starts, len(table.lines)]))
        same = [all(len(set(column[first:last])) == 1 for first, last in bounds) for column in columns[:2]]
        if same == [True, False] and any(last - first > 2 for first, last in bounds):
            raise CorpusError(
                f"{where}: expected tokens in the first column, got one value in each sentence; leave it out"
            )


def _is_number(value: str) -> bool:
    return bool(_NUMBER.fullmatch(value) or _RANGE.fullmatch(value))


def _without_ranges(path: Path, table: _Table, tag_at: int) -> _Table:
    """The rows without those of words of several tokens (``1-2``), which follow, and of words that were left out."""
    numbers, tags = table.columns[0], table.columns[tag_at]
    kept = [i for i, number in enumerate(numbers) if not _RANGE.fullmatch(number)]
    for i in set(range(len(numbers))).difference(kept):
        following = tags[i + 1] if i + 1 < len(tags) else "O"
        if tags[i] not in _PLACEHOLDERS and tags[i] not in OUTSIDE and following != tags[i]:
            raise CorpusError(f"{path}:{table.lines[i]}: expected the tag {tags[i]!r} in the next line, too")
    starts = sorted({bisect_left(kept, start) for start in table.starts} - {len(kept)})
    columns = [[column[i] for i in kept] for column in table.columns]
    return table._replace(columns=columns, lines=[table.lines[i] for i in kept], starts=starts)


def _tag_column(path: Path, table: _Table, word_at: int, given: int | None) -> int:
    """The index of the column of tags: *given*, counted from 1, or the only one of tags but for chunks'."""
    columns, line = table.columns, table.lines[0]
    last = len(columns) - 1
    if last <= word_at:
        raise CorpusError(f"{path}:{line}: expected a token and a tag, got {len(columns)} column(s)")
    if given is not None:
        if not word_at + 1 < given <= len(columns):
            raise CorpusError(f"{path}:{line}: expected tags in a column from {word_at + 2} to {last + 1}, got {given}")
        return given - 1
    if last == word_at + 1:
        return last
    counts = {i: Counter(columns[i]) for i in range(word_at + 1, last + 1)}
    found = [i for i in counts if _holds_tags(counts[i], i == last)]
    if any(columns[i] != columns[found[0]] for i in found):
        raise CorpusError(
            f"{path}:{line}: expected one column of tags, got columns {', '.join(str(i + 1) for i in found)};"
            f" choose one: nerserve data convert {path} --tag-column {found[0] + 1} --out NEW.conll"
        )
    outside = [i for i in counts if OUTSIDE.keys() >= counts[i].keys()]
    return next(iter([*found, *outside]), last)


def _holds_tags(counts: Counter[str], is_last: bool) -> bool:
    """True if a column of *counts* is one of entities' tags, rather than of placeholders or chunks before the last."""
    entities = Counter({tag: count for tag, count in counts.items() if tag not in OUTSIDE})
    chunks = sum(count for tag, count in entities.items() if tag[:2] in {"B-", "I-"} and tag[2:] in _CHUNKS)
    if is_last:
        return not OUTSIDE.keys().isdisjoint(counts) or any(map(is_tag, counts))
    tags = sum(count for tag, count in counts.items() if is_tag(tag))
    return bool(entities) and 2 * chunks <= entities.total() and 2 * tags >= counts.total()
