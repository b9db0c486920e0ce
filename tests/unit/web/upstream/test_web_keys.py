"""TorchServe asks for a key, somebody else renews it in a file, and nobody who uses the site notices."""

import json
import logging
import os
import re
import threading
import time
from functools import partial

import pytest

from contract.errors import ModelUnavailableError
from web.config import WebConfig
from web.upstream.keys import KeyReader
from web.upstream.retries import RetryPolicy

OLD, NEW = "MlSL3NPq", "Hy1Pes8w"
NO_RETRIES = RetryPolicy(retry_ratio=0, retries_per_s=0, longest_reserve_s=0)
REFUSAL = json.dumps(  # as TorchServe 0.12 says it
    {
        "code": 400,
        "type": "InvalidKeyException",
        "message": "Token Authorization failed. Token either incorrect, expired, or not provided correctly",
    }
).encode()


def read_head(connection):
    """The head of one request; its body is read too."""
    data = b""
    while b"\r\n\r\n" not in data:
        chunk = connection.recv(65536)
        if not chunk:
            raise ConnectionResetError
        data += chunk
    head, _, body = data.partition(b"\r\n\r\n")
    while len(body) < int(re.search(rb"content-length: (\d+)", head, re.IGNORECASE)[1]):
        body += connection.recv(65536)
    return head.decode()


class Guarded:
    """A TorchServe that accepts one key; remembers which were sent."""

    def __init__(self, raw_upstream, good_reply):
        self.key = OLD
        self.sent = []
        self._good_reply = good_reply
        self.url = raw_upstream(self.play)

    def play(self, connection, _number):
        while True:
            found = re.search(r"^Authorization: Bearer (.*?)\r?$", read_head(connection), re.MULTILINE)
            self.sent.append(found and found[1])
            if self.sent[-1] != self.key:
                connection.sendall(b"HTTP/1.1 400 Bad Request\r\nContent-Length: %d\r\n\r\n" % len(REFUSAL) + REFUSAL)
                return
            connection.sendall(self._good_reply)


@pytest.fixture
def guarded(raw_upstream, good_reply):
    return Guarded(raw_upstream, good_reply)


@pytest.fixture
def path(tmp_path):
    """A file with the key that is good at first."""
    (tmp_path / "inference.key").write_text(f"{OLD}\n")
    return tmp_path / "inference.key"


@pytest.fixture
def publish(path, wait_until):
    """Put a key in the file, at once or a moment after something is so, as whoever renews it does."""
    threads = []

    def publish_now(key):
        fresh = path.with_suffix(".new")
        fresh.write_text(f"{key}\n")
        fresh.replace(path)

    def publish_late(key, condition, after_s):
        wait_until(condition)
        time.sleep(after_s)
        publish_now(key)

    def publish(key, once=None, *, after_s=0.2):
        if once is None:
            publish_now(key)
            return
        threads.append(threading.Thread(target=publish_late, args=(key, once, after_s)))
        threads[-1].start()

    yield publish
    for thread in threads:
        thread.join()


@pytest.fixture
def client_for(make_client, guarded):
    def make(path, patience_s=30.0, **settings):
        return make_client(guarded.url, key_reader=KeyReader(path, patience_s=patience_s), **settings)

    return make


def test_the_key_is_sent_with_every_request(guarded, client_for, path):
    client = client_for(path)

    client.tag_text("en", "x")
    client.probe("en", "x", timeout_s=30)

    assert guarded.sent == [OLD] * 2


def test_a_key_that_was_renewed_is_used_from_then_on(guarded, client_for, path, publish):
    client = client_for(path)
    client.tag_text("en", "x")

    guarded.key = NEW
    publish(NEW)
    client.tag_text("en", "x")

    assert guarded.sent == [OLD, NEW]


def test_a_key_that_is_published_after_the_old_one_ended_is_waited_for(guarded, client_for, path, publish):
    client = client_for(path)
    client.tag_text("en", "x")

    guarded.key = NEW
    publish(NEW, once=lambda: len(guarded.sent) == 2)
    client.tag_text("en", "x")

    assert guarded.sent == [OLD, OLD, NEW]


