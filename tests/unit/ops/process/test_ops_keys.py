"""Keys, their files and their renewal, against a stub that does with keys what TorchServe does."""

import http.server
import json
import logging
import threading
import time
from datetime import UTC, datetime
from functools import partial
from urllib.parse import parse_qs, urlsplit

import pytest

from contract.entities import CANARY_TEXT
from ops.errors import OpsError
from ops.process.keys import Key, KeyRing, PublishedKey, due_at_s, read_keys
from ops.torchserve_api.management import ManagementClient
from ops.torchserve_api.predictions import PredictionClient, Sign

API_KEY = "api-key1"
LIFE_S = 60.0
DESCRIBED = {
    "modelName": "en", "modelVersion": "1.0", "minWorkers": 1, "maxWorkers": 1, "workers": [],
    "jobQueueStatus": {"pendingRequests": 0}, "responseTimeout": 20, "batchSize": 1, "modelUrl": "en.mar",
}  # fmt: skip


class StubTorchServe:
    """Asks for keys, renews them and writes them to *key_file*; ``fails`` makes it refuse to renew."""

    def __init__(self, key_file):
        self.key_file = key_file
        self.fails = False
        self.num_renewals = {"inference": 0, "management": 0}
        self.num_refused = self.num_failed = 0
        self.expires_at_s = dict.fromkeys(self.num_renewals, time.time() + LIFE_S)
        self.restart(1)
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), self.handler())
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, kwargs={"poll_interval": 0.01}).start()

    def restart(self, generation):
        self.keys = {kind: f"{kind}-{generation}.0" for kind in ("inference", "management")}
        self.write()

    def write(self):
        content = {kind: {"key": key, "expiration time": self.expires(kind)} for kind, key in self.keys.items()}
        self.key_file.write_text(json.dumps(content | {"API": {"key": API_KEY}}))

    def expires(self, kind):
        return datetime.fromtimestamp(self.expires_at_s[kind], UTC).strftime("%Y-%m-%dT%H:%M:%S.%f000Z")

    def renew(self, kind):
        self.num_renewals[kind] += 1
        self.expires_at_s[kind] = time.time() + LIFE_S
        self.keys[kind] = f"{self.keys[kind].split('.')[0]}.{self.num_renewals[kind]}"
        self.write()

    def handler(stub):  # noqa: N805
        class Handler(http.server.BaseHTTPRequestHandler):
            def do_GET(self):
                path, key = urlsplit(self.path), self.headers.get("Authorization", "").removeprefix("Bearer ")
                if path.path == "/token":
                    if key != API_KEY or stub.fails:
                        stub.num_failed += 1
                        return self.reply(400, {"type": "InvalidKeyException"})
                    stub.renew(parse_qs(path.query)["type"][0])
                    return self.reply(200, None)
                wanted = "inference" if path.path.startswith("/predictions/") else "management"
                if key != stub.keys[wanted]:
                    stub.num_refused += 1
                    return self.reply(400, {"type": "InvalidKeyException"})
                return self.reply(200, {"entities": []} if wanted == "inference" else [DESCRIBED])

            def do_POST(self):
                self.rfile.read(int(self.headers["Content-Length"]))
                self.do_GET()

            def reply(self, status, content):
                body = b"\n" if content is None else json.dumps(content).encode()
                self.send_response(status)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *arguments):
                pass

        return Handler

    def close(self):
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def torchserve(tmp_path):
    stub = StubTorchServe(tmp_path / "key_file.json")
    yield stub
    stub.close()


@pytest.fixture
def files(tmp_path):
    (tmp_path / "keys").mkdir()
    return [
        PublishedKey(tmp_path / "keys" / "inference.key", "inference"),
        PublishedKey(tmp_path / "keys" / "management.key", "management"),
        PublishedKey(tmp_path / "shared.key", "inference", mode=0o640),
    ]


@pytest.fixture
def new_ring(torchserve, files):
    def new_ring(renew_every_s=30.0):
        return KeyRing(
            key_file=torchserve.key_file, management_url=torchserve.url, ca=None, published=files,
            life_s=LIFE_S, renew_every_s=renew_every_s,
        )  # fmt: skip

    return new_ring


