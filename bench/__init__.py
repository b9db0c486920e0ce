"""What we measure, against peers and against our own promises; run with ``python -m bench.NAME``."""

from pathlib import Path
from typing import Final

#: The checkout.
ROOT: Final = Path(__file__).parents[1]
