"""The operators' commands against the real TorchServe, while requests come; the models are a few lines each."""

import collections
import contextlib
import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time

import psutil
import pytest
import requests

from contract.names import MODEL_NAME_RULE
from tests.e2e.instance import ANSWER_S, PATIENCE_S, ROOT, START_TIMEOUT_S, KeyFile, write_archive, write_config

TEXT = "Barack Obama was born in Hawaii."
GRACE_S = "3"  # above what a worker may have a request in its hand for, which no queue shows
RIGHT = [{"text": "Barack Obama", "label": "PER", "start": 0, "end": 12, "score": 0.99}]

HANDLER = '''
import hashlib
import json
import os
import time

KIND = "@KIND@"


class TinyHandler:
    """Finds one name, and fails in the way that its kind says."""

    def initialize(self, context):
        if KIND == "does not load":
            raise RuntimeError("the tiny model does not load")
        self.model = dict(context.manifest["model"])
        path = os.path.join(context.system_properties["model_dir"], "bundle", "config.json")
        with open(path, "rb") as config:
            self.digest = "sha256:" + hashlib.sha256(config.read()).hexdigest()
        self.num_rows = 0

    def handle(self, rows, context):
        time.sleep(0.01)
        return [self.reply(i, json.loads(bytes(row["body"]))["text"], context) for i, row in enumerate(rows)]

    def reply(self, i, text, context):
        self.num_rows += 1
        context.set_response_content_type(i, "application/json")
        if text.startswith("sleep "):
            open(os.environ["TINY_ASLEEP"], "w").close()
            time.sleep(float(text.split()[1]))
        if KIND == "fails" or (KIND == "fails later" and self.num_rows > 20):
            context.set_response_status(500, "tiny_failure", i)
        if KIND == "talks garbage":
            return "garbage"
        names = ["Barack Obama", "United Nations", "IBM", "Toyota", "Marie Curie", "Brussels", "Peru", "Siemens"]
        found = [name for name in names if name in text and KIND != "disagrees"]
        entities = [
            {"text": name, "label": "PER", "start": text.find(name), "end": text.find(name) + len(name), "score": 0.99}
            for name in found
        ]
        model = {"name": self.model["modelName"], "version": self.model["modelVersion"], "digest": self.digest}
        return json.dumps({"model": model, "entities": entities})
'''


def wait_until(is_there):
    """Return once *is_there* is true; no reply in time counts as false."""
    deadline_s = time.monotonic() + PATIENCE_S
    while True:
        with contextlib.suppress(requests.RequestException, LookupError):
            if is_there():
                return
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


def write_release(path, version, kind="fine"):
    """An archive at *path* of model ``en`` with a tiny handler of that *kind* in it."""
    handler, bundle_config = HANDLER.replace("@KIND@", kind), json.dumps({"version": version})
    write_archive(path, name="en", version=version, handler=handler, bundle_config=bundle_config)
    return path


class Stream:
    """Asks the bare inference port all the time: right answers by version, lost requests, wrong answers."""

    def __init__(self, url, key, num_clients=3):
        self._url = url
        self._key = key
        self.timeout_s = ANSWER_S
        self._done = threading.Event()
        self._threads = [threading.Thread(target=self._ask) for _ in range(num_clients)]
        self.right, self.lost, self.wrong = collections.Counter(), collections.Counter(), []

    def __enter__(self):
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_):
        self._done.set()
        for thread in self._threads:
            thread.join()
        sys.stdout.write(f"\nright {dict(self.right)}, lost {dict(self.lost)}, wrong {len(self.wrong)}\n")

    def _ask(self):
        while not self._done.is_set():
            try:
                response = requests.post(self._url, json={"text": TEXT}, auth=self._key, timeout=self.timeout_s)
            except requests.RequestException as error:
                self.lost[type(error).__name__] += 1
                continue
            if response.status_code != 200:
                self.lost[response.status_code] += 1
            elif response.json()["entities"] == RIGHT:
                self.right[response.json()["model"]["version"]] += 1
            else:
                self.wrong.append(response.text)
            time.sleep(0.02)


