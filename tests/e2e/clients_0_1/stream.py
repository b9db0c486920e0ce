"""The entities of a file of any length.

    python examples/stream.py [--url URL] < texts > answers.jsonl

Each line of the input is a text, each line of the output its answer. Sending and reading go on at the same time:
whoever sends everything first and then reads gets stuck, once the answers fill the buffers between the two.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import sys
import threading
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit


def stream(url: str, texts: Iterable[str], *, timeout_s: float = 60.0, **options: str) -> Iterator[dict[str, Any]]:
    """An answer for each of *texts*, in order, as soon as it is there; ``line`` is the number of its text, from 1.

    *texts* is read as fast as answers are taken. *options* are those of the query: labels, threshold, offsets, model.
    Raises RuntimeError when the stream is refused or ends early: what has been answered holds, and a new stream of the
    other texts goes on from there. Raises OSError when nothing moves for *timeout_s* seconds.
    """
    parts = urlsplit(url)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    connection = kinds[parts.scheme](parts.netloc, timeout=timeout_s)
    query = f"?{urlencode(options)}" if options else ""
    sent = _Sender(connection, texts)
    with contextlib.closing(connection):
        connection.putrequest("POST", f"{parts.path}/api/predict{query}")
        connection.putheader("Content-Type", "application/x-ndjson")
        connection.putheader("Transfer-Encoding", "chunked")
        connection.endheaders()
        sent.start()
        response = connection.getresponse()
        if response.status != http.client.OK:
            error = json.loads(response.read())["error"]
            raise RuntimeError(f"{response.status} {error['code']}: {error['message']}")
        num_answers = 0
        for line in response:
            answer = json.loads(line)
            if "line" not in answer:
                raise RuntimeError(f"{answer['error']['code']}: {answer['error']['message']}")
            num_answers += 1
            yield answer
    sent.join(timeout=1)  # it may wait for a text that nobody will answer any more
    if not sent.is_complete or num_answers != sent.num_texts:
        raise RuntimeError(f"the stream ended early, after the answer to line {num_answers}")


class _Sender(threading.Thread):
    """Sends the request's body while somebody else reads the answer."""

    def __init__(self, connection: http.client.HTTPConnection, texts: Iterable[str]) -> None:
        super().__init__(daemon=True)
        self._connection = connection
        self._texts = texts
        self.num_texts = 0
        self.is_complete = False

    def run(self) -> None:
        with contextlib.suppress(OSError):  # the server has hung up; why, its answer says
            for text in self._texts:
                line = json.dumps({"text": text}).encode() + b"\n"
                self._connection.send(b"%x\r\n%s\r\n" % (len(line), line))
                self.num_texts += 1
            self._connection.send(b"0\r\n\r\n")
            self.is_complete = True


def main() -> int:
    """Print an answer, in JSON, for each line of the standard input."""
    parser = argparse.ArgumentParser(description="Finds the names in each line of the standard input.")
    parser.add_argument("--url", default=os.environ.get("NERSERVE_URL", "http://127.0.0.1:8000"))
    parser.add_argument("--labels", help="only these, joined by commas")
    arguments = parser.parse_args()
    options = {"labels": arguments.labels} if arguments.labels else {}
    num_errors = 0
    for answer in stream(arguments.url, (line.rstrip("\n") for line in sys.stdin), **options):
        num_errors += "error" in answer
        print(json.dumps(answer, ensure_ascii=False), flush=True)
    if num_errors:
        print(f"{num_errors} lines have an error", file=sys.stderr)
    return 1 if num_errors else 0


if __name__ == "__main__":
    sys.exit(main())
