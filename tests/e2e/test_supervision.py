"""``nerserve up`` with the real TorchServe, the real site and an archive whose handler is a few lines."""

import contextlib
import ctypes
import errno
import os
import re
import signal
import socket
import threading
import time
import uuid
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import grpc
import pytest
import requests

from tests.e2e.instance import ANSWER_S, HANDLER, PATIENCE_S, ROOT, TEXT, Up, grpc_ping, is_there, write_archive


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
    running.wait_until(running.model_answers)
    running.wait_until(running.site_answers)
    return running


def test_up_says_where_everything_is_once_everything_answers(up):
    printed = up.text

    assert f"Site        {up.site}\n" in printed
    assert f"Inference   {up.inference}/predictions/en\n" in printed
    assert f"gRPC        {up.grpc}\n" in printed
    assert f"Management  {up.management}/models\n" in printed
    assert f"Metrics     {up.metrics}/metrics\n" in printed
    assert f"Key         nerserve key --state-dir {up.state_dir}\n" in printed
    assert up.first_answer()["entities"][0]["text"] == "Barack Obama"
    assert "warning" not in printed
    assert up.predict().json()["entities"][0]["text"] == "Barack Obama"
    assert requests.get(f"{up.metrics}/metrics", timeout=ANSWER_S).text.startswith("# HELP")


def test_the_site_has_the_model_behind_it(up):
    reply = requests.post(f"{up.site}/api/predict", json={"text": TEXT}, timeout=ANSWER_S)

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


def test_the_command_to_try_works_without_the_site(new_up, tmp_path):
    up = new_up(state_dir=tmp_path / "a state").start("--no-site").wait_until_ready()

    assert up.first_answer()["entities"][0]["text"] == "Barack Obama"


def test_no_text_of_a_request_is_in_any_log(up):
    secret, end = f"text-{uuid.uuid4()}", f"end-{uuid.uuid4()}"
    up.predict(secret)
    up.predict(f"sleep nonsense {secret}")  # the handler fails
    requests.post(
        f"{up.inference}/predictions/en", data=secret, auth=up.inference_key, timeout=ANSWER_S
    )  # not even JSON
    requests.post(f"{up.inference}/predictions/en", params={"data": secret}, auth=up.inference_key, timeout=ANSWER_S)
    requests.get(
        f"{up.inference}/predictions/en", params={"data": f"%zz{secret}"}, auth=up.inference_key, timeout=ANSWER_S
    )
    requests.post(f"{up.site}/api/predict", json={"text": secret}, timeout=ANSWER_S)
    requests.post(f"{up.site}/predict", data={"text": secret}, timeout=ANSWER_S)
    up.predict(f"sleep {end}")  # what the worker printed until then comes before this word of its traceback
    up.wait_until(lambda: end in (up.state_dir / "logs" / "model_log.log").read_text())

    logs = {path.name: path.read_text() for path in (up.state_dir / "logs").iterdir()}

    assert "POST /predictions/en" in logs["access_log.log"]
    assert "Traceback" in logs["model_log.log"]
    assert [name for name, text in logs.items() if secret in text] == []


@pytest.mark.parametrize(("killed", "ended"), [("worker", []), ("jvm", ["TorchServe"]), ("gunicorn", ["the site"])])
def test_what_is_killed_comes_back(up, killed, ended):
    process, others, ends = getattr(up, killed), {up.jvm, up.gunicorn}, up.ends()
    ends += [(name, "killed by signal 9") for name in ended]

    process.kill()
    up.wait_until(lambda: up.ends() == ends and getattr(up, killed) not in {None, process} and up.site_answers())
    up.wait_until(up.model_answers)

    assert up.ends() == ends
    assert others - {process} <= {up.jvm, up.gunicorn}
    assert up.process.poll() is None


def test_a_killed_jvm_leaves_no_worker_and_is_reported(up):
    worker, ends = up.worker, up.ends()

    up.jvm.kill()
    up.wait_until(lambda: not is_there(worker))
    up.wait_until(up.model_answers)

    assert up.ends() == [*ends, ("TorchServe", "killed by signal 9")]


def test_a_stopped_jvm_is_replaced(up):
    jvm = up.jvm

    jvm.suspend()
    up.wait_until(up.model_answers)

    assert not is_there(jvm)
    assert re.search(rf"TorchServe \(pid {jvm.pid}\) has been stopped for \d+ s; ending it", up.text)


def hold_like_a_debugger(pid):
    """Make every thread of *pid* wait for a debugger: a hang that is no stop, and that only SIGKILL ends."""
    attach, wait_for_all, wait_for_mine = 16, 0x40000000, 0x20000000  # <sys/ptrace.h>, <sys/wait.h>
    libc, is_held = ctypes.CDLL(None, use_errno=True), threading.Event()

    def hold():
        for thread in Path(f"/proc/{pid}/task").iterdir():
            if libc.ptrace(attach, int(thread.name), None, None) != 0:
                assert ctypes.get_errno() == errno.ESRCH, os.strerror(ctypes.get_errno())  # it has just ended
        is_held.set()
        with contextlib.suppress(ChildProcessError):
            while True:  # until all have ended: a debugger hears of that before anybody else
                os.waitpid(-1, wait_for_all | wait_for_mine)

    threading.Thread(target=hold, daemon=True).start()
    assert is_held.wait(60)


