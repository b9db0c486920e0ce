"""The files of a bundle and their SHA-256; no torch needed."""

from __future__ import annotations

import hashlib
from pathlib import Path

from handler.config import BundleConfig
from handler.errors import BundleError

CONFIG_FILE = "config.json"
VOCAB_FILE = "vocab.json"
WEIGHTS_FILE = "weights.npz"


def file_digest(path: Path) -> str:
    """``"sha256:<hex>"`` of the bytes of *path*."""
    with path.open("rb") as file:
        return f"sha256:{hashlib.file_digest(file, 'sha256').hexdigest()}"


def check_digests(folder: Path, config: BundleConfig) -> None:
    """Do nothing when every file is as *config* says.

    Raises:
        BundleError: names a file that is missing, has other content, or has no digest.
    """
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
            raise BundleError(f"{name}: config.json holds no digest of it")


def files_of(folder: Path) -> list[str]:
    """Paths of all files below *folder*, sorted, ``config.json`` left out."""
    return sorted(
        path.relative_to(folder).as_posix()
        for path in folder.rglob("*")
        if path.is_file() and path != folder / CONFIG_FILE
    )
