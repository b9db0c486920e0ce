"""``nerserve up`` with the real TorchServe, the real site and an archive whose handler is a few lines."""

import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import requests

from archive import mar

ROOT = Path(__file__).parents[2]
READY = "Press Ctrl-C to stop."
TEXT = "Barack Obama was born in Hawaii."

HANDLER = '''
import json
import os
import time


class TinyHandler:
    """Finds one name; fails to load while there is a file $TINY_BROKEN; sleeps when a text says so."""

    def initialize(self, context):
        if os.path.exists(os.environ["TINY_BROKEN"]):
            raise RuntimeError("the tiny model does not load")
        self.name = context.manifest["model"]["modelName"]

    def handle(self, rows, context):
        return [self.reply(i, json.loads(bytes(row["body"]))["text"], context) for i, row in enumerate(rows)]

    def reply(self, i, text, context):
        if text.startswith("sleep "):
            time.sleep(float(text.split()[1]))
        start = text.find("Barack Obama")
        entity = {"text": "Barack Obama", "label": "PER", "start": start, "end": start + 12, "score": 0.99}
        model = {"name": self.name, "version": "1.0", "digest": "sha256:" + "0" * 64}
        context.set_response_content_type(i, "application/json")
        return json.dumps({"model": model, "entities": [entity] if start >= 0 else []})
'''
MODEL_CONFIG = """
minWorkers: 1
maxWorkers: 1
batchSize: 4
maxBatchDelay: 2
responseTimeout: 20
maxRetryTimeoutInSec: 4
"""


def write_archive(path):
    """A whole archive at *path* with the tiny handler in it."""
    manifest = {
        "runtime": "python",
        "model": {
            "modelName": path.stem,
            "modelVersion": "1.0",
            "handler": mar.ENTRY_POINT,
            "configFile": mar.MODEL_CONFIG,
        },
    }
    files = {
        mar.MANIFEST: json.dumps(manifest),
        mar.ENTRY_POINT: HANDLER,
        mar.MODEL_CONFIG: MODEL_CONFIG,
        f"{mar.BUNDLE}/config.json": "{}",
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(mar.pack({name: content.encode() for name, content in files.items()}))


def free_ports(count):
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def is_there(process):
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


class Up:
    """One ``nerserve up`` in *directory*, with ports of its own and the project's config.properties."""

    def __init__(self, directory, state_dir=None, settings=""):
        self.directory = directory
        self.state_dir = state_dir or directory / "state"
        self.model_store = directory / "model-store"
        self.broken = directory / "broken"
        self.output = directory / "output"
        self.mark = str(uuid.uuid4())
        self.site_port, *ports = free_ports(4)
        self.inference, self.management, self.metrics = (f"http://127.0.0.1:{port}" for port in ports)
        self.site = f"http://127.0.0.1:{self.site_port}"
        config = (ROOT / "config.properties").read_text()
        for usual, port in zip((8080, 8081, 8082), ports, strict=True):
            config = config.replace(f"http://127.0.0.1:{usual}", f"http://127.0.0.1:{port}")
        (directory / "config.properties").write_text(config + settings)
        write_archive(self.model_store / "en.mar")

    def start(self, *arguments):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("NERSERVE_")}
        command = [sys.executable, "-m", "ops.cli", "up", *self.options(), *arguments]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment | {"TEST_MARK": self.mark, "TINY_BROKEN": str(self.broken)},
                stdout=output,
                stderr=subprocess.STDOUT,
            )
        return self

    def options(self):
        options = {
            "--config": self.directory / "config.properties",
            "--model-store": self.model_store,
            "--state-dir": self.state_dir,
            "--port": self.site_port,
        }
        return [str(word) for option in options.items() for word in option]

    def wait_until_ready(self):
        while READY not in self.text:
            assert self.process.poll() is None, self.text
            time.sleep(0.05)
        return self

    @property
    def text(self):
        return self.output.read_text()

    def child(self, word):
        """The child process with *word* in its command line, None while there is none."""
        for one in psutil.Process(self.process.pid).children():
            if is_there(one) and word in str(one.cmdline()):
                return one
        return None

    @property
    def jvm(self):
        return self.child("ModelServer")

    @property
    def gunicorn(self):
        return self.child("gunicorn")

    @property
    def worker(self):
        described = requests.get(f"{self.management}/models/en", timeout=5).json()
        return psutil.Process(described[0]["workers"][0]["pid"])

    def predict(self, text=TEXT, timeout_s=2):
        return requests.post(f"{self.inference}/predictions/en", json={"text": text}, timeout=timeout_s)

    def seconds_until(self, answers):
        """How long it takes until *answers* is true; a refused or silent connection counts as false."""
        began_s = time.monotonic()
        while True:
            with contextlib.suppress(requests.RequestException, psutil.Error):
                if answers():
                    return time.monotonic() - began_s
            assert time.monotonic() - began_s < 60, self.text
            time.sleep(0.1)

    def model_answers(self):
        return self.predict().status_code == 200

    def site_answers(self):
        return requests.get(f"{self.site}/readyz", timeout=5).status_code == 200

    def left_behind(self):
        """All processes that carry our mark: whatever this ``up`` started, directly or not."""
        left = []
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if one.environ().get("TEST_MARK") == self.mark and is_there(one):
                    left.append(one)
        return left

    def seconds_until_nothing_is_left(self):
        return self.seconds_until(lambda: not self.left_behind())

    def end(self):
        self.process.kill()
        self.process.wait()
        self.seconds_until_nothing_is_left()