def wait_until(condition):
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_a_key_file_is_read_as_torchserve_writes_it(tmp_path):
    # From a run of 0.12.0, made up keys.
    (tmp_path / "key_file.json").write_text("""{
  "management": {
    "key": "W8tdPp7V",
    "expiration time": "2026-11-22T14:01:50.073406393Z"
  },
  "inference": {
    "key": "0qlHmN-T",
    "expiration time": "2026-11-22T14:01:51Z"
  },
  "API": {
    "key": "TVfnMc_L"
  }
}""")

    keys = read_keys(tmp_path / "key_file.json")

    assert keys["management"] == Key("W8tdPp7V", pytest.approx(1795356110.073406))
    assert keys["inference"] == Key("0qlHmN-T", 1795356111.0)
    assert keys["API"] == Key("TVfnMc_L")
    assert keys["API"].expires_at_s == float("inf")


@pytest.mark.parametrize(
    "content",
    ["", '{\n  "management": {\n    "key": "W8', "[]", "null", '{"inference": {}}', b"\xff\xfe",
     '{"inference": {"key": ""}, "management": {"key": "a"}, "API": {"key": "b"}}',
     '{"inference": {"key": "a", "expiration time": "soon"}, "management": {"key": "a"}, "API": {"key": "b"}}'],
)  # fmt: skip
def test_a_key_file_that_is_not_whole_holds_no_keys(tmp_path, content):
    (tmp_path / "key_file.json").write_bytes(content if isinstance(content, bytes) else content.encode())

    assert read_keys(tmp_path / "key_file.json") is None


def test_no_key_file_holds_no_keys(tmp_path):
    assert read_keys(tmp_path / "key_file.json") is None


def test_a_key_is_not_shown():
    keys = dict.fromkeys(("inference", "management", "API"), Key("s3cret"))

    assert "s3cret" not in f"{keys} {keys!r} {keys['API']}"


@pytest.mark.parametrize(("renew_every_s", "due_s"), [(1.0, 941.0), (36.0, 976.0), (59.0, 999.0)])
def test_a_key_is_due_so_many_seconds_into_its_life(renew_every_s, due_s):
    assert due_at_s(Key("k", expires_at_s=1000.0), 60.0, renew_every_s) == due_s


def test_keys_are_published_for_their_readers_and_for_a_while(new_ring, files):
    ring = new_ring()

    with ring.kept():
        wait_until(lambda: ring.is_published)
        found = {file.path.name: (file.path.read_text(), file.path.stat().st_mode & 0o777) for file in files}

    assert found == {
        "inference.key": ("inference-1.0", 0o600),
        "management.key": ("management-1.0", 0o600),
        "shared.key": ("inference-1.0", 0o640),
    }
    assert list(files[0].path.parent.iterdir()) == []
    assert not files[2].path.exists()


def test_nothing_is_published_before_torchserve_has_keys(torchserve, new_ring, files):
    torchserve.key_file.write_text("")
    files[0].path.write_text("of yesterday")
    ring = new_ring()

    with ring.kept():
        assert ring.current("inference") is None
        assert not ring.is_published
        assert not files[0].path.exists()
        torchserve.write()
        wait_until(lambda: ring.is_published)

        assert ring.current("inference") == "inference-1.0"


def test_keys_are_renewed_when_they_are_due(torchserve, new_ring, files):
    ring = new_ring(renew_every_s=0.3)

    with ring.kept():
        wait_until(lambda: min(torchserve.num_renewals.values()) >= 3)
        torchserve.fails = True  # so that they stay
        wait_until(lambda: files[0].path.read_text() == ring.current("inference") == torchserve.keys["inference"])
        wait_until(lambda: files[1].path.read_text() == ring.current("management") == torchserve.keys["management"])


def test_keys_that_are_not_due_are_left_alone(torchserve, new_ring):
    ring = new_ring(renew_every_s=30.0)

    with ring.kept():
        time.sleep(0.5)

    assert torchserve.num_renewals == {"inference": 0, "management": 0}


