"""Sends requests to the site until it refuses connections, and counts the outcomes, as JSON lines on stdout.

``python load.py ADDRESS PORT`` runs in a container on the site's own network, where the site itself refuses a
connection: through a published port, Docker's proxy accepts connections that it cannot forward.

Every request has its own connection.  Its outcome is *answered* (the whole right reply), *turned_away* (429 with
Retry-After: the site's queue is full), *refused* (no connection) or *lost*: connected, and none of these came back.
"""

from __future__ import annotations

import collections
import http.client
import json
import sys
import threading
import time
from typing import Final

NUM_CLIENTS: Final = 200
"""More than the site lets wait (72 in each of two processes), without pauses: at the stop some requests are in its
queue, and some connections wait to be accepted."""

TIMEOUT_S: Final = 30.0
LIMIT_S: Final = 120.0
ENOUGH_REFUSALS: Final = 3

SENTENCE: Final = "Barack Obama was born in Hawaii and worked for the United Nations in New York. "
BODIES: Final = [json.dumps({"text": SENTENCE * num}).encode() for num in (1, 1, 1, 50)]


def ask(address: str, port: int, body: bytes) -> tuple[str, bytes]:
    """The outcome of one request, and the reply's body or the error."""
    connection = http.client.HTTPConnection(address, port, timeout=TIMEOUT_S)
    try:
        connection.connect()
    except OSError as error:
        return "refused", repr(error).encode()
    try:
        connection.request("POST", "/api/predict", body, {"Content-Type": "application/json", "Connection": "close"})
        reply = connection.getresponse()
        content = reply.read()
    except (OSError, http.client.HTTPException) as error:
        return "lost", repr(error).encode()
    finally:
        connection.close()
    if reply.status == 429 and reply.getheader("Retry-After"):
        return "turned_away", content
    return ("answered" if reply.status == 200 else "lost"), content


def main(address: str, port: int) -> None:
    """Send requests until the site is gone."""
    expected = []
    for body in BODIES:
        outcome, content = ask(address, port, body)
        if outcome != "answered":
            raise SystemExit(f"no answer before the stop: {outcome} {content!r}")
        expected.append(content)
    counts = collections.Counter(answered=0, turned_away=0, refused=0, lost=0)
    losses: list[str] = []
    began_s = time.monotonic()

    def client(number: int) -> None:
        refusals = 0
        while refusals < ENOUGH_REFUSALS and time.monotonic() < began_s + LIMIT_S:
            which = (number + sum(counts.values())) % len(BODIES)
            outcome, content = ask(address, port, BODIES[which])
            if outcome == "answered" and content != expected[which]:
                outcome = "lost"
            counts[outcome] += 1
            refusals = refusals + 1 if outcome == "refused" else 0
            if outcome == "lost":
                losses.append(f"after {time.monotonic() - began_s:.2f} s: {content[:200].decode(errors='replace')}")

    threads = [threading.Thread(target=client, args=(number,)) for number in range(NUM_CLIENTS)]
    sys.stdout.write(json.dumps({"event": "started"}) + "\n")
    sys.stdout.flush()
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    sys.stdout.write(json.dumps({"event": "ended", "counts": counts, "losses": losses[:20]}) + "\n")


main(sys.argv[1], int(sys.argv[2]))
