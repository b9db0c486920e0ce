"""``nerserve logs``: the ends of an instance's logs, in the order of time, and what comes after."""

from __future__ import annotations

import argparse
import heapq
import json
import os
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import BinaryIO, Final, TextIO

from ops.errors import InputFileError
from ops.process.state_dir import StateDir

FILES: Final[Mapping[str, tuple[str, ...]]] = {
    "up": ("up.log",),
    "site": ("site.log",),
    "torchserve": ("ts_log.log", "torchserve.out"),
    "access": ("access_log.log",),
    "model": ("model_log.log",),
}
"""The files of each log."""

LOOK_EVERY_S: Final = 0.2


def print_logs(options: argparse.Namespace, out: TextIO) -> int:
    """``nerserve logs``; InputFileError for a log that is not there."""
    folder = StateDir(options.state_dir.absolute()).logs
    names = list(dict.fromkeys(options.names)) or _there(folder)
    _check(names, folder)
    width = 0 if len(names) == 1 else max(map(len, names))
    logs = [(name, Follower(folder / file)) for name in names for file in FILES[name]]
    ends = [[(at, name, line) for at, line in _timed(log.last(options.lines))] for name, log in logs]
    for _, name, line in heapq.merge(*ends, key=lambda entry: entry[0]):
        _print(out, name, line, width)
    while options.follow:
        for name, log in logs:
            for line in log.new():
                _print(out, name, line, width)
        out.flush()
        time.sleep(LOOK_EVERY_S)
    out.flush()
    return 0


def _there(folder: Path) -> list[str]:
    """The logs that *folder* has."""
    return [name for name, files in FILES.items() if any((folder / file).is_file() for file in files)]


def _check(names: Sequence[str], folder: Path) -> None:
    there = _there(folder)
    if not there:
        raise InputFileError(
            f"no logs in {folder}; --state-dir or NERSERVE_STATE_DIR names the state directory of a nerserve up"
        )
    for name in names:
        if name not in there:
            raise InputFileError(f"no log {name} in {folder}; there are {', '.join(there)}")


def _print(out: TextIO, name: str, line: str, width: int) -> None:
    out.write(f"{name.ljust(width)} | {line}\n" if width else f"{line}\n")


def _timed(lines: Sequence[str]) -> Iterator[tuple[str, str]]:
    """Each of *lines* with its time, that of the line before where it has none, so that their order stays.

    >>> list(_timed(['{"time":"2026-12-01T12:00:00Z"}', "Traceback"]))
    [('2026-12-01T12:00:00Z', '{"time":"2026-12-01T12:00:00Z"}'), ('2026-12-01T12:00:00Z', 'Traceback')]
    """
    last = ""
    for line in lines:
        with suppress(ValueError, TypeError, KeyError):
            last = max(last, str(json.loads(line)["time"]))
        yield last, line


class Follower:
    """The lines of the log at *path*, through the ways that logs are kept small.

    TorchServe's are renamed, and a new file is begun; ours are copied to ``NAME.1``, and the file is emptied.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._file: BinaryIO | None = None
        self._rest = b""

    def last(self, num_lines: int) -> list[str]:
        """The last lines that are there now, older files included; new() begins after them."""
        lines = self.new()
        older = [*self._path.parent.glob(f"{self._path.stem}.[0-9]{self._path.suffix}"), self._copy]
        times = {path: path.stat().st_mtime for path in older if path.is_file()}
        for path in sorted(times, key=times.__getitem__, reverse=True):
            if len(lines) < num_lines:
                lines = path.read_text(encoding="utf-8", errors="replace").splitlines() + lines
        return lines[-num_lines:] if num_lines else []

    def new(self) -> list[str]:
        """The lines that were finished since the last call."""
        found = self._rest + self._read()
        *lines, self._rest = found.split(b"\n")
        return [line.decode("utf-8", "replace").rstrip("\r") for line in lines]

    def _read(self) -> bytes:
        """The bytes since the last call, of as many files as there were."""
        found = b""
        if self._file is not None:
            status = os.fstat(self._file.fileno())
            if status.st_size < self._file.tell():
                found += self._end_of_copy(self._file.tell())
                self._file.seek(0)
            found += self._file.read()
            if self._is_current(status):
                return found
            self._file.close()
            self._file = None
        with suppress(FileNotFoundError):
            self._file = self._path.open("rb")
            found += self._file.read()
        return found

    def _is_current(self, status: os.stat_result) -> bool:
        try:
            return os.path.samestat(status, self._path.stat())
        except FileNotFoundError:
            return False

    def _end_of_copy(self, start: int) -> bytes:
        """What was appended between the last call and the emptying."""
        with suppress(FileNotFoundError), self._copy.open("rb") as copy:
            copy.seek(start)
            return copy.read()
        return b""

    @property
    def _copy(self) -> Path:
        return self._path.with_name(f"{self._path.name}.1")
