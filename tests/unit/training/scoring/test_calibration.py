"""Calibration errors against scikit-learn and a table made by hand; the fit against its own definition."""

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import expit, logit
from sklearn.calibration import calibration_curve
from sklearn.metrics import brier_score_loss, log_loss

from handler.calibration import calibrated
from handler.config import Calibration
from handler.labels import Span
from handler.tagger import ScoredSpan, Tagger
from training.corpora import Sentence
from training.scoring.calibration import (
    MIN_SLOPE,
    MIN_SPANS,
    Prediction,
    brier_score,
    calibration_metrics,
    chance_calibration_error,
    expected_calibration_error,
    fit,
    predictions,
    reliability,
    with_scores,
)
from training.scoring.evaluation import TaggedSentence, tag_corpus

LABELS = ("LOC", "PER")

# five bins; score, correct
BY_HAND = [(0.0, False), (0.2, True), (0.35, False), (0.4, False), (0.9, True), (0.95, False), (1.0, True), (1.0, True)]


def test_reliability_and_its_error_of_a_table_made_by_hand():
    scores, correct = zip(*BY_HAND, strict=True)

    bins = reliability(scores, correct, num_bins=5)

    assert [(round(low, 9), round(high, 9), count) for low, high, count, _, _ in bins] == [
        (0.0, 0.2, 2),
        (0.2, 0.4, 2),
        (0.8, 1.0, 4),
    ]
    assert [row.mean_score for row in bins] == pytest.approx([0.1, 0.375, 3.85 / 4])
    assert [row.precision for row in bins] == [1 / 2, 0, 3 / 4]
    expected = (2 * 0.4 + 2 * 0.375 + 4 * (3.85 / 4 - 0.75)) / 8
    assert expected_calibration_error(scores, correct, num_bins=5) == pytest.approx(expected)


scored = st.lists(st.tuples(st.floats(0, 1), st.booleans()), min_size=1, max_size=60)


@given(scored, st.integers(1, 20))
def test_reliability_agrees_with_scikit_learn(rows, num_bins):
    scores, correct = zip(*rows, strict=True)

    bins = reliability(scores, correct, num_bins)

    precisions, means = calibration_curve(correct, scores, n_bins=num_bins)
    assert [row.precision for row in bins] == pytest.approx(precisions)
    assert [row.mean_score for row in bins] == pytest.approx(means)
    assert sum(row.count for row in bins) == len(rows)
    assert all(row.low <= row.mean_score + 1e-12 and row.mean_score <= row.high + 1e-12 for row in bins)


@given(scored)
def test_the_brier_score_agrees_with_scikit_learn(rows):
    scores, correct = zip(*rows, strict=True)

    assert brier_score(scores, correct) == pytest.approx(brier_score_loss(correct, scores, pos_label=True))


def test_without_entities_there_is_no_error():
    assert reliability([], []) == []
    assert expected_calibration_error([], []) == brier_score([], []) == chance_calibration_error([]) == 0


@pytest.mark.parametrize("num_scores", [100, 3000])
def test_exact_scores_are_off_by_chance_about_as_much_as_it_says(num_scores):
    draw = np.random.default_rng(0)
    scores = draw.beta(3, 1, num_scores)

    errors = [expected_calibration_error(scores, draw.random(num_scores) < scores) for _ in range(300)]

    assert chance_calibration_error(scores) == pytest.approx(np.mean(errors), rel=0.1)


def test_a_prediction_is_correct_when_span_and_label_are():
    words = ("a", "b", "c", "d")
    found = (ScoredSpan(Span(0, 2, "PER"), 0.5), ScoredSpan(Span(2, 3, "LOC"), 0.6))

    assert predictions(
        [
            TaggedSentence(words, (Span(0, 2, "PER"), Span(2, 3, "PER")), found),
            TaggedSentence(words, (Span(0, 1, "PER"), Span(2, 3, "LOC")), found),
        ]
    ) == [
        Prediction(0.5, "PER", True),
        Prediction(0.6, "LOC", False),
        Prediction(0.5, "PER", False),
        Prediction(0.6, "LOC", True),
    ]


