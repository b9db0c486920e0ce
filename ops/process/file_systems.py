"""What is known of the file system that a folder is on."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import psutil

_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})


def is_in_memory(folder: Path) -> bool:
    """Whether what is written into *folder* stays in memory."""
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    folder = folder.resolve()
    return next((mounts[path] for path in (folder, *folder.parents) if path in mounts), "") in _IN_MEMORY
