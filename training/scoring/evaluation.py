"""Span-level scores by the CoNLL definition: an entity counts if its exact span and its label are right.

Precision, recall and F1 as the conlleval script of the CoNLL-2000 to 2003 shared tasks computes them, micro-averaged
over all entities and macro-averaged over the labels; and the kinds of errors.
"""

from __future__ import annotations

import logging
import random
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, Literal, NamedTuple

from tqdm import tqdm

from handler.labels import Span
from handler.tagger import ScoredSpan, Tagger
from training.corpora import LabelMap, Sentence, document_sizes, label_set, numbered_sentences
from training.errors import CorpusError, InputError
from training.perturbation import PERTURBATIONS

logger = logging.getLogger(__name__)

#: ``label`` and ``boundary``: only that is wrong; ``both``: the spans overlap, but differ in label and boundary.
ErrorKind = Literal["missed", "spurious", "label", "boundary", "both"]

#: Sentences tagged between two updates of the progress bar.
_STEP = 256


class Average(NamedTuple):
    """Precision, recall and F1, each 0 to 1."""

    precision: float
    recall: float
    f1: float

    def to_dict(self) -> dict[str, float]:
        """Rounded scores, as ``metrics.json`` holds them."""
        return {name: round(value, 4) for name, value in self._asdict().items()}


class Score(NamedTuple):
    """Counts of entities: true positives, predicted, gold."""

    correct: int
    predicted: int
    gold: int

    @property
    def precision(self) -> float:
        """Share of the predicted entities that are right; 0 if there are none."""
        return self.correct / self.predicted if self.predicted else 0.0

    @property
    def recall(self) -> float:
        """Share of the gold entities that were found; 0 if there are none."""
        return self.correct / self.gold if self.gold else 0.0

    @property
    def f1(self) -> float:
        """Harmonic mean of precision and recall: 2 correct / (predicted + gold)."""
        total = self.predicted + self.gold
        return 2 * self.correct / total if total else 0.0

    def to_dict(self) -> dict[str, Any]:
        """Counts and rounded scores, as ``metrics.json`` holds them."""
        return {**Average(self.precision, self.recall, self.f1).to_dict(), **self._asdict()}


class Evaluation(NamedTuple):
    """Scores over all entities (``micro``) and for each label that is gold or predicted."""

    micro: Score
    labels: dict[str, Score]

    @property
    def macro(self) -> Average:
        """Mean of each score over the labels, all weighted equally; 0 if there are none."""
        scores = [(score.precision, score.recall, score.f1) for score in self.labels.values()]
        if not scores:
            return Average(0.0, 0.0, 0.0)
        return Average(*(sum(column) / len(scores) for column in zip(*scores, strict=True)))

    def to_dict(self) -> dict[str, Any]:
        """The evaluation as ``metrics.json`` holds it."""
        return {
            "micro": self.micro.to_dict(),
            "macro": self.macro.to_dict(),
            "labels": {label: score.to_dict() for label, score in self.labels.items()},
        }


class SpanError(NamedTuple):
    """A gold span and the wrong prediction that is matched with it; None for a spurious or a missed span."""

    gold: Span | None
    predicted: Span | None

    @property
    def kind(self) -> ErrorKind:
        """What is wrong.

        >>> SpanError(Span(0, 2, "PER"), Span(0, 3, "PER")).kind
        'boundary'
        """
        if self.predicted is None:
            return "missed"
        if self.gold is None:
            return "spurious"
        if self.gold[:2] == self.predicted[:2]:
            return "label"
        return "boundary" if self.gold.label == self.predicted.label else "both"


class TaggedSentence(NamedTuple):
    """A sentence's words, its gold spans, and the spans that a model found, of the labels that are compared."""

    words: tuple[str, ...]
    gold: tuple[Span, ...]
    found: tuple[ScoredSpan, ...]


class TaggedCorpus(NamedTuple):
    """A corpus as a model tagged it, with the line that each sentence begins on."""

    name: str
    lines: Sequence[int]
    sentences: Sequence[TaggedSentence]

    @property
    def evaluation(self) -> Evaluation:
        """Scores over all sentences."""
        return score_tagged(self.sentences)


