"""A bundle's files and their SHA-256 digests; no torch needed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from handler.config import BundleConfig
from handler.errors import BundleError

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
