"""One ``nerserve up`` of a test's own: with free ports, the project's config.properties and a tiny handler."""

import contextlib
import json
import os
import random
import re
import shutil
import socket
import subprocess
import sys
import time
import uuid
from pathlib import Path
from typing import NamedTuple

import grpc
import psutil
import requests

from archive import mar

ROOT = Path(__file__).parents[2]
READY = "Press Ctrl-C to stop."
TEXT = "Barack Obama was born in Hawaii."

# Limits for what hangs, on a busy machine; how long things take is measured elsewhere.
START_TIMEOUT_S = 240
SITE_TIMEOUT_S = 100
PATIENCE_S = 180
ANSWER_S = 60

HANDLER = '''
import json
import os
import time


class TinyHandler:
    """Finds one name; fails to load while there is a file $TINY_BROKEN.

    Sleeps when a text says so; then there is a file $TINY_ASLEEP.
    """

    def initialize(self, context):
        if os.path.exists(os.environ["TINY_BROKEN"]):
            raise RuntimeError("the tiny model does not load")
        self.name = context.manifest["model"]["modelName"]

    def handle(self, rows, context):
        return [self.reply(i, json.loads(bytes(row["body"]))["text"], context) for i, row in enumerate(rows)]

    def reply(self, i, text, context):
        if text.startswith("sleep "):
            seconds = float(text.split()[1])
            open(os.environ["TINY_ASLEEP"], "w").close()
            time.sleep(seconds)
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
"""
QUICKLY_GIVEN_UP = f"{MODEL_CONFIG}maxRetryTimeoutInSec: 4\n"


def write_archive(path, *, name, version="1.0", handler=HANDLER, model_config=MODEL_CONFIG, bundle_config="{}"):
    """A whole archive at *path* with the source of a *handler* in it."""
    model = {"modelName": name, "modelVersion": version, "handler": mar.ENTRY_POINT, "configFile": mar.MODEL_CONFIG}
    files = {
        mar.MANIFEST: json.dumps({"runtime": "python", "model": model}),
        mar.ENTRY_POINT: handler,
        mar.MODEL_CONFIG: model_config,
        f"{mar.BUNDLE}/config.json": bundle_config,
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(mar.pack({name: content.encode() for name, content in files.items()}))


def free_ports(count):
    """Ports of 127.0.0.1 that nobody uses now, and that the system does not give to somebody who names none."""
    first, last = map(int, Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split())
    others = [port for port in range(10_240, 65_536) if not first <= port <= last]
    ports = []
    with contextlib.ExitStack() as stack:
        for port in random.SystemRandom().sample(others, len(others)):
            with contextlib.suppress(OSError):
                stack.enter_context(socket.socket()).bind(("127.0.0.1", port))
                ports.append(port)
            if len(ports) == count:
                return ports
    raise AssertionError(f"{count} ports outside of {first} to {last} are not free")


class Ports(NamedTuple):
    """Where one nerserve is reached on 127.0.0.1."""

    site: int
    inference: int
    management: int
    metrics: int
    grpc: int

    def url(self, name):
        return f"http://127.0.0.1:{getattr(self, name)}"


def write_config(directory, settings=""):
    """The project's config.properties in *directory*, with *settings* at its end, but for the ports: its Ports."""
    ports = Ports(*free_ports(len(Ports._fields)))
    config = (ROOT / "config.properties").read_text()
    for name in ("inference", "management", "metrics"):
        config, count = re.subn(rf"(?m)^{name}_address=.*$", f"{name}_address={ports.url(name)}", config)
        assert count == 1
    config, count = re.subn(r"(?m)^grpc_inference_port=.*$", f"grpc_inference_port={ports.grpc}", config)
    assert count == 1
    (directory / "config.properties").write_text(config + settings)
    shutil.copy(ROOT / "metrics.yaml", directory)
    return ports


class KeyFile(requests.auth.AuthBase):
    """The key in the file at *path*, for ``auth=`` of a request; none while there is no such file."""

    def __init__(self, path):
        self.path = path

    def __call__(self, request):
        request.headers.update(self.headers)
        return request

    @property
    def text(self):
        return self.path.read_text()

    @property
    def headers(self):
        with contextlib.suppress(FileNotFoundError):
            return {"Authorization": f"Bearer {self.text}"}
        return {}


def grpc_ping(channel, key=None):
    """The status of a call of TorchServe's gRPC ``Ping``, whose request is an empty message, with that *key*."""
    ping = channel.unary_unary("/org.pytorch.serve.grpc.inference.InferenceAPIsService/Ping")
    metadata = [("authorization", f"Bearer {key}")] if key is not None else []
    try:
        reply = ping(b"", metadata=metadata, timeout=ANSWER_S)
    except grpc.RpcError as error:
        return error.code()
    assert b"Healthy" in reply
    return grpc.StatusCode.OK


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
        self.inference_key = KeyFile(self.state_dir / "keys" / "inference.key")
        self.management_key = KeyFile(self.state_dir / "keys" / "management.key")
        self.model_store = directory / "model-store"
        self.broken = directory / "broken"
        self.asleep = directory / "asleep"
        self.output = directory / "output"
        self.mark = str(uuid.uuid4())
        ports = write_config(directory, settings)
        self.site, self.inference, self.management, self.metrics = map(
            ports.url, ("site", "inference", "management", "metrics")
        )
        self.site_port = ports.site
        self.grpc = f"127.0.0.1:{ports.grpc}"
        write_archive(self.model_store / "en.mar", name="en", model_config=QUICKLY_GIVEN_UP)

    def start(self, *arguments, **variables):
        environment = {key: value for key, value in os.environ.items() if not key.startswith("NERSERVE_")}
        environment |= {
            "NERSERVE_TIMEOUT_S": str(SITE_TIMEOUT_S),
            "TEST_MARK": self.mark,
            "TINY_BROKEN": str(self.broken),
            "TINY_ASLEEP": str(self.asleep),
            **variables,
        }
        command = [sys.executable, "-m", "nerserve.cli", "up", *self.options(), *arguments]
        with self.output.open("wb") as output:
            self.process = subprocess.Popen(
                command,
                cwd=ROOT,
                env=environment,
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
            "--start-timeout": START_TIMEOUT_S,
            "--drain-timeout": SITE_TIMEOUT_S + 10,
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
        described = requests.get(f"{self.management}/models/en", auth=self.management_key, timeout=ANSWER_S).json()
        return psutil.Process(described[0]["workers"][0]["pid"])

    def predict(self, text=TEXT, timeout_s=ANSWER_S):
        url = f"{self.inference}/predictions/en"
        return requests.post(url, json={"text": text}, auth=self.inference_key, timeout=timeout_s)

    def first_answer(self):
        """What the command that it prints to be tried answers, in a shell of its own."""
        command = re.search(r"(?m)^  Try +(curl .*)$", self.text)[1]
        done = subprocess.run(["sh", "-c", f"{command} --silent"], capture_output=True, timeout=ANSWER_S, check=True)
        return json.loads(done.stdout)

    def wait_until(self, answers):
        """Return once *answers* is true; no connection, no reply in time and no worker yet count as false."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            with contextlib.suppress(requests.RequestException, psutil.Error, LookupError, ValueError):
                if answers():
                    return
            assert time.monotonic() < deadline_s, self.text
            time.sleep(0.1)

    def model_answers(self):
        return self.predict(timeout_s=2).status_code == 200

    def site_answers(self):
        return requests.get(f"{self.site}/readyz", timeout=5).status_code == 200

    def site_is_asking(self):
        """Whether one request to the site is with TorchServe."""
        numbers = requests.get(f"{self.site}/metrics", timeout=ANSWER_S).text
        return "\nnerserve_upstream_in_flight 1.0\n" in numbers

    def ends(self):
        """What ended and was started again, in order: "TorchServe" or "the site", and how."""
        return re.findall(r"(?m)^\d\d:\d\d:\d\d (TorchServe|the site) ended \((.+)\); restarting it", self.text)

    def left_behind(self):
        """All processes that carry our mark: whatever this ``up`` started, directly or not."""
        left = []
        for one in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                if one.environ().get("TEST_MARK") == self.mark and is_there(one):
                    left.append(one)
        return left

    def commands(self):
        """The command lines of all these processes."""
        commands = []
        for one in self.left_behind():
            with contextlib.suppress(psutil.Error):
                commands.append(str(one.cmdline()))
        return commands

    def wait_until_nothing_is_left(self):
        self.wait_until(lambda: not self.left_behind())

    def end(self):
        self.process.kill()
        self.process.wait()
        self.wait_until_nothing_is_left()
