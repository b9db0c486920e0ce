"""The operators' commands against a stand-in for TorchServe on loopback that keeps a state and a diary."""

import io
import itertools
import json
import os
import pty
import re
import signal
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest

from archive import mar
from nerserve.cli import make_parser
from ops.errors import (
    BadArchiveError,
    BrokenOffError,
    LoadError,
    ManagementRefusedError,
    ManagementUnreachableError,
    NotNowError,
    NotRestoredError,
    OpsError,
    RolledBackError,
    UnknownModelError,
    WaitError,
)
from ops.operate.commands import run

ROOT = Path(__file__).parents[4]
QUICK = ["--grace", "0", "--load-timeout", "60"]
QUICK_DRAIN = ["--grace", "0", "--drain-timeout", "60"]


class Version:
    """One version: its *kind* says how it fails, *pending* what its queue shows from look to look.

    That is nothing after the last of them, but for the first ``stranding`` looks at it without a worker.
    """

    stranding = 0

    def __init__(self, version, archive, kind="fine", num_workers=1, pending=()):
        self.version, self.archive, self.kind, self.pending = version, archive, kind, list(pending)
        self.num_workers = self.num_ready = num_workers
        self.pids = itertools.count(100)

    def described(self):
        if self.kind not in {"does not load", "brings a signal"}:
            pid, status, self.num_ready = 7, "READY", self.num_workers
        else:
            pid, status = next(self.pids), "UNLOADING"
        if self.kind == "brings a signal" and self.num_workers:
            os.kill(os.getpid(), signal.SIGINT)
        return {
            "modelName": "en",
            "modelVersion": self.version,
            "modelUrl": self.archive,
            "minWorkers": self.num_workers,
            "maxWorkers": self.num_workers,
            "responseTimeout": 20,
            "batchSize": 4,
            "workers": [{"id": str(9000 + i), "status": status, "pid": pid} for i in range(self.num_workers)],
            "jobQueueStatus": {"pendingRequests": self.num_pending()},
        }

    def num_pending(self):
        if self.pending:
            return self.pending.pop(0)
        if self.num_workers or not self.stranding:
            return 0
        self.stranding -= 1
        return 2


class Fake:
    """A TorchServe with one model; ``diary`` has what changed it."""

    def __init__(self):
        self.versions = {"1.0": Version("1.0", "en.mar", num_workers=2)}
        self.default = "1.0"
        self.store = {}  # archive -> (version, kind)
        self.diary, self.keys = [], []
        self.refuse = ""  # a pattern of diary entries that are refused
        self.on_default = lambda: None
        fake = self

        def answer(handler):
            body = handler.rfile.read(int(handler.headers.get("Content-Length", 0)))
            url = urlsplit(handler.path)
            parts = url.path.strip("/").split("/")
            parameters = {key: values[0] for key, values in parse_qs(url.query).items()}
            fake.keys.append((parts[0], handler.headers.get("Authorization")))
            status, reply = fake.reply(handler.command, parts, parameters, body)
            content = json.dumps(reply).encode()
            handler.send_response(status)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            handler.wfile.write(content)

        methods = dict.fromkeys(["do_GET", "do_PUT", "do_POST", "do_DELETE"], answer)
        quiet = {"log_message": lambda *_: None}
        self.server = ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (BaseHTTPRequestHandler,), methods | quiet))
        self.url = f"http://127.0.0.1:{self.server.server_port}"

    def reply(self, method, parts, parameters, body):
        if parts[0] == "predictions":
            return self.predict(parts[2] if len(parts) > 2 else None, json.loads(body)["text"])
        if parts[1:2] not in ([], ["en"]):
            return self.error(404, f"Model not found: {parts[1]}")
        if method == "GET":
            return self.get(parts)
        version = parts[2] if len(parts) > 2 else self.default
        if method != "POST" and version not in self.versions:
            return self.error(404, f"Model version: {version} does not exist for model: en")
        return self.change(method, parts, parameters, version)

    def get(self, parts):
        if len(parts) == 1:
            return 200, {"models": [{"modelName": "en", "modelUrl": "en.mar"}]}
        if parts[2:] == ["all"]:
            return 200, [one.described() for one in self.versions.values()]
        version = parts[2] if len(parts) > 2 else self.default
        if version not in self.versions:
            return self.error(404, f"Model version: {version} does not exist for model: en")
        return 200, [self.versions[version].described()]

    def change(self, method, parts, parameters, version):
        entry = {
            "POST": f"register {parameters.get('url')}",
            "DELETE": f"unregister {version}",
            "PUT": f"default {version}" if parts[-1] == "set-default" else f"{version} {parameters.get('min_worker')}",
        }[method]
        if self.refuse and re.fullmatch(self.refuse, entry):
            return self.error(500, "out of order")
        if method == "POST":
            if parameters["url"] not in self.store:
                return self.error(404, f"Model not found at: {parameters['url']}")
            new, kind = self.store[parameters["url"]]
            if new in self.versions:
                return self.error(409, f"Model version {new} is already registered for model en")
            self.versions[new] = Version(new, parameters["url"], kind, num_workers=1)
        elif method == "DELETE":
            if version == self.default and len(self.versions) > 1:
                return self.error(403, "Cannot remove default version for model en")
            del self.versions[version]
        elif parts[-1] == "set-default":
            self.default = version
            self.on_default()
        else:
            self.versions[version].num_workers = int(parameters["min_worker"])
        self.diary.append(entry)
        return 200, {"status": "done"}

    def predict(self, named, text):
        one = self.versions[named or self.default]
        if one.kind == "fails" or (one.kind == "fails as the default" and named is None):
            return self.error(503, "Prediction failed")
        found = [] if one.kind == "disagrees" else [{"text": text[:3], "label": "PER", "start": 0, "end": 3}]
        model = {"name": "en", "version": one.version, "digest": "sha256:0"}
        return 200, {"model": model, "entities": found}

    @staticmethod
    def error(status, message):
        return status, {"code": status, "type": "SomeException", "message": message}


