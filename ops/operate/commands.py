"""The operators' commands: clients from options, tables for people, JSON for programs."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import json
import os
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path, PurePath
from typing import Any, Final, TextIO
from urllib.parse import urlsplit

from archive.errors import ArchiveError
from archive.verify import check_mar, verify_mar
from ops.errors import BadArchiveError, BrokenOffError, InputFileError, NotNowError, OpsError
from ops.operate import model_store
from ops.operate.rollout import Rollout, RolloutOptions, Source, roll_back, rollback_versions
from ops.operate.scale import ModelVersions, Operator
from ops.operate.verdicts import SAMPLE, Retire, scale_steps
from ops.process.addresses import Address
from ops.signals import StopRequests
from ops.torchserve_api.management import ManagementClient, ModelStatus
from ops.torchserve_api.predictions import PredictionClient

TIMEOUT_S: Final = 10.0
"""For one request to the management API; ending a worker is part of some."""


class Journal:
    """Writes a line for each step, with the seconds since the command began; keeps them for JSON."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream
        self._began_s = time.monotonic()
        self.steps: list[dict[str, Any]] = []

    def say(self, text: str) -> None:
        """Write one step; where nobody can read it any more, the command goes on, and back where it has to."""
        at_s = time.monotonic() - self._began_s
        self.steps.append({"at_s": round(at_s, 2), "step": text})
        try:
            self._stream.write(f"{at_s:7.1f} s  {text}\n")
            self._stream.flush()
        except OSError:
            _give_up(self._stream)


@dataclass(frozen=True)
class _Call:
    """One command with all it needs."""

    options: argparse.Namespace
    operator: Operator
    journal: Journal

    @property
    def management(self) -> ManagementClient:
        """The client for everything but predictions."""
        return self.operator.management

    def predictions(self) -> PredictionClient:
        """The client for canaries."""
        options = self.options
        return PredictionClient(options.inference, key_from(options.inference_key_file), options.ca)


@dataclass(frozen=True)
class _Result:
    """What a command prints: *text* for people, *content* for programs."""

    text: str
    content: dict[str, Any]


def run(options: argparse.Namespace, out: TextIO, err: TextIO) -> int:
    """Run the command that *options* name; raises an OpsError, told to programs too when they asked for JSON."""
    journal = Journal(err if options.json else out)
    stop = StopRequests()
    if options.ca is not None and not options.ca.is_file():
        raise InputFileError(f"{options.ca} does not exist; --ca names a PEM file")
    for url, key_file in _keys_sent(options):
        if is_readable_by_others(url):
            with contextlib.suppress(OSError):
                err.write(f"warning: the key in {key_file} travels unencrypted to {url}\n")

    def check() -> None:
        if stop.should_stop:
            raise BrokenOffError(stop.signals[0], f"broken off by signal {stop.signals[0]}")

    management = ManagementClient(options.management, TIMEOUT_S, key_from(options.management_key_file), options.ca)
    operator = Operator(management, journal.say, check, **_waits(options))
    try:
        with stop.installed():
            result = _COMMANDS[options.command](_Call(options, operator, journal))
    except OpsError as error:
        if options.json:
            failure = {"code": type(error).__name__.removesuffix("Error"), "message": str(error)}
            with contextlib.suppress(OpsError):  # what went wrong before says more
                _write(out, _json({"error": failure | {"exit_status": error.exit_code}, "steps": journal.steps}))
        raise
    if options.json:
        _write(out, _json(result.content | ({"steps": journal.steps} if journal.steps else {})))
    elif result.text:
        _write(out, result.text)
    return 0


def _waits(options: argparse.Namespace) -> dict[str, float]:
    """How long the operator waits for what; ``--timeout`` is for what the command waits for."""
    timeout = "idle_timeout_s" if options.command in {"drain", "unregister"} else "load_timeout_s"
    given = {timeout: getattr(options, "timeout", None), "grace_s": getattr(options, "grace", None)}
    return {name: seconds for name, seconds in given.items() if seconds is not None}


def _keys_sent(options: argparse.Namespace) -> list[tuple[str, Path]]:
    """The base URLs that get a key, and the files the keys are in."""
    pairs = [(options.management, options.management_key_file)]
    if hasattr(options, "inference"):
        pairs.append((options.inference, options.inference_key_file))
    return [(url, path) for url, path in pairs if path is not None]


