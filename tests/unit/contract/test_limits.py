"""The one setting for lengths."""

from pathlib import Path

import pytest

from contract.errors import RequestTooLargeError, SettingError
from contract.limits import RequestLimits
from ops.process.properties import parse_properties

#: What NERSERVE_MAX_CHARS may say, the same in every part that reads it, and what none of them takes.
RIGHT = {"": 100_000, " \t": 100_000, "1": 1, " 5000 ": 5_000, "0000007": 7, "1000000": 1_000_000}
WRONG = ["0", "-1", "+5", "1000001", "00000001", "1e5", "1_000", "5 000", "\u0663", "\uff15", "many", "9" * 5000]


@pytest.mark.parametrize(
    ("environment", "max_chars"),
    [({}, 100_000), *(({"NERSERVE_MAX_CHARS": value}, max_chars) for value, max_chars in RIGHT.items())],
)
def test_the_environment_sets_the_longest_text(environment, max_chars):
    limits = RequestLimits.from_environment(environment)

    assert limits.max_chars == max_chars
    assert limits.batch_chars > max_chars


@pytest.mark.parametrize(
    ("max_chars", "num_bytes"), [(1, 6_553_500), (100_000, 6_553_500), (100_001, 6_553_566), (1_000_000, 65_535_000)]
)
def test_a_reply_may_be_as_long_as_torchserve_is_told(max_chars, num_bytes):
    assert RequestLimits(max_chars).reply_bytes == num_bytes


@pytest.mark.parametrize("char", ["a", "é", "京", "😀"])
def test_the_bytes_of_a_reply_are_those_of_utf8(char):
    limits = RequestLimits()
    longest = char * (limits.reply_bytes // len(char.encode()))

    limits.check_reply(longest)
    with pytest.raises(RequestTooLargeError, match=r"would have 6,553,5\d\d bytes, the limit is 6,553,500\."):
        limits.check_reply(longest + char)


def test_the_settings_of_a_stock_server_let_the_longest_reply_through():
    settings = parse_properties(Path("config.properties").read_text(encoding="utf-8"))

    assert settings["max_response_size"] == str(RequestLimits().reply_bytes)


@pytest.mark.parametrize("value", WRONG)
def test_a_wrong_setting_keeps_the_worker_from_starting(value):
    with pytest.raises(
        SettingError, match="NERSERVE_MAX_CHARS: expected a whole number of characters from 1 to 1000000, got"
    ):
        RequestLimits.from_environment({"NERSERVE_MAX_CHARS": value})