@pytest.fixture
def fake():
    fake = Fake()
    thread = threading.Thread(target=fake.server.serve_forever, args=(0.01,))
    thread.start()
    yield fake
    fake.server.shutdown()
    thread.join()
    fake.server.server_close()


@pytest.fixture
def nerserve(fake):
    """Runs one command against the fake; what it printed."""

    def call(*arguments):
        servers = ["--management", fake.url]
        if arguments[0] in {"rollout", "rollback"}:
            servers += ["--inference", fake.url]
        call.out, call.err = io.StringIO(), io.StringIO()
        assert run(make_parser().parse_args([*arguments, *servers]), call.out, call.err) == 0
        return call.out.getvalue()

    return call


def rollout(nerserve, *arguments):
    return nerserve("rollout", "en", "en-1.1.mar", "--watch", "0.3", *QUICK, *arguments)


@pytest.mark.parametrize(
    ("how", "end", "left"),
    [
        ("standby", ["1.0 1"], {"1.0": 1, "1.1": 2}),
        ("stopped", ["1.0 1", "1.0 0"], {"1.0": 0, "1.1": 2}),
        ("removed", ["1.0 1", "1.0 0", "unregister 1.0"], {"1.1": 2}),
    ],
)
def test_a_rollout_switches_and_then_retires_the_old_version(fake, nerserve, how, end, left):
    fake.store["en-1.1.mar"] = ("1.1", "fine")

    printed = rollout(nerserve, "--old", how)

    assert fake.diary == ["register en-1.1.mar", "1.1 2", "default 1.1", *end]
    assert (fake.default, {version: one.num_workers for version, one in fake.versions.items()}) == ("1.1", left)
    assert "0 of 10 texts differ (0%)" in printed
    assert printed.splitlines()[-1].endswith("done: en went from 1.0 to 1.1")


@pytest.mark.parametrize(
    ("kind", "reason", "was_default"),
    [
        ("does not load", "a worker has ended 2 times while loading", False),
        ("fails", "6 of 6 canaries failed: status 503", False),
        ("disagrees", "disagrees with the old one on 10 of 10 texts (100%, at most 50% are allowed)", False),
        ("fails as the default", "1 of 1 canaries failed: status 503", True),
    ],
)
def test_a_bad_version_is_taken_back(fake, nerserve, kind, reason, was_default):
    fake.store["en-1.1.mar"] = ("1.1", kind)

    with pytest.raises(RolledBackError, match=re.escape(reason)) as caught:
        rollout(nerserve)

    assert caught.value.exit_status == 8
    assert str(caught.value).endswith("; en is served by 1.0 as before")
    assert (fake.default, list(fake.versions), fake.versions["1.0"].num_workers) == ("1.0", ["1.0"], 2)
    assert ("default 1.1" in fake.diary) is was_default
    assert fake.diary[-1] == "unregister 1.1"


