"""Verification of an archive: its bytes, and that the model in it answers."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Mapping
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
    info, files = mar.read(path)
    try:
        status, said = _probe(files, timeout_s)
    except subprocess.TimeoutExpired as error:
        raise ArchiveError(f"{path}: the model did not answer within {timeout_s:g} s") from error
    if status:
        reason = said.strip().splitlines() or [f"exit code {status}"]
        raise ArchiveError(f"{path}: the model does not answer: {reason[-1]}")
    return info


def _probe(files: Mapping[str, bytes], timeout_s: float) -> tuple[int, str]:
    """The exit status of a probe of *files*, and what it said on stderr.

    The probe makes the folder, and removes it should this process be killed: it sees the end of our pipe.
    """
    # -I: no PYTHONPATH, user site or working directory on the module path.
    command = [sys.executable, "-I", str(_PROBE), CANARY_TEXT, str(sum(map(len, files.values())))]
    environment = {"TMPDIR": tempfile.gettempdir(), "LC_ALL": "C.UTF-8", "OMP_NUM_THREADS": "1"}
    if "LD_LIBRARY_PATH" in os.environ:  # torch's libraries may need it
        environment["LD_LIBRARY_PATH"] = os.environ["LD_LIBRARY_PATH"]
    theirs, ours = os.pipe()
    with (
        os.fdopen(ours, "wb", buffering=0) as pipe,
        subprocess.Popen(
            [*command, str(theirs)],
            env=environment,
            pass_fds=[theirs],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            encoding="utf-8",
            errors="replace",
        ) as probe,
    ):
        os.close(theirs)
        folder = ""
        try:
            folder = probe.stdout.readline().rstrip("\n") if probe.stdout else ""
            if folder:
                mar.write_files(files, Path(folder))
                pipe.write(b"\n")
            _, said = probe.communicate(timeout=timeout_s)
        finally:
            probe.kill()
            if folder:
                shutil.rmtree(folder, ignore_errors=True)
    return probe.returncode, said
