"""What annotated files hold, counted before anything is trained on them, and what is suspicious about it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from contract.tables import aligned
from handler.labels import Span
from handler.network.features import FeatureEncoder
from handler.vectors import WordVectors
from training.corpora import Sentence

#: Longer sentences, in tokens, are probably several without blank lines between them.
LONG_SENTENCE = 500

#: Shorter sentences, in words, are often the same by chance.
REPEATABLE = 5

#: Labels with a column of their own.
_COLUMNS = 8

_BLOCK = 1 << 14


@dataclass(frozen=True)
class Survey:
    """Counts of one file.

    Attributes:
        sentences: Number of sentences.
        tokens: Number of words, punctuation included.
        entities: Number of entities by label, the most frequent first.
        longest: Tokens of the longest sentence.
        longest_line: The line in which it begins.
        repeated: Sentences of ``REPEATABLE`` words or more that stand earlier in this file or in a file before it.
        words: Number of distinct words.
        words_without_vector: Distinct words without a word vector; None if there are no vectors to look in.
        tokens_without_vector: How many tokens they are.
    """

    sentences: int
    tokens: int
    entities: dict[str, int]
    longest: int
    longest_line: int
    repeated: int
    words: int
    words_without_vector: int | None = None
    tokens_without_vector: int | None = None

    def to_dict(self) -> dict[str, Any]:
        """The counts as ``run.json`` holds them, those of vectors only if they were counted."""
        return {key: value for key, value in asdict(self).items() if value is not None}


class Surveyor:
    """Surveys files, one after the other.

    Attributes:
        warnings: What is suspicious about the files so far; each names the file and the line.
    """

    def __init__(self) -> None:
        self.warnings: list[str] = []
        self._seen: set[tuple[str, ...]] = set()

    def survey(self, path: Path, numbered: Iterable[tuple[int, Sentence]]) -> Survey:
        """The counts of *path*, whose sentences are *numbered* by their first line."""
        lengths: list[tuple[int, int]] = []
        words: set[str] = set()
        labels: Counter[str] = Counter()
        here: dict[tuple[str, ...], tuple[int, tuple[Span, ...]]] = {}
        contradictions: list[tuple[int, int]] = []
        repeated = 0
        for line, sentence in numbered:
            lengths.append((len(sentence.words), -line))
            words.update(sentence.words)
            labels.update(span.label for span in sentence.spans)
            if len(sentence.words) > LONG_SENTENCE:
                self.warnings.append(
                    f"{path}:{line}: a sentence of {len(sentence.words):,} tokens; are blank lines between sentences"
                    " missing?"
                )
            if len(sentence.words) < REPEATABLE:
                continue
            repeated += sentence.words in self._seen
            self._seen.add(sentence.words)
            before, spans = here.setdefault(sentence.words, (line, sentence.spans))
            if spans != sentence.spans:
                contradictions.append((line, before))
        if contradictions:
            line, before = contradictions[0]
            self.warnings.append(
                f"{path}:{line}: the words of line {before} with other entities;"
                f" {len(contradictions)} such sentence{'s' if len(contradictions) > 1 else ''} in this file"
            )
        longest, first = max(lengths, default=(0, 0))
        num_tokens = sum(length for length, _ in lengths)
        return Survey(len(lengths), num_tokens, dict(labels.most_common()), longest, -first, repeated, len(words))


def with_vectors(survey: Survey, sentences: Iterable[Sentence], vectors: WordVectors) -> Survey:
    """*survey* of *sentences*, with how many of their words the network will see without a word vector."""
    counts = Counter(word for sentence in sentences for word in sentence.words)
    words = list(counts)
    encoder = FeatureEncoder(vectors=vectors, chars=[], max_word_chars=2, cache_words=0)
    num_words = num_tokens = 0
    for start in range(0, len(words), _BLOCK):
        block = words[start : start + _BLOCK]
        unknown = [word for word, known in zip(block, encoder.words(block).known.tolist(), strict=True) if not known]
        num_words += len(unknown)
        num_tokens += sum(counts[word] for word in unknown)
    return replace(survey, words_without_vector=num_words, tokens_without_vector=num_tokens)


def table(surveys: Mapping[str, Survey]) -> str:
    """The *surveys*, by the name of the file, as lines for people: a row for each, labels as columns.

    >>> ann = Survey(2, 9, {"PER": 3}, 5, 1, 0, 7)
    >>> print(table({"train.conll": ann, "dev.conll": replace(ann, entities={"LOC": 1})}))
                 sentences  tokens  longest  repeated  entities  PER  LOC
    train.conll          2       9        5         0         3    3    0
    dev.conll            2       9        5         0         1    0    1
    """
    total: Counter[str] = Counter()
    for survey in surveys.values():
        total.update(survey.entities)
    labels = [label for label, _ in total.most_common()]
    shown = labels if len(labels) <= _COLUMNS else labels[: _COLUMNS - 1]
    has_vectors = any(survey.words_without_vector is not None for survey in surveys.values())
    rest = [f"{len(labels) - len(shown)} more"] if len(labels) > len(shown) else []
    unknown = ["no vector"] if has_vectors else []
    rows = [["", "sentences", "tokens", "longest", "repeated", *unknown, "entities", *shown, *rest]]
    for name, survey in surveys.items():
        counts = (survey.sentences, survey.tokens, survey.longest, survey.repeated)
        share = f"{(survey.tokens_without_vector or 0) / max(1, survey.tokens):.1%}"
        entities = [survey.entities.get(label, 0) for label in shown]
        num_entities = sum(survey.entities.values())
        rows.append(
            [
                name,
                *(f"{count:,}" for count in counts),
                *([share] if has_vectors else []),
                *(f"{count:,}" for count in (num_entities, *entities)),
                *([f"{num_entities - sum(entities):,}"] if rest else []),
            ]
        )
    return aligned(rows, num_left=1)