@pytest.mark.parametrize("change", ["restart", "renewal by hand"])
def test_keys_that_others_change_are_taken_over(torchserve, new_ring, files, change):
    ring = new_ring()

    with ring.kept():
        wait_until(lambda: ring.is_published)
        torchserve.key_file.write_text("")  # the first thing that a restart does
        assert ring.current("inference") == "inference-1.0"
        if change == "restart":
            torchserve.restart(2)
        else:
            torchserve.renew("inference")

        assert ring.current("inference") == torchserve.keys["inference"]
        wait_until(lambda: files[2].path.read_text() == torchserve.keys["inference"])


def test_a_published_file_that_somebody_removed_is_written_again(new_ring, files):
    ring = new_ring()

    with ring.kept():
        wait_until(lambda: ring.is_published)
        files[2].path.unlink()

        wait_until(files[2].path.exists)


def test_a_renewal_that_fails_is_tried_again_and_told_once_the_end_is_near(torchserve, new_ring, caplog):
    torchserve.fails = True
    torchserve.expires_at_s = dict.fromkeys(torchserve.expires_at_s, time.time() + 5.0)  # of sixty seconds
    torchserve.write()
    ring = new_ring()

    with caplog.at_level(logging.INFO), ring.kept():
        wait_until(lambda: torchserve.num_failed >= 4)  # each key twice
        torchserve.fails = False
        wait_until(lambda: min(torchserve.num_renewals.values()) == 1)
        wait_until(lambda: ring.current("inference") == "inference-1.1")

    told = [record.getMessage() for record in caplog.records if record.name == "ops.process.keys"]
    assert sorted(line.split(" expires in")[0] for line in told) == ["the inference key", "the management key"]
    assert [line for line in told if not line.endswith("could not be renewed: status 400")] == []
    assert API_KEY not in caplog.text
    assert "inference-1" not in caplog.text


def test_a_file_that_cannot_be_written_is_an_error_at_once(torchserve, tmp_path):
    ring = KeyRing(
        key_file=torchserve.key_file, management_url=torchserve.url, ca=None, life_s=LIFE_S, renew_every_s=30.0,
        published=[PublishedKey(tmp_path / "nowhere" / "inference.key", "inference")],
    )  # fmt: skip

    with pytest.raises(OpsError, match=r"no key can be written to .*nowhere/inference\.key: No such file"), ring.kept():
        pass


def test_a_reader_never_sees_a_piece_of_a_key(tmp_path):
    file = PublishedKey(tmp_path / "inference.key", "inference")
    keys = [Key("a" * 8), Key("b" * 8)]
    file.write(keys[0])
    seen = set()
    done = threading.Event()

    def read():
        while not done.is_set():
            seen.add(file.path.read_text())

    reader = threading.Thread(target=read)
    reader.start()
    for i in range(500):
        file.write(keys[i % 2])
    done.set()
    reader.join()

    assert seen <= {"a" * 8, "b" * 8}


class StaleOnce:
    """Gives a key that has just been replaced, then the one that replaced it."""

    def __init__(self, *keys):
        self.keys = list(keys)

    def __call__(self):
        return self.keys.pop(0) if len(self.keys) > 1 else self.keys[0]


@pytest.mark.parametrize(
    ("keys", "sign", "num_refused"),
    [
        (["inference-1.0"], Sign.ANSWER, 0),
        (["old", "inference-1.0"], Sign.ANSWER, 1),
        (["old"], Sign.REFUSAL, 1),
        (["old", "older"], Sign.REFUSAL, 2),
        ([None], Sign.REFUSAL, 1),
    ],
)
def test_a_canary_with_a_key_of_yesterday_is_sent_once_more(torchserve, keys, sign, num_refused):
    assert PredictionClient(torchserve.url, StaleOnce(*keys)).ask(CANARY_TEXT, "en").sign is sign
    assert torchserve.num_refused == num_refused


def test_renewals_are_no_refusals_for_whoever_asks_the_ring(torchserve, new_ring):
    ring = new_ring(renew_every_s=0.5)
    predictions = PredictionClient(torchserve.url, partial(ring.current, "inference"))
    client = ManagementClient(torchserve.url, timeout_s=30, key=partial(ring.current, "management"))
    signs = set()

    with ring.kept():
        while min(torchserve.num_renewals.values()) < 3:
            signs.add(predictions.ask(CANARY_TEXT, "en", timeout_s=30).sign)
            client.describe("en")

    assert signs == {Sign.ANSWER}
