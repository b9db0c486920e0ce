"""A second look at the sentences of one text: what is known of a name elsewhere in the text shifts its scores here.

The first look decodes each sentence alone.  Where a name that it found stands in the text again, in the same words or
in other capitals, as the surname of a person, or as the letters of an acronym, the emissions of those tokens are
shifted towards the label that the name has elsewhere, and the sentence is decoded again: spans and marginals stay those
of one distribution.  What still has two labels then takes the one that most of the text says, unless its own sentence
is sure.  After Krishnan and Manning (2006, "An Effective Two-Stage Model for Exploiting Non-Local Dependencies in Named
Entity Recognition"), with a few weights that hold for every model in place of a second trained one
(docs/decisions/0029).

Everything takes time linear in the number of words, whatever is repeated.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple

from handler.labels import Span
from handler.network.decoding import Shift
from handler.pieces import Check, in_pieces, never

#: Words of a name that is looked for elsewhere, at most.
MAX_NAME_WORDS: Final = 8

#: Log-odds for each unit of evidence, ``log(1 + sum of marginals / _UNIT)``, by how the name here is to the one there.
_SAME_WORDS: Final = 0.3
_OTHER_CAPITALS: Final = 0.8
_SURNAME: Final = 1.5
_ACRONYM: Final = 2.5

#: The sum of marginals that counts half as much again as none.
_UNIT: Final = 0.3

#: A sum of marginals that is as good as none.
_NOTHING: Final = 0.01

#: Labels of people, in small letters: a full name gives its label to the surname alone.
_PERSON_LABELS: Final = frozenset({"per", "pers", "person"})

#: Letters of an acronym, at least.
_MIN_ACRONYM: Final = 3

#: A mention with at least this marginal keeps its label, whatever the others say,
SURE: Final = 0.9

#: and so does one unless another label has this many times the votes of its own.
MAJORITY: Final = 1.5

#: Decimals of a marginal as evidence: what differs between two batches in the last bits is the same evidence.
_DIGITS: Final = 6

#: A name, its words one by one.
Name = tuple[str, ...]


class Mention(NamedTuple):
    """An entity found in one of a text's sentences, and its marginal probability."""

    sentence: int
    span: Span
    marginal: float


class _Evidence:
    """Sums of marginals by name and label, for each relation of a name here to one elsewhere.

    ``lengths`` are the numbers of words of names that begin with a word in small letters.
    """

    def __init__(self, sentences: Sequence[Sequence[str]], mentions: Iterable[Mention], check: Check) -> None:
        self.own: dict[tuple[int, int, int], Mention] = {}
        self.same: defaultdict[Name, defaultdict[str, float]] = defaultdict(_sums)
        self.folded: defaultdict[Name, defaultdict[str, float]] = defaultdict(_sums)
        self.surnames: defaultdict[Name, defaultdict[str, float]] = defaultdict(_sums)
        self.acronyms: defaultdict[Name, defaultdict[str, float]] = defaultdict(_sums)
        for mention in in_pieces(mentions, check):
            (start, end, label), marginal = mention.span, round(mention.marginal, _DIGITS)
            if end - start > MAX_NAME_WORDS:
                continue
            name = tuple(sentences[mention.sentence][start:end])
            self.own[mention.sentence, start, end] = mention
            self.same[name][label] += marginal
            self.folded[_folded(name)][label] += marginal
            for ending in _surnames(name, label):
                self.surnames[ending][label] += marginal
            if acronym := _acronym(name):
                self.acronyms[acronym,][label] += marginal
        self.lengths: defaultdict[str, set[int]] = defaultdict(set)
        for name in chain(self.folded, map(_folded, self.surnames), map(_folded, self.acronyms)):
            self.lengths[name[0]].add(len(name))

    def log_odds(self, sentence: int, start: int, end: int, name: Name) -> dict[str, float]:
        """What the rest of the text adds to the log-odds of each label of *name* at this place."""
        own = self.own.get((sentence, start, end))
        mine = {own.span.label: round(own.marginal, _DIGITS)} if own is not None else {}
        same: Mapping[str, float] = self.same.get(name, {})
        folded: Mapping[str, float] = self.folded.get(_folded(name), {}) if _begins_large(name) else {}
        shifts: dict[str, float] = {}
        for weight, sums in (
            (_SAME_WORDS, {label: total - mine.get(label, 0.0) for label, total in same.items()}),
            (_OTHER_CAPITALS, {label: total - same.get(label, 0.0) for label, total in folded.items()}),
            (_SURNAME, self.surnames.get(name, {})),
            (_ACRONYM, self.acronyms.get(name, {})),
        ):
            for label, total in sums.items():
                if total > _NOTHING:
                    shifts[label] = shifts.get(label, 0.0) + weight * math.log1p(total / _UNIT)
        return shifts


