"""Loads an unpacked archive as TorchServe does, and sends it the canary text.

Run as ``python -I probe.py FOLDER TEXT``; exits with 1 and one line on stderr if the archive imports our code from
outside of it, or its reply violates the contract.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from pathlib import Path
from typing import Any


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
    os.environ.pop("NERSERVE_MAX_CHARS", None)  # the archive is right or wrong whatever one server is set to
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


if __name__ == "__main__":
    problem = problem_with(Path(sys.argv[1]).resolve(), sys.argv[2])
    sys.exit(problem or 0)