def is_readable_by_others(url: str) -> bool:
    """Whether what is sent to *url* leaves this machine as it is.

    >>> is_readable_by_others("http://127.0.0.1:8081"), is_readable_by_others("http://ner.example.org:8081")
    (False, True)
    """
    parts = urlsplit(url)
    return parts.scheme == "http" and not Address(parts.hostname or "", 0, "").is_loopback


def key_from(path: Path | None) -> Callable[[], str | None]:
    """Gives the key in the file at *path* as it is at each call; none without a file.

    The call raises InputFileError, which shows nothing of the content, when there is no key in it.
    """

    def key() -> str | None:
        if path is None:
            return None
        try:
            text = path.read_text(encoding="ascii").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise InputFileError(f"{path} cannot be read as a key: {type(error).__name__}") from error
        if not text or not text.isprintable() or " " in text:
            raise InputFileError(f"{path} holds no key: expected one line with nothing but the key")
        return text

    return key


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """*rows* as lines whose columns stand below each other.

    >>> print(aligned([("MODEL", "READY"), ("en", "2")]))
    MODEL  READY
    en     2
    """
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows)
    return "\n".join(line.rstrip() for line in lines)


def _json(content: dict[str, Any]) -> str:
    return json.dumps(content, indent=2)


def _write(out: TextIO, text: str) -> None:
    """Print *text*; OpsError when it cannot be, by which time everything has been done."""
    try:
        out.write(text + "\n")
        out.flush()
    except OSError as error:
        _give_up(out)
        raise OpsError(f"the command is done, but its output cannot be written: {error.strerror or error}") from error


def _give_up(stream: TextIO) -> None:
    """Have *stream* lead nowhere: over what it still holds Python would end with status 120, whatever we return."""
    with contextlib.suppress(OSError), Path(os.devnull).open("wb") as nowhere:
        os.dup2(nowhere.fileno(), stream.fileno())


def _models(call: _Call) -> _Result:
    seen = [call.operator.look(name) for name in call.management.models()]
    rows = [("MODEL", "VERSION", "DEFAULT", "READY", "WORKERS", "MIN", "MAX", "PENDING", "ARCHIVE")]
    rows += [
        (
            *(model.name, version, "*" if version == model.default else "", str(status.num_ready)),
            *(str(len(status.workers)), str(status.min_workers), str(status.max_workers)),
            *(str(status.num_pending), status.archive),
        )
        for model in seen
        for version, status in sorted(model.statuses.items())
    ]
    return _Result(
        aligned(rows) if seen else "no model is registered",
        {"models": [_model_content(model) for model in seen]},
    )


def _describe(call: _Call) -> _Result:
    seen = call.operator.look(call.options.model)
    version = call.options.version or seen.default
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
    return _Result(text, _status_content(status, is_default=version == seen.default))


def _scale(call: _Call) -> _Result:
    options = call.options
    status = call.management.describe(options.model, options.version)
    steps = scale_steps(len(status.workers), options.workers) if options.wait else [options.workers]
    if options.dry_run:
        return _plan([f"scale {status.name} {status.version} from {len(status.workers)} to {step}" for step in steps])
    call.journal.say(f"{status.name} {status.version}: from {len(status.workers)} workers to {options.workers}")
    call.operator.scale(status, options.workers, waits=options.wait)
    now = call.management.describe(status.name, status.version)
    call.journal.say(f"{now.name} {now.version}: {now.num_ready} of {now.min_workers} workers ready")
    return _Result("", _status_content(now))


def _register(call: _Call) -> _Result:
    options = call.options
    source = _source(call, options.name)
    if options.dry_run:
        return _plan([*source.plan(), f"register {source.archive} with {options.workers} workers"])
    is_new = source.put_in_store()
    try:
        status = call.operator.register(source.archive, options.name, options.workers)
    except OpsError:
        if is_new:
            source.take_from_store()
        raise
    call.journal.say(f"{status.name} {status.version} has {status.num_ready} workers ready")
    return _Result("", _status_content(status))