def test_a_jvm_that_runs_and_does_not_reply_is_replaced(up):
    jvm = up.jvm
    time.sleep(1)  # the supervisor has heard of it too: one that never replied is given longer

    hold_like_a_debugger(jvm.pid)
    up.wait_until(up.model_answers)

    assert not is_there(jvm)
    assert "TorchServe has not replied for" in up.text


@contextlib.contextmanager
def held_threads(pid, name):
    """The threads of *pid* whose names begin with *name* wait for a debugger, the others go on."""
    attach, detach, wait_for_all = 16, 17, 0x40000000  # <sys/ptrace.h>, <sys/wait.h>
    libc, are_held, is_over = ctypes.CDLL(None, use_errno=True), threading.Event(), threading.Event()
    folders = [one for one in Path(f"/proc/{pid}/task").iterdir() if (one / "comm").read_text().startswith(name)]

    def hold():  # a debugger is one thread
        for folder in folders:
            assert libc.ptrace(attach, int(folder.name), None, None) == 0, os.strerror(ctypes.get_errno())
            os.waitpid(int(folder.name), wait_for_all)
        are_held.set()
        is_over.wait()
        for folder in folders:
            libc.ptrace(detach, int(folder.name), None, None)

    holder = threading.Thread(target=hold, daemon=True)
    holder.start()
    try:
        assert are_held.wait(60)
        yield
    finally:
        is_over.set()
        holder.join(60)


def test_a_jvm_that_is_slow_is_left_alone(up):
    jvm, before, key = up.jvm, up.text, up.inference_key.text
    time.sleep(1)

    def keep_busy():
        """Have the JVM work, on gRPC's threads, while those of HTTP do not get on."""
        for _ in range(1000):
            grpc_ping(channel, key)
        return re.search(r"TorchServe (has not replied for|ended)", up.text.removeprefix(before))

    with grpc.insecure_channel(up.grpc) as channel, held_threads(jvm.pid, "epollEventLoop"):
        up.wait_until(keep_busy)
    up.wait_until(up.model_answers)

    assert "s and is at work; waiting for 30 s at most" in up.text.removeprefix(before)
    assert up.jvm == jvm


def test_a_stopped_worker_is_replaced(up):
    worker, jvm = up.worker, up.jvm

    worker.suspend()
    up.wait_until(lambda: up.worker != worker and up.model_answers())

    assert not is_there(worker)
    assert up.jvm == jvm
    assert re.search(rf"a worker of model en \(pid {worker.pid}\) has been stopped for \d+ s; ending it", up.text)


def test_a_stopped_worker_of_the_site_is_replaced(up):
    before = up.gunicorn.children()

    before[0].suspend()
    up.wait_until(lambda: not is_there(before[0]) and len(up.gunicorn.children()) == len(before))

    assert re.search(rf"a worker of the site \(pid {before[0].pid}\) has been stopped for \d+ s; ending it", up.text)
    assert up.site_answers()


def test_a_model_that_torchserve_has_given_up_is_revived(up):
    up.broken.touch()
    up.worker.kill()
    # TorchServe tries for the archive's maxRetryTimeoutInSec, after pauses of 3 s at most, and then no more.
    num_looks = 0  # in a row that saw no worker
    while num_looks < 30:
        num_looks = 0 if any("model_service_worker" in command for command in up.commands()) else num_looks + 1
        time.sleep(0.2)
    up.broken.unlink()

    up.wait_until(up.model_answers)

    assert "model en has had no worker that is ready" in up.text


def test_nothing_is_registered_from_elsewhere_even_without_keys(new_up):
    up = new_up(settings="\ndisable_token_authorization=true\n").start("--no-site").wait_until_ready()
    mar_bytes = (up.model_store / "en.mar").read_bytes()
    outside = up.directory / "outside.mar"
    outside.write_bytes(mar_bytes)

    statuses = [
        requests.post(f"{up.management}/{what}", params={"url": url}, timeout=ANSWER_S).status_code
        for what in ("models", "workflows")
        for url in ("http://127.0.0.1:9/x.mar", "https://127.0.0.1:9/x.mar", outside.as_uri())
    ]

    assert [status for status in statuses if not 400 <= status < 500] == []
    registered = requests.get(f"{up.management}/models", timeout=ANSWER_S).json()["models"]
    assert [model["modelName"] for model in registered] == ["en"]
    assert sorted(path.name for path in up.model_store.iterdir()) == ["en.mar"]
    assert up.predict().json()["entities"][0]["text"] == "Barack Obama"
    assert "warning: nobody is asked for a key" in up.text
    assert "nerserve key" not in up.text
    assert up.first_answer()["entities"][0]["text"] == "Barack Obama"


