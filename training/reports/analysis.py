"""Where a model is right and where it is wrong: counts over sentences with gold and found entities."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Literal, NamedTuple

from handler.labels import Span
from handler.tagger import ScoredSpan, Tagger
from training.corpora import Sentence, label_set
from training.evaluation import Evaluation, Score, score_spans, span_errors, tag_sentences
from training.examples import OR

#: What can become of a gold entity that is not found with its exact boundaries.
OVERLAPPED, MISSED = "other boundaries", "missed"

#: Where found entities stand that no gold one stands for.
SPURIOUS = "spurious"

#: Upper bounds, in tokens, of the groups of sentences of one length; a last group has none.
LENGTH_BOUNDS = (5, 10, 20, 30, 50)

#: How training knew the words of an entity: with its label, with others alone, or not at all.
Familiarity = Literal["same label", "other label", "unseen"]
FAMILIARITIES: tuple[Familiarity, ...] = ("same label", "other label", "unseen")

#: The labels that training gave the words of an entity.
SurfaceForms = Mapping[tuple[str, ...], Collection[str]]


class Tagged(NamedTuple):
    """A sentence's words, the entities that are there, and those that were found, of annotated labels alone."""

    words: tuple[str, ...]
    gold: tuple[Span, ...]
    found: tuple[ScoredSpan, ...]


class LengthGroup(NamedTuple):
    """Sentences of *low* to *high* tokens, both included; *high* is None for the last group."""

    low: int
    high: int | None
    num_sentences: int
    score: Score


class Share(NamedTuple):
    """So many of so many."""

    part: int
    whole: int


def tag_corpus(tagger: Tagger, sentences: Sequence[Sentence], name: str) -> list[Tagged]:
    """*Sentences* with what *tagger* finds in them; labels that the corpus never annotates are left out."""
    annotated = set(label_set(sentences))
    return [
        Tagged(sentence.words, sentence.spans, tuple(entity for entity in found if entity.span.label in annotated))
        for sentence, found in zip(sentences, tag_sentences(tagger, sentences, name=name), strict=True)
    ]


def evaluation_of(tagged: Iterable[Tagged]) -> Evaluation:
    """Scores over all of *tagged*."""
    rows = list(tagged)
    return score_spans([row.gold for row in rows], [[span for span, _ in row.found] for row in rows])


def surface_forms(sentences: Iterable[Sentence]) -> SurfaceForms:
    """The words of every entity of *sentences*, case and all, and the labels that they have or may have.

    >>> surface_forms([Sentence(("in", "New", "York"), (Span(1, 3, "LOC"),))])
    {('New', 'York'): {'LOC'}}
    """
    forms: dict[tuple[str, ...], set[str]] = {}
    for sentence in sentences:
        for start, end, label in sentence.spans:
            forms.setdefault(sentence.words[start:end], set()).update(label.split(OR))
    return forms


def confusion(tagged: Iterable[Tagged]) -> Counter[tuple[str, str]]:
    """Counts by what is there and what was found.

    A gold entity counts once: under the label found with its exact boundaries,
    else under ``OVERLAPPED`` where an entity was found across some of its
    tokens, else under ``MISSED``.  Found entities that stand for no gold one
    are in the row ``SPURIOUS``.

    >>> found = (ScoredSpan(Span(0, 1, "ORG"), 0.9), ScoredSpan(Span(3, 4, "PER"), 0.6))
    >>> sorted(confusion([Tagged(("Paris", "met", "Ann", "Lee"), (Span(0, 1, "LOC"), Span(2, 4, "PER")), found)]))
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


def by_length(tagged: Iterable[Tagged], bounds: Sequence[int] = LENGTH_BOUNDS) -> list[LengthGroup]:
    """Scores of the sentences of each group of lengths; empty groups are left out.

    >>> sentence = Tagged(("Ann", "Lee", "left"), (Span(0, 2, "PER"),), (ScoredSpan(Span(0, 2, "PER"), 0.9),))
    >>> by_length([sentence], bounds=(2, 4))
    [LengthGroup(low=3, high=4, num_sentences=1, score=Score(correct=1, predicted=1, gold=1))]
    """
    rows = list(tagged)
    groups = []
    for low, high in zip([1, *(bound + 1 for bound in bounds)], [*bounds, None], strict=True):
        inside = [row for row in rows if low <= len(row.words) and (high is None or len(row.words) <= high)]
        if inside:
            groups.append(LengthGroup(low, high, len(inside), evaluation_of(inside).micro))
    return groups


def by_familiarity(tagged: Iterable[Tagged], trained_on: SurfaceForms) -> dict[str, dict[Familiarity, Share]]:
    """For each gold label, how many entities were found, by how training knew their words.

    >>> sentence = Tagged(("Paris", "met", "Ann"), (Span(0, 1, "PER"), Span(2, 3, "PER")), ())
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
