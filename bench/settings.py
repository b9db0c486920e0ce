"""The options of one run of the benchmark."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from bench.texts import Texts


@dataclass(frozen=True)
class Settings:
    """The options that all sections share.

    Attributes:
        num_rounds: Turns of each contestant.
        seconds: Length of a turn under load.
        num_workers: Model processes of every server.
        connections: Numbers of concurrent clients, one measurement for each.
        without: Rivals that are left out.
        texts_file: A file of texts, None for our own.
        is_quick: Whether fewer configurations are measured.
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
        """The stream of texts to send, from its start."""
        return Texts(self.texts_file, seed)
