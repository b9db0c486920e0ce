"""Annotated files checked without a training: all that is wrong with each, not just the first of it."""

from __future__ import annotations

import logging
import math
import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from handler.vectors import WordVectors
from training.corpora import LabelMap, numbered_sentences
from training.errors import CorpusError
from training.examples import all_labels
from training.settings import read_settings
from training.survey import Survey, Surveyor, with_vectors

#: Problems of one file that are looked for; the file is read anew for each.
_MOST_PROBLEMS = 10


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
            problems = [str(error), *_further_problems(path, labels, str(error))]
            errors += sorted(problems, key=lambda problem: _line_of(problem, path) or math.inf)
            continue
        sentences = [sentence for _, sentence in numbered]
        survey = surveyor.survey(path, numbered)
        surveys[str(path)] = with_vectors(survey, sentences, vectors) if vectors else survey
        found = all_labels(sentences)
        if not found:
            errors.append(f"{path}: expected entities, got none")
            continue
        try:
            read_settings(None, found)
        except CorpusError as error:
            errors.append(f"{path}: {error}")
    return Checked(surveys, surveyor.warnings, errors)


def _further_problems(path: Path, labels: LabelMap | None, problem: str) -> list[str]:
    """What else is wrong with *path* than the first *problem*: what is found without the lines that are known."""
    problems: list[str] = []
    lines: set[int] = set()
    logging.disable(logging.WARNING)  # the first reading has warned
    try:
        while (line := _line_of(problem, path)) and line not in lines:
            lines.add(line)
            try:
                numbered_sentences(path, labels, without=lines)
            except CorpusError as error:
                problem = str(error)
            else:
                break
            if len(problems) + 1 == _MOST_PROBLEMS:
                return [*problems, f"{path}: more may be wrong"]
            if (found := _line_of(problem, path)) and found not in lines:
                problems.append(problem)
    finally:
        logging.disable(logging.NOTSET)
    return problems


def _line_of(problem: str, path: Path) -> int | None:
    """The line of *path* that *problem* names."""
    found = re.match(re.escape(str(path)) + r":([0-9]+)", problem)
    return int(found[1]) if found else None
