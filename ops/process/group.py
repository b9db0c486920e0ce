"""Child processes, each with all that it starts in one process group, which is ended as a whole."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

import psutil

from ops.process import guard

logger = logging.getLogger(__name__)

KILL_WAIT_S: Final = 5.0
LOG_MAX_BYTES: Final = 5_000_000
_PR_SET_CHILD_SUBREAPER: Final = 36  # <linux/prctl.h>


def adopt_orphans() -> None:
    """Become the parent of what our children leave behind (Linux only).

    Otherwise a dead worker stays in the process table until process 1 reaps it, seconds later or never.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


class Guard:
    """The process of ``guard.py``, which kills the groups and removes the files it watches should this process die."""

    def __init__(self) -> None:
        self._groups: set[int] = set()
        self._files: set[str] = set()
        self._process = self._start()

    def watch(self, group: int) -> None:
        """Have *group* killed when this process is gone."""
        self._groups.add(group)
        self._tell(f"+{group}")

    def forget(self, group: int) -> None:
        """Stop watching *group*, whose number may be reused."""
        self._groups.discard(group)
        self._tell(f"-{group}")

    def remove_at_the_end(self, path: Path) -> None:
        """Have the file, or the empty directory, at the absolute *path* removed when this process is gone."""
        if "\n" not in str(path):  # the protocol is one path a line
            self._files.add(str(path))
            self._tell(str(path))

    def close(self) -> None:
        """End the guard; what it still watches is killed or removed."""
        try:
            self._process.communicate(timeout=KILL_WAIT_S)
        except (BrokenPipeError, subprocess.TimeoutExpired):
            self._process.kill()
            self._process.wait()

    @property
    def pid(self) -> int:
        """The guard's process id."""
        return self._process.pid

    def check(self) -> None:
        """Start another guard if this one has ended."""
        if self._process.poll() is not None:
            logger.warning("the guard is gone; starting another")
            self._process = self._start()
            for line in [*(f"+{group}" for group in self._groups), *self._files]:
                self._tell(line)

    def _tell(self, line: str) -> None:
        stdin = self._process.stdin
        if stdin is not None and not stdin.closed:
            with contextlib.suppress(BrokenPipeError):  # check() starts another and repeats everything
                stdin.write(f"{line}\n".encode(errors="surrogateescape"))

    @staticmethod
    def _start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-I", "-S", guard.__file__],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,  # it may outlive the terminal
            bufsize=0,
            start_new_session=True,
        )


class ProcessGroup:
    """A command with all that it starts, which can be started again and again, never two at a time.

    It has a session of its own, so that a Ctrl-C in the terminal is ours alone to handle; *output* is what it prints.
    """

    def __init__(self, guard: Guard, output: Path) -> None:
        self.log = LogFile(output)
        self._guard = guard
        self._process: subprocess.Popen[bytes] | None = None
        self._is_whole = False

    def launch(self, command: Sequence[str], *, env: Mapping[str, str], cwd: Path) -> None:
        """Start *command*; the one before must have ended."""
        with os.fdopen(self.log.open(), "ab") as log:
            self._process = subprocess.Popen(
                command,
                env=env,
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )
        self._is_whole = True
        self._guard.watch(self._process.pid)
        logger.info("%s started, pid %d", type(self).__name__, self._process.pid)

    @property
    def pid(self) -> int | None:
        """The process id of the command, which is the group's number as well; the last one's when it has ended."""
        return self._process.pid if self._process else None

    @property
    def cpu_s(self) -> float | None:
        """The processor time that the command has taken, without its children; None when it has ended."""
        try:
            times = psutil.Process(self.pid).cpu_times() if self.pid is not None else None
        except psutil.Error:
            return None
        return times and times.user + times.system

    def poll(self) -> int | None:
        """The exit status of the command, or None while it runs; once it has ended, the rest of its group is killed."""
        status = self._process.poll() if self._process else None
        if status is not None:
            self._kill_group()
        else:
            self.log.cap()
        return status

    def terminate(self) -> None:
        """Ask the command, and only it, to end."""
        if self._process is not None and self._process.poll() is None:
            self._process.terminate()

    def kill(self) -> None:
        """End the whole group at once, and return when nothing of it is left."""
        self._kill_group()

    def _kill_group(self) -> None:
        if self._process is None or not self._is_whole:
            return
        self._is_whole = False
        group = self._process.pid
        deadline_s = time.monotonic() + KILL_WAIT_S
        while True:
            try:
                os.killpg(group, signal.SIGKILL)
            except ProcessLookupError:
                break
            if self._process.poll() is not None:
                # The command was the parent of the others; now we are, see adopt_orphans().
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(-group, os.WNOHANG)
            if time.monotonic() > deadline_s:
                logger.error("process group %d does not end", group)
                break
            time.sleep(0.02)
        self._guard.forget(group)


class LogFile:
    """A log file that others append to, and what it has got since a moment."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._start = 0

    def open(self) -> int:
        """A descriptor to append to it."""
        return os.open(self.path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW, 0o600)

    def mark(self) -> None:
        """Make this the moment."""
        self._start = self.path.stat().st_size if self.path.exists() else 0

    def text(self) -> str:
        """What came since; empty without the file."""
        if not self.path.exists():
            return ""
        with self.path.open("rb") as log:
            log.seek(self._start)
            return log.read().decode("utf-8", "replace")

    def cap(self, max_bytes: int = LOG_MAX_BYTES) -> None:
        """Move its contents to ``NAME.1`` once they exceed *max_bytes*; what a full disk cannot keep is lost."""
        try:
            if not self.path.exists() or self.path.stat().st_size <= max_bytes:
                return
            try:
                shutil.copyfile(self.path, self.path.with_name(f"{self.path.name}.1"))
            finally:
                os.truncate(self.path, 0)
        except OSError as error:
            logger.warning("%s: not kept: %s", self.path.name, error.strerror)