@pytest.fixture
def new_up(tmp_path):
    """Makes an Up that is gone after the test."""
    made = []

    def make(**options):
        directory = tmp_path / str(len(made))
        directory.mkdir()
        made.append(Up(directory, **options))
        return made[-1]

    yield make
    for up in made:
        if hasattr(up, "process"):
            up.end()


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    """One ``nerserve up`` for the tests that hurt it and see it recover."""
    up = Up(tmp_path_factory.mktemp("running")).start()
    try:
        yield up.wait_until_ready()
    finally:
        up.end()


@pytest.fixture
def up(running):
    """The running one, whole again after whatever the test before did to it."""
    running.seconds_until(running.model_answers)
    running.seconds_until(running.site_answers)
    return running


def test_up_says_where_everything_is_once_everything_answers(up):
    printed = up.text

    assert f"Site        {up.site}\n" in printed
    assert f"Inference   {up.inference}/predictions/en\n" in printed
    assert f"Management  {up.management}/models\n" in printed
    assert f"Metrics     {up.metrics}/metrics\n" in printed
    assert up.predict().json()["entities"][0]["text"] == "Barack Obama"
    assert requests.get(f"{up.metrics}/metrics", timeout=5).text.startswith("# HELP")


def test_the_site_has_the_model_behind_it(up):
    reply = requests.post(f"{up.site}/api/predict", json={"text": TEXT}, timeout=5)

    assert reply.status_code == 200, reply.text
    assert reply.json()["entities"][0]["label"] == "PER"


