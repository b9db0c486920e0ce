"""A stand-in for TorchServe on loopback, the site in front of it, and a reader for its pages."""

import contextlib
import json
import os
import re
import socket
import subprocess
import sys
import threading
import time
from dataclasses import dataclass
from html.parser import HTMLParser
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import requests

import web
from web.app import create_app
from web.config import WebConfig
from web.metrics import Metrics
from web.upstream.admission import Admission
from web.upstream.client import ModelClient
from web.upstream.retries import RetryPolicy
from web.upstream.torchserve import InferenceAPI

ROOT = Path(web.__file__).parents[1]
MODEL = {"name": "en", "version": "1.0", "digest": "sha256:" + "0" * 64}
ONCE = RetryPolicy(retry_ratio=0, retries_per_s=0, longest_reserve_s=0)
NAMES = {"Barack Obama": "PER", "Hawaii": "LOC", "Oslo": "LOC", "Nobel Committee": "ORG", "東京": "LOC"}


def find_entities(text):
    """What the stand-in's model knows: the names above, wherever they are."""
    matches = re.finditer("|".join(map(re.escape, NAMES)), text)
    return [{"text": m[0], "label": NAMES[m[0]], "start": m.start(), "end": m.end(), "score": 0.998} for m in matches]


class StubHandler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True  # else each reply waits 40 ms for an acknowledgement

    def do_POST(self):
        body = self.rfile.read(int(self.headers["Content-Length"]))
        self.server.requests.append((self.path, dict(self.headers), body))
        status, headers, reply = self.server.canned or (200, {}, None)
        if self.path.rsplit("/", 1)[1] in self.server.lost:
            status, reply = 404, b""
        if reply is None:
            reply = self._tag(json.loads(body))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status >= 400:  # as TorchServe does
            self.send_header("Connection", "close")
        self.send_header("Content-Length", str(len(reply)))
        self.end_headers()
        self.wfile.write(reply)

    def _tag(self, payload):
        model = MODEL | {"name": self.path.rsplit("/", 1)[1]}
        if "text" in payload:
            return json.dumps({"model": model, "entities": find_entities(payload["text"])}).encode()
        results = [{"entities": find_entities(text)} for text in payload["texts"]]
        self.server.num_texts += len(results)
        return json.dumps({"model": model, "results": results}).encode()

    def log_message(self, *args):
        pass


class StubTorchServe(ThreadingHTTPServer):
    """Answers as the contract says, or with what ``answer`` was given; remembers what it was asked."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), StubHandler)
        self.requests = []
        self.num_texts = 0
        self.canned = None
        self.lost = set()  # names of models that are not registered
        self.url = f"http://127.0.0.1:{self.server_port}"

    def answer(self, status, reply, **headers):
        body = reply if isinstance(reply, bytes) else json.dumps(reply).encode()
        self.canned = (status, headers, body)


@pytest.fixture
def upstream():
    server = StubTorchServe()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.fixture
def raw_upstream():
    """Start a server whose n-th connection is handed to ``play(connection, n)``; returns its URL."""
    with contextlib.ExitStack() as stack:

        def start(play):
            listener = stack.enter_context(socket.create_server(("127.0.0.1", 0)))
            stop = threading.Event()

            def serve_one(connection, n):
                with connection, contextlib.suppress(OSError):
                    play(connection, n)

            def serve():
                listener.settimeout(0.02)
                n = 0
                while not stop.is_set():
                    with contextlib.suppress(TimeoutError):
                        connection, _ = listener.accept()
                        connection.settimeout(60)
                        threading.Thread(target=serve_one, args=(connection, n), daemon=True).start()
                        n += 1

            thread = threading.Thread(target=serve)
            thread.start()
            stack.callback(thread.join)
            stack.callback(stop.set)
            return f"http://127.0.0.1:{listener.getsockname()[1]}"

        yield start


@pytest.fixture
def silent():
    """What a server plays that takes everything and says nothing until the client hangs up."""

    def play(connection, n):
        while connection.recv(65536):
            pass

    return play


@pytest.fixture
def read_request():
    """Read one whole HTTP request off a socket; returns its body."""

    def receive(connection):
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionResetError
        return chunk

    def read(connection):
        data = b""
        while b"\r\n\r\n" not in data:
            data += receive(connection)
        head, _, body = data.partition(b"\r\n\r\n")
        length = int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1])
        while len(body) < length:
            body += receive(connection)
        return body

    return read


@pytest.fixture
def good_reply():
    """A whole HTTP reply without entities, as bytes."""
    body = json.dumps({"model": MODEL, "entities": []}).encode()
    return b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body)


@pytest.fixture
def make_client():
    """A client that repeats nothing and always asks, unless the test says otherwise."""

    def make(
        url,
        *,
        timeout_s=30.0,
        policy=ONCE,
        queue_s=60.0,
        breaker_threshold=10**6,
        admission=None,
        metrics=None,
        **settings,
    ):
        metrics = metrics or Metrics()
        admission = admission or Admission(max_in_flight=4, max_queue=0, queue_s=queue_s, metrics=metrics)
        api = InferenceAPI(url, **{"num_connections": 4, "max_request_bytes": 1_048_576} | settings)
        return ModelClient(
            api, admission, metrics, timeout_s=timeout_s, policy=policy, breaker_threshold=breaker_threshold
        )

    return make


@pytest.fixture
def make_site():
    """A test client of the site, as a browser or a program would see it; without retries a failure is told at once."""

    def make(url, *, retries=True, **settings):
        app = create_app(WebConfig(inference_url=url, **settings))
        if not retries:
            app.extensions["nerserve"].client._policy = ONCE
        return app.test_client()

    return make


@pytest.fixture
def site(upstream, make_site):
    return make_site(upstream.url)


@dataclass
class Running:
    """gunicorn with our settings: its address, its process and the file of its two logs."""

    url: str
    process: subprocess.Popen
    log: Path

    @property
    def port(self):
        return int(self.url.rpartition(":")[2])

    def lines(self):
        """The log, each line parsed."""
        return [json.loads(line) for line in self.log.read_text().splitlines()]

    def answers(self):
        """The lines of requests other than those of the start."""
        return [line for line in self.lines() if line["logger"] == "web.access" and line.get("path") != "/livez"]


def gunicorn_command(**environ):
    """Arguments of Popen for gunicorn with our settings, as an operator starts it."""
    return {
        "args": [sys.executable, "-m", "gunicorn", "-c", "web/server/gunicorn_conf.py"],
        "cwd": ROOT,
        "env": {name: value for name, value in os.environ.items() if not name.startswith("NERSERVE_")} | environ,
        "text": True,
    }


@pytest.fixture(name="gunicorn_command")
def gunicorn_command_():
    return gunicorn_command


@pytest.fixture
def start_site(tmp_path):
    """Start the site under gunicorn with settings of the environment; ended when the test is.

    It may open at most *max_files*, or, if that *is_soft*, raise the limit. *app* runs instead of the usual one.
    """
    with contextlib.ExitStack() as stack:

        def start(url, *, app=None, max_files=None, is_soft=False, **environ):
            with socket.create_server(("127.0.0.1", 0)) as listener:
                port = listener.getsockname()[1]
            log = tmp_path / f"log-{port}"
            out = stack.enter_context(log.open("w"))
            scratch = tmp_path / f"scratch-{port}"
            scratch.mkdir()
            settings = {"NERSERVE_INFERENCE_URL": url, "NERSERVE_PORT": str(port), "NERSERVE_WEB_WORKERS": "1"}
            settings["NERSERVE_ALLOWED_HOSTS"] = "x"  # the host that requests over a bare socket name
            command = gunicorn_command(**settings | {"TMPDIR": str(scratch)} | environ)
            if app is not None:
                command["args"].append(app)
            if max_files is not None:
                limit = f"ulimit {'-Sn' if is_soft else '-n'} {max_files}"
                command["args"] = ["sh", "-c", f'{limit}; exec "$@"', "sh", *command["args"]]
            process = stack.enter_context(subprocess.Popen(**command, stdout=out, stderr=out))
            stack.callback(process.terminate)
            site = Running(f"http://127.0.0.1:{port}", process, log)
            deadline = time.monotonic() + 60
            while process.poll() is None:  # else it has ended by itself, which some tests want
                try:
                    requests.get(f"{site.url}/livez", timeout=10)
                    break
                except requests.RequestException:
                    assert time.monotonic() < deadline
                    time.sleep(0.05)
            return site

        yield start


@pytest.fixture
def wait_until():
    """Wait until something is so, for a minute at most."""

    def wait(condition):
        deadline = time.monotonic() + 60
        while not condition():
            assert time.monotonic() < deadline
            time.sleep(0.01)

    return wait


@pytest.fixture
def dead_url():
    """An address where nobody listens."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
    return f"http://127.0.0.1:{port}"


