"""What the benchmark asks: an endless stream of texts that are never the same, or the lines of a file in turn.

A service sees new words all the time, so a benchmark that repeats a few
sentences flatters every cache.  The stream goes round 145 sentences of our own
(``sentences.txt``, invented), and each time other words stand in the place of
the rarer ones: words of like case from the vocabulary of models/en, drawn with
Zipf's probabilities, a few of them misspelt so that the model has no vector for
them, and other digits.  ``python -m bench.texts`` prints how the share of
distinct words grows, to compare with a file of real text.
"""

from __future__ import annotations

import itertools
import math
import random
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from bench import ROOT
from handler.tokens import tokenize
from handler.vectors import WordVectors

#: Texts of each shape: eight words of a line, a line as it is (about 20 tokens in ours), ten lines in one.
SHAPES: Final = ("short", "mixed", "long")

_SHORT_WORDS: Final = 8
_LONG_LINES: Final = 10

_WORD: Final = re.compile(r"[^\W\d_]{3,}|\d+")

#: Words of a lower rank are left where they stand; rarer ones change, this often, and are then misspelt this often.
_COMMON: Final = 2_500
_CHANGED: Final = 0.65
_MISSPELT: Final = 0.02

#: How often a line is two sentences.
_TWO_SENTENCES: Final = 0.15


class Texts:
    """Texts to ask, each taken once; a *file* has one a line, and begins again behind its last."""

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
    """The lines of *file* that hold something, round and round; SystemExit when none does."""
    try:
        lines = [line.strip() for line in file.read_text("utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise SystemExit(f"nerserve bench: --texts: {file} cannot be read: {error}") from error
    if not lines:
        raise SystemExit(f"nerserve bench: --texts: {file} holds no text")
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


def main() -> None:
    """Print tokens, distinct words and the share of words that had not come before, for our texts or a file's."""
    texts = Texts(Path(sys.argv[1])) if len(sys.argv) > 1 else Texts()
    seen: set[str] = set()
    num_tokens = new = 0
    print(f"{'texts':>7} {'tokens':>8} {'distinct':>8}  {'share':>6}  new in the last part")
    for upto, since in ((100, 0), (200, 100), (400, 200), (800, 400), (1600, 800)):
        new, before = 0, num_tokens
        for text in texts.take(upto - since):
            for token in tokenize(text):
                num_tokens += 1
                new += token.text not in seen
                seen.add(token.text)
        share = new / (num_tokens - before)
        print(f"{upto:7} {num_tokens:8} {len(seen):8}  {len(seen) / num_tokens:6.1%}  {share:6.1%}")


if __name__ == "__main__":
    main()
