"""The servers that are compared: each started on free ports of the loopback address, and stopped at the end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import requests

from archive import mar
from bench import ROOT, wrk
from bench.errors import BenchError
from bench.load import authorization
from bench.serving import (
    Server,
    address,
    free_ports,
    is_alive,
    model_config,
    running,
    wait_until,
    write_config,
)
from bench.settings import Settings
from contract.limits import RequestLimits
from ops.process.group import Guard
from ops.process.java import find_java
from ops.process.server_config import ServerConfig
from ops.process.state_dir import StateDir
from ops.process.torchserve import TorchServe
from ops.supervise.servers import JVM_GRACE_S

#: The first text of every server.
TEXT: Final = "Barack Obama was born in Hawaii and worked for the United Nations in New York."

SETTLE_TIMEOUT_S: Final = 30.0
NOOP: Final = "noop"

#: A server is idle that uses less than this share of a core for this long.
_IDLE_S: Final = 0.2
_IDLE_SHARE: Final = 0.2

PORT: Final = "nerserve's port"
SITE: Final = "nerserve's site"
CEILING: Final = "do-nothing TorchServe"
CLASSIC: Final = "Flask's own server"
GUNICORN: Final = "gunicorn sync"
LITSERVE: Final = "LitServe"


@dataclass(frozen=True)
class Contestant:
    """A running server.

    Attributes:
        name: Its name in tables.
        url: Its address, without a path.
        path: Where it takes texts, ``{"text": ...}`` or ``{"texts": [...]}``.
        process: The ancestor of all its processes.
        management: The address of its management API, if it is a TorchServe of its own.
        key: The file with the key that it asks for, if it does.
        has_scores: Whether it answers what the tagger does, to the digit; else without scores.
        polls: Whether it uses the processor while idle: it is stopped between its turns.
    """

    name: str
    url: str
    path: str
    process: psutil.Process
    management: str = ""
    key: Path | None = None
    has_scores: bool = True
    polls: bool = False

    def ask(self, document: dict[str, Any]) -> Any:
        """The reply to *document*; OSError unless its status is 200."""
        with requests.Session() as session:
            session.trust_env = False
            url, headers = f"{self.url}{self.path}", authorization(self.key)
            reply = session.post(url, json=document, headers=headers, timeout=60)
            reply.raise_for_status()
            return reply.json()

    def wait(
        self, expected: list[dict[str, Any]] | None = None, *, output: Path | None = None, every_s: float = 0.1
    ) -> None:
        """Return once it answers TEXT.

        BenchError, with the end of its *output*, when it ends, stays silent or finds other entities than *expected*.
        """

        def answers() -> bool:
            entities = self.ask({"text": TEXT})["entities"]
            if expected is not None and entities != expected:
                raise BenchError(f"{self.name} answers otherwise than the tagger")
            return True

        wait_until(answers, self.process, self.name, output=output, every_s=every_s)

    def tree(self) -> list[psutil.Process]:
        """All its processes."""
        return [self.process, *self.process.children(recursive=True)]

    def cpu_s(self) -> float:
        """CPU time of all its processes in seconds."""
        total = 0.0
        for one in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                total += times.user + times.system
        return total

    def load(self, file: Path, *, connections: int, seconds: float, first: int = 0) -> wrk.Measured:
        """A turn of closed-loop load with the requests in *file* from line *first* on; returns once it is idle."""
        with self.in_turn():
            before_s = self.cpu_s()
            load = wrk.run(
                self.url, file, authorization(self.key), connections=connections, seconds=seconds, first=first
            )
            self.settle()
            return load._replace(cpu_ms=(self.cpu_s() - before_s) / (load.requests + connections) * 1e3)

    def settle(self) -> None:
        """Wait until it has finished the requests whose clients are gone, so that they do not slow down the next."""
        began_s = time.monotonic()
        with contextlib.suppress(OSError):
            self.ask({"text": "Done."})  # last in every queue
        while not self.polls and time.monotonic() - began_s < SETTLE_TIMEOUT_S:
            before_s = self.cpu_s()
            time.sleep(_IDLE_S)
            if self.cpu_s() - before_s < _IDLE_SHARE * _IDLE_S:
                return

    @contextlib.contextmanager
    def in_turn(self) -> Iterator[None]:
        """Its turn: a server that polls runs only here."""
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        for one in self.tree() if self.polls else ():
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(number)


def port_of(server: Server, name: str = PORT) -> Contestant:
    """TorchServe's inference port of *server*."""
    return Contestant(name, server.inference, "/predictions/en", server.process, key=server.inference_key)


