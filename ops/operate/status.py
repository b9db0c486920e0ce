"""``nerserve status`` and ``nerserve down``: the nerserve up of a state directory, seen and stopped."""

from __future__ import annotations

import argparse
import json
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any, TextIO

import requests

from contract.entities import CANARY_TEXT
from contract.names import is_model_name
from contract.tables import aligned
from ops.errors import NotNowError, OpsError
from ops.operate.keys import key_from, no_nerserve_runs
from ops.operate.output import print_text
from ops.operate.scale import ModelVersions, Operator
from ops.process.handle import Handle, running
from ops.process.state_dir import StateDir
from ops.torchserve_api.endpoint import request
from ops.torchserve_api.management import ManagementClient
from ops.torchserve_api.predictions import PredictionClient, Sign

ANSWER_S = 5.0
"""For each of what is asked."""

AFTER_DRAIN_S = 30.0
"""For TorchServe and the site to end once accepted requests are answered; a busy machine takes its time."""


def show_status(options: argparse.Namespace, out: TextIO) -> int:
    """``nerserve status``: 0 when it is up and everything answers, else NotNowError.exit_status."""
    state_dir = StateDir(options.state_dir.absolute())
    handle = running(state_dir)
    if handle is None:
        if options.json:
            print_text(out, json.dumps({"state": "stopped", "state_dir": str(state_dir.path)}, indent=2))
        raise NotNowError(no_nerserve_runs(state_dir))
    seen = _look(handle, state_dir)
    if options.json:
        print_text(out, json.dumps(_content(handle, state_dir, seen), indent=2))
    else:
        print_text(out, _text(handle, state_dir, seen))
    return 0 if _state(handle, seen) == "ready" else NotNowError.exit_status


