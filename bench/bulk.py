"""A long NDJSON stream through the site, and one long text against many short ones.

    python -m bench.bulk stream                     100 MB of lines, the memory of each process of the site
    python -m bench.bulk stream --megabytes 5
    python -m bench.bulk long                       1,000,000 characters in one text and in texts of 10,000

``stream`` sends and reads at the same time, in one request; there must be an
answer for every line, with its number and the right entities.  ``long`` prints
microseconds a character of the benchmark's texts (``bench/texts.py``) in this
process and served with ``NERSERVE_MAX_CHARS=1000000``, and the ratio of the two
lengths.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import itertools
import json
import socket
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import psutil
import requests
import torch

from bench import ROOT
from bench.load import TEXTS
from bench.serving import Server, entities_of, running
from bench.texts import Texts
from handler.tagger import Tagger

LONG_CHARS: Final = 1_000_000
SHORT_CHARS: Final = 10_000
CHUNK_LINES: Final = 64
TIMEOUT_S: Final = 300.0


class Memory:
    """The largest resident memory of processes over a while, looked at twice a second in a thread of its own."""

    def __init__(self, processes: dict[str, psutil.Process]) -> None:
        self._processes = processes
        self.first_mb = {name: process.memory_info().rss / 1e6 for name, process in processes.items()}
        self.most_mb = dict(self.first_mb)
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Look no more."""
        self._stop.set()
        self._thread.join()

    def show(self) -> None:
        """Print a row for every process."""
        for name, before_mb in self.first_mb.items():
            most_mb = self.most_mb[name]
            print(f"  {name:16} {before_mb:6.0f} MB before, {most_mb:6.0f} MB at most: {most_mb - before_mb:+6.1f} MB")

    def _watch(self) -> None:
        while not self._stop.wait(0.5):
            for name, process in self._processes.items():
                with contextlib.suppress(psutil.Error):
                    self.most_mb[name] = max(self.most_mb[name], process.memory_info().rss / 1e6)


def chunks(num_bytes: int) -> Iterator[bytes]:
    """Lines of TEXTS, numbered in their ``id``, until there are *num_bytes* of them."""
    numbers = itertools.count(1)
    sent = 0
    while sent < num_bytes:
        lines = [
            json.dumps({"id": number, "text": TEXTS[(number - 1) % len(TEXTS)]})
            for number in itertools.islice(numbers, CHUNK_LINES)
        ]
        chunk = ("\n".join(lines) + "\n").encode()
        sent += len(chunk)
        yield chunk


@dataclass
class Sent:
    """How much of a stream has been sent."""

    num_bytes: int = 0
    num_lines: int = 0


def _send(connection: socket.socket, num_bytes: int, sent: Sent) -> None:
    """Send the stream in chunks of the transfer encoding."""
    for chunk in chunks(num_bytes):
        connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        sent.num_bytes += len(chunk)
        sent.num_lines += chunk.count(b"\n")
    connection.sendall(b"0\r\n\r\n")