def test_a_version_that_may_disagree_is_taken(fake, nerserve):
    fake.store["en-1.1.mar"] = ("1.1", "disagrees")

    reply = json.loads(rollout(nerserve, "--max-disagreement", "1", "--json"))

    assert (reply["old"], reply["new"], reply["outcome"], reply["num_workers"]) == ("1.0", "1.1", "done", 2)
    assert reply["comparison"]["disagreement"] == 1.0
    assert reply["steps"][0]["step"] == "en 1.1 is registered; its workers load"
    assert "en is served by 1.1 now" in nerserve.err.getvalue()


@pytest.mark.parametrize("at", ["register", "default"])
def test_a_signal_brings_the_old_state_back(fake, nerserve, at):
    fake.store["en-1.1.mar"] = ("1.1", "fine" if at == "default" else "does not load")
    fake.on_default = lambda: os.kill(os.getpid(), signal.SIGTERM) if fake.default == "1.1" else None
    if at == "register":
        fake.versions["1.0"].described = lambda described=fake.versions["1.0"].described: (
            "1.1" in fake.versions and os.kill(os.getpid(), signal.SIGTERM),
            described(),
        )[1]

    with pytest.raises(BrokenOffError, match=r"broken off by signal 15; en is served by 1\.0 as before") as caught:
        rollout(nerserve)

    assert caught.value.exit_status == 128 + signal.SIGTERM
    assert (fake.default, list(fake.versions), fake.versions["1.0"].num_workers) == ("1.0", ["1.0"], 2)


def closed_pipe():
    reader, writer = os.pipe()
    os.close(reader)
    return writer


def closed_terminal():
    terminal, ours = pty.openpty()
    os.close(terminal)
    return ours


@pytest.mark.parametrize(
    "descriptor", [closed_pipe, closed_terminal, lambda: os.open("/dev/full", os.O_WRONLY)], ids=["pipe", "tty", "disk"]
)
def test_a_bad_version_is_taken_back_where_nobody_can_be_told(fake, descriptor):
    fake.store["en-1.1.mar"] = ("1.1", "fails as the default")
    command = ["rollout", "en", "en-1.1.mar", *QUICK, "--management", fake.url, "--inference", fake.url]

    with os.fdopen(descriptor(), "w") as out, pytest.raises(RolledBackError):
        run(make_parser().parse_args(command), out, io.StringIO())

    assert fake.diary[-1] == "unregister 1.1"
    assert (fake.default, list(fake.versions), fake.versions["1.0"].num_workers) == ("1.0", ["1.0"], 2)


def test_a_terminal_that_goes_away_brings_the_old_state_back(fake):
    fake.store["en-1.1.mar"] = ("1.1", "fine")
    command = [sys.executable, "-m", "nerserve.cli", "rollout", "en", "en-1.1.mar", "--watch", "30", *QUICK]
    fake.on_default = lambda: os.close(terminal) if fake.default == "1.1" else None
    pid, terminal = pty.fork()
    if pid == 0:
        signal.signal(signal.SIGHUP, signal.SIG_DFL)  # nohup would have it ignored
        os.chdir(ROOT)
        os.execv(sys.executable, [*command, "--management", fake.url, "--inference", fake.url])  # noqa: S606

    os.waitpid(pid, 0)

    assert "default 1.1" in fake.diary
    assert fake.diary[-1] == "unregister 1.1"
    assert (fake.default, list(fake.versions), fake.versions["1.0"].num_workers) == ("1.0", ["1.0"], 2)


@pytest.mark.parametrize("how", [[], ["--json"]])
def test_output_that_cannot_be_written_is_an_error(fake, how):
    options = make_parser().parse_args(["models", "--management", fake.url, *how])

    with Path("/dev/full").open("w") as out, pytest.raises(OpsError, match="its output cannot be written: No space"):
        run(options, out, io.StringIO())


def test_what_cannot_be_taken_back_is_told(fake, nerserve):
    fake.store["en-1.1.mar"] = ("1.1", "fails")
    fake.refuse = "unregister 1.1"

    with pytest.raises(
        NotRestoredError, match=r"canaries failed.*going back failed.*out of order.*nerserve unregister"
    ):
        rollout(nerserve)

    assert NotRestoredError.exit_status == 11


