"""The servers that are compared: each started on free ports of the loopback address, and stopped at the end."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
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
from archive.build import build_mar
from bench import ROOT
from bench.serving import free_ports, model_config, running, write_config
from bench.settings import BUNDLE, Settings
from contract.limits import RequestLimits
from ops.process.group import Guard
from ops.process.java import find_java
from ops.process.server_config import ServerConfig
from ops.process.state_dir import StateDir
from ops.process.torchserve import TorchServe
from ops.supervise.servers import JVM_GRACE_S

START_TIMEOUT_S: Final = 120.0
SETTLE_TIMEOUT_S: Final = 30.0
NOOP: Final = "noop"

#: A server is quiet that uses less than this share of a core for so long.
_QUIET_S: Final = 0.2
_QUIET_SHARE: Final = 0.2

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
        name: What it is called in tables.
        url: Its address, without a path.
        path: Where it takes texts, ``{"text": ...}`` or ``{"texts": [...]}``.
        process: The process that all others of the server descend from.
        has_scores: Whether it answers what the tagger does, to the digit; else without scores.
        has_entities: Whether it answers with entities at all.
        is_restless: Whether it uses the processor while nobody asks: it is stopped between its turns.
    """

    name: str
    url: str
    path: str
    process: psutil.Process
    has_scores: bool = True
    has_entities: bool = True
    is_restless: bool = False

    def ask(self, document: dict[str, Any]) -> Any:
        """The reply to *document*; OSError when there is none, or none with status 200."""
        with requests.Session() as session:
            session.trust_env = False
            reply = session.post(f"{self.url}{self.path}", json=document, timeout=60)
            reply.raise_for_status()
            return reply.json()

    def tree(self) -> list[psutil.Process]:
        """All its processes."""
        return [self.process, *self.process.children(recursive=True)]

    def cpu_s(self) -> float:
        """Seconds of processor time that all its processes have used."""
        total = 0.0
        for one in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                times = one.cpu_times()
                total += times.user + times.system
        return total

    def settle(self) -> None:
        """Wait until it is done with requests that nobody waits for any more, so that they slow down nobody else."""
        began_s = time.monotonic()
        with contextlib.suppress(OSError):
            self.ask({"text": "Done."})  # behind the others in every queue
        while not self.is_restless and time.monotonic() - began_s < SETTLE_TIMEOUT_S:
            before_s = self.cpu_s()
            time.sleep(_QUIET_S)
            if self.cpu_s() - before_s < _QUIET_SHARE * _QUIET_S:
                return

    @contextlib.contextmanager
    def in_turn(self) -> Iterator[None]:
        """Its turn: if it is restless, it runs only here."""
        if not self.is_restless:
            yield
            return
        self._signal(signal.SIGCONT)
        try:
            yield
        finally:
            self._signal(signal.SIGSTOP)

    def rest(self) -> None:
        """Wait for the first turn."""
        if self.is_restless:
            self._signal(signal.SIGSTOP)

    def _signal(self, number: int) -> None:
        for one in self.tree():
            with contextlib.suppress(psutil.NoSuchProcess):
                one.send_signal(number)


@dataclass(frozen=True)
class Alone:
    """A TorchServe without ``nerserve up`` around it: its addresses and its JVM."""

    inference: str
    management: str
    process: psutil.Process