def stop(options: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    """``nerserve down``; NotNowError when nothing runs, WaitError when it has not ended in time."""
    state_dir = StateDir(options.state_dir.absolute())
    handle = running(state_dir)
    if handle is None:
        raise NotNowError(no_nerserve_runs(state_dir))
    progress = _Progress(err if options.json else out)
    progress.say("Stopping at once" if options.hurry else "Stopping: finishing what was accepted (--hurry to hurry)")
    timeout_s = handle.drain_s + AFTER_DRAIN_S if options.timeout_s is None else options.timeout_s
    handle.stop(state_dir, hurries=options.hurry, timeout_s=timeout_s, tell=progress.wait)
    elapsed_s = progress.elapsed_s
    progress.say(f"Stopped after {elapsed_s:.1f} s.")
    if options.json:
        content = {"state": "stopped", "state_dir": str(state_dir.path), "pid": handle.pid, "seconds": elapsed_s}
        print_text(out, json.dumps(content, indent=2))
    return 0


class _Progress:
    """A line for each event; on a terminal one that counts the seconds in between."""

    def __init__(self, out: TextIO) -> None:
        self._out = out
        self._clear = "\r\x1b[K" if out.isatty() else ""
        self._began_s = time.monotonic()

    @property
    def elapsed_s(self) -> float:
        return time.monotonic() - self._began_s

    def say(self, text: str) -> None:
        print_text(self._out, f"{self._clear}{text}")

    def wait(self, elapsed_s: float) -> None:
        if self._clear:
            self._out.write(f"{self._clear}Waiting for its end ({elapsed_s:.0f} s)")
            self._out.flush()


@dataclass(frozen=True)
class _Seen:
    """What answers of one nerserve up.

    Attributes:
        is_site_ready: Whether every model answers through the site; None without a site.
        is_managed: Whether TorchServe's management API answers.
        models: What is registered, by name.
        answering: Models that answer on the inference port.
        problems: What is not as it should be, in words.
    """

    is_site_ready: bool | None
    is_managed: bool
    models: dict[str, ModelVersions]
    answering: frozenset[str]
    problems: tuple[str, ...]


def _look(handle: Handle, state_dir: StateDir) -> _Seen:
    ca = Path(handle.ca) if handle.ca else None

    def key(api: str) -> str | None:
        published = state_dir.published_key(api)
        return key_from(published)() if published.exists() else None

    management = ManagementClient(handle.management, ANSWER_S, partial(key, "management"), ca)
    operator = Operator(management, say=lambda _: None)
    models: dict[str, ModelVersions] = {}
    answering, problems = set(), []
    is_managed = False
    try:
        names = operator.management.models()
        is_managed = True
        models = {name: operator.look(name) for name in names if is_model_name(name)}
        predictions = PredictionClient(handle.inference, partial(key, "inference"), ca)
        for name in sorted({*models, *handle.models}):
            answer = predictions.ask(CANARY_TEXT, name, timeout_s=ANSWER_S)
            if answer.sign is Sign.ANSWER:
                answering.add(name)
            else:
                problems.append(f"model {name}: {answer.problem}")
    except OpsError as error:
        problems.append(str(error))
    is_site_ready = None
    if handle.site is not None:
        try:
            reply = request("GET", f"{handle.site}/readyz", timeout_s=ANSWER_S)
            is_site_ready = reply.ok
            if not reply.ok:
                problems.append(f"the site is not ready: {handle.site}/readyz has status {reply.status_code}")
        except requests.RequestException as error:
            is_site_ready = False
            problems.append(f"the site does not answer: {type(error).__name__}")
    if handle.phase != "ready":  # what does not answer is as it should be
        problems = []
    return _Seen(is_site_ready, is_managed, models, frozenset(answering), tuple(problems))


def _state(handle: Handle, seen: _Seen) -> str:
    """The phase, or "impaired" where something does not answer that should."""
    return "impaired" if handle.phase == "ready" and seen.problems else handle.phase


def _content(handle: Handle, state_dir: StateDir, seen: _Seen) -> dict[str, Any]:
    models = [
        {
            "name": model.name,
            "default": model.default,
            "answers": model.name in seen.answering,
            "versions": [
                {"version": version, "num_ready": status.num_ready, "num_workers": len(status.workers)}
                for version, status in sorted(model.statuses.items())
            ],
        }
        for model in seen.models.values()
    ]
    site = None if handle.site is None else {"url": handle.site, "is_ready": seen.is_site_ready}
    torchserve = {name: getattr(handle, name) for name in ("inference", "grpc", "management", "metrics")}
    return {
        "state": _state(handle, seen),
        "since": datetime.fromtimestamp(handle.since, UTC).isoformat(timespec="seconds"),
        "pid": handle.pid,
        "state_dir": str(state_dir.path),
        "logs": str(state_dir.logs),
        "site": site,
        "torchserve": torchserve | {"answers": seen.is_managed, "has_keys": handle.has_keys, "ca": handle.ca},
        "model_store": handle.model_store,
        "models": models,
        "problems": list(seen.problems),
    }


def _text(handle: Handle, state_dir: StateDir, seen: _Seen) -> str:
    since = datetime.fromtimestamp(handle.since).astimezone()
    lines = [f"{_state(handle, seen)} since {since:%Y-%m-%d %H:%M:%S %z}, pid {handle.pid}, logs in {state_dir.logs}"]
    words = {True: "answers", False: "does not answer", None: ""}
    rows = [
        ("  Site", handle.site, words[seen.is_site_ready]),
        ("  Inference", handle.inference, words[bool(seen.answering)]),
        ("  gRPC", handle.grpc, ""),
        ("  Management", handle.management, words[seen.is_managed]),
        ("  Metrics", handle.metrics, ""),
    ]
    lines.append(aligned([(name, url, answers) for name, url, answers in rows if url]))
    if seen.models:
        table = [("MODEL", "VERSION", "DEFAULT", "READY", "WORKERS")]
        for model in seen.models.values():
            for version, status in sorted(model.statuses.items()):
                is_default = "*" if version == model.default else ""
                table.append((model.name, version, is_default, str(status.num_ready), str(len(status.workers))))
        lines += ["", aligned(table)]
    return "\n".join([*lines, *(["", *seen.problems] if seen.problems else [])])
