"""The directory where one running nerserve keeps its files; every parallel instance has its own."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from ops.errors import OpsError, StateDirBusyError

DEFAULT_STATE_DIR: Final = Path(".nerserve")


class StateDir:
    """The files of one nerserve, below *path*.

    Attributes:
        logs: All log files, ours and TorchServe's.
        scratch: Where TorchServe unpacks archives and opens the workers' sockets; emptied at every start.
        site_scratch: The temporary directory of the site; likewise.
        settings: The config.properties that TorchServe reads.
        key_file: Where TorchServe writes its keys, when it asks for any: its working directory decides.
        archives: A copy of the last good archive of each model.
        keys: Where keys are published, each in a file of its own.
        handle: What the nerserve up that runs says of itself; see ops.process.handle.
        events: What nerserve up noticed and did.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.logs = path / "logs"
        self.scratch = path / "tmp"
        self.site_scratch = path / "site"
        self.settings = path / "torchserve.properties"
        self.key_file = path / "key_file.json"
        self.archives = path / "archives"
        self.keys = path / "keys"
        self.handle = path / "instance.json"
        self.events = self.logs / "up.log"

    def published_key(self, kind: str) -> Path:
        """The file with the "inference" or the "management" key, while TorchServe asks for keys."""
        return self.keys / f"{kind}.key"

    def create(self) -> None:
        """Make the directories, private to this user: what TorchServe unpacks there is code that runs."""
        for path in (self.path, self.logs, self.scratch):
            path.mkdir(mode=0o700, parents=True, exist_ok=True)

    def read_own(self, file: Path) -> str | None:
        """The text of *file*, a file of ours in this directory; None when there is none.

        Raises OpsError for a directory that is a link or another user's, and for a file that is: what others wrote is
        not followed.
        """
        try:
            with _opened(self.path) as folder:
                descriptor = os.open(file.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=folder)
                with os.fdopen(descriptor, encoding="utf-8") as opened:
                    status = os.fstat(descriptor)
                    if not stat.S_ISREG(status.st_mode) or status.st_uid != os.geteuid():
                        raise OpsError(f"expected a file of this user (uid {os.geteuid()}), {file} is none")
                    return opened.read()
        except (FileNotFoundError, NotADirectoryError):
            return None
        except (OSError, UnicodeDecodeError) as error:
            raise OpsError(f"{file} cannot be read: {getattr(error, 'strerror', None) or error}") from error

    @contextmanager
    def locked(self) -> Iterator[None]:
        """Own the directory for a while; StateDirBusyError when another nerserve does.

        It is made where it is missing, and private to this user; its parents may be anybody's.  Raises OpsError for one
        that is a link or another user's, has a link in it, or has files of others: what is ours there is removed by its
        name.
        """
        try:
            lock = self._claim()
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

    def _claim(self) -> IO[str]:
        """The lock file, in a directory that nobody else can write to."""
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with suppress(FileExistsError):
            self.path.mkdir(mode=0o700)
        with _opened(self.path) as folder:
            names = _names(folder) - {self.logs.name}  # a disk of its own, perhaps
            if names and "lock" not in names:
                raise OpsError(
                    f"the state directory {self.path} is not empty, and no nerserve has used it before; "
                    "choose an empty or a new one with --state-dir"
                )
            _make_private(folder, self.path)
            descriptor = os.open("lock", os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600, dir_fd=folder)
        lock = os.fdopen(descriptor, "a+")
        self.create()
        for path in (self.logs, self.keys, self.archives):
            if path.is_dir():
                with _opened(path) as folder:
                    _make_private(folder, path)
        return lock


def replace_private(path: Path, text: str, mode: int = 0o600) -> None:
    """Have the file at *path*, with *mode*, hold *text*: a reader gets the old text or the new one, never a piece."""
    new = unfinished(path)
    new.unlink(missing_ok=True)
    descriptor = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "w", encoding="utf-8") as file:
        os.fchmod(descriptor, mode)  # os.open gives no more than the umask lets it
        file.write(text)
    new.replace(path)


def unfinished(path: Path) -> Path:
    """Where the next content of *path* is written first."""
    return path.with_name(f".{path.name}.new")


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A descriptor of the directory *path*, which is no link and belongs to this user; OpsError for another."""
    if path.is_symlink():
        raise OpsError(f"the state directory is not used through a link: {path} is one")
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        owner = os.fstat(folder).st_uid
        if owner != os.geteuid():
            raise OpsError(
                f"expected a state directory of this user (uid {os.geteuid()}), {path} belongs to uid {owner}; "
                "be that user, or choose another with --state-dir"
            )
        yield folder
    finally:
        os.close(folder)


def _names(folder: int) -> set[str]:
    return set(os.listdir(folder))


def _make_private(folder: int, path: Path) -> None:
    """Close the directory *folder* to all others; OpsError for a link that is in it already."""
    if stat.S_IMODE(os.fstat(folder).st_mode) & 0o077:
        os.fchmod(folder, 0o700)
    for name in sorted(_names(folder)):
        if stat.S_ISLNK(os.stat(name, dir_fd=folder, follow_symlinks=False).st_mode):
            raise OpsError(f"no link in the state directory is followed, and {path / name} is one; remove it")
