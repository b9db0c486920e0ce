"""Verification of an archive: its bytes, and that the model in it answers."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

from archive import mar
from archive.errors import ArchiveError
from archive.mar import MarInfo
from contract.entities import CANARY_TEXT

_PROBE = Path(__file__).with_name("probe.py")

#: Seconds allowed for loading the model and answering; most need two.
PROBE_TIMEOUT_S = 120.0


def check_mar(path: Path) -> MarInfo:
    """The metadata of *path*, without running its code; raises ArchiveError if it is damaged, changed or not ours."""
    return mar.read(path)[0]


def verify_mar(path: Path, timeout_s: float = PROBE_TIMEOUT_S) -> MarInfo:
    """:func:`check_mar`, and the model in *path* answers the canary text in a process of its own within *timeout_s*.

    Raises:
        ArchiveError: as :func:`check_mar`, or the model does not load or its reply violates the contract.
    """
    with tempfile.TemporaryDirectory(prefix="nerserve-verify-") as folder:
        info = mar.unpack(path, Path(folder))
        # -I: no PYTHONPATH, user site or working directory on the module path.
        command = [sys.executable, "-I", str(_PROBE), folder, CANARY_TEXT]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise ArchiveError(f"{path}: the model did not answer within {timeout_s:g} s") from error
    if done.returncode:
        reason = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ArchiveError(f"{path}: the model does not answer: {reason[-1]}")
    return info