def test_a_worker_does_not_see_the_checkout_or_secrets(new_up, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("SOME_API_KEY", "s3cret")
    up = new_up().start("--no-site").wait_until_ready()

    environment = up.worker.environ()

    assert str(ROOT) not in environment["PYTHONPATH"].split(":")
    assert "SOME_API_KEY" not in environment
    assert environment["OMP_NUM_THREADS"] == "1"


def test_no_text_of_a_request_is_in_any_log(up):
    secret = f"text-{uuid.uuid4()}"
    up.predict(secret)
    up.predict(f"sleep nonsense {secret}")  # the handler fails
    requests.post(f"{up.inference}/predictions/en", data=secret, timeout=5)  # not even JSON
    requests.post(f"{up.inference}/predictions/en", params={"data": secret}, timeout=5)
    requests.get(f"{up.inference}/predictions/en", params={"data": f"%zz{secret}"}, timeout=5)
    requests.post(f"{up.site}/api/predict", json={"text": secret}, timeout=5)
    requests.post(f"{up.site}/predict", data={"text": secret}, timeout=5)

    logs = {path.name: path.read_text() for path in (up.state_dir / "logs").iterdir()}

    assert "POST /predictions/en" in logs["access_log.log"]
    assert "Traceback" in logs["model_log.log"]
    assert [name for name, text in logs.items() if secret in text] == []


@pytest.mark.parametrize("killed", ["worker", "jvm", "gunicorn"])
def test_what_is_killed_comes_back(up, killed):
    process = getattr(up, killed)
    bound_s = {"worker": 10, "jvm": 40, "gunicorn": 10}[killed]

    process.kill()
    elapsed_s = up.seconds_until(lambda: getattr(up, killed) not in {None, process} and up.site_answers())

    assert elapsed_s < bound_s
    assert up.model_answers()
    assert up.process.poll() is None


def test_a_killed_jvm_leaves_no_worker_and_is_reported(up):
    worker, told = up.worker, up.text.count("TorchServe ended (killed by signal 9)")

    up.jvm.kill()
    up.seconds_until(lambda: not is_there(worker))
    up.seconds_until(up.model_answers)

    told_now = re.findall(
        r"^\d\d:\d\d:\d\d TorchServe ended \(killed by signal 9\); restarting it", up.text, re.MULTILINE
    )
    assert len(told_now) == told + 1


def test_a_hung_jvm_is_replaced(up):
    jvm = up.jvm
    time.sleep(1)  # the supervisor has heard of it too: one that never replied is given longer

    jvm.suspend()
    elapsed_s = up.seconds_until(up.model_answers)

    assert elapsed_s < 40
    assert not is_there(jvm)
    assert "TorchServe has not replied for" in up.text


def test_a_model_that_torchserve_has_given_up_is_revived(up):
    up.broken.touch()
    up.worker.kill()
    time.sleep(8)  # longer than maxRetryTimeoutInSec of the archive: TorchServe tries no more
    up.broken.unlink()

    elapsed_s = up.seconds_until(up.model_answers)

    assert elapsed_s < 40
    assert "model en has had no worker that is ready" in up.text


def test_nothing_is_registered_from_elsewhere(new_up):
    up = new_up().start("--no-site").wait_until_ready()
    mar_bytes = (up.model_store / "en.mar").read_bytes()
    outside = up.directory / "outside.mar"
    outside.write_bytes(mar_bytes)

    statuses = [
        requests.post(f"{up.management}/{what}", params={"url": url}, timeout=10).status_code
        for what in ("models", "workflows")
        for url in ("http://127.0.0.1:9/x.mar", "https://127.0.0.1:9/x.mar", outside.as_uri())
    ]

    assert [status for status in statuses if not 400 <= status < 500] == []
    assert [model["modelName"] for model in requests.get(f"{up.management}/models", timeout=5).json()["models"]] == [
        "en"
    ]
    assert sorted(path.name for path in up.model_store.iterdir()) == ["en.mar"]


def test_stopping_answers_what_was_accepted_and_leaves_nothing(new_up, tmp_path):
    # Beside the other one, and with a path too long for a socket.
    up = new_up(state_dir=tmp_path / ("long-" * 20)).start().wait_until_ready()

    with ThreadPoolExecutor() as pool:
        accepted = pool.submit(requests.post, f"{up.site}/api/predict", json={"text": "sleep 3"}, timeout=30)
        direct = pool.submit(up.predict, "sleep 3", timeout_s=30)
        time.sleep(1)
        up.process.send_signal(signal.SIGTERM)
        status = up.process.wait(timeout=40)

    assert accepted.result().status_code == 200
    assert direct.result().status_code == 200
    assert status == 0
    assert up.left_behind() == []
    assert sorted(path.name for path in up.state_dir.iterdir()) == ["lock", "logs"]
    assert up.text.endswith("Stopped.\n")


def test_a_second_signal_hurries(new_up):
    up = new_up().start().wait_until_ready()

    with ThreadPoolExecutor() as pool:
        pool.submit(requests.post, f"{up.site}/api/predict", json={"text": "sleep 9"}, timeout=30)
        time.sleep(1)
        up.process.send_signal(signal.SIGINT)
        time.sleep(1)
        was_waiting = up.process.poll() is None
        up.process.send_signal(signal.SIGINT)
        status = up.process.wait(timeout=5)

    assert was_waiting
    assert status == 0
    assert up.left_behind() == []


def test_kill_9_of_up_itself_leaves_nothing(new_up):
    up = new_up().start().wait_until_ready()
    up.worker.suspend()  # this one would never notice by itself

    up.process.kill()

    assert up.seconds_until_nothing_is_left() < 10


def test_kill_9_while_a_worker_starts_leaves_nothing(new_up):
    up = new_up().start("--no-site")
    up.seconds_until(lambda: any("model_service_worker" in str(one.cmdline()) for one in up.left_behind()))

    up.process.kill()

    assert up.seconds_until_nothing_is_left() < 10


def test_sigterm_while_it_starts_stops_it(new_up):
    up = new_up().start()
    up.seconds_until(lambda: "Waiting for" in up.text)

    up.process.send_signal(signal.SIGTERM)
    status = up.process.wait(timeout=20)

    assert status == 128 + signal.SIGTERM
    assert up.left_behind() == []
    assert up.text.endswith("nerserve: stopped by signal 15 before everything was up\n")


def test_a_model_that_does_not_load_is_told_with_its_traceback(new_up):
    up = new_up()
    up.broken.touch()

    began_s = time.monotonic()
    status = up.start().process.wait(timeout=60)

    assert status == 1
    assert time.monotonic() - began_s < 40  # not the two minutes that loading may take
    assert "RuntimeError: the tiny model does not load" in up.text
    assert up.text.endswith("nerserve: a model does not load\n")
    assert up.left_behind() == []


def test_a_port_that_is_taken_is_named(new_up):
    up = new_up()
    with socket.create_server(("127.0.0.1", up.site_port)):
        status = up.start().process.wait(timeout=20)

    assert status == 3
    assert len(up.text.splitlines()) == 1
    assert f"port {up.site_port} on 127.0.0.1 is taken by " in up.text
    assert f"(pid {os.getpid()})" in up.text


def test_a_state_directory_serves_one_at_a_time(up, new_up):
    second = new_up(state_dir=up.state_dir)

    status = second.start().process.wait(timeout=20)

    assert status == 3
    assert len(second.text.splitlines()) == 1
    assert f"another nerserve runs with the state directory {up.state_dir}" in second.text


@pytest.mark.parametrize("damage", ["missing", "not a zip", "cut off"])
def test_a_bad_archive_is_named(new_up, damage):
    up = new_up()
    path = up.model_store / "en.mar"
    data = path.read_bytes()
    path.unlink()
    if damage != "missing":
        path.write_bytes(b"hello" if damage == "not a zip" else data[: len(data) // 2])

    status = up.start().process.wait(timeout=20)

    assert status == 5
    assert len(up.text.splitlines()) == 1
    assert str(path) in up.text