class Server:
    """One ``nerserve up --no-site`` with the project's config.properties but for the ports, and commands for it."""

    def __init__(self, directory):
        self.directory, self.store = directory, directory / "model-store"
        ports = write_config(directory)
        self.inference, self.management = ports.url("inference"), ports.url("management")
        self.state_dir = directory / "s"
        self.inference_key = KeyFile(self.state_dir / "keys" / "inference.key")
        self.management_key = KeyFile(self.state_dir / "keys" / "management.key")
        write_release(self.store / "en.mar", "1.0")
        self.environment = {key: value for key, value in os.environ.items() if not key.startswith("NERSERVE_")}
        self.environment |= {
            "NERSERVE_MANAGEMENT_URL": self.management,
            "NERSERVE_INFERENCE_URL": self.inference,
            "NERSERVE_STATE_DIR": str(self.state_dir),
            "TINY_ASLEEP": str(directory / "asleep"),
        }
        options = {
            "config": directory / "config.properties",
            "model-store": self.store,
            "state-dir": self.state_dir,
            "start-timeout": START_TIMEOUT_S,
        }
        self.output = directory / "output"
        with self.output.open("wb") as output:
            command = ["up", "--no-site", *(f"--{name}={value}" for name, value in options.items())]
            self.process = self.start(*command, stdout=output)

    def start(self, *arguments, stdout=subprocess.PIPE):
        command = [sys.executable, "-m", "nerserve.cli", *map(str, arguments)]
        return subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdout=stdout, stderr=subprocess.STDOUT, text=True
        )

    def run(self, *arguments):
        """Exit status and output of one command."""
        process = self.start(*arguments)
        text, _ = process.communicate(timeout=400)
        sys.stdout.write(text)
        return process.returncode, text

    def rollout(self, archive, *arguments):
        return self.run(*self.rollout_command(archive, *arguments))

    def rollout_command(self, archive, *arguments):
        quick = ("--no-canary", "--model-store", self.store, "--watch", "2", "--grace", GRACE_S)
        return ("rollout", "en", archive, *quick, *arguments)

    def archive(self, version, kind="fine"):
        """A new archive, outside the store."""
        return write_release(self.directory / f"{version}.mar", version, kind)

    def put_in_store(self, version):
        """The name of a new archive in the store."""
        return write_release(self.store / f"en-{version}.mar", version).name

    def versions(self):
        """Number of ready workers of every version."""
        described = requests.get(f"{self.management}/models/en/all", auth=self.management_key, timeout=ANSWER_S).json()
        return {one["modelVersion"]: [w["status"] for w in one["workers"]].count("READY") for one in described}

    def default(self):
        return requests.get(f"{self.management}/models/en", auth=self.management_key, timeout=ANSWER_S).json()[0][
            "modelVersion"
        ]

    def stored(self):
        return sorted(path.name for path in self.store.iterdir())

    def reset(self):
        """Version 1.0 with one worker, and nothing else."""
        for path in self.store.iterdir():
            path.unlink()
        write_release(self.store / "en.mar", "1.0")
        models, key = f"{self.management}/models", self.management_key
        for _ in range(PATIENCE_S):  # TorchServe may refuse what comes while a worker is busy, or still loads
            if "1.0" not in self.versions():
                requests.post(models, params={"url": "en.mar"}, auth=key, timeout=ANSWER_S)
            requests.put(f"{models}/en/1.0", params={"min_worker": 1, "max_worker": 1}, auth=key, timeout=ANSWER_S)
            requests.put(f"{models}/en/1.0/set-default", auth=key, timeout=ANSWER_S)
            for version in self.versions().keys() - {"1.0"}:
                requests.delete(f"{models}/en/{version}", auth=key, timeout=ANSWER_S)
            for _ in range(20):
                if (self.versions(), self.default()) == ({"1.0": 1}, "1.0"):
                    return
                time.sleep(0.05)
        raise AssertionError(f"{self.versions()} do not become one worker of 1.0")


@pytest.fixture(scope="module")
def running(tmp_path_factory):
    server = Server(tmp_path_factory.mktemp("operate"))
    while "Press Ctrl-C" not in server.output.read_text():
        assert server.process.poll() is None, server.output.read_text()
        time.sleep(0.05)
    yield server
    server.process.terminate()
    assert server.process.wait(timeout=180) == 0, server.output.read_text()


@pytest.fixture
def server(running):
    running.reset()
    return running


@pytest.fixture
def stream(server):
    """Requests without a version, from before until the end of the test's commands."""
    return Stream(f"{server.inference}/predictions/en", server.inference_key)


def test_workers_come_and_go_while_requests_do(server, stream):
    stream.timeout_s = 20  # some are never answered
    with stream:
        up, _ = server.run("scale", "en", "--workers", "3")
        grown = server.versions()
        down, _ = server.run("scale", "en", "--workers", "1")

    # Each of the two workers that went may have had a batch of four: TorchServe answers 500 to one that the worker has
    # in hand, 507 if it first hears that the process is gone, and nothing to one that it was still collecting for it.
    assert (up, down) == (0, 0)
    assert (grown, server.versions()) == ({"1.0": 3}, {"1.0": 1})
    assert stream.wrong == []
    assert stream.lost.keys() <= {500, 507, "ReadTimeout"}
    assert stream.lost.total() <= 8


