from decimal import ROUND_CEILING, Decimal

import pytest

from ops.errors import ConfigFileError
from ops.process.limits import max_chars_of, max_request_bytes, with_heap

#: What NERSERVE_MAX_CHARS may say, the same in every part that reads it, and what none of them takes.
RIGHT = {"": 100_000, " \t": 100_000, "1": 1, " 5000 ": 5_000, "0000007": 7, "1000000": 1_000_000}
WRONG = ["0", "-1", "+5", "1000001", "00000001", "1e5", "1_000", "5 000", "\u0663", "\uff15", "many", "9" * 5000]


def test_the_option_wins_over_the_variable_and_the_variable_over_the_usual():
    environ = {"NERSERVE_MAX_CHARS": "200"}

    assert (max_chars_of(environ, 300), max_chars_of(environ), max_chars_of({})) == (300, 200, 100_000)


@pytest.mark.parametrize(("value", "max_chars"), RIGHT.items())
def test_a_number_may_have_spaces_around_it_and_a_blank_is_as_good_as_none(value, max_chars):
    assert max_chars_of({"NERSERVE_MAX_CHARS": value}) == max_chars


@pytest.mark.parametrize("value", WRONG)
def test_a_wrong_number_is_refused_by_the_name_of_its_setting(value):
    with pytest.raises(ConfigFileError, match="NERSERVE_MAX_CHARS: expected a number of characters from 1 to 1000000"):
        max_chars_of({"NERSERVE_MAX_CHARS": value})


@pytest.mark.parametrize("value", [0, -5, 1_000_001])
def test_a_wrong_option_is_refused_by_its_name(value):
    with pytest.raises(ConfigFileError, match=f"--max-chars: expected .* got '{value}'") as caught:
        max_chars_of({}, value)

    assert caught.value.exit_code == 2


@pytest.mark.parametrize("max_chars", [1, 99_999, 100_000, 100_001, 123_457, 999_999, 1_000_000])
def test_a_body_holds_what_the_contract_says(max_chars):
    share = Decimal(max_chars) * 1_048_576 / 100_000

    assert max_request_bytes(max_chars) == max(1_048_576, int(share.to_integral_value(ROUND_CEILING)))


@pytest.mark.parametrize(
    ("options", "max_chars", "heap"),
    [
        (["-Xmx256m"], 1, "-Xmx256m"),
        (["-Xmx256m"], 100_000, "-Xmx256m"),
        (["-Xmx256m"], 200_000, "-Xmx304m"),  # 256 MiB, and 48 times one MiB more
        (["-Xmx262144k"], 200_000, "-Xmx304m"),
        (["-Xmx1g", "-Xmx256M"], 200_000, "-Xmx304m"),  # the last one counts
        (["-Xmx1G"], 500_000, "-Xmx1G"),
        (["-Xmx128m"], 100_000, "-Xmx128m"),  # somebody's own wish, for requests of the usual size
    ],
)
def test_the_heap_grows_with_requests_unless_it_is_large_enough(options, max_chars, heap):
    found = with_heap(["-Xss1m", *options], max_chars)

    assert found[: len(options) + 1] == ["-Xss1m", *options]
    assert [option for option in found if option.startswith("-Xmx")][-1] == heap


def test_a_heap_that_nobody_bounds_stays_so():
    assert with_heap(["-Xss1m"], 1_000_000) == ["-Xss1m"]
