"""Benchmarks against other servers and against our own targets, run by ``nerserve bench``."""

from pathlib import Path
from typing import Final

#: The checkout.
ROOT: Final = Path(__file__).parents[1]
