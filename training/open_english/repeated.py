"""Names that stand often in a corpus, and what they are there: one label, several, or often none.

A corpus that a machine annotated first contradicts itself: in the Groningen Meaning Bank 6.6 % of the mentions of
repeated names have another label than most mentions of the same name ("U.N." 268 times ORG, 260 times LOC), in gold
corpora 0 to 2 %.  A clear majority is taken; where there is none, gold corpora say, or the label stays open.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from typing import NamedTuple

from handler.labels import Span
from training.corpora import Sentence
from training.examples import OR

#: Mentions that make a name repeated, and those in gold corpora that decide.
_MANY, _MANY_IN_GOLD = 5, 2
#: Shares of a name's tagged mentions: this label beyond doubt, most likely, perhaps.
_CERTAIN, _CLEAR, _PERHAPS = 0.9, 0.75, 0.2
#: Tagged shares of all mentions of a name: an untagged one is a slip, is open.
_ALWAYS, _OFTEN = 0.9, 0.5
#: Below this, and for names that stand this often, a tagged mention may be no entity.
_SELDOM, _VERY_MANY = 0.2, 10

#: Last words of names of organisations.
_BODIES = frozenset(
    """
    Agency Army Assembly Association Authority Bank Brigade Brigades Brotherhood Cabinet Commission Committee Community
    Company Congress Corporation Council Court Cross Department Federation Force Forces Front Fund Group Guard Guards
    House Jihad League Ministry Movement Navy Network Office Organization Organisation Parliament Party Police Senate
    Service Society Tigers Times Treasury Union University Watch
    """.split()
)

Counts = Mapping[str, Counter[str]]


class Verdict(NamedTuple):
    """What the mentions of a name become: those that are tagged, and those that are not (None: they stay untagged)."""

    tagged: str
    untagged: str | None


def count_labels(sentences: Iterable[Sentence]) -> dict[str, Counter[str]]:
    """How often each name (its words, joined by spaces) has each label."""
    counts: dict[str, Counter[str]] = {}
    for sentence in sentences:
        for span in sentence.spans:
            counts.setdefault(_name(sentence.words, span), Counter())[span.label] += 1
    return counts


def without_stops(counts: Counts) -> dict[str, Counter[str]]:
    """*counts* of names without their full stops, so that "U.N." and "UN" are one."""
    joined: dict[str, Counter[str]] = {}
    for name, labels in counts.items():
        joined.setdefault(name.replace(".", ""), Counter()).update(labels)
    return joined


def clear_label(counts: Counter[str] | None, many: int, share: float) -> str | None:
    """The label that at least *share* of at least *many* mentions have, else None.

    >>> clear_label(Counter(LOC=9, ORG=1), 5, 0.9), clear_label(Counter(LOC=1), 5, 0.9)
    ('LOC', None)
    """
    if not counts or counts.total() < many:
        return None
    label, most = counts.most_common(1)[0]
    return label if most >= share * counts.total() else None


class RepeatedNames:
    """The verdicts on the repeated names of *sentences*, with the help of *gold*, counts of other corpora.

    Labels in *beside* are no entities, but are not untagged either, such as TIME.
    """

    def __init__(self, sentences: Iterable[Sentence], gold: Counts, beside: frozenset[str] = frozenset()) -> None:
        sentences = list(sentences)
        self._beside = beside
        self._tagged = {
            name: entities
            for name, counts in count_labels(sentences).items()
            if _is_name(name)
            if (entities := Counter({label: counts[label] for label in counts if label not in beside})).total() >= _MANY
        }
        self._lengths: dict[str, list[int]] = {}  # lengths of the names that begin with a word, longest first
        for length, first in sorted({(name.count(" ") + 1, name.split(" ")[0]) for name in self._tagged}, reverse=True):
            self._lengths.setdefault(first, []).append(length)
        untagged = Counter(
            _name(sentence.words, span) for sentence in sentences for span in self._untagged_mentions(sentence)
        )
        in_gold = without_stops(gold)
        self.verdicts = {
            name: _verdict(name, counts, untagged[name], in_gold.get(name.replace(".", "")))
            for name, counts in self._tagged.items()
        }

    def mended(self, sentence: Sentence, *, only_certain: bool = False) -> Sentence:
        """*sentence* with the verdicts; with *only_certain*, as truth to score against, without open labels."""
        spans = []
        for span in sentence.spans:
            verdict = self.verdicts.get(_name(sentence.words, span))
            if verdict and span.label not in self._beside and not (only_certain and OR in verdict.tagged):
                span = span._replace(label=verdict.tagged)  # noqa: PLW2901
            spans.append(span)
        for span in self._untagged_mentions(sentence):
            label = self.verdicts[_name(sentence.words, span)].untagged
            if label and not (only_certain and OR in label):
                spans.append(span._replace(label=label))
        return sentence._replace(spans=tuple(sorted(spans)))

    def _untagged_mentions(self, sentence: Sentence) -> Iterator[Span]:
        """Mentions of the names, labelled O, that overlap no entity and are no part of a longer run of capitals."""
        words = sentence.words
        taken = {i for span in sentence.spans for i in range(span.start, span.end)}
        i = 0
        while i < len(words):
            step = 1
            for length in self._lengths.get(words[i], ()):
                end = i + length
                if " ".join(words[i:end]) in self._tagged and taken.isdisjoint(range(max(0, i - 1), end + 1)):
                    is_part = (i > 1 and _is_capital(words[i - 1])) or (end < len(words) and _is_capital(words[end]))
                    if not is_part and not (i == 0 and length == 1):  # the first word has a capital anyway
                        yield Span(i, end, "O")
                    step = length
                    break
            i += step


def _verdict(name: str, tagged: Counter[str], num_untagged: int, gold: Counter[str] | None) -> Verdict:
    label = (
        clear_label(gold, _MANY_IN_GOLD, _CERTAIN)
        or clear_label(tagged, 0, _CERTAIN)
        or clear_label(gold, _MANY_IN_GOLD, _CLEAR)
        or ("ORG" if "ORG" in tagged and name.rsplit(" ", 1)[-1] in _BODIES else None)
        or clear_label(tagged, 0, _CLEAR)
        or OR.join(sorted(label for label, count in tagged.items() if count >= _PERHAPS * tagged.total()))
        or OR.join(sorted(tagged))
    )
    total = tagged.total() + num_untagged
    share = tagged.total() / total
    if share < _SELDOM and total >= _VERY_MANY:
        return Verdict(f"{label}{OR}O", None)
    if share < _OFTEN:
        return Verdict(label, None)
    return Verdict(label, label if share >= _ALWAYS and OR not in label else f"{label}{OR}O")


def _name(words: tuple[str, ...], span: Span) -> str:
    return " ".join(words[span.start : span.end])


def _is_name(name: str) -> bool:
    words = name.split(" ")
    return _is_capital(words[0]) and _is_capital(words[-1]) and len(name) > 1


def _is_capital(word: str) -> bool:
    return word[:1].isupper()
