"""The model store's files, where the server's store is a directory of this machine: NAME.mar and NAME-VERSION.mar.

``nerserve up`` and every restart serve NAME.mar; versions that came or were replaced later keep a NAME-VERSION.mar
beside it.
"""

from __future__ import annotations

import filecmp
import os
import shutil
import tempfile
from pathlib import Path

from archive.errors import ArchiveError
from archive.verify import check_mar
from ops.errors import NotNowError, OpsError


def versioned_name(model: str, version: str) -> str:
    """The file of one version, such as en-1.1.mar."""
    return f"{model}-{version}.mar"


def put(archive: Path, store: Path, name: str) -> bool:
    """Copy *archive* into *store* as *name*, whole or not at all; whether that was needed.

    Raises NotNowError when another file has that name, OpsError when it cannot be written.
    """
    target = store / name
    if target.exists():
        if filecmp.cmp(archive, target, shallow=False):
            return False
        raise NotNowError(
            f"{target} is another archive than {archive}; a changed model needs a new version "
            "(nerserve archive --version), or remove that file"
        )
    _replace(archive, target)
    return True


def make_current(store: Path, model: str, version: str) -> bool:
    """Have restarts serve *version* of *model* from now on; whether anything was changed.

    NAME.mar becomes a copy of NAME-VERSION.mar; what it was before is kept under its own version's name.  Nothing is
    done in a store without the one or the other.
    """
    current, versioned = store / f"{model}.mar", store / versioned_name(model, version)
    if not current.exists() or not versioned.exists() or filecmp.cmp(current, versioned, shallow=False):
        return False
    try:
        info = check_mar(current)
    except ArchiveError:
        info = None  # a broken one is worth nothing
    if info is not None and not (store / versioned_name(model, info.version)).exists():
        _replace(current, store / versioned_name(model, info.version))
    _replace(versioned, current)
    return True


def _replace(source: Path, target: Path) -> None:
    """Make *target* a copy of *source* atomically: a reader sees the old file, none, or the whole new one."""
    scratch: Path | None = None
    try:
        with (
            source.open("rb") as reader,
            tempfile.NamedTemporaryFile(dir=target.parent, prefix=f".{target.name}.", delete=False) as writer,
        ):
            scratch = Path(writer.name)
            shutil.copyfileobj(reader, writer)
            writer.flush()
            os.fsync(writer.fileno())
        scratch.chmod(source.stat().st_mode & 0o777)  # the server may be another user
        scratch.replace(target)
    except OSError as error:
        if scratch is not None:
            scratch.unlink(missing_ok=True)
        raise OpsError(f"{source} cannot be copied to {target}: {error.strerror or error}") from error