def stream(server: Server, num_bytes: int, expected: list[list[dict[str, Any]]]) -> int:
    """Send *num_bytes* of lines in one request and check every line of the answer; how many are wrong or missing."""
    parts = urlsplit(server.site)
    memory = Memory({name: one for name, one in server.processes().items() if name != "nerserve up"})
    began_s = time.monotonic()
    sent = Sent()
    num_lines = num_wrong = 0
    first_s = 0.0
    errors: dict[str, int] = {}
    with socket.create_connection((parts.hostname, parts.port), timeout=TIMEOUT_S) as connection:
        head = "POST /api/predict HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-ndjson\r\n{}\r\n\r\n"
        connection.sendall(head.format(parts.netloc, "Transfer-Encoding: chunked").encode())
        sender = threading.Thread(target=_send, args=(connection, num_bytes, sent), daemon=True)
        sender.start()
        reply = http.client.HTTPResponse(connection, method="POST")
        reply.begin()
        if reply.status != 200:
            raise SystemExit(f"the stream was refused with status {reply.status}: {reply.read(500)!r}")
        for line in reply:
            first_s = first_s or time.monotonic() - began_s
            document = json.loads(line)
            num_lines += 1
            if document.get("line") != num_lines or document.get("id") != num_lines:
                num_wrong += 1
            elif "error" in document:
                code = document["error"]["code"]
                errors[code] = errors.get(code, 0) + 1
            elif document["entities"] != expected[(num_lines - 1) % len(TEXTS)]:
                num_wrong += 1
        sender.join()
    took_s = time.monotonic() - began_s
    memory.stop()
    sent_mb = sent.num_bytes / 1e6
    print(
        f"{sent_mb:.1f} MB, {num_lines} lines in {took_s:.1f} s: {sent_mb / took_s:.3f} MB/s, "
        f"{num_lines / took_s:.0f} texts/s; the first line after {first_s:.2f} s; "
        f"wrong {num_wrong}, missing {sent.num_lines - num_lines}, errors {errors}"
    )
    memory.show()
    return num_wrong + abs(sent.num_lines - num_lines) + sum(errors.values())


def _texts() -> tuple[str, list[str]]:
    """One text of LONG_CHARS, and the same in texts of SHORT_CHARS."""
    texts = Texts()
    text = ""
    while len(text) < LONG_CHARS:
        text += " ".join(texts.take(1_000)) + " "
    text = text[:LONG_CHARS]
    return text, [text[i : i + SHORT_CHARS] for i in range(0, LONG_CHARS, SHORT_CHARS)]


def _row(name: str, long_s: float, short_s: float) -> None:
    print(
        f"{name:12} 1 x {LONG_CHARS:,}: {long_s / LONG_CHARS * 1e6:6.2f} us/char   "
        f"{LONG_CHARS // SHORT_CHARS} x {SHORT_CHARS:,}: {short_s / LONG_CHARS * 1e6:6.2f} us/char   "
        f"ratio {long_s / short_s:.2f}"
    )


def in_process() -> None:
    """Print how long the tagger takes."""
    torch.set_num_threads(1)  # as a worker
    tagger = Tagger.load(ROOT / "models" / "en")
    text, parts = _texts()
    tagger.tag(parts[:2])
    began_s = time.monotonic()
    for part in parts:
        tagger.tag([part])
    short_s = time.monotonic() - began_s
    began_s = time.monotonic()
    tagger.tag([text])
    _row("in process", time.monotonic() - began_s, short_s)


def served(server: Server) -> None:
    """Print how long one client waits, through the site and on TorchServe's own port."""
    text, parts = _texts()
    memory = Memory(server.processes())
    for name, url in (("site", f"{server.site}/api/predict"), ("port", f"{server.inference}/predictions/en")):
        with requests.Session() as session:
            session.trust_env = False

            def ask(body: str, session: requests.Session = session, url: str = url) -> None:
                headers = {"Content-Type": "text/plain; charset=utf-8"}
                reply = session.post(url, data=body.encode(), headers=headers, timeout=TIMEOUT_S)
                if reply.status_code != requests.codes.ok:
                    raise SystemExit(f"{url}: status {reply.status_code}: {reply.text[:200]}")

            ask(parts[0])
            began_s = time.monotonic()
            for part in parts:
                ask(part)
            short_s = time.monotonic() - began_s
            began_s = time.monotonic()
            ask(text)
            _row(name, time.monotonic() - began_s, short_s)
    memory.stop()
    memory.show()


def main() -> int:
    """Run one of the two; 0 when every answer was right."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["stream", "long"])
    parser.add_argument("--megabytes", type=float, default=100.0, help="of the stream (%(default)g)")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        if arguments.what == "stream":
            with running(Path(name)) as server:
                return 1 if stream(server, round(arguments.megabytes * 1e6), entities_of(TEXTS)) else 0
        in_process()
        with running(Path(name), options=["--max-chars", str(LONG_CHARS)]) as server:
            served(server)
    return 0


if __name__ == "__main__":
    sys.exit(main())
