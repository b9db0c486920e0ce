"""What the drills share: their options, a table that shows while they run, and a nerserve of their own."""

import pytest

from bench.serving import entities_of, running
from tests.drills.sentences import TEXTS


def pytest_addoption(parser):
    group = parser.getgroup("drills", "drills, scripts/test tests/drills; each has its own defaults")
    group.addoption("--drill-seconds", type=float, help="length: operations 300, overload 120, soak 600")
    group.addoption("--drill-rate", type=float, help="requests/s to the site: operations 200, chaos 60, soak 40")
    group.addoption("--drill-megabytes", type=float, help="size of the stream: 100")
    group.addoption("--drill-faults", help="faults of chaos whose names contain this word: all")
    group.addoption("--drill-growth", type=float, help="%%/min of memory that soak accepts: 0.5")
    group.addoption("--drill-pythons", help="programs for pythons, with commas between: python3.12,python3.13")
    group.addoption("--drill-folder", help="where pythons keeps its environments for the next time: nowhere")
    group.addoption("--drill-plot", help="a PNG file for soak's memory: none")


@pytest.fixture
def option(pytestconfig):
    """``option("seconds", 300.0)``: the value of --drill-seconds, by default 300."""

    def value_of(name, default):
        given = pytestconfig.getoption(f"drill_{name}")
        return default if given is None else given

    return value_of


@pytest.hookimpl(wrapper=True, trylast=True)  # inside of pytest's own, which captures
def pytest_runtest_call(item):
    """A drill takes minutes: what it prints is shown at once."""
    with item.config.pluginmanager.getplugin("capturemanager").global_and_fixture_disabled():
        print()
        return (yield)


@pytest.fixture(scope="session")
def expected():
    """The entities of each of TEXTS, as the same model finds them in this process."""
    return entities_of(TEXTS)


@pytest.fixture
def server(tmp_path):
    with running(tmp_path) as server:
        server.wait_for_workers()
        yield server
