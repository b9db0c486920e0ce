"""A bundle's files: their SHA-256 digests, and how a folder of them is put in place; no torch needed."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from handler.config import BundleConfig
from handler.errors import BundleError, NotReplacedError

CONFIG_FILE = "config.json"
VOCAB_FILE = "vocab.json"
WEIGHTS_FILE = "weights.npz"


def file_digest(path: Path) -> str:
    """``"sha256:<hex>"`` of the file *path*."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def check_digests(folder: Path, config: BundleConfig) -> None:
    """Raise BundleError if a file is missing from *folder*, has another digest than in *config*, or none there."""
    for name, digest in config.digests.items():
        path = folder / name
        if not path.resolve().is_relative_to(folder.resolve()):
            raise BundleError(f"{name}: expected a path inside the bundle")
        if not path.is_file():
            raise BundleError(f"{name}: missing")
        actual = file_digest(path)
        if actual != digest:
            raise BundleError(f"{name}: expected {digest}, got {actual}")
    for name in (VOCAB_FILE, WEIGHTS_FILE, *(path for path in files_of(folder) if path.startswith("vectors/"))):
        if name not in config.digests:
            raise BundleError(f"{name}: config.json has no digest of it")


def files_of(folder: Path) -> list[str]:
    """Sorted relative paths of all files below *folder* but its ``config.json``."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path != folder / CONFIG_FILE
    )


def check_replaceable(folder: Path) -> None:
    """Raise NotReplacedError if *folder* has content that is no bundle, which writing one there would delete."""
    is_free = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    if not is_free and not (folder / CONFIG_FILE).is_file():
        raise NotReplacedError(f"{folder}: holds no bundle, and is not replaced by one")


@contextmanager
def put_in_place(folder: Path) -> Iterator[Path]:
    """An empty folder, which becomes *folder* when the block ends without an error; a bundle there is replaced.

    Whole folders are renamed, so that a kill leaves no partial bundle.

    Raises:
        NotReplacedError: *folder* has content that is no bundle; it is not changed.
    """
    folder = folder.resolve()  # the target of a symbolic link, and a name for "."
    check_replaceable(folder)
    staging, replaced = (folder.with_name(f".{folder.name}.{suffix}") for suffix in ("new", "old"))
    shutil.rmtree(staging, ignore_errors=True)
    staging.mkdir(parents=True)
    yield staging
    shutil.rmtree(replaced, ignore_errors=True)
    if folder.exists():
        folder.rename(replaced)
    staging.rename(folder)
    shutil.rmtree(replaced, ignore_errors=True)