def _rollout(call: _Call) -> _Result:
    options = call.options
    source = _source(call, options.model)
    careful = RolloutOptions(
        sample=SAMPLE if options.sample is None else read_sample(options.sample),
        max_disagreement=options.max_disagreement,
        error_rate=options.error_rate,
        watch_s=options.watch,
        retire=Retire(options.retire),
    )
    rollout = Rollout(call.operator, call.predictions(), options.model, source, careful)
    if options.dry_run:
        return _plan(rollout.plan())
    report = rollout.run()
    call.journal.say(f"done: {report.model} went from {report.old} to {report.new}")
    content = asdict(report)
    if report.comparison:
        content["comparison"]["disagreement"] = report.comparison.disagreement
    return _Result("", content)


def _rollback(call: _Call) -> _Result:
    options, operator = call.options, call.operator
    if options.dry_run:
        left, to = rollback_versions(operator, options.model, options.to)
        return _plan([f"make {to} the default version of {options.model}", f"leave {left} {options.retire}"])
    retire = Retire(options.retire)
    left, to = roll_back(
        operator, call.predictions(), options.model, to=options.to, retire=retire, store=options.model_store
    )
    return _Result("", {"model": options.model, "old": left, "new": to, "outcome": "done"})


def _drain(call: _Call) -> _Result:
    options, operator = call.options, call.operator
    if options.dry_run:
        seen = operator.look(options.model)
        version = seen.status(options.version or seen.default).version
        default = operator.default_to_drain_for(seen, version, is_forced=options.force)
        lines = [f"make {default} the default version of {seen.name}"] if default != seen.default else []
        return _plan([*lines, f"wait until nothing waits for {seen.name} {version}", "scale it to 0 workers"])
    version, default = operator.drain(options.model, options.version, is_forced=options.force)
    return _Result("", {"model": options.model, "version": version, "default": default, "outcome": "done"})


def _unregister(call: _Call) -> _Result:
    options = call.options
    if options.dry_run:
        status = call.operator.look(options.model).status(options.version)
        return _plan([f"drain {status.name} {status.version}", "unregister it"])
    call.operator.unregister(options.model, options.version)
    return _Result("", {"model": options.model, "version": options.version, "outcome": "done"})


_COMMANDS: Final[dict[str, Callable[[_Call], _Result]]] = {
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
    return _Result("\n".join(f"would {line}" for line in lines), {"plan": list(lines)})


def _source(call: _Call, model: str | None) -> Source:
    """Where the archive of the options comes from, checked as far as it can be from here."""
    given, store = call.options.archive, call.options.model_store
    if store is None:
        if PurePath(given).name != given or not given.endswith(".mar") or "://" in given:
            raise BadArchiveError(
                f"expected the name of a file in the server's model store, such as en-1.1.mar, got {given!r}; "
                "a file of this machine needs --model-store"
            )
        return Source(given)
    if not store.is_dir():
        raise InputFileError(f"{store} is no directory; --model-store names the server's model store")
    path = Path(given)
    loads = not call.options.no_canary and importlib.util.find_spec("torch") is not None
    try:
        info = (verify_mar if loads else check_mar)(path)
    except ArchiveError as error:
        raise BadArchiveError(str(error)) from error
    if model is not None and call.options.command == "rollout" and info.name != model:
        raise NotNowError(f"{path} is a model {info.name}; nerserve archive --name {model} builds it as {model}")
    call.journal.say(
        f"{path} is {info.name} {info.version}, {info.sha256}; "
        + (
            "its bytes are right and its model answers"
            if loads
            else "its bytes are right; its model was not loaded here"
        )
    )
    name = model_store.versioned_name(model or info.name, info.version)
    return Source(name, local=path, store=store, version=info.version, digest=info.digest)


def read_sample(path: Path) -> list[str]:
    """The texts in *path*, one a line, without empty ones; InputFileError when there are none."""
    try:
        texts = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError) as error:
        raise InputFileError(f"{path} cannot be read as a sample of texts: {type(error).__name__}") from error
    if not texts:
        raise InputFileError(f"{path} holds no text; expected one a line")
    return texts


def _model_content(model: ModelVersions) -> dict[str, Any]:
    statuses = sorted(model.statuses.items())
    return {
        "name": model.name,
        "default": model.default,
        "versions": [_status_content(status, is_default=version == model.default) for version, status in statuses],
    }


def _status_content(status: ModelStatus, *, is_default: bool | None = None) -> dict[str, Any]:
    content = asdict(status) | {"num_ready": status.num_ready}
    return content if is_default is None else content | {"is_default": is_default}
