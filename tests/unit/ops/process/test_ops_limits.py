import pytest

from contract.limits import RequestLimits
from ops.process.limits import default_drain_s, with_heap


@pytest.mark.parametrize(
    ("options", "max_chars", "heap"),
    [
        (["-Xmx256m"], 1, "-Xmx256m"),
        (["-Xmx256m"], 100_000, "-Xmx256m"),
        (["-Xmx256m"], 200_000, "-Xmx304m"),  # 256 MiB, and 48 times one MiB more
        (["-Xmx262144k"], 200_000, "-Xmx304m"),
        (["-Xmx1g", "-Xmx256M"], 200_000, "-Xmx304m"),  # the last one counts
        (["-Xmx1G"], 500_000, "-Xmx1G"),
        (["-Xmx128m"], 100_000, "-Xmx128m"),  # somebody's own choice, for requests of the default size
    ],
)
def test_the_heap_grows_with_requests_unless_it_is_large_enough(options, max_chars, heap):
    found = with_heap(["-Xss1m", *options], RequestLimits(max_chars))

    assert found[: len(options) + 1] == ["-Xss1m", *options]
    assert [option for option in found if option.startswith("-Xmx")][-1] == heap


def test_a_heap_without_a_bound_stays_so():
    assert with_heap(["-Xss1m"], RequestLimits(1_000_000)) == ["-Xss1m"]


@pytest.mark.parametrize(("max_chars", "drain_s"), [(1, 30), (150_000, 30), (200_000, 40), (1_000_000, 200)])
def test_the_time_to_drain_grows_with_the_longest_text(max_chars, drain_s):
    assert default_drain_s(RequestLimits(max_chars)) == drain_s
