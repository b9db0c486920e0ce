import os
import runpy
import socket
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

import web.app

ROOT = Path(web.app.__file__).parent.parent


def command(**environ):
    """Arguments of Popen for gunicorn with our settings, as an operator starts it."""
    return {
        "args": [sys.executable, "-m", "gunicorn", "-c", "web/gunicorn_conf.py"],
        "cwd": ROOT,
        "env": {name: value for name, value in os.environ.items() if not name.startswith("NERSERVE_")} | environ,
        "text": True,
    }


@pytest.fixture
def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.fixture
def gunicorn(upstream, free_port, tmp_path):
    """The site under gunicorn; returns its URL, its process and the file of its two logs."""
    url = f"http://127.0.0.1:{free_port}"
    environ = {"NERSERVE_INFERENCE_URL": upstream.url, "NERSERVE_PORT": str(free_port), "NERSERVE_WEB_WORKERS": "1"}
    log = tmp_path / "log"
    with log.open("w") as out, subprocess.Popen(**command(**environ), stdout=out, stderr=out) as process:
        deadline = time.monotonic() + 20
        while process.poll() is None and time.monotonic() < deadline:
            try:
                requests.get(f"{url}/livez", timeout=1)
                break
            except requests.ConnectionError:
                time.sleep(0.05)
        yield url, process, log
        process.terminate()


def test_it_serves_logs_no_text_and_ends_on_sigterm(gunicorn):
    url, process, log = gunicorn

    reply = requests.post(f"{url}/predict?q=Attack", data={"text": "Attack Oslo"}, timeout=5)
    refused = requests.post(f"{url}/api/predict", data=b"Attack" * 100_000, timeout=5)
    process.terminate()

    assert process.wait(10) == 0
    assert reply.status_code == 200
    assert "Oslo<span" in reply.text
    assert refused.status_code == 415
    written = log.read_text()
    assert '"POST /predict" 200' in written
    assert "Attack" not in written


def test_a_request_that_waits_for_the_model_is_answered_after_sigterm(upstream, gunicorn):
    url, process, _ = gunicorn
    upstream.answer(503, b"")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(requests.post, f"{url}/api/predict", json={"text": "Oslo"}, timeout=20)
        deadline = time.monotonic() + 10
        while len(upstream.requests) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.terminate()
        time.sleep(0.3)
        upstream.canned = None
        reply = waiting.result()

    assert reply.status_code == 200
    assert [entity["text"] for entity in reply.json()["entities"]] == ["Oslo"]
    assert process.wait(10) == 0


def test_a_body_over_the_limit_still_gets_its_answer(gunicorn):
    url, _, _ = gunicorn

    reply = requests.post(f"{url}/predict", data={"text": "x" * 5_000_000}, timeout=5)

    assert reply.status_code == 413
    assert "The request is too large" in reply.text


def test_a_wrong_setting_stops_it_at_once():
    ended = subprocess.run(**command(NERSERVE_PORT="http"), capture_output=True, timeout=20, check=False)

    assert ended.returncode != 0
    assert "NERSERVE_PORT: expected a whole number, got 'http'" in ended.stderr


def test_its_settings_follow_the_environment(monkeypatch):
    monkeypatch.setenv("NERSERVE_HOST", "::1")
    monkeypatch.setenv("NERSERVE_PORT", "8123")
    monkeypatch.setenv("NERSERVE_WEB_WORKERS", "3")
    monkeypatch.setenv("NERSERVE_WEB_THREADS", "5")
    monkeypatch.setenv("NERSERVE_TIMEOUT_S", "20.5")

    settings = runpy.run_path(str(ROOT / "web" / "gunicorn_conf.py"))

    assert settings["bind"] == "[::1]:8123"
    assert (settings["worker_class"], settings["workers"], settings["threads"]) == ("web.worker.DrainingWorker", 3, 5)
    assert settings["graceful_timeout"] > 20.5


def test_what_it_will_not_answer_it_refuses_while_it_stops(upstream, gunicorn):
    url, process, _ = gunicorn
    upstream.answer(503, b"")  # the site asks again until this is over

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(requests.post, f"{url}/api/predict", json={"text": "Oslo"}, timeout=20)
        deadline = time.monotonic() + 10
        while len(upstream.requests) < 2 and time.monotonic() < deadline:
            time.sleep(0.01)
        process.terminate()
        time.sleep(0.3)
        with pytest.raises(ConnectionRefusedError):  # accepted by the kernel, it would be reset in the end
            socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=1).close()
        upstream.canned = None

    assert waiting.result().status_code == 200
