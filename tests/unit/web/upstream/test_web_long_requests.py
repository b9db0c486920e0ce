"""Long requests leave a worker to short ones, whichever process of the site they come to."""

import json
import subprocess
import sys
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from contract.errors import TooManyRequestsError
from contract.limits import LONG_CHARS
from tests.unit.web.conftest import MODEL
from web.metrics import MULTIPROC_DIR
from web.upstream.admission import Cancelled
from web.upstream.client import Caller
from web.upstream.long_requests import LongRequests

LONG = "x" * (LONG_CHARS + 1)


@pytest.fixture(params=["one process", "several processes"])
def places(request, monkeypatch, tmp_path):
    """``places(n)``: as if in another process each time, where there are several."""
    if request.param == "one process":
        monkeypatch.delenv(MULTIPROC_DIR, raising=False)
        made = {}
        return lambda count: made.setdefault(count, LongRequests("en", count))
    monkeypatch.setenv(MULTIPROC_DIR, str(tmp_path))
    return lambda count: LongRequests("en", count)


def soon(seconds=60.0):
    return time.monotonic() + seconds


def test_no_more_have_a_place_than_there_are(places):
    with places(2).place(soon()), places(2).place(soon()), pytest.raises(TimeoutError), places(2).place(soon(0.1)):
        pass
    with places(2).place(soon(0.1)):
        pass


def test_the_next_gets_the_place_that_is_given_back(places):
    with ThreadPoolExecutor() as pool:
        with places(1).place(soon()):
            next_one = pool.submit(lambda: places(1).place(soon()).__enter__())
            time.sleep(0.1)
            assert not next_one.done()
        next_one.result()


def test_a_stream_that_is_cancelled_waits_no_longer(places):
    cancelled = threading.Event()
    cancelled.set()

    with places(1).place(soon()), pytest.raises(Cancelled), places(1).place(float("inf"), cancelled):
        pass


def test_models_have_places_of_their_own(monkeypatch, tmp_path):
    monkeypatch.setenv(MULTIPROC_DIR, str(tmp_path))

    with LongRequests("en", 1).place(soon()), LongRequests("bio.v2", 1).place(soon(0.1)):
        pass


def test_a_process_that_is_killed_leaves_its_place(monkeypatch, tmp_path):
    code = (
        "from web.upstream.long_requests import LongRequests\n"
        "with LongRequests('en', 1).place(1e12): print(flush=True); input()"
    )
    environ = {MULTIPROC_DIR: str(tmp_path), "PYTHONPATH": "."}
    with subprocess.Popen([sys.executable, "-c", code], env=environ, stdin=-1, stdout=-1) as process:
        process.stdout.readline()
        monkeypatch.setenv(MULTIPROC_DIR, str(tmp_path))
        places = LongRequests("en", 1)
        with pytest.raises(TimeoutError), places.place(soon(0.1)):
            pass

        process.kill()

        with places.place(soon()):
            pass


@pytest.fixture
def held(raw_upstream, read_request):
    """An upstream that answers long requests only once it may: its URL, the lengths that came, and the event."""
    lengths, may_answer = [], threading.Event()

    def play(connection, _):
        while True:
            asked = json.loads(read_request(connection))
            texts = asked.get("texts", [asked.get("text")])
            lengths.append(sum(map(len, texts)))
            if lengths[-1] > LONG_CHARS:
                may_answer.wait(60)
            found = {"results": [{"entities": []}] * len(texts)} if "texts" in asked else {"entities": []}
            body = json.dumps({"model": MODEL, **found}).encode()
            connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%s" % (len(body), body))

    yield raw_upstream(play), lengths, may_answer
    may_answer.set()


def test_short_requests_pass_long_ones_of_which_one_is_asked_at_a_time(held, make_client, wait_until):
    url, lengths, may_answer = held
    client = make_client(url)
    calls = [
        lambda: client.tag_text("en", LONG),
        lambda: client.tag_texts("en", [LONG[:6000], LONG[:6000]]),
        lambda: client.tag_texts("en", [LONG], caller=Caller(cancelled=threading.Event())),
    ]

    with ThreadPoolExecutor() as pool:
        tasks = [pool.submit(call) for call in calls]
        wait_until(lambda: lengths)
        client.tag_text("en", LONG[:LONG_CHARS])
        client.tag_texts("en", ["Oslo"] * 10)
        assert len([length for length in lengths if length > LONG_CHARS]) == 1
        assert not any(task.done() for task in tasks)
        may_answer.set()
        for task in tasks:
            task.result()

    assert sorted(lengths) == [40, LONG_CHARS, len(LONG), len(LONG), 12_000]


def test_a_long_request_that_waits_too_long_is_refused(held, make_client, wait_until):
    url, lengths, may_answer = held
    client = make_client(url, queue_s=0.05)

    with ThreadPoolExecutor() as pool:
        first = pool.submit(client.tag_text, "en", LONG)
        wait_until(lambda: lengths)
        with pytest.raises(TooManyRequestsError, match="long"):
            client.tag_text("en", LONG)
        may_answer.set()

        assert first.result().entities == []
