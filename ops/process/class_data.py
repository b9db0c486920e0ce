"""TorchServe's classes as a JVM had them in memory, for the next JVM to map instead of loading each from its jar.

A JVM that ends in good order leaves them in a file (dynamic class-data sharing, JEP 350), and the next start is about
half a second shorter.  The JVM itself checks that such a file is of its own build and of the same jar, and starts
without it where it is not.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import psutil

_IN_MEMORY: Final = frozenset({"tmpfs", "ramfs"})

#: The JVM names, one warning each, the classes that cannot be kept; nobody can do anything about them.
_QUIET: Final = "-Xlog:cds*=off"


@dataclass(frozen=True)
class ClassData:
    """The class data of one Java and one jar, in a directory that is private to this user: it is code that runs.

    Attributes:
        file: What the JVM maps, once it is there.
    """

    file: Path

    @property
    def new(self) -> Path:
        """What a JVM writes when it ends; half of it, where that one is killed."""
        return self.file.with_suffix(".new")

    @classmethod
    def of(cls, folder: Path, *, java: Path, jar: Path) -> ClassData:
        """That of *java* and *jar* as they are now, in *folder*; that of others in there is removed."""
        both = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in (java, jar)]
        data = cls(folder / f"classes-{hashlib.sha256(repr(both).encode()).hexdigest()[:16]}.jsa")
        for path in folder.glob("classes-*"):
            if path != data.file:
                path.unlink(missing_ok=True)
        return data

    def jvm_options(self) -> list[str]:
        """Options for a JVM to use what is there, or else to leave it when it ends.

        A directory in memory is gone by the next start: nothing is left there.
        """
        if self.file.exists():
            return [f"-XX:SharedArchiveFile={self.file}", _QUIET]
        if _is_in_memory(self.file.parent):
            return []
        return [f"-XX:ArchiveClassesAtExit={self.new}", _QUIET]

    def keep(self) -> None:
        """Take what a JVM has left that ended by itself, if it has left anything."""
        if self.new.exists():
            self.new.replace(self.file)


def _is_in_memory(folder: Path) -> bool:
    mounts = {Path(part.mountpoint): part.fstype for part in psutil.disk_partitions(all=True)}
    folder = folder.resolve()
    return next((mounts[path] for path in (folder, *folder.parents) if path in mounts), "") in _IN_MEMORY