class Page(HTMLParser):
    """What is on a page, and whether every element is closed in order."""

    VOID = frozenset({"meta", "link", "img", "input", "br"})

    def __init__(self, html):
        super().__init__()
        self.elements = []  # (tag, attributes) in order
        self.headings = []
        self.alert = None
        self.textarea = None
        self.tagged = None  # the text of the result without its labels
        self.marks = []  # (text, label)
        self.rows = []
        self.notes = []
        self._open = []
        self.feed(html)
        self.close()
        assert not self._open, self._open

    def by_id(self, name):
        (found,) = [(tag, attributes) for tag, attributes in self.elements if attributes.get("id") == name]
        return found

    def handle_starttag(self, tag, attrs):
        attributes = dict(attrs)
        self.elements.append((tag, attributes))
        if tag in self.VOID:
            return
        self._open.append((tag, attributes))
        if tag in {"h1", "h2"}:
            self.headings.append("")
        elif tag == "textarea":
            self.textarea = ""
        elif attributes.get("role") == "alert":
            self.alert = ""
        elif attributes.get("id") == "tagged":
            self.tagged = ""
        elif tag == "mark":
            self.marks.append(("", ""))
        elif tag == "tr":
            self.rows.append([])
        elif tag in {"td", "th"}:
            self.rows[-1].append("")
        elif attributes.get("class") == "hint":
            self.notes.append("")

    def handle_endtag(self, tag):
        assert self._open[-1][0] == tag, (tag, self._open)
        self._open.pop()
        if tag == "textarea":
            self.textarea = self.textarea.removeprefix("\n")  # as HTML says

    def handle_data(self, data):
        tags = [tag for tag, _ in self._open]
        classes = " ".join(attributes.get("class") or "" for _, attributes in self._open).split()
        ids = [attributes.get("id") for _, attributes in self._open]
        if "textarea" in tags:
            self.textarea += data
        if {"h1", "h2"} & set(tags):
            self.headings[-1] += data
        if "td" in tags or "th" in tags:
            self.rows[-1][-1] += data
        if "hint" in classes:
            self.notes[-1] += data
        if any(attributes.get("role") == "alert" for _, attributes in self._open):
            self.alert += data
        if "tagged" in ids and "chip" not in classes:
            self.tagged += data
        if "mark" in tags:
            text, label = self.marks[-1]
            self.marks[-1] = (text, label + data) if "chip" in classes else (text + data, label)


@pytest.fixture(scope="session")
def read_page():
    return Page