@pytest.mark.parametrize(
    ("archive", "refuse", "error"),
    [
        ("en-1.1.mar", "", (UnknownModelError, 6, "Model not found at: en-1.1.mar")),
        ("en-1.0.mar", "", (ManagementRefusedError, 7, "Model version 1.0 is already registered for model en")),
        ("en-1.0.mar", "register .*", (ManagementRefusedError, 7, "status 500: out of order")),
        ("../x.mar", "", (BadArchiveError, 5, "expected the name of a file")),
        ("http://host/x.mar", "", (BadArchiveError, 5, "expected the name of a file")),
        ("model", "", (BadArchiveError, 5, "expected the name of a file")),
    ],
)
def test_what_is_refused_at_once_changes_nothing(fake, nerserve, archive, refuse, error):
    expected, status, message = error
    fake.store["en-1.0.mar"] = ("1.0", "fine")
    fake.refuse = refuse

    with pytest.raises(expected, match=message) as caught:
        nerserve("rollout", "en", archive)

    assert caught.value.exit_status == status
    assert (fake.diary, list(fake.versions)) == ([], ["1.0"])


def write_archive(path, version):
    manifest = {"model": {"modelName": "en", "modelVersion": version, "handler": mar.ENTRY_POINT}}
    files = {
        mar.MANIFEST: json.dumps(manifest),
        mar.ENTRY_POINT: "",
        mar.MODEL_CONFIG: "",
        f"{mar.BUNDLE}/config.json": json.dumps({"version": version}),
    }
    path.write_bytes(mar.pack({name: content.encode() for name, content in files.items()}))


@pytest.fixture
def store(tmp_path):
    """A model store that serves 1.0, and an archive of 1.1 outside it."""
    folder = tmp_path / "model-store"
    folder.mkdir()
    write_archive(folder / "en.mar", "1.0")
    write_archive(tmp_path / "new.mar", "1.1")
    return folder


def test_the_bundle_that_answers_must_be_the_one_in_the_archive(fake, nerserve, store, tmp_path):
    fake.store["en-1.1.mar"] = ("1.1", "fine")

    with pytest.raises(RolledBackError, match="the bundle that answers is not the one in the archive"):
        nerserve("rollout", "en", str(tmp_path / "new.mar"), "--model-store", str(store), "--no-canary", *QUICK)

    assert [path.name for path in store.iterdir()] == ["en.mar"]
    assert list(fake.versions) == ["1.0"]


def test_an_archive_that_is_refused_does_not_stay_in_the_store(fake, nerserve, store, tmp_path):
    fake.refuse = "register .*"

    with pytest.raises(ManagementRefusedError, match="out of order"):
        nerserve("rollout", "en", str(tmp_path / "new.mar"), "--model-store", str(store), "--no-canary")

    assert [path.name for path in store.iterdir()] == ["en.mar"]


@pytest.mark.parametrize(
    ("command", "plan"),
    [
        (["rollout", "en", "en-1.1.mar"], "would make the new version the default version"),
        (["rollback", "en", "--to", "0.9"], "would make 0.9 the default version of en"),
        (["scale", "en", "--workers", "5"], "would scale en 1.0 from 2 to 5"),
        (["drain", "en", "0.9"], "would scale it to 0 workers"),
        (["unregister", "en", "0.9"], "would unregister it"),
        (["register", "en-1.1.mar"], "would register en-1.1.mar with 1 workers"),
    ],
)
def test_a_dry_run_changes_nothing(fake, nerserve, command, plan):
    fake.versions["0.9"] = Version("0.9", "en-0.9.mar")

    assert plan in nerserve(*command, "--dry-run").splitlines()
    assert json.loads(nerserve(*command, "--dry-run", "--json"))["plan"]
    assert fake.diary == []


def test_scaling_down_goes_one_worker_at_a_time_when_the_queue_is_empty(fake, nerserve):
    fake.versions["1.0"] = Version("1.0", "en.mar", num_workers=3, pending=[0, 5, 5, 0, 5, 0])

    nerserve("scale", "en", "--workers", "1")
    nerserve("scale", "en", "--workers", "4")
    nerserve("scale", "en", "--workers", "1", "--no-wait")

    assert fake.diary == ["1.0 2", "1.0 1", "1.0 4", "1.0 1"]