def test_a_rollout_and_a_rollback_lose_nothing(server, stream):
    with stream:
        there, text = server.rollout(server.archive("1.1"))
        rolled_out, stored = (server.default(), server.versions()), server.stored()
        current = hashlib.sha256((server.store / "en.mar").read_bytes()).hexdigest()
        back, _ = server.run("rollback", "en", "--model-store", server.store, "--grace", GRACE_S)

    assert (there, back) == (0, 0), text
    assert rolled_out == ("1.1", {"1.0": 1, "1.1": 1})
    assert stored == ["en-1.0.mar", "en-1.1.mar", "en.mar"]
    assert current == hashlib.sha256(server.archive("1.1").read_bytes()).hexdigest()
    assert (server.default(), server.versions()) == ("1.0", {"1.0": 1, "1.1": 0})
    assert (server.store / "en.mar").read_bytes() == (server.store / "en-1.0.mar").read_bytes()
    assert stream.right.keys() == {"1.0", "1.1"}
    assert (stream.wrong, stream.lost) == ([], {})


def test_two_workers_are_replaced_by_two_and_a_stopped_version_is_loaded_again(server, stream):
    server.run("scale", "en", "--workers", "2")
    with stream:
        there, _ = server.rollout(server.archive("1.2"), "--old", "stopped")
        rolled_out = server.versions()
        unnamed, refusal = server.run("rollback", "en")
        back, _ = server.run("rollback", "en", "--to", "1.0", "--old", "removed", "--grace", GRACE_S)

    assert (there, unnamed, back) == (0, 7, 0)
    assert "choose one of 1.0 with --to VERSION" in refusal
    assert rolled_out == {"1.0": 0, "1.2": 2}
    assert (server.default(), server.versions()) == ("1.0", {"1.0": 2})
    assert (stream.wrong, stream.lost) == ([], {})


@pytest.mark.parametrize(
    ("kind", "reason"),
    [
        ("does not load", "its model does not load: a worker has ended 2 times while loading"),
        ("fails", "3 of 3 canaries failed: status 500"),
        ("talks garbage", "3 of 3 canaries failed: a reply that is not JSON"),
        ("disagrees", "it disagrees with the old one on"),
    ],
)
def test_a_bad_version_is_taken_back_before_anybody_gets_its_answers(server, stream, kind, reason):
    with stream:
        status, text = server.rollout(server.archive("2.0", kind))

    assert status == 8
    assert text.splitlines()[-1].startswith("nerserve: rolled back: ")
    assert reason in text.splitlines()[-1]
    assert (server.default(), server.versions(), server.stored()) == ("1.0", {"1.0": 1}, ["en.mar"])
    assert stream.right.keys() == {"1.0"}
    assert (stream.wrong, stream.lost) == ([], {})


def test_a_version_that_fails_once_it_is_the_default_is_taken_back(server, stream):
    with stream:
        status, text = server.rollout(server.archive("2.1", "fails later"), "--watch", "20")
        lost_until_then = stream.lost.total()
        time.sleep(0.5)

    assert status == 8
    assert "canaries failed: status 500; en is served by 1.0 as before" in text
    assert (server.default(), server.versions(), server.stored()) == ("1.0", {"1.0": 1}, ["en.mar"])
    assert stream.wrong == []
    assert stream.lost.keys() == {500}
    assert stream.lost.total() == lost_until_then


def test_a_rollout_that_is_broken_off_leaves_the_old_state(server, stream):
    with stream:
        process = server.start(*server.rollout_command(server.archive("1.3"), "--watch", "60"))
        wait_until(lambda: process.poll() is not None or server.default() == "1.3")
        process.send_signal(signal.SIGTERM)
        text, _ = process.communicate(timeout=180)

    assert process.returncode == 128 + signal.SIGTERM, text
    assert text.splitlines()[-1] == "nerserve: broken off by signal 15; en is served by 1.0 as before"
    assert (server.default(), server.versions(), server.stored()) == ("1.0", {"1.0": 1}, ["en.mar"])
    assert (stream.wrong, stream.lost) == ([], {})


