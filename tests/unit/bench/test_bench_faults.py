"""The verdicts of ``python -m bench.chaos`` and ``bench.bulk``: what is not as it was, and what is missing."""

import json
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from bench.bulk import stream
from bench.chaos import Fault, Span, hurt, row
from bench.load import RIGHT, TEXTS, Load, Outcome


class Broken:
    """A nerserve that never comes back."""

    def workers(self):
        return []

    def site_workers(self):
        return []

    def is_whole(self, _num_workers, _num_site_workers):
        return False


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
        self.site = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def processes(self):
        return {}


@pytest.mark.parametrize("num_dropped", [0, 1, 70])
def test_lines_of_a_stream_that_are_not_answered_are_counted(num_dropped):
    site = Site(num_dropped)

    num_bad = stream(site, 20_000, [[]] * len(TEXTS))

    site.server.shutdown()
    site.server.server_close()
    assert num_bad == num_dropped