@pytest.mark.parametrize(
    ("kind", "timeout", "expected"), [("does not load", "60", LoadError), ("does not load", "0", WaitError)]
)
def test_workers_that_do_not_come_are_an_error(fake, nerserve, kind, timeout, expected):
    fake.versions["1.0"].kind = kind

    with pytest.raises(expected, match=r"en 1\.0"):
        nerserve("scale", "en", "--workers", "4", "--load-timeout", timeout)


def test_rolling_back_switches_first_where_a_worker_is_ready(fake, nerserve):
    fake.versions["0.9"] = Version("0.9", "en-0.9.mar", num_workers=1)

    nerserve("rollback", "en", *QUICK)

    assert fake.diary == ["default 0.9", "0.9 2", "1.0 1", "1.0 0"]


def test_rolling_back_loads_first_where_no_worker_is_ready(fake, nerserve):
    fake.versions["0.9"] = Version("0.9", "en-0.9.mar", num_workers=0)

    nerserve("rollback", "en", "--to", "0.9", "--old", "removed", *QUICK)

    assert fake.diary == ["0.9 2", "default 0.9", "1.0 1", "1.0 0", "unregister 1.0"]


def test_a_version_that_does_not_answer_is_not_gone_back_to(fake, nerserve):
    fake.versions["0.9"] = Version("0.9", "en-0.9.mar", kind="fails", num_workers=0)

    with pytest.raises(NotNowError, match=r"en 0\.9 does not answer its canary"):
        nerserve("rollback", "en", "--to", "0.9", *QUICK)

    assert fake.default == "1.0"
    assert fake.versions["0.9"].num_workers == 0


@pytest.mark.parametrize(
    ("kind", "timeout", "expected"),
    [
        ("does not load", "5", LoadError),
        ("does not load", "0", WaitError),
        ("brings a signal", "5", BrokenOffError),
    ],
)
def test_a_rollback_that_fails_leaves_no_workers_that_load_for_ever(fake, nerserve, kind, timeout, expected):
    fake.versions["0.9"] = Version("0.9", "en-0.9.mar", kind=kind, num_workers=0)

    with pytest.raises(expected):
        nerserve("rollback", "en", "--to", "0.9", "--load-timeout", timeout)

    assert fake.diary == ["0.9 2", "0.9 0"]
    assert fake.default == "1.0"


def test_draining_waits_for_the_queue_and_answers_what_comes_last(fake, nerserve):
    # Looks: all of them, three times while it is waited for, when its workers are counted, and after they went.
    fake.versions["0.9"] = Version("0.9", "en-0.9.mar", num_workers=1, pending=[4, 3, 0, 0, 0, 2])

    printed = nerserve("drain", "en", "0.9", "--grace", "0.05")

    assert fake.diary == ["0.9 0", "0.9 1", "0.9 0"]
    assert "2 requests came last of all" in printed


def test_draining_goes_on_until_nothing_comes_last_or_the_time_is_over(fake, nerserve):
    fake.versions["0.9"] = Version("0.9", "en-0.9.mar")
    fake.versions["0.9"].stranding = 6

    nerserve("drain", "en", "0.9", *QUICK_DRAIN)

    assert fake.diary == 6 * ["0.9 0", "0.9 1"] + ["0.9 0"]

    fake.versions["0.8"] = Version("0.8", "en-0.8.mar")
    fake.versions["0.8"].stranding = 1000

    with pytest.raises(WaitError, match=r"en 0\.8 keeps getting requests; it still has a worker"):
        nerserve("drain", "en", "0.8", "--grace", "0", "--drain-timeout", "0.3")

    assert fake.versions["0.8"].num_workers == 1


def test_a_queue_that_never_empties_is_not_cut_off(fake, nerserve):
    fake.versions["0.9"] = Version("0.9", "en-0.9.mar", pending=[1] * 1000)

    with pytest.raises(WaitError, match=r"en 0\.9 still gets requests"):
        nerserve("drain", "en", "0.9", "--grace", "0", "--drain-timeout", "0.3")

    assert fake.diary == []
    assert WaitError.exit_status == 9


@pytest.mark.parametrize(
    ("others", "diary"),
    [
        ([], ["1.0 1", "1.0 0"]),
        ([("0.9", 0)], ["1.0 1", "1.0 0"]),
        ([("0.9", 1)], ["default 0.9", "1.0 1", "1.0 0"]),
    ],
)
def test_the_default_is_only_drained_by_force(fake, nerserve, others, diary):
    for version, num_workers in others:
        fake.versions[version] = Version(version, f"en-{version}.mar", num_workers=num_workers)

    with pytest.raises(NotNowError, match=r"1\.0 is the default version of en"):
        nerserve("drain", "en", *QUICK_DRAIN)
    nerserve("drain", "en", "--force", *QUICK_DRAIN)

    assert fake.diary == diary


