"""Class-data sharing (JEP 350): TorchServe's classes in a file that the next JVM maps instead of reading the jar.

A JVM that exits normally writes the file, and the next start is about half a second shorter.  The JVM itself checks
that the file is of its own build and of the same jar, and starts without it otherwise.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ops.process.file_systems import is_in_memory

#: Without it the JVM prints a warning for each class that cannot be archived.
_QUIET: Final = "-Xlog:cds*=off"


@dataclass(frozen=True)
class ClassData:
    """The archive *file* of one Java and its jars; its directory must be private to this user: it is code that runs.

    Attributes:
        has_base: Whether this Java has class data of its own.
    """

    file: Path
    has_base: bool

    @property
    def new(self) -> Path:
        """What a JVM writes when it exits; incomplete where it is killed."""
        return self.file.with_suffix(".new")

    @classmethod
    def of(cls, folder: Path, *, java: Path, jars: Sequence[Path]) -> ClassData:
        """The archive of *java* and *jars* as they are now, in *folder*; those of others in there are removed."""
        files = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in (java, *jars)]
        has_base = any(java.resolve().parents[1].glob("lib/server/classes*.jsa"))
        data = cls(folder / f"classes-{hashlib.sha256(repr(files).encode()).hexdigest()[:16]}.jsa", has_base)
        for path in folder.glob("classes-*"):
            if path != data.file:
                path.unlink(missing_ok=True)
        return data

    def jvm_options(self) -> list[str]:
        """Options for a JVM to use the archive, or else to write it at exit.

        None where the directory is in memory, or where this Java came without class data of its own, on which the
        archive would build: Java 17 ends at once then.
        """
        if self.file.exists():
            return [f"-XX:SharedArchiveFile={self.file}", _QUIET]
        if not self.has_base or is_in_memory(self.file.parent):
            return []
        return [f"-XX:ArchiveClassesAtExit={self.new}", _QUIET]

    def keep(self) -> None:
        """Take over what a JVM that exited normally has written."""
        if self.new.exists():
            self.new.replace(self.file)
