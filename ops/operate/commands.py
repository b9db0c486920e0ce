"""The operators' commands: clients from options, tables for people, JSON for programs."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path, PurePath
from typing import Any, Final, TextIO
from urllib.parse import urlsplit

from archive.errors import ArchiveError
from archive.verify import check_mar, verify_mar
from contract.names import is_model_name
from contract.tables import aligned
from ops.errors import (
    BadArchiveError,
    BrokenOffError,
    InputFileError,
    KeyRefusedError,
    ManagementError,
    NotNowError,
    OpsError,
)
from ops.operate import model_store
from ops.operate.addresses import Addresses
from ops.operate.keys import KeySource, is_on_this_machine
from ops.operate.output import give_up, print_text
from ops.operate.rollout import Rollout, RolloutOptions, Source, roll_back, rollback_versions
from ops.operate.scale import Operator
from ops.operate.verdicts import SAMPLE, Retire, scale_steps
from ops.signals import StopRequests
from ops.torchserve_api.management import ManagementClient, ModelStatus
from ops.torchserve_api.predictions import PredictionClient

TIMEOUT_S: Final = 10.0
"""For one request to the management API; ending a worker is part of some."""

_Result = tuple[str, dict[str, Any]]
"""What a command prints: text for people, content for programs."""


class Journal:
    """Writes a line for each step, with the seconds since the command began; keeps them for JSON."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began_s = time.monotonic()
        self.steps: list[dict[str, Any]] = []

    def say(self, text: str) -> None:
        """Write one step; a closed pipe or terminal does not stop the command, nor a rollback."""
        at_s = time.monotonic() - self._began_s
        self.steps.append({"at_s": round(at_s, 2), "step": text})
        try:
            self._stream.write(f"{at_s:7.1f} s  {text}\n")
            self._stream.flush()
        except OSError:
            give_up(self._stream)


