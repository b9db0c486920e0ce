import json
import sys

import pytest

from ops.group import Guard
from ops.properties import Address
from ops.site_process import Site, SiteCommand
from ops.torchserve import StateDir

SHOW = "import json, os; print(json.dumps({n: v for n, v in os.environ.items() if n.startswith('NERSERVE_')}))"


@pytest.fixture
def environment_of(tmp_path):
    """What a site that is started with some options finds in its environment."""
    guard = Guard()

    def environment_of(**options):
        state_dir = StateDir(tmp_path)
        state_dir.create()
        site = Site(
            command=SiteCommand((sys.executable, "-c", SHOW), tmp_path), address=Address("127.0.0.1", 8000, "--port"),
            models=("en", "de"), state_dir=state_dir, guard=guard, max_chars=5_000, **options,
        )  # fmt: skip
        site.start()
        while site.poll() is None:
            pass
        return json.loads(site.last_words()[-1])

    yield environment_of
    guard.close()


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
