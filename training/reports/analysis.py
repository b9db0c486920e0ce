"""Counts over tagged sentences: confusions, scores by sentence length, recall by what training knew."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from handler.labels import Span  # noqa: F401  (for the doctests)
from handler.tagger import ScoredSpan  # noqa: F401
from training.corpora import Sentence
from training.examples import OR
from training.scoring.evaluation import Score, TaggedSentence, score_tagged, span_errors

#: Columns of the confusion matrix for gold entities that were not found with their exact boundaries.
OVERLAPPED, MISSED = "other boundaries", "missed"

#: Row of the confusion matrix for found entities that match no gold one.
SPURIOUS = "spurious"

#: Upper bounds, in tokens, of the groups of sentences by length; a last group has none.
LENGTH_BOUNDS = (5, 10, 20, 30, 50)

#: Whether the words of an entity are an entity in the training files: with its label, only with others, or not at all.
Familiarity = Literal["same label", "other label", "unseen"]
FAMILIARITIES: tuple[Familiarity, ...] = ("same label", "other label", "unseen")

#: The labels of each entity in the training files, by its words.
SurfaceForms = Mapping[tuple[str, ...], Collection[str]]


class LengthGroup(NamedTuple):
    """Sentences of *low* to *high* tokens, inclusive; *high* is None for the last group."""

    low: int
    high: int | None
    num_sentences: int
    score: Score

    @property
    def name(self) -> str:
        """The range of lengths.

        >>> LengthGroup(51, None, 9, Score(1, 1, 1)).name
        'over 50'
        """
        return f"{self.low}\N{EN DASH}{self.high}" if self.high else f"over {self.low - 1}"


class Share(NamedTuple):
    """*part* of *whole* entities."""

    part: int
    whole: int


def surface_forms(sentences: Iterable[Sentence]) -> SurfaceForms:
    """The labels that each entity of *sentences* has or may have, by its words, case-sensitive.

    >>> surface_forms([Sentence(("in", "New", "York"), (Span(1, 3, "LOC"),))])
    {('New', 'York'): {'LOC'}}
    """
    forms: dict[tuple[str, ...], set[str]] = {}
    for sentence in sentences:
        for start, end, label in sentence.spans:
            forms.setdefault(sentence.words[start:end], set()).update(label.split(OR))
    return forms


def confusion(tagged: Iterable[TaggedSentence]) -> Counter[tuple[str, str]]:
    """The confusion matrix: counts by (gold label or ``SPURIOUS``, found label, ``OVERLAPPED`` or ``MISSED``).

    Each gold entity counts once: under the label found with its exact boundaries, else under ``OVERLAPPED`` if a found
    entity overlaps it, else under ``MISSED``.

    >>> found = (ScoredSpan(Span(0, 1, "ORG"), 0.9), ScoredSpan(Span(3, 4, "PER"), 0.6))
    >>> gold = (Span(0, 1, "LOC"), Span(2, 4, "PER"))
    >>> sorted(confusion([TaggedSentence(("Paris", "met", "Ann", "Lee"), gold, found)]))
    [('LOC', 'ORG'), ('PER', 'other boundaries')]
    """
    counts = Counter[tuple[str, str]]()
    for row in tagged:
        found = [span for span, _ in row.found]
        counts.update((span.label, span.label) for span in set(row.gold) & set(found))
        for error in span_errors(row.gold, found):
            there = error.gold.label if error.gold else SPURIOUS
            if error.predicted is None:
                counts[there, MISSED] += 1
            elif error.kind in {"label", "spurious"}:
                counts[there, error.predicted.label] += 1
            else:
                counts[there, OVERLAPPED] += 1
    return counts


def confused_labels(counts: Iterable[tuple[str, str]]) -> list[str]:
    """The labels in the confusion matrix *counts*, sorted."""
    return sorted({label for pair in counts for label in pair} - {MISSED, OVERLAPPED, SPURIOUS})


def by_length(tagged: Iterable[TaggedSentence], bounds: Sequence[int] = LENGTH_BOUNDS) -> list[LengthGroup]:
    """Scores by sentence length, without empty groups.

    >>> sentence = TaggedSentence(("Ann", "Lee", "left"), (Span(0, 2, "PER"),), (ScoredSpan(Span(0, 2, "PER"), 0.9),))
    >>> by_length([sentence], bounds=(2, 4))
    [LengthGroup(low=3, high=4, num_sentences=1, score=Score(correct=1, predicted=1, gold=1))]
    """
    rows = list(tagged)
    groups = []
    for low, high in zip([1, *(bound + 1 for bound in bounds)], [*bounds, None], strict=True):
        inside = [row for row in rows if low <= len(row.words) and (high is None or len(row.words) <= high)]
        if inside:
            groups.append(LengthGroup(low, high, len(inside), score_tagged(inside).micro))
    return groups


def by_familiarity(tagged: Iterable[TaggedSentence], trained_on: SurfaceForms) -> dict[str, dict[Familiarity, Share]]:
    """The found share of the gold entities of each label, by familiarity.

    >>> sentence = TaggedSentence(("Paris", "met", "Ann"), (Span(0, 1, "PER"), Span(2, 3, "PER")), ())
    >>> by_familiarity([sentence], {("Paris",): {"LOC"}})["PER"]
    {'same label': Share(part=0, whole=0), 'other label': Share(part=0, whole=1), 'unseen': Share(part=0, whole=1)}
    """
    counts = Counter[tuple[str, Familiarity]]()
    found = Counter[tuple[str, Familiarity]]()
    for row in tagged:
        spans = {span for span, _ in row.found}
        for span in row.gold:
            labels = trained_on.get(row.words[span.start : span.end], ())
            familiarity: Familiarity = "same label" if span.label in labels else "other label" if labels else "unseen"
            counts[span.label, familiarity] += 1
            found[span.label, familiarity] += span in spans
    return {
        label: {kind: Share(found[label, kind], counts[label, kind]) for kind in FAMILIARITIES}
        for label in sorted({label for label, _ in counts})
    }


def with_all_labels(shares: Mapping[str, Mapping[Familiarity, Share]]) -> dict[str, Mapping[Familiarity, Share]]:
    """*shares* after a first row ``"all labels"``, their sum."""
    rows = list(shares.values())
    totals = {
        kind: Share(sum(row[kind].part for row in rows), sum(row[kind].whole for row in rows)) for kind in FAMILIARITIES
    }
    return {"all labels": totals, **shares}
