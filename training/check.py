"""Annotated files checked without a training: all that is wrong with each, not just the first of it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from handler.config import ModelConfig
from handler.errors import ConfigError
from handler.vectors import WordVectors
from training.corpora import LabelMap, numbered_sentences
from training.errors import CorpusError
from training.examples import all_labels
from training.survey import Survey, Surveyor, with_vectors


class Checked(NamedTuple):
    """What was found: counts by file, and messages that name the file and, of a part of it, the line."""

    surveys: dict[str, Survey]
    warnings: list[str]
    errors: list[str]


def check_files(paths: Sequence[Path], labels: LabelMap | None, vectors: WordVectors | None) -> Checked:
    """Read and count *paths*, mapped by *labels*; what would make a training refuse one is an error."""
    surveyor = Surveyor()
    surveys: dict[str, Survey] = {}
    errors: list[str] = []
    for path in dict.fromkeys(paths):
        try:
            numbered = numbered_sentences(path, labels)
        except CorpusError as error:
            errors.append(str(error))
            continue
        sentences = [sentence for _, sentence in numbered]
        survey = surveyor.survey(path, numbered)
        surveys[str(path)] = with_vectors(survey, sentences, vectors) if vectors else survey
        found = all_labels(sentences)
        if not found:
            errors.append(f"{path}: expected entities, got none")
            continue
        try:
            ModelConfig(labels=tuple(found))
        except ConfigError as error:
            errors.append(f"{path}: {error}; in ASCII, a letter first; --label-map FILE gives labels other names")
    return Checked(surveys, surveyor.warnings, errors)