def run(options: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    """Run the command that *options* name; raises an OpsError, which is in the JSON too if JSON was asked for."""
    journal = Journal(err if options.json else out)
    stop = StopRequests()
    addresses = Addresses(options)
    if options.ca is not None and not options.ca.is_file():
        raise InputFileError(f"{options.ca} does not exist; --ca names a PEM file")
    for api in ("management", "inference"):
        url, key_file = getattr(options, api, ""), getattr(options, f"{api}_key_file", None)
        if key_file is not None and urlsplit(url).scheme == "http" and not is_on_this_machine(url):
            with contextlib.suppress(OSError):
                err.write(f"warning: the key in {key_file} travels unencrypted to {url}\n")

    def check() -> None:
        if stop.should_stop:
            raise BrokenOffError(stop.signals[0], f"broken off by signal {stop.signals[0]}")

    source = KeySource.of(options, "management")
    management = ManagementClient(options.management, TIMEOUT_S, source.key, options.ca)
    waits = {name: vars(options)[name] for name in ("load_timeout_s", "idle_timeout_s", "grace_s") if name in options}
    operator = Operator(management, journal.say, check, **waits)
    try:
        with stop.installed():
            text, content = _run(operator, options, source, addresses)
    except OpsError as error:
        if options.json:
            failure = {"code": type(error).__name__.removesuffix("Error"), "message": str(error)}
            content = {"error": failure | {"exit_status": error.exit_status}, "steps": journal.steps}
            with contextlib.suppress(OpsError):  # what went wrong before says more
                print_text(out, json.dumps(content, indent=2))
        raise
    if options.json:
        text = json.dumps(content | ({"steps": journal.steps} if journal.steps else {}), indent=2)
    if text:
        print_text(out, text)
    return 0


def _run(operator: Operator, options: argparse.Namespace, source: KeySource, addresses: Addresses) -> _Result:
    """Text and content of the command; a refused key, a wrong port and a closed one come with what to do about it."""
    options.addresses = addresses
    try:
        return _COMMANDS[options.command](operator, options)
    except ManagementError as error:
        explained = addresses.explained(error)
        if explained is error and isinstance(error, KeyRefusedError):
            raise KeyRefusedError(error.status, f"{error}: {source.advice}") from error
        raise explained from error


def _predictions(operator: Operator, options: argparse.Namespace) -> PredictionClient:
    """A client of the inference API, once both addresses are known to be right; files were checked before."""
    operator.management.describe(options.model)
    options.addresses.check_inference()
    return PredictionClient(options.inference, KeySource.of(options, "inference").key, options.ca)


def _models(operator: Operator, _options: argparse.Namespace) -> _Result:
    rows: list[tuple[str, ...]] = [
        ("MODEL", "VERSION", "DEFAULT", "READY", "WORKERS", "MIN", "MAX", "PENDING", "ARCHIVE")
    ]
    models: list[dict[str, Any]] = []
    for name in operator.management.models():
        if not is_model_name(name):  # registered by others; TorchServe does not find each of them again
            rows.append((ascii(name), *[""] * (len(rows[0]) - 1)))
            models.append({"name": name, "default": None, "versions": []})
            continue
        model = operator.look(name)
        versions = []
        for version, status in sorted(model.statuses.items()):
            is_default = version == model.default
            versions.append(_status_content(status, is_default=is_default))
            numbers = (
                status.num_ready,
                len(status.workers),
                status.min_workers,
                status.max_workers,
                status.num_pending,
            )
            rows.append((model.name, version, "*" if is_default else "", *map(str, numbers), status.archive))
        models.append({"name": model.name, "default": model.default, "versions": versions})
    return aligned(rows) if models else "no model is registered", {"models": models}


def _describe(operator: Operator, options: argparse.Namespace) -> _Result:
    seen = operator.look(options.model)
    version = options.version or seen.default
    status = seen.status(version)
    facts = [
        ("model", status.name),
        ("version", status.version + (" (default)" if version == seen.default else "")),
        ("archive", status.archive),
        ("workers", f"{status.num_ready} ready, min {status.min_workers}, max {status.max_workers}"),
        ("pending", str(status.num_pending)),
        ("batch size", str(status.batch_size)),
        ("response timeout", f"{status.response_timeout_s} s"),
    ]
    workers = [("WORKER", "STATUS", "PID")]
    workers += [(one.worker_id, one.status, str(one.pid or "-")) for one in status.workers]
    text = aligned(facts) + ("\n\n" + aligned(workers) if status.workers else "")
    return text, _status_content(status, is_default=version == seen.default)


def _scale(operator: Operator, options: argparse.Namespace) -> _Result:
    status = operator.management.describe(options.model, options.version)
    steps = scale_steps(len(status.workers), options.workers) if options.wait else [options.workers]
    if options.dry_run:
        return _plan([f"scale {status.name} {status.version} from {len(status.workers)} to {step}" for step in steps])
    operator.say(f"{status.name} {status.version}: from {len(status.workers)} workers to {options.workers}")
    operator.scale(status, options.workers, waits=options.wait)
    now = operator.management.describe(status.name, status.version)
    operator.say(f"{now.name} {now.version}: {now.num_ready} of {now.min_workers} workers ready")
    return "", _status_content(now)


def _register(operator: Operator, options: argparse.Namespace) -> _Result:
    source = _source(operator, options, options.name)
    if options.dry_run:
        return _plan([*source.plan(), f"register {source.archive} with {options.workers} workers"])
    is_new = source.put_in_store()
    try:
        status = operator.register(source.archive, options.name, options.workers)
    except OpsError:
        if is_new:
            source.take_from_store()
        raise
    operator.say(f"{status.name} {status.version} has {status.num_ready} workers ready")
    return "", _status_content(status)


def _rollout(operator: Operator, options: argparse.Namespace) -> _Result:
    source = _source(operator, options, options.model)
    careful = RolloutOptions(
        sample=SAMPLE if options.sample is None else read_sample(options.sample),
        max_disagreement=options.max_disagreement,
        error_rate=options.error_rate,
        watch_s=options.watch,
        retire=Retire(options.retire),
    )
    rollout = Rollout(operator, _predictions(operator, options), options.model, source, careful)
    if options.dry_run:
        return _plan(rollout.plan())
    report = rollout.run()
    operator.say(f"done: {report.model} went from {report.old} to {report.new}")
    content = asdict(report)
    if report.comparison:
        content["comparison"]["disagreement"] = report.comparison.disagreement
    return "", content


def _rollback(operator: Operator, options: argparse.Namespace) -> _Result:
    if options.dry_run:
        left, to = rollback_versions(operator, options.model, options.to)
        return _plan([f"make {to} the default version of {options.model}", f"leave {left} {options.retire}"])
    retire = Retire(options.retire)
    store = options.model_store or options.addresses.model_store
    left, to = roll_back(
        operator, _predictions(operator, options), options.model, to=options.to, retire=retire, store=store
    )
    return "", {"model": options.model, "old": left, "new": to, "outcome": "done"}


def _drain(operator: Operator, options: argparse.Namespace) -> _Result:
    if options.dry_run:
        seen = operator.look(options.model)
        version = seen.status(options.version or seen.default).version
        default = operator.default_to_drain_for(seen, version, is_forced=options.force)
        lines = [f"make {default} the default version of {seen.name}"] if default != seen.default else []
        return _plan([*lines, f"wait until nothing waits for {seen.name} {version}", "scale it to 0 workers"])
    version, default = operator.drain(options.model, options.version, is_forced=options.force)
    return "", {"model": options.model, "version": version, "default": default, "outcome": "done"}


def _unregister(operator: Operator, options: argparse.Namespace) -> _Result:
    if options.dry_run:
        seen = operator.look(options.model)
        status = seen.status(options.version)
        operator.check_unregister(seen, status.version, is_forced=options.force)
        return _plan([f"drain {status.name} {status.version}", "unregister it"])
    operator.unregister(options.model, options.version, is_forced=options.force)
    return "", {"model": options.model, "version": options.version, "outcome": "done"}


_COMMANDS: Final[dict[str, Callable[[Operator, argparse.Namespace], _Result]]] = {
    "models": _models,
    "describe": _describe,
    "scale": _scale,
    "register": _register,
    "rollout": _rollout,
    "rollback": _rollback,
    "drain": _drain,
    "unregister": _unregister,
}


def _plan(lines: Sequence[str]) -> _Result:
    return "\n".join(f"would {line}" for line in lines), {"plan": list(lines)}


def _source(operator: Operator, options: argparse.Namespace, model: str | None) -> Source:
    """Where the archive of the options comes from, checked as far as it can be from here."""
    given, store = options.archive, options.model_store
    if store is None and PurePath(given).name != given:
        store = options.addresses.model_store
    if store is None:
        if PurePath(given).name != given or not given.endswith(".mar") or "://" in given:
            raise BadArchiveError(
                f"expected the name of a file in the server's model store, such as en-1.1.mar, got {given!r}; "
                "a file of this machine needs --model-store"
            )
        return Source(given, store=options.addresses.model_store)
    if not store.is_dir():
        raise InputFileError(f"{store} is no directory; --model-store names the server's model store")
    path = Path(given)
    loads = not options.no_canary and importlib.util.find_spec("torch") is not None
    try:
        info = (verify_mar if loads else check_mar)(path)
    except ArchiveError as error:
        raise BadArchiveError(str(error)) from error
    if model is not None and options.command == "rollout" and info.name != model:
        raise NotNowError(f"{path} is a model {info.name}; nerserve archive --name {model} builds it as {model}")
    found = "its bytes are right" + (" and its model answers" if loads else "; its model was not loaded here")
    operator.say(f"{path} is {info.name} {info.version}, {info.sha256}; {found}")
    name = model_store.versioned_name(model or info.name, info.version)
    return Source(name, local=path, store=store, version=info.version, digest=info.digest, sha256=info.sha256)


def read_sample(path: Path) -> list[str]:
    """The texts in *path*, one a line, without empty ones; InputFileError when there are none."""
    try:
        texts = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(f"{path} cannot be read as a sample of texts: {type(error).__name__}") from error
    if not texts:
        raise InputFileError(f"{path} holds no text; expected one a line")
    return texts


def _status_content(status: ModelStatus, *, is_default: bool | None = None) -> dict[str, Any]:
    content = asdict(status) | {"num_ready": status.num_ready}
    return content if is_default is None else content | {"is_default": is_default}
