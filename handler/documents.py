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
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from typing import Final, NamedTuple

from handler.labels import Span
from handler.network.decoding import Shift
from handler.pieces import Check, in_pieces, never

#: Words of a name that is looked for elsewhere, at most.
MAX_NAME_WORDS: Final = 8

#: Log-odds for ``log(1 + sum of marginals / _UNIT)``, by what the name here is to the one there.
_SAME_WORDS: Final = 0.3
_OTHER_CAPITALS: Final = 0.8
_SURNAME: Final = 1.5
_ACRONYM: Final = 2.5

#: The sum of marginals from which on more of them count less and less.
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
    """What *mentions* say of names: sums of their marginals, by name and label.

    Attributes:
        own: Label and marginal of the mention at a place: sentence, start, end.
        same: Of the names found.
        folded: Of the names found, in small letters.
        surnames: Of what people among the names may be called later.
        acronyms: Of the first letters of the names.
        num_words: The lengths that these names have, by their first word in small letters.
    """

    def __init__(self, sentences: Sequence[Sequence[str]], mentions: Iterable[Mention], check: Check) -> None:
        self.own: dict[tuple[int, int, int], tuple[str, float]] = {}
        self.same: dict[Name, dict[str, float]] = {}
        self.folded: dict[Name, dict[str, float]] = {}
        self.surnames: dict[Name, dict[str, float]] = {}
        self.acronyms: dict[Name, dict[str, float]] = {}
        for i, (start, end, label), marginal in in_pieces(mentions, check):
            if end - start > MAX_NAME_WORDS:
                continue
            name, known = tuple(sentences[i][start:end]), round(marginal, _DIGITS)
            self.own[i, start, end] = label, known
            _add(self.same, name, label, known)
            _add(self.folded, _folded(name), label, known)
            if len(name) > 1:
                for ending in _surnames(name, label):
                    _add(self.surnames, ending, label, known)
                if acronym := _acronym(name):
                    _add(self.acronyms, (acronym,), label, known)
        self.num_words: dict[str, set[int]] = {}
        for name in chain(self.same, self.surnames, self.acronyms):
            self.num_words.setdefault(name[0].casefold(), set()).add(len(name))

    def log_odds(self, sentence: int, start: int, end: int, name: Name) -> dict[str, float]:
        """What the rest of the text adds to the log-odds of each label of *name* at this place."""
        found: dict[str, float] = {}
        if same := self.same.get(name):
            label, marginal = self.own.get((sentence, start, end), ("", 0.0))
            _raise(found, _SAME_WORDS, {**same, label: same.get(label, 0.0) - marginal})
        if _begins_large(name) and (folded := self.folded.get(_folded(name))):
            others = {label: total - (same or {}).get(label, 0.0) for label, total in folded.items()}
            _raise(found, _OTHER_CAPITALS, others)
        _raise(found, _SURNAME, self.surnames.get(name, {}))
        _raise(found, _ACRONYM, self.acronyms.get(name, {}))
        return found


def find_shifts(
    sentences: Sequence[Sequence[str]], mentions: Sequence[Mention], check: Check = never
) -> list[tuple[int, Shift]]:
    """What *mentions*, found in *sentences* of words, add to the scores of other places: by sentence, in text order.

    Inside a longer name that was found, here or elsewhere, in the same words, or a longer ending of one, nothing is
    shifted: "America" in "Bank of America".

    Raises:
        CancelledError: by *check*, which is called between pieces of the work.
    """
    evidence = _Evidence(sentences, mentions, check)
    firsts: dict[str, list[tuple[int, int]]] = {}  # where a word stands with which a name begins
    for i, words in enumerate(in_pieces(sentences, check)):
        for start, word in enumerate(map(str.casefold, words)):
            if word in evidence.num_words:
                firsts.setdefault(word, []).append((i, start))
    acronyms = {acronym.casefold() for (acronym,) in evidence.acronyms}
    places = [
        (i, start, start + length)
        for word, starts in firsts.items()
        if len(starts) > 1 or word in acronyms  # all others stand in the text once
        for i, start in in_pieces(starts, check)
        for length in evidence.num_words[word]
        if start + length <= len(sentences[i])
    ]
    if not places:
        return []
    widths: dict[tuple[int, int], int] = {}  # of the longest name found that covers a word
    names = {}
    for i, start, end in in_pieces(chain(evidence.own, places), check):
        names[i, start, end] = name = tuple(sentences[i][start:end])
        if name in evidence.same or name in evidence.surnames:
            for k in range(start, end):
                widths[i, k] = max(widths.get((i, k), 0), end - start)
    shifts = []
    for i, start, end in in_pieces(sorted(places), check):
        name = names[i, start, end]
        if all(widths.get((i, k), 0) <= end - start for k in range(start, end)):
            shifts += [(i, Shift(start, end, *one)) for one in evidence.log_odds(i, start, end, name).items()]
    return shifts


def agreed(sentences: Sequence[Sequence[str]], mentions: Sequence[Mention]) -> list[Mention]:
    """*mentions* with one label for a name in the same words: the one with the largest sum of marginals.

    A mention keeps its own label if it has a marginal of ``SURE`` or more, or if the sum of its own is not
    ``MAJORITY`` times smaller; one that changes keeps its marginal.
    """
    votes: dict[Name, dict[str, float]] = {}
    names = [tuple(sentences[i][span.start : span.end]) for i, span, _ in mentions]
    for name, (_, span, marginal) in zip(names, mentions, strict=True):
        _add(votes, name, span.label, round(marginal, _DIGITS))
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


def _add(sums: dict[Name, dict[str, float]], name: Name, label: str, marginal: float) -> None:
    of_name = sums.setdefault(name, {})
    of_name[label] = of_name.get(label, 0.0) + marginal


def _raise(log_odds: dict[str, float], weight: float, sums: Mapping[str, float]) -> None:
    """Add to the *log_odds* of each label what the *sums* of marginals are worth."""
    for label, total in sums.items():
        if total > _NOTHING:
            log_odds[label] = log_odds.get(label, 0.0) + weight * math.log1p(total / _UNIT)


def _folded(name: Name) -> Name:
    return tuple([word.casefold() for word in name])


def _begins_large(name: Name) -> bool:
    """True if a name in other capitals may be meant: "apple" is not Apple, "APPLE" and "Apple" are one."""
    return name[0][:1].isupper()


def _surnames(name: Name, label: str) -> list[Name]:
    """What a person called *name* may be called later: every ending, if the last word has a capital.

    >>> _surnames(("Robert", "de", "Niro"), "PER")
    [('de', 'Niro'), ('Niro',)]
    """
    if label.casefold() not in _PERSON_LABELS or not any(map(str.isupper, name[-1])):
        return []
    return [name[i:] for i in range(1, len(name))]


def _acronym(name: Name) -> str:
    """The first letters of the words that begin large, ``_MIN_ACRONYM`` at least; else an empty string.

    >>> _acronym(("University", "of", "New", "South", "Wales"))
    'UNSW'
    """
    letters = "".join([word[0] for word in name if word[:1].isupper()])
    return letters if len(letters) >= _MIN_ACRONYM else ""