def drawn(count, seed, slope=1.0, offsets=(0.0, 0.0)):
    """*Count* predictions that *slope* and *offsets* calibrate exactly."""
    draw = np.random.default_rng(seed)
    scores = np.round(draw.beta(3, 1, count), 6).clip(1e-6, 1 - 1e-6)
    which = draw.integers(2, size=count)
    correct = draw.random(count) < expit(slope * logit(scores) + np.array(offsets)[which])
    rows = zip(scores.tolist(), which, correct.tolist(), strict=True)
    return [Prediction(score, LABELS[i], right) for score, i, right in rows]


def scores_of(corpus, calibration):
    return [calibrated(p.score, calibration.slope, calibration.offsets[p.label]) for p in corpus]


def correct_of(corpus):
    return [prediction.correct for prediction in corpus]


def objective(corpora, calibration):
    """What the fit is to make small, put together from scikit-learn's log-loss."""
    losses = [log_loss(correct_of(corpus), scores_of(corpus, calibration), labels=[0, 1]) for corpus in corpora]
    effective = len(corpora) ** 2 / sum(1 / len(corpus) for corpus in corpora)
    offsets = sum(offset**2 for offset in calibration.offsets.values())
    return np.mean(losses) + 32 / effective * ((calibration.slope - 1) ** 2 + offsets) + 0.02 * offsets


def test_the_fit_is_where_its_objective_is_least():
    corpora = [drawn(400, 1, 0.5, (0.8, -0.5)), drawn(90, 2, 0.7, (0.2, -0.9))]

    best = fit(corpora, LABELS)

    for step in (0.02, -0.02):
        others = [
            replace(best, slope=best.slope + step),
            *(replace(best, offsets={**best.offsets, label: best.offsets[label] + step}) for label in LABELS),
        ]
        assert all(objective(corpora, best) < objective(corpora, other) for other in others)


def test_scores_that_are_too_sure_are_mended():
    dev, unseen = drawn(20_000, 3, 0.4), drawn(20_000, 4, 0.4)

    calibration = fit([dev], LABELS)

    assert calibration.slope == pytest.approx(0.4, abs=0.03)
    assert expected_calibration_error([p.score for p in unseen], correct_of(unseen)) > 0.07
    assert expected_calibration_error(scores_of(unseen, calibration), correct_of(unseen)) < 0.02


def test_labels_are_told_apart_but_not_by_all_they_differ():
    offsets = fit([drawn(20_000, 5, 1.0, (0.6, -0.6))], LABELS).offsets

    assert 0.2 < offsets["LOC"] < 0.5
    assert -0.5 < offsets["PER"] < -0.2


def test_good_scores_are_left_as_they_are():
    calibration = fit([drawn(5000, 6), drawn(5000, 7)], LABELS)

    assert calibration.slope == pytest.approx(1, abs=0.05)
    assert list(calibration.offsets.values()) == pytest.approx([0, 0], abs=0.05)


def test_a_large_corpus_does_not_outvote_a_small_one():
    small, large = drawn(1000, 8, 0.5), drawn(1000, 9, 1.5)

    slope, repeated = fit([small, large], LABELS).slope, fit([small, large * 20], LABELS).slope

    assert repeated == pytest.approx(slope, abs=0.02)


def test_the_slope_stays_positive_when_scores_are_upside_down():
    assert fit([drawn(5000, 10, -1.0)], LABELS).slope == MIN_SLOPE


def test_too_few_entities_say_nothing():
    corpus = drawn(400, 11, 0.5)
    few = [prediction._replace(correct=False) for prediction in corpus[: MIN_SPANS - 1]]

    assert fit([], LABELS) is None
    assert fit([few, few], LABELS) is None
    assert fit([corpus, few], LABELS) == fit([corpus], LABELS)


def test_a_label_without_entities_gets_no_offset():
    calibration = fit([drawn(200, 12, 0.5, (1.0, 1.0))], (*LABELS, "MISC"))

    assert calibration.offsets["MISC"] == 0
    assert calibration.offsets["LOC"] != 0


