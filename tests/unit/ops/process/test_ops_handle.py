"""Which process a state directory's handle is for, and how that process is stopped: only that one, and in order."""

import json
import os
import signal
import stat
import subprocess
import sys
import time

import pytest

from nerserve.cli import main
from ops.errors import OpsError, WaitError
from ops.process.handle import running, start_of
from ops.process.state_dir import StateDir
from tests.unit.ops.conftest import write_handle

STOPPER = """
import pathlib, signal, sys, time
folder, endures = pathlib.Path(sys.argv[1]), int(sys.argv[2])
handle = folder / "state" / "instance.json"
signals = []
for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
    signal.signal(number, lambda number, frame: signals.append(number))
(folder / "began").touch()
while len(signals) < endures:
    time.sleep(0.01)
    if signals and handle.exists():
        (folder / "new").write_text(handle.read_text().replace('"ready"', '"stopping"'))
        (folder / "new").replace(handle)
(folder / "signals").write_text(" ".join(map(str, map(int, signals))))
"""


@pytest.fixture
def state_dir(tmp_path):
    path = tmp_path / "state"
    path.mkdir(mode=0o700)
    return StateDir(path)


@pytest.fixture
def start(tmp_path):
    """Starts a process that ends after so many signals, and writes down which came."""
    processes = []

    def call(endures=1):
        process = subprocess.Popen([sys.executable, "-c", STOPPER, tmp_path, str(endures)])
        processes.append(process)
        while not (tmp_path / "began").exists():
            assert process.poll() is None
            time.sleep(0.01)
        return process

    yield call
    for process in processes:
        process.kill()
        process.wait()


def test_the_handle_of_a_process_that_runs_is_found_whole(state_dir):
    written = write_handle(state_dir.path, site="http://127.0.0.1:1", models=("en", "de"), ca="/ca.pem")

    assert running(state_dir) == written


def test_the_file_is_private_and_has_no_unfinished_copy_beside_it(state_dir):
    write_handle(state_dir.path)

    assert stat.S_IMODE(state_dir.handle.stat().st_mode) == 0o600
    assert list(state_dir.path.iterdir()) == [state_dir.handle]


@pytest.mark.parametrize("path", ["nothing", "file/below"])
def test_without_a_state_directory_nothing_runs(tmp_path, path):
    (tmp_path / "file").touch()

    assert running(StateDir(tmp_path / path)) is None


def test_a_process_that_has_ended_does_not_count_even_as_a_zombie(state_dir, start):
    process = start()
    write_handle(state_dir.path, pid=process.pid)
    assert running(state_dir) is not None

    process.kill()
    os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)  # it stays in the process table

    assert running(state_dir) is None
    assert main(["down", "--state-dir", str(state_dir.path)]) == 7


@pytest.mark.parametrize("what", ["tick", "boot"])
def test_another_process_with_that_number_does_not_count_and_gets_no_signal(state_dir, start, tmp_path, capsys, what):
    process = start()
    boot, tick = start_of(process.pid).split()
    started = f"{boot} {int(tick) - 1}" if what == "tick" else f"another-boot {tick}"
    write_handle(state_dir.path, pid=process.pid, started=started)

    status = main(["down", "--state-dir", str(state_dir.path)])

    assert status == 7
    assert "no nerserve up runs with the state directory" in capsys.readouterr().err
    os.kill(process.pid, signal.SIGHUP)  # the first signal that it gets
    process.wait()
    assert (tmp_path / "signals").read_text() == str(int(signal.SIGHUP))


def test_a_number_that_becomes_another_s_before_the_signal_gets_none(state_dir, start, tmp_path):
    process = start()
    handle = write_handle(state_dir.path, pid=process.pid, started="another-boot 1")

    handle.stop(state_dir, hurries=True, timeout_s=60, tell=lambda _: None)

    assert process.poll() is None
    assert not (tmp_path / "signals").exists()


def test_down_sends_one_sigterm_and_waits_for_the_end(state_dir, start, tmp_path, capsys):
    process = start()
    write_handle(state_dir.path, pid=process.pid)

    status = main(["down", "--state-dir", str(state_dir.path)])

    assert status == 0
    assert start_of(process.pid) is None
    assert (tmp_path / "signals").read_text() == str(int(signal.SIGTERM))
    assert capsys.readouterr().out.splitlines()[1].startswith("Stopped after ")


def test_down_hurry_sends_a_second_one_once_the_first_has_come(state_dir, start, tmp_path):
    process = start(endures=2)
    write_handle(state_dir.path, pid=process.pid)

    status = main(["down", "--hurry", "--state-dir", str(state_dir.path)])

    assert status == 0
    assert (tmp_path / "signals").read_text() == f"{int(signal.SIGTERM)} {int(signal.SIGTERM)}"


def test_down_does_not_hurry_one_that_stops_already(state_dir, start, capsys):
    process = start()
    write_handle(state_dir.path, pid=process.pid, phase="stopping")

    status = main(["down", "--timeout", "0.3", "--state-dir", str(state_dir.path)])

    assert status == WaitError.exit_status
    assert process.poll() is None
    assert "has not ended after 0.3 s; it goes on stopping" in capsys.readouterr().err


@pytest.mark.parametrize(
    "content", ["", "[]", "{", '{"pid": "x"}', "null", json.dumps({"pid": 1, "started": "", "phase": "ready"})]
)
def test_a_file_that_nerserve_up_did_not_write_is_refused(state_dir, content, capsys):
    state_dir.handle.write_text(content)

    assert main(["down", "--state-dir", str(state_dir.path)]) == 1

    said = capsys.readouterr().err
    assert f"{state_dir.handle} is not what this version of nerserve up writes" in said
    assert said.count("\n") == 1


def test_a_link_is_not_followed(state_dir, tmp_path):
    write_handle(state_dir.path)
    state_dir.handle.rename(tmp_path / "elsewhere.json")
    state_dir.handle.symlink_to(tmp_path / "elsewhere.json")

    with pytest.raises(OpsError, match=r"instance\.json cannot be read"):
        running(state_dir)


def test_a_pipe_does_not_keep_a_command_waiting(state_dir):
    os.mkfifo(state_dir.handle)

    with pytest.raises(OpsError, match="expected a file of this user"):
        running(state_dir)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make files of another user")
@pytest.mark.parametrize("what", ["directory", "file"])
@pytest.mark.parametrize("command", ["down", "status", "key"])
def test_nothing_that_another_user_wrote_is_believed(state_dir, start, capsys, what, command):
    process = start()
    write_handle(state_dir.path, pid=process.pid)
    os.chown(state_dir.path if what == "directory" else state_dir.handle, 12345, 12345)

    assert main([command, "--state-dir", str(state_dir.path)]) == 1

    assert "of this user (uid 0)" in capsys.readouterr().err
    assert process.poll() is None
