import json
import os
import signal
import sys
import tempfile
from pathlib import Path

import pytest

from ops.errors import ConfigFileError
from ops.process.addresses import Address
from ops.process.group import Guard
from ops.process.site import Site, SiteCommand, gunicorn_command, site_environ
from ops.process.state_dir import StateDir

SHOW = "import json, os; print(json.dumps({n: v for n, v in os.environ.items() if n.startswith(('NERSERVE_', 'GUN'))}))"

LEAVE = """
import tempfile, time
tempfile.NamedTemporaryFile(delete=False)
print(tempfile.mkdtemp(), flush=True)
time.sleep(60)
"""


@pytest.fixture
def make_site(tmp_path):
    """A site that is nothing but some Python code."""
    guard = Guard()

    def make_site(code, **options):
        state_dir = StateDir(tmp_path)
        state_dir.create()
        address = Address("127.0.0.1", 8000, "--port")
        environ = site_environ(address=address, models=("en", "de"), max_chars=5_000, **options)
        command = SiteCommand((sys.executable, "-c", code), tmp_path, check=())
        return Site(command=command, address=address, environ=environ, state_dir=state_dir, guard=guard)

    yield make_site
    guard.close()


@pytest.fixture
def environment_of(make_site):
    """What a site that is started with some options finds in its environment."""

    def environment_of(**options):
        site = make_site(SHOW, **options)
        site.start()
        while site.poll() is None:
            pass
        found = json.loads(site.last_words()[-1])
        site.kill()
        return found

    return environment_of


@pytest.fixture
def temporary_files(tmp_path, monkeypatch):
    """An empty directory for temporary files."""
    folder = tmp_path / "temporary"
    folder.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(folder))
    return folder


def start_leaving(site):
    """Start *site*, which leaves temporary files behind; where one of them is."""
    site.start()
    while not site.last_words():
        assert site.poll() is None
    return Path(site.last_words()[-1])


def test_a_site_learns_where_everything_is(environment_of, tmp_path):
    found = environment_of(
        inference_url="https://127.0.0.1:8443", inference_key=tmp_path / "inference.key", ca=tmp_path / "ca.pem"
    )

    assert found == {
        "NERSERVE_INFERENCE_URL": "https://127.0.0.1:8443",
        "NERSERVE_INFERENCE_KEY_FILE": str(tmp_path / "inference.key"),
        "NERSERVE_CA_FILE": str(tmp_path / "ca.pem"),
        "NERSERVE_MODELS": "en,de",
        "NERSERVE_MAX_CHARS": "5000",
        "NERSERVE_HOST": "127.0.0.1",
        "NERSERVE_PORT": "8000",
    }


def test_a_site_without_keys_and_tls_is_not_misled_by_our_own_environment(environment_of, monkeypatch):
    monkeypatch.setenv("NERSERVE_INFERENCE_KEY_FILE", "/of/another/server")
    monkeypatch.setenv("NERSERVE_CA_FILE", "/of/another/server")
    monkeypatch.setenv("NERSERVE_TIMEOUT_S", "7")
    monkeypatch.setenv("NERSERVE_MAX_CHARS", "12")

    found = environment_of(inference_url="http://127.0.0.1:8080")

    assert "NERSERVE_INFERENCE_KEY_FILE" not in found
    assert "NERSERVE_CA_FILE" not in found
    assert found["NERSERVE_TIMEOUT_S"] == "7"
    assert found["NERSERVE_MAX_CHARS"] == "5000"


def test_options_of_gunicorn_in_our_own_environment_do_not_win_over_our_configuration(environment_of, monkeypatch):
    monkeypatch.setenv("GUNICORN_CMD_ARGS", "--workers 7")

    assert "GUNICORN_CMD_ARGS" not in environment_of(inference_url="http://127.0.0.1:8080")


@pytest.mark.parametrize(
    ("variable", "value", "problem"),
    [
        ("NERSERVE_QUEUE_S", "soon", "NERSERVE_QUEUE_S: expected a number of seconds, got 'soon'"),
        ("NERSERVE_QUEUES", "5", "NERSERVE_QUEUES: unknown setting; the nearest known one is NERSERVE_QUEUE_S"),
    ],
)
def test_a_setting_that_would_stop_the_site_is_told_before_it_is_started(variable, value, problem):
    with pytest.raises(ConfigFileError) as caught:
        gunicorn_command().check_settings({"PATH": os.environ["PATH"], variable: value})

    assert str(caught.value) == problem
    gunicorn_command().check_settings({"PATH": os.environ["PATH"], "NERSERVE_QUEUE_S": "5"})


def test_a_site_that_is_killed_leaves_no_temporary_files(make_site, temporary_files, tmp_path):
    site = make_site(LEAVE, inference_url="http://127.0.0.1:8080")
    left = start_leaving(site)
    assert left.is_relative_to(tmp_path / "site")  # in the state directory: its next start finds it whatever happens
    assert left.is_dir()

    site.kill()

    assert not left.parent.exists()
    assert list(temporary_files.iterdir()) == []


def test_the_next_start_removes_what_a_site_that_somebody_killed_has_left(make_site, temporary_files):
    site = make_site(LEAVE, inference_url="http://127.0.0.1:8080")
    left = start_leaving(site)
    os.kill(site.pid, signal.SIGKILL)
    while site.poll() is None:
        pass
    assert left.is_dir()

    own = start_leaving(site)

    assert not left.exists()
    assert own.is_dir()
    site.kill()