@pytest.mark.parametrize(
    ("others", "diary"),
    [
        ([], ["1.0 1", "1.0 0", "unregister 1.0"]),
        ([("0.9", 1)], ["default 0.9", "1.0 1", "1.0 0", "unregister 1.0"]),
    ],
)
@pytest.mark.parametrize("dry", [[], ["--dry-run"]])
def test_the_default_is_only_unregistered_by_force(fake, nerserve, *, others, diary, dry):
    for version, num_workers in others:
        fake.versions[version] = Version(version, f"en-{version}.mar", num_workers=num_workers)

    with pytest.raises(NotNowError, match=r"1\.0 is the default version of en; .*--force"):
        nerserve("unregister", "en", "1.0", *QUICK_DRAIN, *dry)
    nerserve("unregister", "en", "1.0", "--force", *QUICK_DRAIN, *dry)

    assert fake.diary == ([] if dry else diary)


def test_a_default_beside_versions_without_workers_stays_registered(fake, nerserve):
    fake.versions["0.9"] = Version("0.9", "en-0.9.mar", num_workers=0)

    with pytest.raises(NotNowError, match=r"1\.0 is the default of en; nerserve rollback"):
        nerserve("unregister", "en", "1.0", "--force", *QUICK_DRAIN)

    assert fake.diary == []


@pytest.mark.parametrize(("kind", "expected"), [("does not load", LoadError), ("brings a signal", BrokenOffError)])
def test_a_registration_whose_workers_do_not_load_is_taken_back(fake, nerserve, kind, expected):
    fake.store |= {"en-1.1.mar": ("1.1", kind), "en-1.2.mar": ("1.2", "fine")}

    with pytest.raises(expected):
        nerserve("register", "en-1.1.mar")
    nerserve("register", "en-1.2.mar", "--name", "en", "--workers", "2")

    assert (fake.default, {version: one.num_workers for version, one in fake.versions.items()}) == (
        "1.0",
        {"1.0": 2, "1.2": 2},
    )


def test_models_are_listed_for_people_and_for_programs(fake, nerserve):
    fake.versions["1.1"] = Version("1.1", "en-1.1.mar", pending=[3])

    table = nerserve("models").splitlines()
    models = json.loads(nerserve("models", "--json"))["models"]
    described = nerserve("describe", "en")

    assert [line.split() for line in table] == [
        "MODEL VERSION DEFAULT READY WORKERS MIN MAX PENDING ARCHIVE".split(),
        "en 1.0 * 2 2 2 2 0 en.mar".split(),
        "en 1.1 1 1 1 1 3 en-1.1.mar".split(),
    ]
    assert [(one["version"], one["is_default"], one["num_ready"]) for one in models[0]["versions"]] == [
        ("1.0", True, 2),
        ("1.1", False, 1),
    ]
    assert "1.0 (default)" in described
    assert [line.split() for line in described.splitlines()][-1] == ["9001", "READY", "7"]


def test_programs_are_told_errors_as_json(nerserve):
    with pytest.raises(UnknownModelError):
        nerserve("describe", "de", "--json")

    error = json.loads(nerserve.out.getvalue())["error"]
    assert (error["code"], error["exit_status"]) == ("UnknownModel", 6)
    assert error["message"].endswith("says: Model not found: de")


def test_a_server_that_is_not_there_has_a_status_of_its_own(fake, nerserve):
    fake.server.server_close()

    with pytest.raises(ManagementUnreachableError) as caught:
        nerserve("models")

    assert caught.value.exit_status == 10


def test_keys_are_sent_where_they_belong_and_never_printed(fake, nerserve, tmp_path):
    fake.store["en-1.1.mar"] = ("1.1", "fine")
    (tmp_path / "m").write_text("management-secret")
    (tmp_path / "i").write_text("inference-secret")

    printed = rollout(
        nerserve, "--management-key-file", str(tmp_path / "m"), "--inference-key-file", str(tmp_path / "i")
    )

    assert set(fake.keys) - {("livez", None)} == {
        ("models", "Bearer management-secret"),
        ("predictions", "Bearer inference-secret"),
    }
    assert "secret" not in printed + nerserve.err.getvalue()
