"""The errors of a model as one self-contained HTML file; JavaScript is optional."""

from __future__ import annotations

import hashlib
import unicodedata
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from handler.config import BundleConfig
from handler.labels import Span
from handler.tagger import Tagger
from training.errors import InputError
from training.reports.pages import render
from training.scoring.evaluation import ErrorKind, SpanError, TaggedCorpus, score_tagged, span_errors

_Key = TypeVar("_Key", bound="ErrorKind | tuple[str, str]")

_KINDS: dict[ErrorKind, tuple[str, str]] = {
    "missed": ("Missed", "a gold entity that no predicted one stands for"),
    "spurious": ("Spurious", "a predicted entity that stands for no gold one"),
    "label": ("Wrong label", "the right words, another label"),
    "boundary": ("Wrong boundary", "the right label, words that overlap the right ones"),
    "both": ("Wrong label and boundary", "another label, words that overlap the right ones"),
}


class Segment(NamedTuple):
    """An entity's words and label, or words between entities; ``score`` only for a predicted entity."""

    text: str
    label: str = ""
    score: float | None = None
    is_right: bool = True


class Fault(NamedTuple):
    """An error as text: gold and predicted label and words, empty for a spurious or a missed entity."""

    kind: ErrorKind
    gold_label: str
    gold_text: str
    predicted_label: str
    predicted_text: str


class FaultySentence(NamedTuple):
    """A sentence with errors; ``file`` is the index of its corpus, ``line`` its first line there."""

    file: int
    line: int
    text: str
    gold: list[Segment]
    predicted: list[Segment]
    faults: list[Fault]

    @property
    def direction(self) -> str:
        """``"rtl"`` if the first letter is of a right-to-left script, else ``"ltr"``; as HTML's ``dir=auto``."""
        strong = (unicodedata.bidirectional(char) for char in self.text)
        return "rtl" if next((kind for kind in strong if kind in {"L", "R", "AL"}), "L") != "L" else "ltr"


class Count(NamedTuple):
    """The number of errors of one sort, and the number of sentences on the page that have any."""

    num_errors: int
    num_listed: int


def error_page(config: BundleConfig, digest: str, corpora: Sequence[TaggedCorpus], max_sentences: int) -> str:
    """The page: scores, kinds of errors, confusions, and at most *max_sentences* sentences, spread evenly over all."""
    faulty = [sentence for number, corpus in enumerate(corpora) for sentence in _faulty_sentences(number, corpus)]
    num_listed = min(len(faulty), max_sentences)
    listed = [faulty[i * len(faulty) // num_listed] for i in range(num_listed)]
    cells = _counts(faulty, listed, lambda fault: (fault.gold_label, fault.predicted_label))
    total = score_tagged(sentence for corpus in corpora for sentence in corpus.sentences)
    return render(
        "errors.html",
        name=config.name,
        version=config.version,
        digest=digest,
        corpora=corpora,
        total=total,
        labels=list(total.labels),
        ids={label: str(i) for i, label in enumerate(total.labels)} | {"": "none"},
        kinds=_KINDS,
        kind_counts=_counts(faulty, listed, lambda fault: fault.kind),
        cells=cells,
        most_errors=max((count.num_errors for count in cells.values()), default=0),
        num_faulty=Counter(sentence.file for sentence in faulty),
        listed=listed,
        script_digest=b64encode(hashlib.sha256(render("errors.js").encode()).digest()).decode(),
    )


def check_folder(path: Path) -> None:
    """Raise InputError if *path* is a folder, or would be in one that does not exist."""
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise InputError(f"{path}: expected a file in a folder that exists")


def write_error_page(path: Path, tagger: Tagger, corpora: Sequence[TaggedCorpus], max_sentences: int) -> None:
    """Write the :func:`error_page` of *tagger* to *path*; raises InputError if it cannot."""
    page = error_page(tagger.config, tagger.digest, corpora, max_sentences)
    try:
        path.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise InputError(f"{path}: cannot be written: {error.strerror}") from error


def _faulty_sentences(file: int, corpus: TaggedCorpus) -> Iterator[FaultySentence]:
    """The sentences of *corpus* that have errors; *file* is its index."""
    for line, (words, gold, found) in zip(corpus.lines, corpus.sentences, strict=True):
        scores = dict(found)
        faults = [_fault(words, error) for error in span_errors(gold, scores)]
        if faults:
            segments = list(_segments(words, dict.fromkeys(gold), scores)), list(_segments(words, scores, gold))
            yield FaultySentence(file, line, " ".join(words), *segments, faults)


def _segments(words: Sequence[str], scores: Mapping[Span, float | None], right: Collection[Span]) -> Iterator[Segment]:
    """*words* cut at the boundaries of the spans of *scores*, which do not overlap."""
    position = 0
    for span in sorted(scores):
        if position < span.start:
            yield Segment(" ".join(words[position : span.start]))
        yield Segment(" ".join(words[span.start : span.end]), span.label, scores[span], span in right)
        position = span.end
    if position < len(words):
        yield Segment(" ".join(words[position:]))


def _fault(words: Sequence[str], error: SpanError) -> Fault:
    gold, predicted = ((span.label, " ".join(words[span.start : span.end])) if span else ("", "") for span in error)
    return Fault(error.kind, *gold, *predicted)


def _counts(
    faulty: Iterable[FaultySentence], listed: Iterable[FaultySentence], key_of: Callable[[Fault], _Key]
) -> dict[_Key, Count]:
    """The errors in *faulty* and the sentences in *listed* that have them, by key."""
    errors = Counter(key_of(fault) for sentence in faulty for fault in sentence.faults)
    sentences = Counter(key for sentence in listed for key in {key_of(fault) for fault in sentence.faults})
    return {key: Count(errors[key], sentences[key]) for key in errors}