def score_spans(
    gold: Sequence[Iterable[Span]], predicted: Sequence[Iterable[Span]], only: Collection[str] = ()
) -> Evaluation:
    """Scores of *predicted* against *gold*, sentence by sentence; of the labels in *only*, unless it is empty.

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


def score_tagged(sentences: Iterable[TaggedSentence]) -> Evaluation:
    """Scores over all of *sentences*."""
    rows = list(sentences)
    return score_spans([row.gold for row in rows], [[span for span, _ in row.found] for row in rows])


def span_errors(gold: Iterable[Span], predicted: Iterable[Span]) -> list[SpanError]:
    """The errors in one sentence, in its order; every missed or wrong span is in exactly one.

    Overlapping gold and predicted spans are matched as one error: those with the same label first, then by overlap.

    >>> span_errors([Span(0, 3, "ORG"), Span(5, 6, "PER")], [Span(0, 1, "LOC"), Span(1, 3, "ORG")])
    ... # doctest: +NORMALIZE_WHITESPACE
    [SpanError(gold=None, predicted=Span(start=0, end=1, label='LOC')),
     SpanError(gold=Span(start=0, end=3, label='ORG'), predicted=Span(start=1, end=3, label='ORG')),
     SpanError(gold=Span(start=5, end=6, label='PER'), predicted=None)]
    """
    expected, got = set(gold), set(predicted)
    missing, extra = expected - got, got - expected
    overlapping = [
        (one.label != other.label, max(one.start, other.start) - min(one.end, other.end), one, other)
        for one in missing
        for other in extra
        if max(one.start, other.start) < min(one.end, other.end)
    ]
    errors = []
    for _, _, one, other in sorted(overlapping):
        if one in missing and other in extra:
            errors.append(SpanError(one, other))
            missing.remove(one)
            extra.remove(other)
    errors += [SpanError(span, None) for span in missing]
    errors += [SpanError(None, span) for span in extra]
    return sorted(errors, key=lambda error: min(span for span in error if span))


def comparable(labels: Iterable[str], label_map: LabelMap) -> dict[str, str]:
    """The label that each of a model's *labels* is compared as: the one in *label_map*, else itself.

    A label that is a target of the map is compared as itself, so that the map of a training run fits its model.

    >>> comparable(["person", "MISC"], {"person": "PER", "product": "MISC", "MISC": "O"})
    {'person': 'PER', 'MISC': 'MISC'}
    """
    targets = set(label_map.values())
    return {label: label if label in targets else label_map.get(label, label) for label in labels}


def tag_as_served(
    tagger: Tagger, sentences: Sequence[Sentence], sizes: Sequence[int] | None = None
) -> list[list[ScoredSpan]]:
    """Spans over the words of each of *sentences*, tagged with the server's sentence and word boundaries.

    *sizes* are the numbers of sentences in each document; by default, every sentence is tagged by itself.
    """
    served = [(row, edges) for row, sentence in enumerate(sentences) for edges in sentence.served]
    words = [["".join(sentences[row].words[start:end]) for start, end in pairwise(edges)] for row, edges in served]
    if sizes is None:
        tagged = tagger.tag_words(words)
    else:
        documents: list[list[list[str]]] = [[] for _ in sizes]
        of_row = [i for i, size in enumerate(sizes) for _ in range(size)]
        for (row, _), one in zip(served, words, strict=True):
            documents[of_row[row]].append(one)
        tagged = [spans for document in tagger.tag_documents(documents) for spans in document]
    found: list[list[ScoredSpan]] = [[] for _ in sentences]
    for (row, edges), spans in zip(served, tagged, strict=True):
        found[row] += [ScoredSpan(Span(edges[start], edges[end], label), score) for (start, end, label), score in spans]
    return found


def tag_sentences(
    tagger: Tagger, sentences: Sequence[Sentence], name: str = "tagging", sizes: Sequence[int] | None = None
) -> list[list[ScoredSpan]]:
    """:func:`tag_as_served` with a progress bar called *name* on a terminal."""
    found: list[list[ScoredSpan]] = [[] for _ in sentences]
    num_words = sum(len(sentence.words) for sentence in sentences)
    with tqdm(total=num_words, desc=name, unit="word", unit_scale=True, disable=None, leave=False) as bar:
        for rows, sizes_of_step in _steps(sentences, sizes):
            step = [sentences[row] for row in rows]
            for row, spans in zip(rows, tag_as_served(tagger, step, sizes_of_step), strict=True):
                found[row] = spans
            bar.update(sum(len(sentence.words) for sentence in step))
    return found


def _steps(
    sentences: Sequence[Sentence], sizes: Sequence[int] | None
) -> Iterator[tuple[Sequence[int], Sequence[int] | None]]:
    """Rows of *sentences*, about ``_STEP`` at once, and their part of *sizes*: whole documents."""
    if sizes is None:
        by_length = sorted(range(len(sentences)), key=lambda row: len(sentences[row].words))  # little padding in each
        yield from ((by_length[first : first + _STEP], None) for first in range(0, len(sentences), _STEP))
        return
    start, step = 0, list[int]()
    for i, size in enumerate(sizes):
        step.append(size)
        if sum(step) >= _STEP or i + 1 == len(sizes):
            yield range(start, start + sum(step)), step
            start, step = start + sum(step), []


def tag_corpus(
    tagger: Tagger,
    sentences: Sequence[Sentence],
    name: str,
    compared: LabelMap | None = None,
    sizes: Sequence[int] | None = None,
) -> list[TaggedSentence]:
    """*sentences* as *tagger* tags them; found labels are renamed by *compared*, or dropped if that is ``"O"``.

    *sizes* are as in :func:`tag_as_served`.
    """
    if compared is None:
        compared = {label: label for label in tagger.config.model.labels}
    tagged = []
    for sentence, row in zip(sentences, tag_sentences(tagger, sentences, name, sizes), strict=True):
        renamed = [ScoredSpan(span._replace(label=compared[span.label]), score) for span, score in row]
        found = tuple(entity for entity in renamed if entity.span.label != "O")
        tagged.append(TaggedSentence(sentence.words, sentence.spans, found))
    return tagged


def of_annotated(tagged: Sequence[TaggedSentence]) -> list[TaggedSentence]:
    """*tagged* without the entities found of labels that are nowhere annotated in it.

    >>> [row.found for row in of_annotated([TaggedSentence(("Oslo",), (), (ScoredSpan(Span(0, 1, "LOC"), 0.9),))])]
    [()]
    """
    annotated = {span.label for row in tagged for span in row.gold}
    return [row._replace(found=tuple(one for one in row.found if one.span.label in annotated)) for row in tagged]


def compared_labels(
    tagger: Tagger, label_map: LabelMap | None, only: Collection[str]
) -> tuple[dict[str, str], list[str]]:
    """What each label of *tagger* is compared as, ``"O"`` if it is not; and all that they may be compared as, sorted.

    Raises:
        InputError: *only* has a label that the model cannot predict.
    """
    compared = comparable(tagger.config.model.labels, label_map or {})
    known = sorted(set(compared.values()) - {"O"})
    for label in only:
        if label not in known:
            raise InputError(f"--labels: expected labels of {', '.join(known)}, got {label!r}")
    if only:
        compared = {label: target if target in only else "O" for label, target in compared.items()}
    return compared, known


def tag_corpora(
    tagger: Tagger,
    files: Iterable[Path],
    label_map: LabelMap | None = None,
    only: Collection[str] = (),
    perturb: str | None = None,
    *,
    has_documents: bool = False,
) -> list[TaggedCorpus]:
    """*files* as *tagger* tags them.

    *label_map* maps the labels of the files, and those of the model as described in :func:`comparable`; *only* limits
    the comparison to some labels; *perturb* names a perturbation that is applied to every sentence first.
    With *has_documents*, what is known of a name elsewhere in the same document counts.

    Raises:
        CorpusError: a file cannot be read, has a label that the model cannot predict, or no documents.
        InputError: *only* has a label that the model cannot predict.
    """
    compared, known = compared_labels(tagger, label_map, only)
    numbered = {path: numbered_sentences(path, label_map) for path in files}
    sizes = {path: document_sizes(path, [line for line, _ in rows]) for path, rows in numbered.items() if has_documents}
    for path, rows in numbered.items():
        if perturb:
            rows[:] = [(line, PERTURBATIONS[perturb](sentence, random.Random(line))) for line, sentence in rows]
        _check_labels(path, label_set(sentence for _, sentence in rows), known, only)
    corpora = []
    for path, rows in numbered.items():
        sentences = [sentence for _, sentence in rows]
        if only:
            sentences = [
                row._replace(spans=tuple(span for span in row.spans if span.label in only)) for row in sentences
            ]
        tagged = tag_corpus(tagger, sentences, path.name, compared, sizes.get(path))
        corpora.append(TaggedCorpus(str(path), [line for line, _ in rows], tagged))
    return corpora


def _check_labels(path: Path, annotated: Sequence[str], known: Sequence[str], only: Collection[str]) -> None:
    """Raise CorpusError if *path* has a label that the model cannot predict; warn of labels that it lacks."""
    if only:
        if annotated and not set(annotated) & set(only):
            logger.warning("%s: no %s annotated, but %s", path, " or ".join(only), ", ".join(annotated))
        return
    if unknown := [label for label in annotated if label not in known]:
        raise CorpusError(
            f"{path}: expected labels of {', '.join(known)}, got {', '.join(unknown)}; "
            "--label-map FILE maps labels or drops them, --labels counts some alone"
        )
    never = [label for label in known if label not in annotated]
    if never and annotated:
        logger.warning(
            "%s: %s not annotated, so that all found count as errors; --labels %s leaves them out",
            *(path, ", ".join(never), ",".join(annotated)),
        )


def evaluate(tagger: Tagger, sentences: Sequence[Sentence], only: Collection[str] = ()) -> Evaluation:
    """Scores of *tagger* on *sentences*; of the labels in *only*, unless it is empty."""
    predicted = [[span for span, _ in row] for row in tag_sentences(tagger, sentences)]
    return score_spans([sentence.spans for sentence in sentences], predicted, only)


def table(evaluation: Evaluation) -> str:
    """*evaluation* as an aligned text table with a line per label, scores in percent."""
    micro = evaluation.micro
    rows: list[tuple[str, Score | Average, Score]] = [
        *((label, score, score) for label, score in sorted(evaluation.labels.items())),
        ("micro", micro, micro),
        ("macro", evaluation.macro, micro),
    ]
    width = max(len(name) for name, _, _ in rows)
    head = f"{'':{width}}  precision   recall       F1   gold  found"
    lines = [
        f"{name:{width}}  {row.precision:9.2%}  {row.recall:7.2%}  {row.f1:7.2%}  {count.gold:5}  {count.predicted:5}"
        for name, row, count in rows
    ]
    return "\n".join([head, *lines])
