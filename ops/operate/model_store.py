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
from handler.digests import file_digest
from ops.errors import NotNowError, OpsError


def versioned_name(model: str, version: str) -> str:
    """The file of one version, such as en-1.1.mar."""
    return f"{model}-{version}.mar"


def put(archive: Path, store: Path, name: str, sha256: str) -> bool:
    """Copy *archive*, which had the digest *sha256* when it was checked, into *store* as *name*; whether it was needed.

    Raises NotNowError when another file has that name, OpsError when it cannot be written, or has changed.
    """
    target = store / name
    if target.exists():
        if file_digest(target) == sha256:
            return False
        raise NotNowError(
            f"{target} is another archive than {archive}; a changed model needs a new version "
            "(nerserve archive --model-version), or remove that file"
        )
    _replace(archive, target, sha256)
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
        new = check_mar(versioned)
    except ArchiveError as error:
        raise OpsError(f"restarts go on serving {current.name} as it is: {error}") from error
    try:
        old = check_mar(current)
    except ArchiveError:
        old = None  # a broken one is worth nothing
    if old is not None and not (store / versioned_name(model, old.version)).exists():
        _replace(current, store / versioned_name(model, old.version), old.sha256)
    _replace(versioned, current, new.sha256)
    return True


def _replace(source: Path, target: Path, sha256: str) -> None:
    """Make *target* a copy of *source* atomically: a reader sees the old file, none, or the whole new one.

    What counts is the digest of the copy: whoever can write to *source* may have changed it since it was checked.
    """
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
        if file_digest(scratch) != sha256:
            scratch.unlink()
            raise OpsError(f"{source} has changed since it was checked; nothing was copied to {target}")
        scratch.chmod(source.stat().st_mode & 0o777)  # the server may be another user
        scratch.replace(target)
    except OSError as error:
        if scratch is not None:
            scratch.unlink(missing_ok=True)
        raise OpsError(f"{source} cannot be copied to {target}: {error.strerror or error}") from error