def all_of(settings: Settings, stack: contextlib.ExitStack) -> list[Contestant]:
    """Every contestant that takes part, started; *stack* stops them."""
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
    for name in ("nerserve", NOOP):
        (folder / name).mkdir()
    server = stack.enter_context(running(folder / "nerserve", num_workers=settings.num_workers))
    ours = psutil.Process(server.process.pid)
    build_noop(folder / NOOP / "model-store", settings.num_workers)
    noop = stack.enter_context(torchserve_alone(folder / NOOP, NOOP))
    contestants = [
        Contestant(PORT, server.inference, "/predictions/en", ours),
        Contestant(SITE, server.site, "/api/predict", ours),
        Contestant(CEILING, noop.inference, f"/predictions/{NOOP}", noop.process, has_entities=False),
    ]
    workers = str(settings.num_workers)
    if settings.has("classic"):
        (port,) = free_ports(1)
        process = stack.enter_context(_process(["-m", "bench.rivals.classic", str(port)], folder))
        contestants.append(Contestant(CLASSIC, f"http://127.0.0.1:{port}", "/predict", process, has_scores=False))
    if settings.has("gunicorn"):
        (port,) = free_ports(1)
        command = ["-m", "gunicorn", "--workers", workers, "--bind", f"127.0.0.1:{port}", "--timeout", "300"]
        process = stack.enter_context(_process([*command, "bench.rivals.classic:create_app()"], folder))
        contestants.append(Contestant(GUNICORN, f"http://127.0.0.1:{port}", "/predict", process, has_scores=False))
    if settings.has("litserve"):
        (port,) = free_ports(1)
        process = stack.enter_context(_process(["-m", "bench.rivals.lit", str(port), workers], folder))
        contestants.append(Contestant(LITSERVE, f"http://127.0.0.1:{port}", "/predict", process, is_restless=True))
    for contestant in contestants:
        wait_until_right(contestant, folder)
    return contestants


def wait_until_right(contestant: Contestant, folder: Path) -> None:
    """Return when *contestant* answers; SystemExit, with where its words are, when it ends or is silent for long."""
    began_s = time.monotonic()
    while True:
        with contextlib.suppress(OSError, ValueError):
            contestant.ask({"text": "Angela Merkel met Emmanuel Macron in Paris."})
            return
        if not contestant.process.is_running() or contestant.process.status() == psutil.STATUS_ZOMBIE:
            words = "\n".join(path.read_text("utf-8", "replace")[-2000:] for path in sorted(folder.glob("*.out")))
            raise SystemExit(f"nerserve bench: {contestant.name} ended:\n{words}")
        if time.monotonic() - began_s > START_TIMEOUT_S:
            raise SystemExit(f"nerserve bench: {contestant.name} does not answer after {START_TIMEOUT_S:g} s")
        time.sleep(0.2)


def build_noop(store: Path, num_workers: int | None = None) -> Path:
    """The archive of the handler that does nothing, with the settings of ours."""
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


def build_en(store: Path, num_workers: int | None = None) -> Path:
    """The archive of models/en."""
    return build_mar(BUNDLE, store, model_config=model_config(store.parent, num_workers))


@contextlib.contextmanager
def torchserve_alone(folder: Path, model: str) -> Iterator[Alone]:
    """A TorchServe with the archive of *model* in *folder*'s model-store, started as ``nerserve up`` starts it.

    With the same config.properties, JVM options, logging and environment of the workers; nothing waits until it is up.
    It ends in good order, and so leaves the JVM's class data in *folder* for the next one.
    """
    inference, management, _ = write_config(folder)
    config = ServerConfig.load(folder / "config.properties", RequestLimits.from_environment(os.environ))
    guard = Guard()
    server = TorchServe(
        java=find_java(os.environ).path,
        config=config,
        model_store=folder / "model-store",
        models=(model,),
        state_dir=StateDir(folder / "state"),
        guard=guard,
    )
    try:
        server.start()
        if server.pid is None:
            raise SystemExit("nerserve bench: TorchServe did not start")
        yield Alone(f"http://127.0.0.1:{inference}", f"http://127.0.0.1:{management}", psutil.Process(server.pid))
    finally:
        server.terminate()
        deadline_s = time.monotonic() + JVM_GRACE_S
        while server.poll() is None and time.monotonic() < deadline_s:
            time.sleep(0.05)
        server.kill()
        guard.close()


@contextlib.contextmanager
def _process(arguments: Sequence[str], folder: Path) -> Iterator[psutil.Process]:
    """Our Python with *arguments*, what it says in a file in *folder*; it and its children end at the end."""
    with tempfile.NamedTemporaryFile(dir=folder, suffix=".out") as sink:
        process = subprocess.Popen([sys.executable, *arguments], stdout=sink, stderr=sink, cwd=ROOT)
        whole = psutil.Process(process.pid)
        try:
            yield whole
        finally:
            with contextlib.suppress(psutil.NoSuchProcess):
                for one in [*whole.children(recursive=True), whole]:
                    with contextlib.suppress(psutil.NoSuchProcess):
                        one.kill()
            process.wait()
