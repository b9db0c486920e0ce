"""The images' health check says healthy for an answer, and for nothing less."""

import http.server
import importlib.util
import json
import threading
from pathlib import Path

import pytest

from contract.entities import CANARY_TEXT

PATH = Path(__file__).parents[3] / "deploy" / "healthcheck.py"
MODELS = {"models": [{"modelName": "en", "modelUrl": "en.mar"}, {"modelName": "de", "modelUrl": "de.mar"}]}
ANSWER = {"model": {"name": "en"}, "entities": []}


@pytest.fixture(scope="module")
def healthcheck():
    spec = importlib.util.spec_from_file_location("deploy_healthcheck", PATH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def server():
    """A server on loopback; ``replies`` maps a path to status and body, ``keys`` to what it was asked with."""

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            self.server.keys[self.path] = self.headers["Authorization"]
            self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, body = self.server.replies.get(self.path, (404, {}))
            self.send_response(status)
            self.end_headers()
            self.wfile.write(json.dumps(body).encode())

        do_POST = do_GET  # noqa: N815

        def log_message(self, *_):
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        server.replies, server.keys = {}, {}
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def torchserve(models=(200, MODELS), en=(200, ANSWER), de=(200, ANSWER)):
    return {"/models?limit=1000": models, "/predictions/en": en, "/predictions/de": de}


def test_every_model_that_answers_is_healthy(healthcheck, server, tmp_path):
    server.replies = torchserve()

    assert healthcheck.serve_problem(server.server_port, server.server_port, tmp_path) is None


@pytest.mark.parametrize(
    ("replies", "problem"),
    [
        (torchserve(models=(500, {})), "the management API answered with status 500"),
        (torchserve(models=(200, {"models": []})), "TorchServe has no model"),
        (torchserve(de=(503, {})), "model de answered a canary sentence with status 503"),
        (torchserve(de=(200, {"status": "Healthy"})), "model de answered a canary sentence with status 200"),
    ],
)
def test_anything_less_than_an_answer_of_every_model_is_a_problem(healthcheck, server, tmp_path, replies, problem):
    server.replies = replies

    assert healthcheck.serve_problem(server.server_port, server.server_port, tmp_path) == problem


def test_the_published_keys_are_sent_when_there_are_any(healthcheck, server, tmp_path):
    server.replies = torchserve()
    (tmp_path / "inference.key").write_text("predict\n")
    (tmp_path / "management.key").write_text("manage\n")

    healthcheck.serve_problem(server.server_port, server.server_port, tmp_path)

    assert server.keys == {
        "/models?limit=1000": "Bearer manage",
        "/predictions/en": "Bearer predict",
        "/predictions/de": "Bearer predict",
    }


@pytest.fixture
def site(server, monkeypatch):
    """The server above as the site, by its port."""
    monkeypatch.setenv("NERSERVE_PORT", str(server.server_port))
    return server


def test_the_port_of_a_kubernetes_service_is_not_the_site_s(healthcheck, server, monkeypatch):
    monkeypatch.setattr(healthcheck, "SITE_PORT", server.server_port)
    monkeypatch.setenv("NERSERVE_PORT", "tcp://10.0.0.1:8000")
    server.replies = {"/readyz": (200, {"status": "ready"})}

    assert healthcheck.main(["site"]) == 0


@pytest.mark.parametrize(("status", "exit_status"), [(200, 0), (503, 1)])
def test_the_site_is_as_healthy_as_it_is_ready(healthcheck, site, capsys, status, exit_status):
    site.replies = {"/readyz": (status, {"status": "unready"})}

    assert healthcheck.main(["site"]) == exit_status
    assert capsys.readouterr().out == (
        "" if status == 200 else '/readyz answered with status 503: {"status": "unready"}\n'
    )


def test_no_server_is_one_line_and_no_traceback(healthcheck, site, capsys):
    site.server_close()

    assert healthcheck.main(["site"]) == 1
    assert capsys.readouterr().out.count("\n") == 1


def test_a_wrong_word_is_a_usage_error(healthcheck):
    assert healthcheck.main(["ping"]) == 2


def test_it_asks_the_sentence_that_everything_else_asks(healthcheck):
    assert json.loads(healthcheck.CANARY) == {"text": CANARY_TEXT}
