import json
import runpy
import socket
import subprocess
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

import web.app

ROOT = Path(web.app.__file__).parent.parent


@pytest.fixture
def gunicorn(upstream, start_site):
    """The site under gunicorn; returns its URL, its process and the file of its two logs."""
    site = start_site(upstream.url, NERSERVE_TIMEOUT_S="60")
    return site.url, site.process, site.log


def test_it_serves_logs_no_text_and_ends_on_sigterm(gunicorn):
    url, process, log = gunicorn

    reply = requests.post(f"{url}/predict?q=Attack", data={"text": "Attack Oslo"}, timeout=60)
    refused = requests.post(f"{url}/api/predict", data=b"Attack" * 100_000, timeout=60)
    process.terminate()

    assert process.wait(60) == 0
    assert reply.status_code == 200
    assert "Oslo<span" in reply.text
    assert refused.status_code == 413
    written = log.read_text()
    assert "Attack" not in written
    lines = [json.loads(line) for line in written.splitlines()]
    answers = [line for line in lines if line["logger"] == "web.access" and line["path"] != "/livez"]
    assert [(line["method"], line["path"], line["status"]) for line in answers] == [
        ("POST", "/predict", 200),
        ("POST", "/api/predict", 413),
    ]


def test_a_request_that_waits_for_the_model_is_answered_after_sigterm(upstream, gunicorn, wait_until):
    url, process, _ = gunicorn
    upstream.answer(503, b"")

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(requests.post, f"{url}/api/predict", json={"text": "Oslo"}, timeout=90)
        wait_until(lambda: len(upstream.requests) >= 2)
        process.terminate()
        time.sleep(0.3)
        upstream.canned = None
        reply = waiting.result()

    assert reply.status_code == 200
    assert [entity["text"] for entity in reply.json()["entities"]] == ["Oslo"]
    assert process.wait(60) == 0


def test_a_body_over_the_limit_still_gets_its_answer(gunicorn):
    url, _, _ = gunicorn

    reply = requests.post(f"{url}/predict", data={"text": "x" * 5_000_000}, timeout=60)

    assert reply.status_code == 413
    assert "The request is too large" in reply.text


@pytest.mark.parametrize(
    ("variable", "problem"),
    [
        ("NERSERVE_PORT", "NERSERVE_PORT: expected a whole number, got 'http'"),
        ("NERSERVE_PROT", "NERSERVE_PROT: unknown setting; the nearest known one is NERSERVE_PORT"),
    ],
)
def test_a_wrong_setting_stops_it_at_once_in_one_line(gunicorn_command, variable, problem):
    command = gunicorn_command(**{variable: "http"})

    ended = subprocess.run(**command, capture_output=True, timeout=60, check=False)

    assert (ended.returncode, ended.stderr) == (2, f"{problem}\n")


def test_its_settings_follow_the_environment(monkeypatch):
    monkeypatch.setenv("NERSERVE_HOST", "::1")
    monkeypatch.setenv("NERSERVE_PORT", "8123")
    monkeypatch.setenv("NERSERVE_WEB_WORKERS", "3")
    monkeypatch.setenv("NERSERVE_MAX_IN_FLIGHT", "5")
    monkeypatch.setenv("NERSERVE_MAX_QUEUE", "7")
    monkeypatch.setenv("NERSERVE_TIMEOUT_S", "20.5")

    settings = runpy.run_path(str(ROOT / "web" / "server" / "gunicorn_conf.py"))

    assert settings["bind"] == "[::1]:8123"
    assert (settings["worker_class"], settings["workers"]) == ("web.server.worker.DrainingWorker", 3)
    assert settings["worker_connections"] > 1_000
    assert settings["graceful_timeout"] > 20.5


def test_what_it_will_not_answer_it_refuses_while_it_stops(upstream, gunicorn, wait_until):
    url, process, _ = gunicorn
    upstream.answer(503, b"")  # the site asks again until this is over

    def refuses():
        try:
            socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=60).close()
        except ConnectionRefusedError:
            return True
        return False

    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(requests.post, f"{url}/api/predict", json={"text": "Oslo"}, timeout=90)
        wait_until(lambda: len(upstream.requests) >= 2)
        process.terminate()
        wait_until(refuses)  # accepted by the kernel, a request would be reset in the end
        assert not waiting.done()
        upstream.canned = None

    assert waiting.result().status_code == 200


def ask(site, **headers):
    """The status of one request, or how its connection failed."""
    try:
        return requests.post(f"{site.url}/api/predict", json={"text": "x"}, headers=headers, timeout=60).status_code
    except requests.RequestException as error:
        return type(error).__name__


def test_too_many_requests_are_refused_at_once_and_everything_else_is_answered(
    start_site, raw_upstream, read_request, *, good_reply, wait_until
):
    go_on = threading.Event()
    attempts = []

    def play(connection, n):
        attempts.append(read_request(connection))
        go_on.wait(60)
        connection.sendall(good_reply)

    room = {"NERSERVE_MAX_IN_FLIGHT": "2", "NERSERVE_MAX_QUEUE": "3"}
    site = start_site(raw_upstream(play), NERSERVE_QUEUE_S="60", NERSERVE_TIMEOUT_S="60", **room)
    with ThreadPoolExecutor(60) as pool:
        waiting = [pool.submit(ask, site) for _ in range(60)]
        wait_until(lambda: sum(task.done() for task in waiting) >= 55)

        assert [task.result() for task in waiting if task.done()] == [429] * 55
        assert len(attempts) == 2
        for path in ["/", "/livez", "/metrics", "/static/site.css"]:
            assert requests.get(f"{site.url}{path}", timeout=20).status_code == 200
        assert requests.get(f"{site.url}/readyz", timeout=60).status_code == 503
        refused = requests.post(f"{site.url}/predict", data={"text": "x"}, timeout=20)
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "1"
        assert "There are too many requests just now" in refused.text
        go_on.set()
        assert sorted(task.result() for task in waiting) == [200] * 5 + [429] * 55
    assert ask(site) == 200


def test_an_outage_leaves_room_for_health(start_site, dead_url):
    site = start_site(dead_url, NERSERVE_MAX_IN_FLIGHT="2", NERSERVE_MAX_QUEUE="8")
    with ThreadPoolExecutor(60) as pool:
        waiting = [pool.submit(ask, site) for _ in range(60)]
        time.sleep(0.5)

        assert requests.get(f"{site.url}/livez", timeout=20).status_code == 200
        assert {task.result() for task in waiting} == {429, 503}


def test_a_client_may_have_less_patience(start_site, raw_upstream, silent):
    site = start_site(raw_upstream(silent), NERSERVE_TIMEOUT_S="600")

    assert ask(site, **{"X-Request-Timeout": "0.3"}) == 504
