"""The one setting for lengths."""

import pytest

from handler.errors import BundleError
from handler.limits import Limits


@pytest.mark.parametrize(
    ("environment", "max_chars"),
    [
        ({}, 100_000),
        ({"NERSERVE_MAX_CHARS": ""}, 100_000),
        ({"NERSERVE_MAX_CHARS": "1"}, 1),
        ({"NERSERVE_MAX_CHARS": " 1000000 "}, 1_000_000),
    ],
)
def test_the_environment_sets_the_longest_text(environment, max_chars):
    limits = Limits.from_environment(environment)

    assert limits.max_chars == max_chars
    assert limits.batch_chars > max_chars


@pytest.mark.parametrize("value", ["0", "1000001", "-5", "1e5", "100_000", "many", "٣", "9" * 5000])
def test_a_wrong_setting_keeps_the_worker_from_starting(value):
    with pytest.raises(BundleError, match="NERSERVE_MAX_CHARS: expected a whole number from 1 to 1000000, got"):
        Limits.from_environment({"NERSERVE_MAX_CHARS": value})
