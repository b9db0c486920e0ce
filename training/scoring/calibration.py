"""Calibration of the scores of predicted entities: reliability, errors, and a regularised Platt scaling.

An entity is correct if its exact span and its label are.  Reliability and expected calibration error follow Naeini et
al. (2015) and Guo et al. (2017, "On Calibration of Modern Neural Networks"), the fit Platt (1999), regularised towards
the identity; docs/decisions/0010 has the reasons.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import expit

from handler.calibration import calibrated, log_odds
from handler.config import Calibration
from handler.tagger import ScoredSpan
from training.scoring.evaluation import TaggedSentence

#: Least number of predicted entities in a corpus that takes part in a fit.
MIN_SPANS = 50

#: Least slope, so that a score always rises with the marginal.
MIN_SLOPE = 0.1

#: Strength of the prior towards the identity, in entities per unit of squared distance.
_PRIOR_SPANS = 32.0

#: L2 penalty on the offsets, whatever the number of entities: corpora differ in how they define a label.
_SHRINKAGE = 0.02

_Array = NDArray[np.float64]


class Prediction(NamedTuple):
    """A predicted entity: its score, its label, and whether it is correct."""

    score: float
    label: str
    correct: bool


class Bin(NamedTuple):
    """The entities with a score in (low, high]: their number, mean score, and correct share."""

    low: float
    high: float
    count: int  # type: ignore[assignment]  # hides tuple.count
    mean_score: float
    precision: float


def predictions(tagged: Iterable[TaggedSentence]) -> list[Prediction]:
    """All predicted entities of *tagged*, in order."""
    return [Prediction(score, span.label, span in gold) for _, gold, found in tagged for span, score in found]


def with_scores(tagged: Iterable[TaggedSentence], calibration: Calibration | None) -> list[TaggedSentence]:
    """*tagged* with its marginals calibrated; unchanged if *calibration* is None."""
    if calibration is None:
        return list(tagged)
    slope, offsets = calibration.slope, calibration.offsets
    return [
        row._replace(
            found=tuple(ScoredSpan(span, calibrated(score, slope, offsets[span.label])) for span, score in row.found)
        )
        for row in tagged
    ]


def reliability(scores: Sequence[float], correct: Sequence[bool], num_bins: int = 15) -> list[Bin]:
    """The bins of a reliability diagram, equally wide over [0, 1], without empty ones; a score of 0 is in the first.

    >>> reliability([0.7, 0.9], [True, False], num_bins=2)
    [Bin(low=0.5, high=1.0, count=2, mean_score=0.8, precision=0.5)]
    """
    edges = np.linspace(0, 1, num_bins + 1)
    bin_of = np.searchsorted(edges[1:-1], scores)  # (N,)
    bins = []
    for i in np.unique(bin_of).tolist():
        inside = bin_of == i
        mean_score, precision = (float(np.mean(np.asarray(values)[inside])) for values in (scores, correct))
        bins.append(Bin(float(edges[i]), float(edges[i + 1]), int(inside.sum()), mean_score, precision))
    return bins


def expected_calibration_error(scores: Sequence[float], correct: Sequence[bool], num_bins: int = 15) -> float:
    """Mean distance between a bin's mean score and its precision, weighted by entities; 0 if there are none.

    >>> expected_calibration_error([0.25, 0.75, 1.0], [False, True, True], num_bins=2)
    0.16666666666666666
    """
    bins = reliability(scores, correct, num_bins)
    return sum(row.count * abs(row.mean_score - row.precision) for row in bins) / max(1, len(scores))


def chance_calibration_error(scores: Sequence[float], num_bins: int = 15) -> float:
    """Expected calibration error of perfectly calibrated *scores* on a sample of their size.

    An approximation: in each bin the number of correct entities is taken as normally distributed.
    """
    bin_of = np.searchsorted(np.linspace(0, 1, num_bins + 1)[1:-1], scores)
    variances = np.bincount(bin_of, weights=[score * (1 - score) for score in scores])
    return float(np.sqrt(2 / math.pi * variances).sum()) / max(1, len(scores))


def brier_score(scores: Sequence[float], correct: Sequence[bool]) -> float:
    """Mean squared distance between score and outcome, 1 or 0 (Brier 1950); 0 if there are none.

    >>> brier_score([0.5, 1.0], [True, True])
    0.125
    """
    return sum((score - right) ** 2 for score, right in zip(scores, correct, strict=True)) / max(1, len(scores))


def fit(corpora: Sequence[Sequence[Prediction]], labels: Sequence[str]) -> Calibration | None:
    """The calibration that fits the marginals of *corpora* best; None if all have fewer than ``MIN_SPANS`` entities.

    It minimises the mean log-loss over the corpora of ``MIN_SPANS`` or more entities, which are weighted equally, plus
    the weighted squared distance from the identity.
    """
    large = [corpus for corpus in corpora if len(corpus) >= MIN_SPANS]
    if not large:
        return None
    found = [prediction for corpus in large for prediction in corpus]
    weights = np.concatenate([np.full(len(corpus), 1 / (len(corpus) * len(large))) for corpus in large])  # (N,)
    correct = np.array([prediction.correct for prediction in found], dtype=float)
    features = np.array(  # (N, 1 + number of labels)
        [[log_odds(score), *(label == other for other in labels)] for score, label, _ in found], dtype=float
    )
    identity = np.array([1.0] + [0.0] * len(labels))
    prior = _PRIOR_SPANS * np.square(weights).sum()  # the inverse of the effective number of entities (Kish 1965)
    penalty = np.array([prior] + [prior + _SHRINKAGE] * len(labels))

    def loss(parameters: _Array) -> tuple[float, _Array]:
        """The penalised log-loss and its gradient."""
        z, distance = features @ parameters, parameters - identity
        log_loss = weights @ (np.logaddexp(0, z) - correct * z)
        gradient = features.T @ (weights * (expit(z) - correct))
        return float(log_loss + penalty @ distance**2), gradient + 2 * penalty * distance

    bounds = [(MIN_SLOPE, None)] + [(None, None)] * len(labels)
    best = minimize(loss, identity, jac=True, method="L-BFGS-B", bounds=bounds, options={"ftol": 1e-13, "gtol": 1e-9})
    slope, *offsets = (round(value, 4) for value in best.x.tolist())
    return Calibration(slope, dict(zip(labels, offsets, strict=True)))


def calibration_metrics(
    marginals: Mapping[str, Sequence[TaggedSentence]], calibration: Calibration | None
) -> dict[str, Any]:
    """Calibration errors of *marginals*, by corpus, and of the calibrated scores, as ``metrics.json`` holds them.

    ``chance`` is the :func:`chance_calibration_error`.
    """
    metrics = {}
    for name, tagged in marginals.items():
        uncalibrated, served = predictions(tagged), predictions(with_scores(tagged, calibration))
        correct = [prediction.correct for prediction in served]
        before, after = ([prediction.score for prediction in found] for found in (uncalibrated, served))
        metrics[name] = {
            "entities": len(served),
            "ece": {
                "marginal": round(expected_calibration_error(before, correct), 4),
                "score": round(expected_calibration_error(after, correct), 4),
                "chance": round(chance_calibration_error(after), 4),
            },
            "brier": {
                "marginal": round(brier_score(before, correct), 4),
                "score": round(brier_score(after, correct), 4),
            },
        }
    return metrics
