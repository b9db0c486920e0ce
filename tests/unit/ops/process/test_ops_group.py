import os
import signal
import subprocess
import sys
import time

import psutil
import pytest

from ops.process.group import Guard, LogFile, ProcessGroup

FAMILY = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, flush=True)
time.sleep(60)
"""


def is_running(pid):
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(condition):
    deadline_s = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.02)


@pytest.fixture
def new_group(tmp_path, guard):
    """Starts a process with a child of its own; gives the group and the child's pid."""

    def make():
        output = tmp_path / "output"
        group = ProcessGroup(guard, output)
        group.launch([sys.executable, "-c", FAMILY], env=os.environ, cwd=tmp_path)
        wait_until(lambda: output.read_text().endswith("\n"))
        return group, int(output.read_text().split()[-1])

    return make


def test_kill_ends_the_children_too(new_group):
    group, child = new_group()

    group.kill()

    assert group.poll() == -signal.SIGKILL
    wait_until(lambda: not is_running(child))


def test_children_of_a_command_that_has_ended_are_ended(new_group):
    group, child = new_group()

    os.kill(group.pid, signal.SIGKILL)
    wait_until(lambda: group.poll() is not None)

    wait_until(lambda: not is_running(child))


def test_a_group_has_a_session_of_its_own(new_group):
    group, _child = new_group()

    assert os.getsid(group.pid) == group.pid
    group.kill()


def test_the_guard_kills_what_it_watches_when_it_is_left_alone(new_group, guard):
    group, child = new_group()

    guard.close()  # what the end of our process does as well

    wait_until(lambda: group.poll() is not None)
    wait_until(lambda: not is_running(child))


def test_the_guard_leaves_alone_what_it_forgot(tmp_path, guard):
    bystander = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"], start_new_session=True)
    try:
        guard.watch(bystander.pid)
        guard.forget(bystander.pid)
        guard.close()
        assert bystander.poll() is None
    finally:
        bystander.kill()
        bystander.wait()


def test_a_guard_that_was_killed_is_replaced_and_told_everything(new_group, guard):
    group, child = new_group()
    old = guard.pid
    os.kill(old, signal.SIGKILL)

    wait_until(lambda: guard.check() or guard.pid != old)
    guard.close()

    wait_until(lambda: group.poll() is not None)
    wait_until(lambda: not is_running(child))


def test_a_log_is_moved_away_when_it_is_long_and_the_writer_goes_on(tmp_path):
    path = tmp_path / "site.log"
    with path.open("ab", buffering=0) as log:
        log.write(b"x" * 100)
        LogFile(path).cap(max_bytes=50)
        log.write(b"more")

    assert path.read_bytes() == b"more"
    assert (tmp_path / "site.log.1").read_bytes() == b"x" * 100


def test_a_guard_removes_files_at_the_end_and_not_before(tmp_path):
    files = [tmp_path / name for name in ("key", "k\udc80\u00e9y", "stays")]
    for file in files:
        file.touch()
    guard = Guard()
    guard.remove_at_the_end(tmp_path / "missing")
    for file in files[:2]:
        guard.remove_at_the_end(file)

    guard.check()
    before = [file.exists() for file in files]
    guard.close()

    assert before == [True, True, True]
    wait_until(lambda: [file.exists() for file in files] == [False, False, True])


def test_a_guard_that_was_killed_is_replaced_by_one_that_knows_the_files(tmp_path):
    file = tmp_path / "key"
    file.touch()
    guard = Guard()
    guard.remove_at_the_end(file)

    os.kill(guard.pid, signal.SIGKILL)
    wait_until(lambda: not is_running(guard.pid))
    guard.check()
    guard.close()

    wait_until(lambda: not file.exists())


def test_a_log_that_cannot_be_kept_is_cut_all_the_same(tmp_path):
    path = tmp_path / "site.log"
    (tmp_path / "site.log.1").mkdir()  # no file can be written there
    with path.open("ab", buffering=0) as log:
        log.write(b"x" * 100)
        LogFile(path).cap(max_bytes=50)
        log.write(b"more")

    assert path.read_bytes() == b"more"


def test_a_log_that_somebody_removed_is_no_matter(tmp_path):
    assert LogFile(tmp_path / "gone.log").cap() is None