def all_of(settings: Settings, stack: contextlib.ExitStack) -> list[Contestant]:
    """Start every contestant that takes part; *stack* stops them."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    server = stack.enter_context(running(folder / "nerserve", num_workers=settings.num_workers))
    server.wait_for_workers()
    build_noop(folder / NOOP / "model-store", settings.num_workers)
    noop = stack.enter_context(torchserve_alone(folder / NOOP, NOOP))
    noop.wait()
    contestants = [port_of(server), Contestant(SITE, server.site, "/api/predict", server.process), noop]
    workers, app = str(settings.num_workers), "bench.rivals.classic:create_app()"
    flask = ["-m", "flask", "--app", app, "run", "--port", "{port}"]
    gunicorn = ["-m", "gunicorn", "--workers", workers, "--bind", "127.0.0.1:{port}", "--timeout", "300", app]
    lit = ["-c", f"from bench.rivals.lit import serve; serve({{port}}, {workers})"]
    for key, name, arguments in (
        ("classic", CLASSIC, flask),
        ("gunicorn", GUNICORN, gunicorn),
        ("litserve", LITSERVE, lit),
    ):
        if settings.has(key):
            (port,) = free_ports(1)
            output = folder / f"{key}.out"
            process = stack.enter_context(_process([one.format(port=port) for one in arguments], output))
            is_lit = name == LITSERVE
            one = Contestant(name, address(port), "/predict", process, has_scores=is_lit, polls=is_lit)
            one.wait(output=output)
            contestants.append(one)
    return contestants


def build_noop(store: Path, num_workers: int | None = None) -> Path:
    """The archive of the handler that does nothing, with our settings, in *store*, which is created."""
    entry = ROOT / "bench" / "rivals" / "noop_handler.py"
    model = {"modelName": NOOP, "handler": entry.name, "modelVersion": "1.0", "configFile": mar.MODEL_CONFIG}
    manifest = {"createdOn": "01/01/1980 00:00:00", "runtime": "python", "model": model, "archiverVersion": "0.12.0"}
    store.mkdir(parents=True, exist_ok=True)
    path = store / f"{NOOP}.mar"
    files = {
        entry.name: entry.read_bytes(),
        mar.MODEL_CONFIG: model_config(store.parent, num_workers).read_bytes(),
        mar.MANIFEST: json.dumps(manifest).encode(),
    }
    path.write_bytes(mar.pack(files))
    return path


@contextlib.contextmanager
def torchserve_alone(folder: Path, model: str) -> Iterator[Contestant]:
    """A TorchServe without ``nerserve up``, with the archive of *model* in *folder*'s model-store.

    Its config.properties, but for keys, JVM options, logging and the workers' environment are those of ``nerserve up``;
    it need not be ready yet.  It ends in good order, and so leaves the JVM's class data in *folder* for the next one.
    """
    inference, management, _ = write_config(folder, "disable_token_authorization=true\n")
    config = ServerConfig.load(folder / "config.properties", RequestLimits.from_environment(os.environ))
    guard = Guard()
    java = find_java(os.environ)
    server = TorchServe(
        java=java.path,
        config=config,
        model_store=folder / "model-store",
        sources=lambda: {model: f"{model}.mar"},
        state_dir=StateDir(folder / "state"),
        guard=guard,
        http_codec=java.http_codec,
    )
    try:
        server.start()
        if server.pid is None:
            raise BenchError("TorchServe did not start")
        process = psutil.Process(server.pid)
        yield Contestant(CEILING, address(inference), f"/predictions/{model}", process, address(management))
    finally:
        server.terminate()
        deadline_s = time.monotonic() + JVM_GRACE_S
        while server.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.05)
        server.kill()
        guard.close()


@contextlib.contextmanager
def _process(arguments: Sequence[str], output: Path) -> Iterator[psutil.Process]:
    """Our Python with *arguments*, its *output* in a file; killed at the end, with its children."""
    with output.open("wb") as sink:
        process = psutil.Popen([sys.executable, *arguments], stdout=sink, stderr=sink, cwd=ROOT)
    try:
        yield process
    finally:
        for one in [*process.children(recursive=True), process] if is_alive(process) else ():
            with contextlib.suppress(psutil.NoSuchProcess):
                one.kill()
        process.wait()
