"""A command that goes on in the background: what its caller sees, and what it keeps of the caller's."""

import os
import pty
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
PATIENCE_S = 60

COMMAND = """
import os, signal, sys, time
from pathlib import Path
from ops.daemon import run_detached

signal.signal(signal.SIGHUP, signal.SIG_DFL)  # under nohup it is ignored

def run(say_ready):
    print("starting", flush=True)
    folder = Path(sys.argv[1])
    (folder / "pid").write_text(str(os.getpid()))
    what = sys.argv[2]
    if what == "fails":
        print("it failed", file=sys.stderr)
        return 5
    if what == "hangs":
        (folder / "hangs").touch()
        time.sleep(600)
    session = os.getsid(0) == os.getpid()
    opened = [int(path.name) for path in Path("/proc/self/fd").iterdir()]
    opened = [one for one in opened if one > 2 and os.path.exists(f"/proc/self/fd/{one}")]
    inherited = [one for one in opened if os.get_inheritable(one)]
    stdin = os.readlink("/proc/self/fd/0")
    (folder / "found").write_text(f"{session} {inherited} {stdin}")
    nothing = os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 1), os.dup2(nothing, 2)
    say_ready()
    while not (folder / "end").exists():
        time.sleep(0.01)
    (folder / "ended").touch()
    return 0

sys.exit(run_detached(run))
"""


def command(tmp_path, what):
    return [sys.executable, "-c", COMMAND, str(tmp_path), what]


def wait_for(path):
    deadline_s = time.monotonic() + PATIENCE_S
    while not path.exists():
        assert time.monotonic() < deadline_s
        time.sleep(0.01)


def test_the_caller_comes_back_when_it_is_ready_and_the_daemon_goes_on(tmp_path):
    reader, writer = os.pipe()

    done = subprocess.run(
        command(tmp_path, "works"),
        cwd=ROOT,
        capture_output=True,  # which ends when nobody has the pipes any more
        text=True,
        pass_fds=[writer],
        timeout=PATIENCE_S,
        check=False,
    )

    assert (done.returncode, done.stdout, done.stderr) == (0, "starting\n", "")
    assert (tmp_path / "found").read_text() == "True [] /dev/null"
    assert not (tmp_path / "ended").exists()
    os.close(writer)
    assert os.read(reader, 1) == b""  # nor this one
    os.close(reader)
    (tmp_path / "end").touch()
    wait_for(tmp_path / "ended")


def test_a_failure_before_that_is_the_caller_s(tmp_path):
    done = subprocess.run(
        command(tmp_path, "fails"), cwd=ROOT, capture_output=True, text=True, timeout=PATIENCE_S, check=False
    )

    assert (done.returncode, done.stdout, done.stderr) == (5, "starting\n", "it failed\n")


def test_its_end_by_a_signal_is_the_caller_s(tmp_path):
    with subprocess.Popen(command(tmp_path, "hangs"), cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        wait_for(tmp_path / "hangs")

        os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)

        assert process.wait(PATIENCE_S) == 128 + signal.SIGKILL


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_signal_to_the_caller_ends_both(tmp_path, number):
    with subprocess.Popen(command(tmp_path, "hangs"), cwd=ROOT, stdout=subprocess.DEVNULL) as process:
        wait_for(tmp_path / "hangs")

        process.send_signal(number)

        assert process.wait(PATIENCE_S) == 128 + number
        assert not Path(f"/proc/{(tmp_path / 'pid').read_text()}").exists()


def test_it_has_no_terminal(tmp_path):
    caller, terminal = pty.fork()  # the child's controlling terminal
    if caller == 0:
        os.chdir(ROOT)
        os.execv(sys.executable, command(tmp_path, "works"))  # noqa: S606  (this process is the one)
    assert os.waitstatus_to_exitcode(os.waitpid(caller, 0)[1]) == 0

    process = Path("/proc") / (tmp_path / "pid").read_text()
    opened = [str(path.readlink()) for path in (process / "fd").iterdir()]

    assert opened
    assert not [path for path in opened if "pts" in path]
    assert (process / "stat").read_text().rpartition(")")[2].split()[4] == "0"  # its terminal
    os.close(terminal)  # which sends SIGHUP to those that have it
    (tmp_path / "end").touch()
    wait_for(tmp_path / "ended")
