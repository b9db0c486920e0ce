"""A CRF's marginal probability -> the probability that the entity is right; no torch needed.

Platt scaling (Platt 1999) of the marginal's log-odds.  What the numbers are
and why no more than these: docs/decisions/0010.
"""

from __future__ import annotations

import math

#: Decimals of a score.
SCORE_DIGITS = 6

#: A marginal that rounds to 0 or 1 is taken to lie this far from it: half as far as such a one can.
_CERTAIN = 10**-SCORE_DIGITS / 4


def log_odds(marginal: float) -> float:
    """``log(p / (1 - p))`` of *marginal*, rounded to ``SCORE_DIGITS``; finite at 0 and 1 as well.

    >>> log_odds(0.5), round(log_odds(1.0), 2)
    (0.0, 15.2)
    """
    # Rounded first: near 0 and 1 the logarithm would pull apart what differs in its last bits between two batches.
    p = min(max(round(marginal, SCORE_DIGITS), _CERTAIN), 1 - _CERTAIN)
    return math.log(p) - math.log1p(-p)


def calibrated(marginal: float, slope: float, offset: float) -> float:
    """``sigmoid(slope * log_odds(marginal) + offset)``, rounded to ``SCORE_DIGITS``.

    It never falls as *marginal* rises, for a *slope* above 0.

    >>> calibrated(0.9, slope=1.0, offset=0.0), calibrated(0.9, slope=0.5, offset=0.0)
    (0.9, 0.75)
    """
    z = slope * log_odds(marginal) + offset
    small = math.exp(-abs(z))  # never overflows
    return round((1 if z >= 0 else small) / (1 + small), SCORE_DIGITS)
