"""Field texts: short texts of many kinds, as people write them, each with the entities that its reply should hold.

JSON, as a rule an object on each line: ``kind``, ``text``, and ``right``, a list of the text and the label of every
entity in text order.  Other keys are not read.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Collection, Iterable, Sequence
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple

from contract.strict_json import kind as json_kind
from contract.tables import aligned
from handler.labels import Span
from handler.tagger import ScoredSpan, Tagger
from training.corpora import LabelMap
from training.corpora.json_files import Value, read_values
from training.corpora.sentences import mapped
from training.corpora.sources import decode, read_data
from training.errors import CorpusError
from training.scoring.evaluation import Score, TaggedCorpus, TaggedSentence, compared_labels, score_spans


class FieldText(NamedTuple):
    """A text of some *kind*, the spans of its entities in code points, and the line of its file that it begins on."""

    kind: str
    text: str
    right: tuple[Span, ...]
    line: int


class TaggedFieldText(NamedTuple):
    """A field text, and the spans over its code points that a model found, of the labels that are compared."""

    field_text: FieldText
    found: tuple[ScoredSpan, ...]

    @property
    def is_exact(self) -> bool:
        """True if the entities found are those that should be, no more and no less."""
        return self.field_text.right == tuple(span for span, _ in self.found)


class FieldScore(NamedTuple):
    """Counts of texts and of texts without an error, and the scores over their entities."""

    num_texts: int
    num_exact: int
    entities: Score

    @property
    def exact(self) -> float:
        """Share of the texts without an error."""
        return self.num_exact / self.num_texts

    def to_dict(self) -> dict[str, Any]:
        """Counts and rounded scores, as ``--json`` prints them."""
        return {
            "texts": self.num_texts,
            "exact_texts": self.num_exact,
            "exact": round(self.exact, 4),
            "entities": self.entities.to_dict(),
        }


class TaggedField(NamedTuple):
    """The field texts of the file called *name* as a model tagged them; there is at least one."""

    name: str
    texts: Sequence[TaggedFieldText]

    @property
    def by_kind(self) -> dict[str, list[TaggedFieldText]]:
        """The texts of each kind, in the order of the file."""
        kinds: dict[str, list[TaggedFieldText]] = {}
        for text in self.texts:
            kinds.setdefault(text.field_text.kind, []).append(text)
        return kinds

    @property
    def scores(self) -> dict[str, FieldScore]:
        """Scores of each kind, in the order of the file."""
        return {kind: _score(texts) for kind, texts in self.by_kind.items()}

    @property
    def total(self) -> FieldScore:
        """Scores over all kinds."""
        return _score(self.texts)

    def to_dict(self) -> dict[str, Any]:
        """Scores as ``--json`` prints them."""
        kinds = {kind: score.to_dict() for kind, score in self.scores.items()}
        return {"kinds": kinds, "all": self.total.to_dict()}

    def table(self) -> str:
        """Scores as an aligned text table with a line per kind, shares in percent."""
        rows: list[tuple[str, ...]] = [("", "texts", "exact", "share", "precision", "recall", "F1", "gold", "found")]
        for kind, score in [*self.scores.items(), ("all", self.total)]:
            entities = score.entities
            shares = (f"{share:.1%}" for share in (score.exact, entities.precision, entities.recall, entities.f1))
            counts = str(score.num_texts), str(score.num_exact)
            rows.append((kind, *counts, *shares, str(entities.gold), str(entities.predicted)))
        return aligned(rows, num_left=1)

    def as_corpora(self) -> list[TaggedCorpus]:
        """The texts of each kind as sentences, whose words are the pieces between the edges of all entities."""
        return [
            TaggedCorpus(
                f"{self.name}: {kind}",
                [text.field_text.line for text in texts],
                [_as_sentence(text) for text in texts],
            )
            for kind, texts in self.by_kind.items()
        ]


def read_field_texts(path: Path, labels: LabelMap | None = None) -> list[FieldText]:
    """The field texts in *path*, at least one; *labels* maps the labels of their entities and must contain all.

    Raises:
        CorpusError: names the file and the line that cannot be read.
    """
    texts = [_field_text(value, labels) for value in read_values(path, decode(read_data(path), path))]
    if not texts:
        raise CorpusError(f"{path}: expected field texts, got none")
    return texts


def tag_field(
    tagger: Tagger, files: Iterable[Path], label_map: LabelMap | None = None, only: Collection[str] = ()
) -> list[TaggedField]:
    """The field texts of *files* as *tagger* tags them in a request; *label_map* and *only* as in ``tag_corpora``.

    Raises:
        CorpusError: a file cannot be read, or has a label that the model cannot predict.
        InputError: *only* has a label that the model cannot predict.
    """
    compared, known = compared_labels(tagger, label_map, only)
    counted = only or known
    read = {path: read_field_texts(path, label_map) for path in files}
    for path, texts in read.items():
        for text in texts:
            unknown = [span.label for span in text.right if span.label not in known]
            if unknown and not only:
                raise CorpusError(
                    f"{path}:{text.line}: expected labels of {', '.join(known)}, got {', '.join(unknown)}; "
                    "--label-map FILE maps labels or drops them, --labels counts some alone"
                )
    tagged = []
    for path, texts in read.items():
        rows = []
        for text, entities in zip(texts, tagger.tag([text.text for text in texts]), strict=True):
            right = tuple(span for span in text.right if span.label in counted)
            found = [ScoredSpan(Span(one.start, one.end, compared[one.label]), one.score) for one in entities]
            rows.append(
                TaggedFieldText(
                    text._replace(right=right), tuple(entity for entity in found if entity.span.label in counted)
                )
            )
        tagged.append(TaggedField(str(path), rows))
    return tagged


def _field_text(value: Value, labels: LabelMap | None) -> FieldText:
    row, line, where = value
    if not isinstance(row, dict):
        raise CorpusError(f'{where}: expected a JSON object with "kind", "text" and "right", got {json_kind(row)}')
    for key in ("kind", "text"):
        if not isinstance(row.get(key), str) or not row[key].strip():
            raise CorpusError(f'{where}: expected "{key}" to be a string that is not blank, got {_got(row, key)}')
    right = row.get("right")
    if not isinstance(right, list):
        raise CorpusError(f'{where}: expected "right" to be a list of [text, label], got {_got(row, "right")}')
    spans, end = [], 0
    for entity in right:
        if not (
            isinstance(entity, list) and len(entity) == 2 and all(isinstance(part, str) and part for part in entity)
        ):
            raise CorpusError(f'{where}: expected "right" to be a list of [text, label], got {entity!r} in it')
        name, label = entity
        found = re.compile(rf"(?<![A-Za-z0-9]){re.escape(name)}(?![A-Za-z0-9])").search(row["text"], end)
        if not found:
            raise CorpusError(
                f'{where}: expected entities in "right" that are whole words of the text, in its order, got {name!r}'
            )
        end = found.end()
        if (target := mapped(label, labels, where)) != "O":
            spans.append(Span(*found.span(), target))
    return FieldText(row["kind"], row["text"], tuple(spans), line)


def _got(row: dict[str, Any], key: str) -> str:
    if key not in row:
        return "none"
    return "a blank one" if isinstance(row[key], str) else json_kind(row[key])


def _score(texts: Sequence[TaggedFieldText]) -> FieldScore:
    gold = [text.field_text.right for text in texts]
    found = [[span for span, _ in text.found] for text in texts]
    return FieldScore(len(texts), sum(text.is_exact for text in texts), score_spans(gold, found).micro)


def _as_sentence(tagged: TaggedFieldText) -> TaggedSentence:
    (_, text, right, _), found = tagged
    edges = {edge for span in [*right, *(span for span, _ in found)] for edge in span[:2]}
    pieces = [(start, end) for start, end in pairwise(sorted({0, len(text)} | edges)) if text[start:end].strip()]
    starts = [start for start, _ in pieces]

    def over_words(span: Span) -> Span:
        return Span(bisect_left(starts, span.start), bisect_left(starts, span.end), span.label)

    return TaggedSentence(
        tuple(text[start:end].strip() for start, end in pieces),
        tuple(map(over_words, right)),
        tuple(ScoredSpan(over_words(span), score) for span, score in found),
    )
