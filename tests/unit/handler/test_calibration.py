"""From marginals to scores: Platt's formula, rising, and steady where logarithms are steep."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scipy.special import expit, logit

from handler.calibration import SCORE_DIGITS, calibrated, log_odds

marginals = st.floats(0, 1)
slopes = st.floats(0.01, 100)
offsets = st.floats(-20, 20)


@given(st.integers(1, 10**SCORE_DIGITS - 1), slopes, offsets)
def test_a_score_is_the_sigmoid_of_the_scaled_log_odds(millionths, slope, offset):
    marginal = millionths / 10**SCORE_DIGITS

    assert calibrated(marginal, slope, offset) == pytest.approx(expit(slope * logit(marginal) + offset), abs=6e-7)


@given(st.integers(0, 10**SCORE_DIGITS))
@example(0)
@example(10**SCORE_DIGITS)
def test_slope_1_and_offset_0_change_nothing(millionths):
    assert calibrated(millionths / 10**SCORE_DIGITS, 1.0, 0.0) == millionths / 10**SCORE_DIGITS


@given(marginals, marginals, slopes, offsets)
def test_a_greater_marginal_never_has_a_smaller_score(one, other, slope, offset):
    low, high = sorted([one, other])

    assert calibrated(low, slope, offset) <= calibrated(high, slope, offset)


@pytest.mark.parametrize("marginal", [-1e-17, 0.0, 5e-324, 0.5, 1 - 2**-53, 1.0, 1 + 1e-15])
@pytest.mark.parametrize("slope", [5e-324, 1.0, 1e308])
@pytest.mark.parametrize("offset", [-1e308, 0.0, 1e308])
def test_a_score_is_a_probability_whatever_the_numbers(marginal, slope, offset):
    assert 0 <= calibrated(marginal, slope, offset) <= 1


def test_certainty_counts_as_much_as_its_digits_say():
    assert log_odds(1.0) == pytest.approx(logit(1 - 2.5e-7))
    assert log_odds(0.0) == pytest.approx(logit(2.5e-7))
    assert 0.9994 < calibrated(1.0, 0.5, 0.0) < 0.9996


@pytest.mark.parametrize(("one", "other"), [(1e-15, 2e-15), (1 - 1e-15, 1 - 2e-15)])
def test_marginals_that_differ_by_rounding_errors_have_one_score(one, other):
    assert calibrated(one, 0.1, 0.0) == calibrated(other, 0.1, 0.0)
