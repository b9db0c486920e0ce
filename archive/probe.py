"""Loads an unpacked archive as TorchServe does, and sends it the canary text.

Run as ``python -I probe.py TEXT NUM_BYTES PIPE`` in an empty environment.  It makes a folder and prints its path; once
a line comes from the descriptor PIPE, an archive of NUM_BYTES is unpacked there.  It exits with 1 and one line on
stderr if the archive imports our code from outside of it, or its reply violates the contract, and removes the folder,
also when whoever holds the other end of PIPE is killed.  The code in the archive is a stranger's: it sees no variable
of ours, and gets so much memory, time and disk and no more.
"""

from __future__ import annotations

import importlib
import json
import os
import resource
import shutil
import sys
import tempfile
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

_GIB = 2**30

#: By the size of the archive; a model takes its own several times while it is loaded, PyTorch a quarter of a GiB.
_LIMITS: dict[int, Callable[[int], int]] = {
    resource.RLIMIT_DATA: lambda num_bytes: 2 * _GIB + 8 * num_bytes,
    resource.RLIMIT_CPU: lambda _: 120,
    resource.RLIMIT_FSIZE: lambda _: _GIB // 16,
    resource.RLIMIT_NOFILE: lambda _: 256,
    resource.RLIMIT_CORE: lambda _: 0,
}


class _Context:
    """The parts of TorchServe's context that the handler uses, for one text/plain request."""

    def __init__(self, folder: Path) -> None:
        self.system_properties = {"model_dir": str(folder)}
        self.manifest = json.loads((folder / "MAR-INF" / "MANIFEST.json").read_bytes())
        self.model_name = self.manifest["model"]["modelName"]
        self.status = 200
        self.metrics = None

    def get_all_request_header(self, _: int) -> dict[str, str]:
        return {"Content-Type": "text/plain"}

    def get_request_id(self, _: int) -> str:
        return "canary"

    def set_response_status(self, status: int, _phrase: str, _i: int) -> None:
        self.status = status

    def set_response_content_type(self, _i: int, _value: str) -> None:
        """Ignored."""


def problem_with(folder: Path, canary: str) -> str:
    """What is wrong with the archive unpacked in *folder* by its answer to *canary*, or an empty string."""
    sys.path.insert(0, str(folder))
    context = _Context(folder)
    module: Any = importlib.import_module(Path(context.manifest["model"]["handler"]).stem)
    service = module.NERHandler()
    service.initialize(context)
    (reply,) = service.handle([{"body": canary.encode()}], context)
    strangers = [
        name
        for name, loaded in sorted(sys.modules.items())
        if name.partition(".")[0] in {"contract", "handler", "ner_handler"}
        and not Path(loaded.__file__ or "").is_relative_to(folder)
    ]
    if strangers:
        return f"{strangers[0]} was not loaded from the archive"
    document = json.loads(reply)
    if context.status != 200 or "entities" not in document:
        return f"status {context.status} for the canary sentence"
    if any(canary[entity["start"] : entity["end"]] != entity["text"] for entity in document["entities"]):
        return "offsets that do not give the entity's text back"
    return ""


def main(canary: str, num_bytes: int, pipe: int) -> str:
    """What is wrong with the archive that is unpacked in a folder of ours, or an empty string."""
    folder = tempfile.mkdtemp(prefix="nerserve-verify-")
    try:
        sys.stdout.write(f"{folder}\n")
        sys.stdout.flush()
        if not os.read(pipe, 1):
            return "the process that began this has ended"
        threading.Thread(target=_end_with, args=(pipe, folder), daemon=True).start()
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        for what, limit in _LIMITS.items():
            most = resource.getrlimit(what)[1]
            given = limit(num_bytes)
            given = given if most == resource.RLIM_INFINITY else min(given, most)
            resource.setrlimit(what, (given, given))
        return problem_with(Path(folder).resolve(), canary)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _end_with(pipe: int, folder: str) -> None:
    """End this process, and remove *folder*, when the other end of *pipe* is closed."""
    os.read(pipe, 1)
    shutil.rmtree(folder, ignore_errors=True)
    os._exit(1)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3])) or 0)