def test_stopping_answers_what_was_accepted_and_leaves_nothing(new_up, tmp_path):
    # Beside the other one, and with a path too long for a socket.
    up = new_up(state_dir=tmp_path / ("long-" * 20)).start().wait_until_ready()

    with ThreadPoolExecutor() as pool:
        direct = pool.submit(up.predict, "sleep 5")
        up.wait_until(up.asleep.exists)
        accepted = pool.submit(requests.post, f"{up.site}/api/predict", json={"text": TEXT}, timeout=ANSWER_S)
        up.wait_until(up.site_is_asking)
        up.process.send_signal(signal.SIGTERM)
        status = up.process.wait(timeout=PATIENCE_S)

    assert accepted.result().status_code == 200
    assert direct.result().status_code == 200
    assert status == 0
    assert up.left_behind() == []
    # The classes are for the next start.
    assert {path.name for path in up.state_dir.iterdir() if not path.match("classes-*.jsa")} == {"lock", "logs"}
    assert up.text.endswith("Stopped.\n")


def test_a_second_signal_hurries(new_up):
    up = new_up().start().wait_until_ready()

    with ThreadPoolExecutor() as pool:
        direct = pool.submit(up.predict, "sleep 15")
        up.wait_until(up.asleep.exists)
        pool.submit(requests.post, f"{up.site}/api/predict", json={"text": TEXT}, timeout=ANSWER_S)
        up.wait_until(up.site_is_asking)
        up.process.send_signal(signal.SIGINT)
        time.sleep(1)
        was_waiting = up.process.poll() is None
        up.process.send_signal(signal.SIGINT)
        status = up.process.wait(timeout=PATIENCE_S)

    assert was_waiting
    assert status == 0
    assert isinstance(direct.exception(), requests.ConnectionError)  # a stop that waited had it answered
    assert up.left_behind() == []


def test_kill_9_of_up_itself_leaves_nothing(new_up, tmp_path, tmp_path_factory):
    temporary = tmp_path_factory.mktemp("t")  # a socket's path is not to become too long in there
    # With a path too long for a socket, which needs a link.
    up = new_up(state_dir=tmp_path / ("long-" * 20)).start(TMPDIR=str(temporary)).wait_until_ready()
    assert list(temporary.glob("nerserve-*/t"))
    up.worker.suspend()  # this one would never notice by itself
    jvm = up.jvm.pid

    up.process.kill()

    up.wait_until_nothing_is_left()
    up.wait_until(lambda: not list(temporary.rglob("*")))
    assert not list(Path("/tmp").glob(f"hsperfdata_*/{jvm}"))  # noqa: S108  (a JVM leaves it there by default)


def test_kill_9_while_a_worker_starts_leaves_nothing(new_up):
    up = new_up().start("--no-site")
    up.wait_until(lambda: any("model_service_worker" in command for command in up.commands()))

    up.process.kill()

    up.wait_until_nothing_is_left()


def test_sigterm_while_it_starts_stops_it(new_up):
    up = new_up()
    loads = "def initialize(self, context):\n"
    assert loads in HANDLER
    slow = HANDLER.replace(loads, f"{loads}        time.sleep(15)\n")
    write_archive(up.model_store / "en.mar", name="en", handler=slow)
    up.start()
    up.wait_until(lambda: "Waiting for" in up.text)

    up.process.send_signal(signal.SIGTERM)
    status = up.process.wait(timeout=PATIENCE_S)

    assert status == 128 + signal.SIGTERM
    assert up.left_behind() == []
    assert up.text.endswith("nerserve: stopped by signal 15 before everything was up\n")


def test_a_model_that_does_not_load_is_told_with_its_traceback(new_up):
    up = new_up()
    up.broken.touch()

    status = up.start().process.wait(timeout=PATIENCE_S)  # less than the time that it may take to start

    assert status == 1
    assert "RuntimeError: the tiny model does not load" in up.text
    assert up.text.endswith("nerserve: a model does not load\n")
    assert up.left_behind() == []


def test_a_port_that_is_taken_is_named(new_up):
    up = new_up()
    with socket.create_server(("127.0.0.1", up.site_port)):
        status = up.start().process.wait(timeout=PATIENCE_S)

    assert status == 3
    assert len(up.text.splitlines()) == 1
    assert f"port {up.site_port} on 127.0.0.1 is taken by " in up.text
    assert f"(pid {os.getpid()})" in up.text


def test_a_state_directory_serves_one_at_a_time(up, new_up):
    second = new_up(state_dir=up.state_dir)

    status = second.start().process.wait(timeout=PATIENCE_S)

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

    status = up.start().process.wait(timeout=PATIENCE_S)

    assert status == 5
    assert len(up.text.splitlines()) == 1
    assert str(path) in up.text
