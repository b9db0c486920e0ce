"""A CRF's marginal probability to the probability that the entity is correct; no torch needed.

Platt scaling (Platt 1999, "Probabilistic Outputs for Support Vector Machines";
Guo et al. 2017, "On Calibration of Modern Neural Networks") of the marginal's
log-odds, with one slope and an offset for each label (docs/decisions/0010).
"""

from __future__ import annotations

import math
from typing import Final

#: Decimals of a score.
SCORE_DIGITS = 6

#: Upper bounds of the bins in which scores are counted; a score of a bound is in the bin below it.
SCORE_BOUNDS: Final = tuple(i / 20 for i in range(1, 21))

#: Distance from 0 or 1 of a marginal that rounds to it: half of the largest possible.
_CERTAIN = 10**-SCORE_DIGITS / 4


def log_odds(marginal: float) -> float:
    """``log(p / (1 - p))`` with *p* the *marginal* rounded to ``SCORE_DIGITS`` decimals; finite at 0 and 1, too.

    >>> log_odds(0.5), round(log_odds(1.0), 2)
    (0.0, 15.2)
    """
    # Rounded first: near 0 and 1 the logarithm magnifies differences in the last bits between two batches.
    p = min(max(round(marginal, SCORE_DIGITS), _CERTAIN), 1 - _CERTAIN)
    return math.log(p) - math.log1p(-p)


def calibrated(marginal: float, slope: float, offset: float) -> float:
    """``sigmoid(slope * log_odds(marginal) + offset)``, rounded to ``SCORE_DIGITS`` decimals.

    Never falls as *marginal* rises, for a *slope* above 0.

    >>> calibrated(0.9, slope=1.0, offset=0.0), calibrated(0.9, slope=0.5, offset=0.0)
    (0.9, 0.75)
    """
    z = slope * log_odds(marginal) + offset
    small = math.exp(-abs(z))  # never overflows
    return round((1 if z >= 0 else small) / (1 + small), SCORE_DIGITS)
