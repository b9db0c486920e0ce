"""The entities of a file of any length.

    python examples/stream.py [--url URL] < texts > answers.jsonl

Each line of the input is a text, each line of the output its answer. Sending and reading go on at the same time:
whoever sends everything first and then reads gets stuck, once the answers fill the buffers between the two. What has
no answer when the connection breaks, or the site refuses the stream for now, is sent again.
"""

from __future__ import annotations

import argparse
import contextlib
import http.client
import json
import os
import random
import re
import sys
import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlencode, urlsplit

WORTH_REPEATING = {408, 429, 502, 503, 504}
CODES_WORTH_REPEATING = {"request_timeout", "model_unavailable"}
"""Codes of an error without a line, which ends a stream."""

MAX_UNANSWERED = 2_000
"""Texts that are sent and kept until their answers come, at most."""


class LostError(Exception):
    """The stream ended and may be begun again after *pause_s* seconds."""

    def __init__(self, problem: str, pause_s: int = 0) -> None:
        super().__init__(problem)
        self.pause_s = pause_s


def stream(url: str, texts: Iterable[str], *, timeout_s: float = 60.0, **options: str) -> Iterator[dict[str, Any]]:
    """An answer for each of *texts*, in order, as soon as it is there; ``line`` is the number of its text, from 1.

    *texts* is read little faster than answers are taken. *options* are those of the query: labels, threshold, offsets,
    model. Where the site cannot be reached, or ends the stream in a way that may pass, it says so on stderr, once until
    the next answer, and goes on from the first text without one. Raises RuntimeError, which says what came, for
    anything else, and when *timeout_s* seconds bring no answer: what has been answered holds.
    """
    unanswered = Unanswered(texts)
    while unanswered.wait():
        began_s, longest_pause_s, is_waiting = time.monotonic(), 0.1, False
        while not unanswered.is_empty:
            try:
                for answer in exchange(url, unanswered, timeout_s, options):
                    began_s, longest_pause_s, is_waiting = time.monotonic(), 0.1, False
                    yield {**answer, "line": unanswered.answered()}
                break
            except LostError as lost:
                if unanswered.is_empty:
                    break
                pause_s = lost.pause_s + random.uniform(0, longest_pause_s)
                longest_pause_s = min(2 * longest_pause_s, 5)
                if time.monotonic() + pause_s >= began_s + timeout_s:
                    raise RuntimeError(f"{lost}; gave up after {timeout_s:g} s, at line {unanswered.first}") from lost
                if not is_waiting:
                    print(f"{lost}; trying again for up to {timeout_s:g} s", file=sys.stderr)
                    is_waiting = True
                time.sleep(pause_s)
    if unanswered.error is not None:
        raise unanswered.error


class Unanswered:
    """Texts read ahead and kept until they are answered; shared by a thread that reads, one that sends, and ours."""

    def __init__(self, texts: Iterable[str]) -> None:
        self.first = 1
        self.error: Exception | None = None
        self._kept: deque[str] = deque()
        self._is_complete = False
        self._changed = threading.Condition()
        threading.Thread(target=self._read, args=(texts,), daemon=True).start()

    def _read(self, texts: Iterable[str]) -> None:
        try:
            for text in texts:
                with self._changed:
                    self._changed.wait_for(lambda: len(self._kept) < MAX_UNANSWERED)
                    self._kept.append(text)
                    self._changed.notify_all()
        except Exception as error:  # noqa: BLE001  (raised again where the answers are taken)
            self.error = error
        with self._changed:
            self._is_complete = True
            self._changed.notify_all()

    @property
    def is_empty(self) -> bool:
        """Whether all that was read is answered."""
        return not self._kept

    def wait(self) -> bool:
        """Whether there is a text to send, once that is known."""
        with self._changed:
            self._changed.wait_for(lambda: self._kept or self._is_complete)
            return bool(self._kept)

    def answered(self) -> int:
        """Forget the first text; its number."""
        with self._changed:
            self._kept.popleft()
            self.first += 1
            self._changed.notify_all()
            return self.first - 1

    def to_send(self, is_over: threading.Event) -> Iterator[str]:
        """The texts from the first that is kept on, waiting for those to come, until the last or *is_over*."""
        number = self.first
        while True:
            with self._changed:
                while number == self.first + len(self._kept) and not self._is_complete and not is_over.is_set():
                    self._changed.wait(0.2)
                if is_over.is_set() or number == self.first + len(self._kept):
                    return
                text = self._kept[number - self.first]
            yield text
            number += 1


