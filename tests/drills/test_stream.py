"""A long NDJSON stream through the site, sent and read at the same time in one request.

There must be an answer for every line, with its number and the right entities;
the table has the memory of each process of the server.

    scripts/test tests/drills/test_stream.py                          100 MB
    scripts/test tests/drills/test_stream.py --drill-megabytes 5
"""

import http.client
import itertools
import json
import socket
import threading
import time
from collections import Counter
from urllib.parse import urlsplit

import pytest

from bench.memory import watched
from tests.drills.sentences import TEXTS

pytestmark = [pytest.mark.drill, pytest.mark.timeout(0)]

CHUNK_LINES = 64
TIMEOUT_S = 300.0


def chunks(num_bytes):
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


def send(connection, num_bytes, sent):
    """Send the stream in chunks of the transfer encoding, and count its bytes and lines in *sent*."""
    for chunk in chunks(num_bytes):
        connection.sendall(f"{len(chunk):x}\r\n".encode() + chunk + b"\r\n")
        sent.update(bytes=len(chunk), lines=chunk.count(b"\n"))
    connection.sendall(b"0\r\n\r\n")


def stream(site, num_bytes, expected):
    """Send *num_bytes* of lines to *site* and check every line of the answer; returns how many are wrong or missing."""
    parts = urlsplit(site)
    sent, errors = Counter(), Counter()
    num_lines = num_wrong = 0
    first_s = 0.0
    began_s = time.monotonic()
    with socket.create_connection((parts.hostname, parts.port), timeout=TIMEOUT_S) as connection:
        head = "POST /api/predict HTTP/1.1\r\nHost: {}\r\nContent-Type: application/x-ndjson\r\n{}\r\n\r\n"
        connection.sendall(head.format(parts.netloc, "Transfer-Encoding: chunked").encode())
        sender = threading.Thread(target=send, args=(connection, num_bytes, sent), daemon=True)
        sender.start()
        reply = http.client.HTTPResponse(connection, method="POST")
        reply.begin()
        assert reply.status == 200, f"the stream was refused with status {reply.status}: {reply.read(500)!r}"
        for line in reply:
            first_s = first_s or time.monotonic() - began_s
            document = json.loads(line)
            num_lines += 1
            if document.get("line") != num_lines or document.get("id") != num_lines:
                num_wrong += 1
            elif "error" in document:
                errors[document["error"]["code"]] += 1
            elif document["entities"] != expected[(num_lines - 1) % len(TEXTS)]:
                num_wrong += 1
        sender.join()
    took_s = time.monotonic() - began_s
    num_missing = sent["lines"] - num_lines
    print(
        f"{sent['bytes'] / 1e6:.1f} MB, {num_lines} lines in {took_s:.1f} s: {sent['bytes'] / 1e6 / took_s:.3f} MB/s, "
        f"{num_lines / took_s:.0f} texts/s; the first line after {first_s:.2f} s; "
        f"wrong {num_wrong}, missing {num_missing}, errors {dict(errors)}"
    )
    return num_wrong + abs(num_missing) + errors.total()


def test_every_line_of_a_long_stream_is_answered(server, option, expected):
    num_bytes = round(option("megabytes", 100.0) * 1e6)
    processes = {name: one for name, one in server.processes().items() if name != "nerserve up"}

    with watched(processes) as memory:
        num_bad = stream(server.site, num_bytes, expected)

    for name, (first_mb, most_mb) in memory.growth().items():
        print(f"  {name:16} {first_mb:6.0f} MB before, {most_mb:6.0f} MB at most: {most_mb - first_mb:+6.1f} MB")
    assert not num_bad
