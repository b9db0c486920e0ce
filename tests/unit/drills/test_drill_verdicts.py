"""The verdicts of the drills on what does not recover, what is missing and what grows."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.load import RIGHT, Load, Outcome
from bench.memory import Memory
from tests.drills.sentences import TEXTS
from tests.drills.test_chaos import Fault, Span, hurt, row
from tests.drills.test_soak import growing, slope
from tests.drills.test_stream import stream


class Broken:
    """A nerserve that never comes back."""

    site = "http://127.0.0.1:9"

    def workers(self):
        return []

    def site_workers(self):
        return []


def test_what_is_never_whole_again_is_told(capsys):
    load = Load("http://127.0.0.1:9", [], deadline_s=1.0)

    (span,) = hurt(Broken(), [Fault("all at once", lambda _: None)], load, calm_s=0.0, longest_s=0.0)

    assert span.whole_after_s is None
    assert "NOT WHOLE" in capsys.readouterr().out


@pytest.mark.parametrize(("whole_after_s", "word"), [(None, "NEVER"), (2.25, "2.2")])
def test_the_table_says_when_all_was_whole(capsys, whole_after_s, word):
    row("site: x", [Outcome(1.0, 0.1, RIGHT)], Span("x", 0.5, whole_after_s, 90.0))

    assert word in capsys.readouterr().out.split()


class Site:
    """A site on the loopback address that leaves out the last *num_dropped* lines of its answer."""

    def __init__(self, num_dropped):
        class Handler(BaseHTTPRequestHandler):
            def do_POST(self):
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
                ids = [json.loads(line)["id"] for line in body.splitlines()]
                self.send_response(200)
                self.end_headers()
                for number in ids[: len(ids) - num_dropped]:
                    self.wfile.write(json.dumps({"line": number, "id": number, "entities": []}).encode() + b"\n")

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()


@pytest.mark.parametrize("num_dropped", [0, 1, 70])
def test_lines_of_a_stream_that_are_not_answered_are_counted(num_dropped):
    site = Site(num_dropped)

    num_bad = stream(site.url, 20_000, [[]] * len(TEXTS))

    site.server.shutdown()
    site.server.server_close()
    assert num_bad == num_dropped


def test_a_slope_is_in_percent_of_the_mean_a_minute():
    assert slope([0.0, 60.0, 120.0], [99.0, 100.0, 101.0]) == pytest.approx(1.0)


@pytest.mark.parametrize(("last_mb", "grown"), [(100.0, []), (103.0, ["worker"]), (float("nan"), ["worker"])])
def test_a_process_that_grows_or_is_gone_fails_the_soak(capsys, last_mb, grown):
    memory = Memory([0.0, 60.0, 120.0, 180.0], {"JVM": [100.0] * 4, "worker": [90.0, 100.0, 100.0, last_mb]})

    assert growing(memory, bar=0.5) == grown
    assert capsys.readouterr().out.count("GROWS") == len(grown)
