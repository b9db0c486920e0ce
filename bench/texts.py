"""The texts that benchmarks send: an endless stream without repetition, or the lines of a file in turn.

A service sees new words all the time, so a benchmark that repeats a few
sentences flatters every cache.  The stream cycles through 145 invented sentences
(``sentences.txt``) and replaces the rarer words each time: by words of like case
from the vocabulary of models/en, drawn with Zipf's probabilities, a few of them
misspelt so that the model has no vector for them; digits change as well.
``nerserve bench words`` shows how the share of distinct words grows, to compare
with a file of real text.
"""

from __future__ import annotations

import itertools
import math
import random
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench import ROOT
from bench.errors import BenchInputError
from handler.vectors import WordVectors

#: Shapes of texts: eight words of a line, a whole line (about 20 tokens in ours), ten lines joined.
SHAPES: Final = ("short", "mixed", "long")

_SHORT_WORDS: Final = 8
_LONG_LINES: Final = 10

_WORD: Final = re.compile(r"[^\W\d_]{3,}|\d+")

#: Words of a lower rank are kept; rarer ones are replaced this often, and the replacements are misspelt this often.
_COMMON: Final = 2_500
_CHANGED: Final = 0.65
_MISSPELT: Final = 0.02

#: Share of lines that are two sentences.
_TWO_SENTENCES: Final = 0.15


class Texts:
    """A stream of texts, each taken once; a *file* has one a line and is repeated without end."""

    def __init__(self, file: Path | None = None, seed: int = 1) -> None:
        self.name = str(file.name) if file else "the benchmark's own"
        self._lines = _lines_of(file) if file else _stream(seed)

    def take(self, count: int, shape: str = "mixed") -> list[str]:
        """The next *count* texts of one of ``SHAPES``."""
        if shape == "long":
            return [" ".join(itertools.islice(self._lines, _LONG_LINES)) for _ in range(count)]
        lines = list(itertools.islice(self._lines, count))
        return [" ".join(line.split()[:_SHORT_WORDS]) for line in lines] if shape == "short" else lines


def _lines_of(file: Path) -> Iterator[str]:
    """The non-blank lines of *file*, repeated without end; BenchError if there is none."""
    try:
        lines = [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise BenchInputError(f"--texts: {file} cannot be read: {error}") from error
    if not lines:
        raise BenchInputError(f"--texts: {file} holds no text")
    return itertools.cycle(lines)


def _stream(seed: int) -> Iterator[str]:
    rng = random.Random(seed)
    sentences = Path(__file__).with_name("sentences.txt").read_text("utf-8").splitlines()
    vocabulary = [word for word in WordVectors.load(ROOT / "models" / "en" / "vectors").words() if word.isalpha()]
    common = frozenset(vocabulary[:_COMMON])

    def other(match: re.Match[str]) -> str:
        word = match.group()
        if word[0].isdigit():
            return "".join(rng.choice("0123456789") for _ in word) if rng.random() < _CHANGED else word
        if word.lower() in common or rng.random() >= _CHANGED:
            return word
        rank = int(_COMMON * math.exp(rng.random() * math.log(len(vocabulary) / _COMMON)))  # Zipf: 1 / rank
        drawn = vocabulary[min(rank, len(vocabulary) - 1)]
        if rng.random() < _MISSPELT:
            at = rng.randrange(len(drawn))
            drawn = drawn[:at] + drawn[at + 1 : at + 2] + drawn[at : at + 1] + drawn[at + 2 :]
        return drawn.upper() if word.isupper() else drawn.capitalize() if word[0].isupper() else drawn

    while True:
        lines = iter(rng.sample(sentences, len(sentences)))
        for line in lines:
            following = next(lines, "") if rng.random() < _TWO_SENTENCES else ""
            yield _WORD.sub(other, f"{line} {following}".strip())
