"""What a model gets wrong, as one HTML file that needs nothing else: no network, and JavaScript for comfort only."""

from __future__ import annotations

import hashlib
import re
import unicodedata
from base64 import b64encode
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from jinja2 import Environment, FileSystemLoader, StrictUndefined

from handler.config import BundleConfig
from handler.labels import Span
from handler.tagger import Tagger
from training.errors import TrainingError
from training.evaluation import ErrorKind, SpanError, TaggedCorpus, score_spans, span_errors

_Key = TypeVar("_Key", bound="ErrorKind | tuple[str, str]")

_KINDS: dict[ErrorKind, tuple[str, str]] = {
    "missed": ("Missed", "a gold entity that no predicted one stands for"),
    "spurious": ("Spurious", "a predicted entity that stands for no gold one"),
    "label": ("Wrong label", "the right words, another label"),
    "boundary": ("Wrong boundary", "the right label, words that overlap the right ones"),
    "both": ("Wrong label and boundary", "another label, words that overlap the right ones"),
}

# What HTML cannot hold (control characters, surrogates, noncharacters), and what would order the text around it too:
# line ends, and the marks, embeddings, overrides and isolates of the bidirectional algorithm.
_UNSEEN = re.compile(
    "[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufdd0-\ufdef"
    + "".join(f"{chr(plane + 0xFFFE)}{chr(plane + 0xFFFF)}" for plane in range(0, 0x110000, 0x10000))
    + "]"
)


class Segment(NamedTuple):
    """The words of an entity with its label, or words between entities; ``score`` where it was predicted."""

    text: str
    label: str = ""
    score: float | None = None
    is_right: bool = True


class Fault(NamedTuple):
    """An error, for reading: labels and words of what is gold and of what was predicted, empty where there is none."""

    kind: ErrorKind
    gold_label: str
    gold_text: str
    predicted_label: str
    predicted_text: str


class FaultySentence(NamedTuple):
    """A sentence with errors: the number of its file, its line there, its words as annotated and as tagged."""

    file: int
    line: int
    text: str
    gold: list[Segment]
    predicted: list[Segment]
    faults: list[Fault]

    @property
    def direction(self) -> str:
        """``"rtl"`` when the first letter is of a script that runs so; what HTML's ``auto`` finds without entities."""
        strong = (unicodedata.bidirectional(char) for char in self.text)
        return "rtl" if next((kind for kind in strong if kind in {"L", "R", "AL"}), "L") != "L" else "ltr"


class Count(NamedTuple):
    """How many errors of one sort there are, and how many sentences on the page have any."""

    num_errors: int
    num_listed: int


def error_page(config: BundleConfig, digest: str, corpora: Sequence[TaggedCorpus], max_sentences: int) -> str:
    """The page on what a model gets wrong in *corpora*: scores, kinds of errors, confusions and the sentences.

    Of more than *max_sentences* sentences with errors, so many are on it, spread evenly over all.
    """
    faulty = [sentence for number, corpus in enumerate(corpora) for sentence in _faulty_sentences(number, corpus)]
    num_listed = min(len(faulty), max_sentences)
    listed = [faulty[i * len(faulty) // num_listed] for i in range(num_listed)]
    cells = _counts(faulty, listed, lambda fault: (fault.gold_label, fault.predicted_label))
    total = score_spans(
        [sentence.spans for corpus in corpora for sentence in corpus.sentences],
        [[span for span, _ in row] for corpus in corpora for row in corpus.predicted],
    )
    environment = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_displayable,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters["percent"] = _percent
    script = environment.get_template("errors.js").render()
    return environment.get_template("errors.html").render(
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
        script_digest=b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


def check_folder(path: Path) -> None:
    """Refuse a page that nothing could be written to.

    Raises:
        TrainingError: *path* is a folder, or the folder that it would be in does not exist.
    """
    if path.is_dir() or not path.resolve().parent.is_dir():
        raise TrainingError(f"{path}: expected a file in a folder that exists")


def write_error_page(path: Path, tagger: Tagger, corpora: Sequence[TaggedCorpus], max_sentences: int) -> None:
    """Write the :func:`error_page` of *tagger* to *path*.

    Raises:
        TrainingError: *path* cannot be written.
    """
    page = error_page(tagger.config, tagger.digest, corpora, max_sentences)
    try:
        path.write_text(page, encoding="utf-8", newline="\n")
    except OSError as error:
        raise TrainingError(f"{path}: cannot be written: {error.strerror}") from error


def _faulty_sentences(file: int, corpus: TaggedCorpus) -> Iterator[FaultySentence]:
    """The sentences of *corpus*, which is number *file*, that have errors."""
    for line, sentence, predicted in zip(corpus.lines, corpus.sentences, corpus.predicted, strict=True):
        words, gold = sentence.words, sentence.spans
        scores = dict(predicted)
        errors = span_errors(gold, scores)
        if errors:
            yield FaultySentence(
                file,
                line,
                " ".join(words),
                list(_segments(words, dict.fromkeys(gold), scores)),
                list(_segments(words, scores, gold)),
                [_fault(words, error) for error in errors],
            )


def _segments(words: Sequence[str], scores: Mapping[Span, float | None], right: Collection[Span]) -> Iterator[Segment]:
    """*Words* cut where the spans of *scores*, which do not overlap, begin and end."""
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
    faulty: Iterable[FaultySentence], listed: Iterable[FaultySentence], sort: Callable[[Fault], _Key]
) -> dict[_Key, Count]:
    """How many errors of each *sort* are in *faulty*, and how many of the sentences in *listed* have one."""
    errors = Counter(sort(fault) for sentence in faulty for fault in sentence.faults)
    sentences = Counter(key for sentence in listed for key in {sort(fault) for fault in sentence.faults})
    return {key: Count(errors[key], sentences[key]) for key in errors}


def _displayable(value: Any) -> Any:
    r"""*value*, a text in it with the code points that a page must not hold written out.

    >>> _displayable("a\u202eb")
    'a[U+202E]b'
    """
    if not isinstance(value, str) or hasattr(value, "__html__"):  # a number; what is HTML already
        return value
    return _UNSEEN.sub(lambda match: f"[U+{ord(match.group()):04X}]", value)


def _percent(score: float) -> str:
    """*score* (0 to 1) in percent, rounded but never to all or nothing.

    >>> _percent(0.98765), _percent(0.99999), _percent(1.0), _percent(0.0)
    ('98.8%', '>99.9%', '100.0%', '0.0%')
    """
    if 0.9995 <= score < 1:
        return ">99.9%"
    return f"{score:.1%}"
