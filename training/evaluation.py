"""Span-level scores by the CoNLL definition: an entity counts when its exact span and its label are right.

Precision, recall and F1 as the conlleval script of the CoNLL-2000 to 2003
shared tasks computes them, micro-averaged over all entities.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Sequence
from typing import Any, NamedTuple

from handler.labels import Span
from handler.tagger import Tagger
from training.corpora import Sentence


class Score(NamedTuple):
    """Counts of entities: found and right, found, and there to be found."""

    correct: int
    predicted: int
    gold: int

    @property
    def precision(self) -> float:
        """Share of the predicted entities that are right; 0 when there are none."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Share of the gold entities that were found; 0 when there are none."""
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall: 2 correct / (predicted + gold)."""
        total = self.predicted + self.gold
        return 2 * self.correct / total if total else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Counts and rounded scores, as ``metrics.json`` holds them."""
        return {
            "precision": round(self.precision, 4),
            "recall": round(self.recall, 4),
            "f1": round(self.f1, 4),
            **self._asdict(),
        }


class Evaluation(NamedTuple):
    """Scores over all entities (``micro``) and for each label."""

    micro: Score
    labels: dict[str, Score]

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as ``metrics.json`` holds it."""
        return {"micro": self.micro.to_dict(), "labels": {key: score.to_dict() for key, score in self.labels.items()}}


def score_spans(
    gold: Sequence[Iterable[Span]], predicted: Sequence[Iterable[Span]], only: Collection[str] = ()
) -> Evaluation:
    """Scores of *predicted* against *gold*, sentence by sentence; of labels in *only*, when it names any.

    >>> score_spans([[Span(0, 2, "PER")]], [[Span(0, 2, "PER"), Span(3, 4, "LOC")]]).micro
    Score(correct=1, predicted=2, gold=1)
    """
    found, there, right = Counter[str](), Counter[str](), Counter[str]()
    for gold_spans, predicted_spans in zip(gold, predicted, strict=True):
        expected, got = set(gold_spans), set(predicted_spans)
        there.update(span.label for span in expected)
        found.update(span.label for span in got)
        right.update(span.label for span in expected & got)
    labels = sorted(label for label in there | found if not only or label in only)
    by_label = {label: Score(right[label], found[label], there[label]) for label in labels}
    micro = [sum(column) for column in zip(*by_label.values(), strict=True)] if by_label else [0, 0, 0]
    return Evaluation(Score(*micro), by_label)


def evaluate(tagger: Tagger, sentences: Sequence[Sentence], only: Collection[str] = ()) -> Evaluation:
    """Scores of *tagger* on the words of *sentences*."""
    predicted = [[span for span, _ in spans] for spans in tagger.tag_words([sentence.words for sentence in sentences])]
    return score_spans([sentence.spans for sentence in sentences], predicted, only)


def table(evaluation: Evaluation) -> str:
    """*Evaluation* as aligned text, a label a line, scores in percent."""
    rows = [*sorted(evaluation.labels.items()), ("micro", evaluation.micro)]
    width = max(len(name) for name, _ in rows)
    head = f"{'':{width}}  precision   recall       F1   gold  found"
    lines = [
        f"{name:{width}}  {row.precision:9.2%}  {row.recall:7.2%}  {row.f1:7.2%}  {row.gold:5}  {row.predicted:5}"
        for name, row in rows
    ]
    return "\n".join([head, *lines])
