"""What a run of the benchmark was asked for."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

from bench import ROOT
from bench.texts import Texts

BUNDLE: Final = ROOT / "models" / "en"
SECOND_BUNDLE: Final = ROOT / "models" / "en-social"


@dataclass(frozen=True)
class Settings:
    """What was asked for.

    Attributes:
        num_rounds: How often each contestant has its turn.
        seconds: Length of a turn under load.
        num_workers: Processes with a model that every server has.
        connections: Clients at once, one measurement for each.
        without: Rivals that are left out.
        texts_file: The file that texts come from, None for our own.
        is_quick: Whether a few minutes must do.
    """

    num_rounds: int
    seconds: float
    num_workers: int
    connections: tuple[int, ...]
    without: frozenset[str]
    texts_file: Path | None
    is_quick: bool

    def has(self, rival: str) -> bool:
        """Whether *rival* takes part."""
        return rival not in self.without

    def texts(self, seed: int = 1) -> Texts:
        """A stream of the texts to ask, from its beginning."""
        return Texts(self.texts_file, seed)
