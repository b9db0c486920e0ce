"""The directory where one running nerserve keeps its files; every parallel instance has its own."""

from __future__ import annotations

import fcntl
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from ops.errors import OpsError, StateDirBusyError

DEFAULT_STATE_DIR: Final = Path(".nerserve")


class StateDir:
    """The files of one nerserve, below *path*.

    Attributes:
        logs: All log files, ours and TorchServe's.
        scratch: Where TorchServe unpacks archives and opens the workers' sockets; emptied at every start.
        settings: The config.properties that TorchServe reads.
        key_file: Where TorchServe writes its keys, when it asks for any: its working directory decides.
        archives: A copy of the last good archive of each model.
        keys: Where keys are published, each in a file of its own.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.scratch = path / "tmp"
        self.settings = path / "torchserve.properties"
        self.key_file = path / "key_file.json"
        self.archives = path / "archives"
        self.keys = path / "keys"

    def published_key(self, kind: str) -> Path:
        """The file with the "inference" or the "management" key, while TorchServe asks for keys."""
        return self.keys / f"{kind}.key"

    def create(self) -> None:
        """Make the directories, private to this user: what TorchServe unpacks there is code that runs."""
        for path in (self.path, self.logs, self.scratch):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Own the directory for a while; StateDirBusyError when another nerserve does.

        Raises OpsError for a directory that has files of others: what is ours there is removed by its name.
        """
        try:
            self.path.mkdir(mode=0o700, parents=True, exist_ok=True)
            names = {path.name for path in self.path.iterdir()} - {self.logs.name}  # a disk of its own, perhaps
            if names and "lock" not in names:
                raise OpsError(
                    f"the state directory {self.path} is not empty, and no nerserve has used it before; "
                    "choose an empty or a new one with --state-dir"
                )
            lock = (self.path / "lock").open("a+")
            self.create()
        except OSError as error:
            raise OpsError(f"the state directory {self.path} cannot be used: {error.strerror or error}") from error
        with lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise StateDirBusyError(
                    f"another nerserve runs with the state directory {self.path}; stop it, or choose another "
                    "with --state-dir"
                ) from error
            yield