a_prediction = st.builds(
    Prediction,
    score=st.integers(0, 10**6).map(lambda millionths: millionths / 10**6),
    label=st.sampled_from(LABELS),
    correct=st.booleans(),
)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(a_prediction, st.integers(1, 60)), min_size=1, max_size=8))
def test_a_small_corpus_never_leads_far_away(parts):
    corpus = [prediction for prediction, times in parts for _ in range(times)][:100]

    calibration = fit([corpus], LABELS)

    if len(corpus) < MIN_SPANS:
        assert calibration is None
        return
    assert MIN_SLOPE <= calibration.slope < 1.5
    # the log-loss pulls an offset with less than 1 an entity, the prior back with 0.02 + 32 / 100 at least
    assert all(abs(offset) < 1 / (2 * 0.34) for offset in calibration.offsets.values())
    raw = Calibration(1.0, {"LOC": 0.0, "PER": 0.0})
    losses = [log_loss(correct_of(corpus), scores_of(corpus, c), labels=[0, 1]) for c in (calibration, raw)]
    assert losses[0] <= losses[1] + 1e-4


@pytest.fixture
def corpora(make_bundle):
    """Two corpora in which every second entity that the tiny bundle finds is right."""
    words = np.random.default_rng(0).choice(["the", "Paris", "Obama", "xyz", "1984", ","], size=(2, 60, 6)).tolist()
    tagger = Tagger(make_bundle())
    return {
        name: [
            Sentence(tuple(sentence), tuple(span for span, _ in spans[::2]))
            for sentence, spans in zip(sentences, tagger.tag_words(sentences), strict=True)
        ]
        for name, sentences in zip(["dev-a", "dev-b"], words, strict=True)
    }


def with_calibration(bundle, calibration):
    return replace(bundle, config=replace(bundle.config, calibration=calibration))


def tagged_by(bundle, corpora):
    tagger = Tagger(bundle)
    return {name: tag_corpus(tagger, sentences, name) for name, sentences in corpora.items()}


def test_the_scores_of_marginals_are_those_that_the_bundle_serves_with_that_calibration(make_bundle, corpora):
    marginals = tagged_by(make_bundle(), corpora)
    calibration = fit([predictions(rows) for rows in marginals.values()], LABELS)
    assert calibration != Calibration(1.0, {"LOC": 0.0, "PER": 0.0})

    served = tagged_by(with_calibration(make_bundle(), calibration), corpora)

    assert {name: with_scores(rows, calibration) for name, rows in marginals.items()} == served
    assert served != marginals
    assert {name: with_scores(rows, None) for name, rows in marginals.items()} == marginals


def test_metrics_speak_of_the_marginals_and_of_the_scores_that_are_served(make_bundle, corpora):
    marginals = tagged_by(make_bundle(), corpora)
    calibration = fit([predictions(rows) for rows in marginals.values()], LABELS)

    metrics = calibration_metrics({"dev-b": marginals["dev-b"]}, calibration)

    assert metrics.keys() == {"dev-b"}
    served = predictions(tagged_by(with_calibration(make_bundle(), calibration), corpora)["dev-b"])
    correct = correct_of(served)
    before, after = ([p.score for p in found] for found in (predictions(marginals["dev-b"]), served))
    assert metrics["dev-b"] == {
        "entities": len(served),
        "ece": {
            "marginal": round(expected_calibration_error(before, correct), 4),
            "score": round(expected_calibration_error(after, correct), 4),
            "chance": round(chance_calibration_error(after), 4),
        },
        "brier": {"marginal": round(brier_score(before, correct), 4), "score": round(brier_score(after, correct), 4)},
    }
    assert metrics["dev-b"]["brier"]["score"] < metrics["dev-b"]["brier"]["marginal"]


def test_without_a_calibration_the_marginal_is_the_score(make_bundle, corpora):
    metrics = calibration_metrics(tagged_by(make_bundle(), corpora), None)["dev-a"]

    assert metrics["ece"]["marginal"] == metrics["ece"]["score"] > 0
    assert metrics["brier"]["marginal"] == metrics["brier"]["score"] > 0