def find_shifts(
    sentences: Sequence[Sequence[str]], mentions: Sequence[Mention], check: Check = never
) -> list[tuple[int, Shift]]:
    """What *mentions*, found in *sentences* of words, add to the scores of other places: by sentence, in text order.

    Inside a longer name that was found, here or elsewhere, in the same words, nothing is shifted: "America" in
    "Bank of America".

    Raises:
        CancelledError: by *check*, which is called between pieces of the work.
    """
    evidence = _Evidence(sentences, mentions, check)
    shifts = []
    for i, words in enumerate(in_pieces(sentences, check)):
        places: list[tuple[int, int, Name]] = []
        widths = [0] * len(words)  # of the longest name found that covers each word
        for start, word in enumerate(in_pieces(words, check)):
            for length in evidence.lengths.get(word.casefold(), ()):
                name = tuple(words[start : start + length])
                if len(name) == length:
                    places.append((start, start + length, name))
                    if name in evidence.same:
                        widths[start : start + length] = [max(length, wide) for wide in widths[start : start + length]]
        for start, end, name in sorted(places):
            if max(widths[start:end]) <= end - start:
                found = evidence.log_odds(i, start, end, name)
                shifts += [(i, Shift(start, end, label, log_odds)) for label, log_odds in found.items()]
    return shifts


def agreed(sentences: Sequence[Sequence[str]], mentions: Sequence[Mention]) -> list[Mention]:
    """*mentions* with one label for a name in the same words: the one with the largest sum of marginals.

    A mention keeps its own label if it has a marginal of ``SURE`` or more, or if the sum of its own is not
    ``MAJORITY`` times smaller; one that changes keeps its marginal.
    """
    votes: defaultdict[Name, defaultdict[str, float]] = defaultdict(_sums)
    names = [tuple(sentences[i][span.start : span.end]) for i, span, _ in mentions]
    for name, (_, span, marginal) in zip(names, mentions, strict=True):
        votes[name][span.label] += round(marginal, _DIGITS)
    winners = {name: max(sorted(sums), key=sums.__getitem__) for name, sums in votes.items()}
    result = []
    for name, mention in zip(names, mentions, strict=True):
        label, sums = winners[name], votes[name]
        changes = mention.marginal < SURE and sums[label] > MAJORITY * sums[mention.span.label]
        result.append(mention._replace(span=mention.span._replace(label=label)) if changes else mention)
    return result


def deciding(
    sentences: Sequence[Sequence[str]], mentions: Sequence[Mention], sentence: int, spans: Sequence[Span]
) -> list[Mention]:
    """Those of *mentions* that speak for the label of one of *spans*, which are in the sentence of that number."""
    found = []
    for mention in mentions:
        start, end, label = mention.span
        other = tuple(sentences[mention.sentence][start:end])
        speaks = {other, *_surnames(other, label), (_acronym(other),)}
        for span in spans:
            name = tuple(sentences[sentence][span.start : span.end])
            is_other = mention.sentence != sentence or (start, end) != span[:2]
            is_alike = name in speaks or (_begins_large(name) and _folded(name) == _folded(other))
            if is_other and is_alike and label == span.label and len(other) <= MAX_NAME_WORDS:
                found.append(mention)
                break
    return found


def _sums() -> defaultdict[str, float]:
    return defaultdict(float)


def _folded(name: Name) -> Name:
    return tuple([word.casefold() for word in name])


def _begins_large(name: Name) -> bool:
    """True if a name in other capitals may be meant: "apple" is not Apple, "APPLE" and "Apple" are one."""
    return name[0][:1].isupper()


def _surnames(name: Name, label: str) -> list[Name]:
    """What a person called *name* may be called later: every ending that begins with a capital."""
    if label.casefold() not in _PERSON_LABELS:
        return []
    return [name[i:] for i in range(1, len(name)) if any(map(str.isupper, name[i]))]


def _acronym(name: Name) -> str:
    """The first letters of the words that begin large, ``_MIN_ACRONYM`` at least; else an empty string.

    >>> _acronym(("University", "of", "New", "South", "Wales"))
    'UNSW'
    """
    letters = "".join([word[0] for word in name if word[:1].isupper()])
    return letters if len(letters) >= _MIN_ACRONYM else ""