def test_a_change_that_the_clock_of_the_file_system_does_not_show_is_seen_after_a_refusal(guarded, client_for, path):
    client = client_for(path)
    client.tag_text("en", "x")
    before = path.stat()

    guarded.key = NEW
    path.write_text(f"{NEW}\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    client.tag_text("en", "x")

    assert guarded.sent[-1] == NEW


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (None, "No such file or directory"),
        ("", "it is empty"),
        ("\n", "it is empty"),
        (f"{OLD}\nX-Evil: 1\n", "expected nothing but a key in one line"),
        ('{"inference": 1}', "expected nothing but a key in one line"),
        ("ключ", "expected nothing but a key in one line"),
    ],
)
def test_a_file_without_a_key_is_waited_for(guarded, client_for, path, publish, caplog, *, content, problem):
    path.unlink()
    if content is not None:
        path.write_text(content)
    client = client_for(path)

    publish(OLD, once=lambda: caplog.records)
    client.tag_text("en", "x")

    assert guarded.sent == [OLD]
    (record,) = [record for record in caplog.records if record.levelno == logging.WARNING]
    assert record.getMessage().startswith(f"key file {path}: {problem}")


def test_a_key_that_nobody_renews_is_waited_for_once_only(guarded, client_for, path, caplog):
    guarded.key = NEW
    client = client_for(path, patience_s=0.5)
    started = time.monotonic()

    for _ in range(20):
        with pytest.raises(ModelUnavailableError, match=r"^The model server does not accept our key\.$"):
            client.tag_text("en", "x")

    assert guarded.sent == [OLD] * 20
    assert time.monotonic() - started < 20 * 0.5 / 2
    assert "model en: model_unavailable: The model server does not accept our key." in caplog.text


def test_patience_is_back_with_the_next_key(guarded, client_for, path, publish):
    guarded.key = NEW
    client = client_for(path, patience_s=2)
    with pytest.raises(ModelUnavailableError):
        client.tag_text("en", "x")
    publish(NEW)
    client.tag_text("en", "x")

    guarded.key = OLD
    publish(OLD, once=lambda: guarded.sent[-1] == NEW and len(guarded.sent) == 3)

    assert client.tag_text("en", "x").entities == []


def test_waiting_for_a_key_ends_by_the_deadline(guarded, client_for, path):
    guarded.key = NEW
    client = client_for(path, patience_s=60, timeout_s=1.5)
    started = time.monotonic()

    with pytest.raises(ModelUnavailableError):
        client.tag_text("en", "x")

    assert time.monotonic() - started < 30


def test_a_missing_key_is_unavailable_and_nothing_is_sent(guarded, client_for, tmp_path):
    client = client_for(tmp_path / "missing", patience_s=0.05)

    with pytest.raises(ModelUnavailableError, match=r"^There is no key for the model server yet\.$"):
        client.tag_text("en", "x")

    assert guarded.sent == []


def test_renewing_costs_no_retry(guarded, client_for, path, publish):
    client = client_for(path, policy=NO_RETRIES)

    for key in (NEW, OLD) * 10:
        guarded.key = key
        publish(key, once=partial(lambda num_sent: len(guarded.sent) > num_sent, len(guarded.sent)), after_s=0.01)
        client.tag_text("en", "x")

    assert guarded.sent[-1] == OLD


def test_a_probe_waits_for_no_key(guarded, client_for, path):
    guarded.key = NEW
    client = client_for(path, patience_s=60)
    started = time.monotonic()

    with pytest.raises(ModelUnavailableError, match="does not accept our key"):
        client.probe("en", "x", timeout_s=30)

    assert time.monotonic() - started < 25


def test_without_a_key_file_a_refusal_is_told_at_once(guarded, make_client):
    with pytest.raises(ModelUnavailableError, match="does not accept our key"):
        make_client(guarded.url).tag_text("en", "x")

    assert guarded.sent == [None]


def test_the_key_is_shown_nowhere(guarded, make_site, path, caplog):
    caplog.set_level(logging.DEBUG)
    guarded.key = NEW
    config = WebConfig(inference_url=guarded.url, inference_key_file=path, timeout_s=1.2)
    site = make_site(guarded.url, inference_key_file=path, timeout_s=1.2)

    replies = [
        site.post("/api/predict", json={"text": "x"}),
        site.post("/predict", data={"text": "x"}),
        site.get("/readyz"),
    ]

    assert [reply.status_code for reply in replies] == [503, 503, 503]
    assert guarded.sent == [OLD] * 3
    shown = "".join([*(reply.text for reply in replies), caplog.text, repr(config), repr(KeyReader(path))])
    assert "key file" in shown
    assert OLD not in shown


def test_the_site_sends_the_key_of_its_settings(guarded, make_site, path):
    site = make_site(guarded.url, inference_key_file=path)

    assert site.post("/api/predict", json={"text": "x"}).status_code == 200
    assert guarded.sent == [OLD]
