"""Where a run writes: checked before anything is read, so that no model is lost, neither the old one nor the new."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

from handler.digests import CONFIG_FILE, check_replaceable, files_of
from handler.errors import BundleError
from training.errors import RunError, RunFailedError
from training.renewal.old_formats import read_config

#: The inputs of a run, in its folder, with its ``id``.
RUN_FILE = "run.json"

#: The scores of a bundle, with the ``run`` that made it.
METRICS_FILE = "metrics.json"
CARD_FILE = "MODEL_CARD.md"

#: What else a run folder holds.
_OF_A_RUN = ("best", "plots")


def check_output(out: Path, run: Path | None, *, own: Sequence[Path] = (), overwrite: bool = False) -> None:
    """Raise RunError unless a run in the folder *run*, if there is one, may and can write its bundle to *out*.

    A bundle that is there already is replaced with *overwrite*, or if a run in one of the folders *own* has made it.
    """
    try:
        target = out.resolve()  # of a symbolic link, what it leads to
    except (OSError, RuntimeError) as error:
        raise RunError(f"{out}: expected a folder for the bundle: {error}") from error
    where = f"{out}" if target == out.absolute() else f"{out}, which is {target},"
    if (target.exists() or target.is_symlink()) and not target.is_dir():
        raise RunError(f"{where}: expected a folder for the bundle, got a file")
    folder = run.resolve() if run else target.parent
    if folder.is_relative_to(target) or (run and any(target.is_relative_to(folder / name) for name in _OF_A_RUN)):
        raise RunError(f"--run {run}: expected a folder that is not that of the bundle, --out {out}")
    if os.path.ismount(target):
        raise RunError(f"{where}: expected a folder that can be replaced, got a mounted one; take a folder in it")
    try:
        check_replaceable(target)
    except BundleError as error:
        raise RunError(str(error)) from error
    if (target / CONFIG_FILE).is_file():
        _check_bundle(target, where, own, overwrite)
    for path in (target.parent, folder):
        _check_writable(path)


def check_room(sizes: Mapping[Path, int]) -> None:
    """Raise RunError if the disk of one of the folders *sizes* has not room for that many bytes more."""
    by_disk: dict[int, list[Path]] = {}
    for folder in sizes:
        by_disk.setdefault(_existing(folder).stat().st_dev, []).append(folder)
    for folders in by_disk.values():
        needed = sum(sizes[folder] for folder in folders)
        free = shutil.disk_usage(_existing(folders[0])).free
        if needed > free:
            raise RunError(
                f"{' and '.join(map(str, folders))}: expected room for {needed / 1e6:,.0f} MB on the disk,"
                f" got {free / 1e6:,.0f} MB"
            )


def write_file(path: Path, content: bytes) -> None:
    """Write *content* to *path* atomically; raises RunFailedError if it cannot, and *path* is unchanged.

    The file is written beside the old one, flushed to disk and renamed: after a kill or a power cut there is the old or
    the new file, never a partial one.
    """
    new = path.with_name(f"{path.name}.new")
    try:
        with new.open("wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        new.replace(path)
        descriptor = os.open(path.parent, os.O_RDONLY)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
    except OSError as error:
        with contextlib.suppress(OSError):
            new.unlink()
        raise RunFailedError(f"{path}: cannot be written: {error.strerror}") from error


def _check_bundle(target: Path, where: str, own: Sequence[Path], overwrite: bool) -> None:
    """Raise RunError if the bundle in *target* must stay."""
    try:
        config = read_config(target)
    except BundleError as error:  # such as another program's
        raise RunError(f"{where}: holds no bundle, and is not replaced by one: {error}") from error
    known = {*config.digests, METRICS_FILE, CARD_FILE}
    if others := [name for name in files_of(target) if name not in known]:
        raise RunError(f"{where}: holds {others[0]} beside a bundle, which would be deleted; move it away")
    if overwrite:
        return
    made_by = _entry(target / METRICS_FILE, "run")
    if made_by is None or made_by not in [_entry(folder / RUN_FILE, "id") for folder in own]:
        raise RunError(f"{where}: holds another bundle; --out takes another folder, --overwrite replaces the bundle")


def _entry(path: Path, key: str) -> object:
    """The value of *key* in the JSON object in *path*; None if there is none."""
    try:
        document = json.loads(path.read_bytes())
    except (OSError, ValueError, RecursionError):
        return None
    return document.get(key) if isinstance(document, dict) else None


def _check_writable(folder: Path) -> None:
    """Raise RunError if *folder* cannot be written to or created."""
    try:
        Path(tempfile.mkdtemp(prefix=".nerserve-", dir=_existing(folder))).rmdir()
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror}") from error


def _existing(folder: Path) -> Path:
    """*folder*, or the nearest one above it that exists."""
    return next(path for path in (folder, *folder.absolute().parents) if path.exists())