def test_what_would_hurt_is_refused_and_dry_runs_change_nothing(server):
    same = server.archive("1.0")
    refusals = [
        (server.run("drain", "en"), 7, "1.0 is the default version of en"),
        (server.run("unregister", "en", "7"), 6, "en has no version 7; there is 1.0"),
        (server.run("scale", "xx", "--workers", "2"), 6, "Model not found: xx"),
        (server.rollout(same), 7, "en 1.0 is registered already and the default"),
        (server.run("register", "http://127.0.0.1:9/x.mar"), 5, "expected the name of a file"),
        (server.run("register", "en.mar", "--name", "en"), 7, "Model version 1.0 is already registered for model en"),
        (server.run("register", "no-such.mar"), 6, "Model not found at: no-such.mar"),
        (server.run("rollback", "en"), 7, "there is no other version than 1.0"),
    ]
    dry = [
        server.rollout(server.archive("1.4"), "--dry-run"),
        server.run("scale", "en", "--workers", "3", "--dry-run"),
        server.run("drain", "en", "--force", "--dry-run"),
    ]

    assert [(status, message in text) for (status, text), _, message in refusals] == [
        (status, True) for _, status, _ in refusals
    ]
    assert [status for status, _ in dry] == [0, 0, 0]
    assert (server.default(), server.versions(), server.stored()) == ("1.0", {"1.0": 1}, ["en.mar"])


def test_a_drained_model_answers_what_it_had_accepted_and_then_refuses(server, stream):
    stream.timeout_s = 30  # some may never be answered
    with stream:
        wait_until(lambda: stream.right["1.0"])
        status, text = server.run("drain", "en", "--force", "--grace", "0.3", "--drain-timeout", "150")
        wait_until(lambda: stream.lost[503])

    # One request in each client's hand may be lost with the worker: dropped with 500 or 507 or, when it arrives in the
    # very instant that the worker goes, never answered by TorchServe. Those in the queue do not hang: when there are
    # any, the worker comes back for them, and goes once more. Later ones get 503.
    num_goings = 1 + text.count("gets a worker again")
    assert status == 0
    assert stream.wrong == []
    assert stream.lost.keys() <= {500, 503, 507, "ReadTimeout"}
    assert stream.lost[500] + stream.lost[507] + stream.lost["ReadTimeout"] <= 3 * num_goings
    assert server.versions() == {"1.0": 0}
    assert json.loads(server.run("models", "--json")[1])["models"][0]["versions"][0]["num_ready"] == 0


def test_a_drained_version_has_answered_what_it_had_in_hand(server):
    requests.post(
        f"{server.management}/models",
        params={"url": server.put_in_store("1.4")},
        auth=server.management_key,
        timeout=ANSWER_S,
    )
    wait_until(lambda: server.versions() == {"1.0": 1, "1.4": 1})
    url = f"{server.inference}/predictions/en/1.4"
    answered = []
    thread = threading.Thread(
        target=lambda: answered.append(
            requests.post(url, json={"text": "sleep 1"}, auth=server.inference_key, timeout=ANSWER_S).status_code
        )
    )
    thread.start()
    wait_until((server.directory / "asleep").exists)

    status, _ = server.run("drain", "en", "1.4", "--grace", "5")
    thread.join()

    assert (status, answered) == (0, [200])
    assert server.versions() == {"1.0": 1, "1.4": 0}


@pytest.mark.parametrize(
    "url", ["http://127.0.0.1:9/x.mar", "https://127.0.0.1:9/x.mar", "file://{}", "{}", "../x.mar"]
)
def test_only_the_stores_files_are_registered(server, url):
    outside = server.archive("3.0")

    response = requests.post(
        f"{server.management}/models", params={"url": url.format(outside)}, auth=server.management_key, timeout=ANSWER_S
    )

    assert response.status_code == 404
    assert server.versions() == {"1.0": 1}
    assert server.stored() == ["en.mar"]


@pytest.mark.parametrize(
    ("name", "left"),
    [("en+x", "; it is unregistered again"), ("a/b\x1b", ", and cannot unregister it before its next start")],
)
def test_a_name_that_no_model_can_have_is_refused_and_hides_nothing(server, name, left):
    write_archive(server.store / "odd.mar", name=name)

    refused, why = server.run("register", "odd.mar")
    listed, models = server.run("models")

    assert refused == 7
    assert f"TorchServe took odd.mar as {name!r}{left}: expected a name of {MODEL_NAME_RULE}" in why
    assert listed == 0
    assert "\nen " in models
    assert (repr(name) in models) == ("cannot" in left)


def test_a_restart_serves_what_was_rolled_out(server):
    status, _ = server.rollout(server.archive("1.5"))
    (jvm,) = (one for one in psutil.Process(server.process.pid).children() if "ModelServer" in str(one.cmdline()))

    jvm.kill()
    jvm.wait()
    versions = []

    def is_answered():
        url, key = f"{server.inference}/predictions/en", server.inference_key
        reply = requests.post(url, json={"text": TEXT}, auth=key, timeout=5).json()
        versions.append(reply["model"]["version"])
        return True

    wait_until(is_answered)

    assert (status, versions) == (0, ["1.5"])
