"""Whether an archive is whole, and whether the model in it answers."""

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

#: Seconds that a model gets to load and to answer; most need two.
PROBE_TIMEOUT_S = 120.0


def check_mar(path: Path) -> MarInfo:
    """What *path* says of itself; quick, and nothing in it runs.

    Raises:
        ArchiveError: it is damaged, changed or no archive of ours; the message names what is wrong.
    """
    return mar.read(path)[0]


def verify_mar(path: Path, timeout_s: float = PROBE_TIMEOUT_S) -> MarInfo:
    """What *path* says of itself, once the model in it has answered a canary sentence in a process of its own.

    It gets *timeout_s* seconds for that.

    Raises:
        ArchiveError: as :func:`check_mar`, or the model does not load or does not answer by the contract.
    """
    info, files = mar.read(path)
    with tempfile.TemporaryDirectory(prefix="nerserve-verify-") as folder:
        for name, content in files.items():
            target = Path(folder, name)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(content)
        # -I: no PYTHONPATH, no user site and not our own folder on the module path.
        command = [sys.executable, "-I", str(_PROBE), folder, CANARY_TEXT]
        try:
            done = subprocess.run(command, capture_output=True, text=True, timeout=timeout_s, check=False)
        except subprocess.TimeoutExpired as error:
            raise ArchiveError(f"{path}: the model did not answer within {timeout_s:g} s") from error
    if done.returncode:
        reason = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise ArchiveError(f"{path}: the model does not answer: {reason[-1]}")
    return info
