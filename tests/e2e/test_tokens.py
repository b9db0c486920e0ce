"""Token mode with the real TorchServe and the real site: who is let in, and that a renewal is felt by nobody."""

import contextlib
import json
import signal
import stat
import subprocess
import sys
import threading
import time
from collections import Counter

import grpc
import psutil
import pytest
import requests

from tests.e2e.instance import ANSWER_S, PATIENCE_S, TEXT, Up, grpc_ping

SETTINGS = "\ntoken_expiration_min=1\n"
KINDS = ("management", "inference", "API")


class TokenUp(Up):
    """An Up that asks for keys, replaces them every second, and remembers every key it ever saw."""

    def __init__(self, directory):
        super().__init__(directory, settings=SETTINGS)
        self.shared_key = directory / "shared.key"
        self.seen_keys = set()
        self.num_renewals = Counter()

    def start(self, *arguments):
        return super().start("--renew-keys-every", "1", "--inference-key-file", str(self.shared_key), *arguments)

    @property
    def keys(self):
        """TorchServe's own file, as soon as it is there and whole."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(OSError, ValueError, KeyError):
                content = json.loads((self.state_dir / "key_file.json").read_text())
                keys = {kind: content[kind]["key"] for kind in KINDS}
                self.num_renewals["inference"] += keys["inference"] not in self.seen_keys
                self.num_renewals["management"] += keys["management"] not in self.seen_keys
                self.seen_keys |= set(keys.values())
                return keys
            assert time.monotonic() < deadline_s, self.text
            time.sleep(0.01)

    def ask(self, method, url, kind=None, timeout_s=ANSWER_S, **options):
        """A reply to a request with a key of that *kind*; with the next one if it was replaced on the way."""
        for _ in range(30):
            key = self.keys.get(kind, kind)
            headers = {} if key is None else {"Authorization": f"Bearer {key}"}
            reply = requests.request(method, url, headers=headers, timeout=timeout_s, **options)
            if reply.status_code != 400 or key == self.keys.get(kind, kind):
                break
        return reply

    def predict(self, text=TEXT, timeout_s=ANSWER_S):
        url = f"{self.inference}/predictions/en"
        return self.ask("POST", url, "inference", timeout_s, json={"text": text})

    @property
    def worker(self):
        described = self.ask("GET", f"{self.management}/models/en", "management").json()
        return psutil.Process(described[0]["workers"][0]["pid"])

    def look_until(self, condition):
        deadline_s = time.monotonic() + PATIENCE_S
        while not condition():
            assert time.monotonic() < deadline_s, self.text
            assert self.process.poll() is None, self.text
            _ = self.keys
            time.sleep(0.02)


@pytest.fixture(scope="module")
def up(tmp_path_factory):
    """One that is up, with its site."""
    up = TokenUp(tmp_path_factory.mktemp("tokens")).start()
    try:
        yield up.wait_until_ready()
    finally:
        up.end()


class Stream:
    """Requests to the site, one after another in each of a few threads, as long as it is open."""

    def __init__(self, url, num_threads=4):
        self.statuses = Counter()
        self.done = threading.Event()
        self.threads = [threading.Thread(target=self.ask, args=(url,)) for _ in range(num_threads)]

    def ask(self, url):
        while not self.done.is_set():
            # A new connection each time: a kept one may be closed, after 5 idle seconds, just as it is used again.
            reply = requests.post(f"{url}/api/predict", json={"text": TEXT}, timeout=ANSWER_S)
            found = [entity["text"] for entity in reply.json().get("entities", [])]
            self.statuses[reply.status_code, *found] += 1

    def __enter__(self):
        for thread in self.threads:
            thread.start()
        return self

    def __exit__(self, *error):
        self.done.set()
        for thread in self.threads:
            thread.join()


def test_no_request_fails_while_keys_are_renewed(up):
    _ = up.keys
    before = Counter(up.num_renewals)

    with Stream(up.site) as stream:
        up.look_until(lambda: all(up.num_renewals[kind] - before[kind] >= 5 for kind in ("inference", "management")))
        up.look_until(lambda: stream.statuses.total() > 100)

    assert set(stream.statuses) == {(200, "Barack Obama")}, stream.statuses


def test_a_restart_of_torchserve_brings_new_keys_and_everybody_gets_them(up):
    api_key = up.keys["API"]

    up.jvm.kill()
    up.wait_until(lambda: up.keys["API"] != api_key and up.model_answers() and up.site_answers())

    assert "TorchServe ended (killed by signal 9); restarting it" in up.text
    told = [line for line in up.text.splitlines() if "ready" not in line.lower() and line[:2].isdigit()]
    assert len(told) == 1, up.text  # nothing about keys, and no other restart


@pytest.mark.parametrize(
    ("method", "path", "allowed"),
    [
        ("POST", "{inference}/predictions/en", "inference"),
        ("GET", "{inference}/ping", "inference"),
        ("GET", "{management}/models", "management"),
        ("GET", "{management}/models/en", "management"),
        ("PUT", "{management}/models/en", "management"),
        ("GET", "{management}/token?type=inference", "API"),
        ("GET", "{management}/token?type=management", "API"),
    ],
)
def test_only_the_right_key_opens_a_door(up, method, path, allowed):
    url = path.format(inference=up.inference, management=up.management)
    body = {"json": {"text": TEXT}} if method == "POST" else {}

    replies = {kind: up.ask(method, url, kind, **body) for kind in [*KINDS, "wrong-key", "", None]}

    assert replies.pop(allowed).ok
    assert {kind: (reply.status_code, reply.json()["type"]) for kind, reply in replies.items()} == dict.fromkeys(
        replies, (400, "InvalidKeyException")
    )


@pytest.mark.parametrize(("kind", "url"), [("inference", "{inference}/ping"), ("management", "{management}/models")])
def test_nerserve_key_prints_a_key_that_opens(up, kind, url):
    command = [sys.executable, "-m", "nerserve.cli", "key", kind, "--state-dir", str(up.state_dir)]
    url = url.format(inference=up.inference, management=up.management)

    def opens():
        printed = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        return requests.get(url, headers={"Authorization": f"Bearer {printed.strip()}"}, timeout=ANSWER_S).ok

    up.look_until(opens)  # not renewed on the way


def test_grpc_asks_for_the_inference_key(up):
    with grpc.insecure_channel(up.grpc) as channel:
        statuses = {kind: grpc_ping(channel, up.keys.get(kind, kind)) for kind in [*KINDS, "wrong-key", "", None]}
        up.look_until(lambda: grpc_ping(channel, up.keys["inference"]) is grpc.StatusCode.OK)  # not renewed on the way

    del statuses["inference"]
    assert statuses == dict.fromkeys(statuses, grpc.StatusCode.PERMISSION_DENIED)


def test_metrics_ask_for_no_key(up):
    assert requests.get(f"{up.metrics}/metrics", timeout=ANSWER_S).ok


def test_each_key_is_where_its_reader_looks_and_for_nobody_else(up):
    files = {
        up.state_dir / "key_file.json": 0o600,
        up.state_dir / "keys" / "inference.key": 0o600,
        up.state_dir / "keys" / "management.key": 0o600,
        up.shared_key: 0o640,
    }
    site = up.gunicorn.environ()

    assert {path: stat.S_IMODE(path.stat().st_mode) for path in files} == files
    assert stat.S_IMODE(up.state_dir.stat().st_mode) == 0o700
    assert stat.S_IMODE((up.state_dir / "keys").stat().st_mode) == 0o700
    up.look_until(lambda: up.shared_key.read_text() == up.keys["inference"])
    up.look_until(lambda: (up.state_dir / "keys" / "management.key").read_text() == up.keys["management"])
    assert {name: value for name, value in site.items() if "KEY" in name} == {
        "NERSERVE_INFERENCE_KEY_FILE": str(up.state_dir / "keys" / "inference.key")
    }
    assert [name for name in up.worker.environ() if "KEY" in name] == []


def test_no_key_is_in_a_log_a_command_line_or_an_environment(up):
    up.look_until(lambda: len(up.seen_keys) >= 7)
    requests.post(f"{up.site}/api/predict", json={"text": TEXT}, timeout=ANSWER_S)
    keys = set(up.seen_keys)

    logs = [path.read_text() for path in (up.state_dir / "logs").iterdir()]
    processes = []
    for one in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            processes.append(f"{one.cmdline()} {one.environ()}")

    assert any("GET /token" in log for log in logs)
    assert any("ModelServer" in process for process in processes)
    assert [key for key in keys for text in [up.text, *logs, *processes] if key in text] == []


def test_kill_9_of_up_leaves_no_key(tmp_path):
    up = TokenUp(tmp_path).start("--no-site").wait_until_ready()

    up.process.kill()
    up.process.wait()
    up.wait_until_nothing_is_left()

    assert [path.name for path in up.state_dir.rglob("*key*") if path.is_file()] == []
    assert not up.shared_key.exists()


def test_stopping_answers_what_was_accepted_and_leaves_no_key(up):  # the last one: it stops the one that is up
    accepted = []
    asking = threading.Thread(
        target=lambda: accepted.append(
            requests.post(f"{up.site}/api/predict", json={"text": "sleep 3"}, timeout=ANSWER_S)
        )
    )
    asking.start()
    up.wait_until(up.asleep.exists)
    keys = up.keys

    up.process.send_signal(signal.SIGTERM)
    status = up.process.wait(timeout=PATIENCE_S)
    asking.join()

    assert status == 0
    assert accepted[0].status_code == 200
    assert up.left_behind() == []
    assert {path.name for path in up.state_dir.iterdir() if not path.match("classes-*.jsa")} == {"lock", "logs"}
    assert not up.shared_key.exists()
    assert [key for key in keys.values() if key in up.text] == []