def exchange(url: str, unanswered: Unanswered, timeout_s: float, options: dict[str, str]) -> Iterator[dict[str, Any]]:
    """The answers of one stream to what is *unanswered*; raises LostError, or RuntimeError for what will not pass."""
    parts = urlsplit(url)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    if parts.scheme not in kinds:
        raise RuntimeError(f"Expected a URL that begins with http:// or https://, got {url}")
    connection = kinds[parts.scheme](parts.netloc, timeout=timeout_s)
    is_over = threading.Event()
    with contextlib.closing(connection):
        try:
            connection.connect()
            connection.auto_open = 0  # else sending would open it again after its end
            connection.putrequest("POST", f"{parts.path}/api/predict" + (f"?{urlencode(options)}" if options else ""))
            connection.putheader("Content-Type", "application/x-ndjson")
            connection.putheader("Transfer-Encoding", "chunked")
            connection.endheaders()
            threading.Thread(target=send, args=(connection, unanswered, is_over), daemon=True).start()
            response = connection.getresponse()
            if response.status != http.client.OK or "ndjson" not in response.headers.get("Content-Type", ""):
                raise refused(url, response)
            for line in response:
                answer = json.loads(line)
                if "line" not in answer:
                    problem = f"{answer['error']['code']}: {answer['error']['message']}"
                    kind = LostError if answer["error"]["code"] in CODES_WORTH_REPEATING else RuntimeError
                    raise kind(problem)
                yield answer
        except http.client.BadStatusLine as error:
            if isinstance(error, http.client.RemoteDisconnected):
                raise LostError(f"{url} hung up") from error
            problem = f"{url} does not speak HTTP: is it the gRPC port? Expected the site's, which nerserve up prints"
            raise RuntimeError(problem) from error
        except (OSError, http.client.HTTPException, ValueError) as error:
            raise LostError(f"{url} is not reachable, or hung up ({error or type(error).__name__})") from error
        finally:
            is_over.set()
    if not unanswered.is_empty:
        raise LostError(f"{url} ended the stream early, before the answer to line {unanswered.first}")


def send(connection: http.client.HTTPConnection, unanswered: Unanswered, is_over: threading.Event) -> None:
    """Send the request's body while somebody else reads the answer."""
    with contextlib.suppress(OSError, http.client.HTTPException):  # it has hung up; why, its answer says
        for text in unanswered.to_send(is_over):
            line = json.dumps({"text": text}).encode() + b"\n"
            connection.send(b"%x\r\n%s\r\n" % (len(line), line))
        if not is_over.is_set():
            connection.send(b"0\r\n\r\n")


def refused(url: str, response: http.client.HTTPResponse) -> Exception:
    """The error that says what *response* is instead of a stream's beginning."""
    body = response.read(65_536).decode(errors="replace")
    try:
        reply = json.loads(body)
    except ValueError:
        reply = None
    match reply:
        case {"error": {"code": code, "message": message}}:
            problem = f"{response.status} {code}: {message}"
        case {"code": int(), "type": str(kind)}:
            problem = f"{url} is a port of TorchServe ({kind}): expected the site's, which nerserve up prints"
        case _:
            words = " ".join(re.sub(r"<[^>]*>", " ", body).split())[:60]
            problem = f"{url} answered {response.status} {response.reason}, not in the site's form: {words}"
    if response.status not in WORTH_REPEATING:
        return RuntimeError(problem)
    retry_after = response.headers.get("Retry-After", "")
    return LostError(problem, int(retry_after) if retry_after.isdecimal() else 0)  # a proxy's may be a date


def main() -> int:
    """Print an answer, in JSON, for each line of the standard input."""
    parser = argparse.ArgumentParser(description="Finds the names in each line of the standard input.")
    parser.add_argument("--url", default=os.environ.get("NERSERVE_URL", "http://127.0.0.1:8000"))
    parser.add_argument("--labels", help="only these, joined by commas")
    parser.add_argument("--timeout", type=float, default=60.0, metavar="S", help="seconds without an answer (60)")
    arguments = parser.parse_args()
    options = {"labels": arguments.labels} if arguments.labels else {}
    texts = (line.rstrip("\n") for line in sys.stdin)
    num_errors = 0
    try:
        for answer in stream(arguments.url, texts, timeout_s=arguments.timeout, **options):
            num_errors += "error" in answer
            print(json.dumps(answer, ensure_ascii=False), flush=True)
    except (RuntimeError, UnicodeDecodeError) as error:
        print(error, file=sys.stderr)
        return 1
    if num_errors:
        print(f"{num_errors} lines have an error", file=sys.stderr)
    return 1 if num_errors else 0


if __name__ == "__main__":
    sys.exit(main())
