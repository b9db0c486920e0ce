"""A nerserve of our own on free ports of the loopback address: models/en, and all its processes."""

from __future__ import annotations

import contextlib
import math
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import requests

from archive.build import build_mar
from bench import ROOT
from bench.errors import BenchError
from bench.load import authorization
from handler.tagger import Tagger

BUNDLE: Final = ROOT / "models" / "en"
NERSERVE: Final = (sys.executable, "-m", "nerserve.cli")


@dataclass(frozen=True)
class Server:
    """A running ``nerserve up``, which asks for keys as it does by default.

    Attributes:
        site: The site's base URL.
        inference: The base URL of TorchServe's inference API.
        management: That of its management API.
        folder: The directory with all its files: ``model-store``, ``state``, ``output``.
        process: ``nerserve up`` itself.
    """

    site: str
    inference: str
    management: str
    folder: Path
    process: psutil.Process

    @property
    def inference_key(self) -> Path:
        """The file with the key for ``inference``."""
        return self.folder / "state" / "keys" / "inference.key"

    @property
    def management_key(self) -> Path:
        """The file with the key for ``management``."""
        return self.folder / "state" / "keys" / "management.key"

    def java(self) -> psutil.Process:
        """TorchServe's JVM."""
        return self._child("ModelServer")

    def gunicorn(self) -> psutil.Process:
        """The site's master process."""
        return self._child("gunicorn")

    def site_workers(self) -> list[psutil.Process]:
        """The site's worker processes, the oldest first."""
        return sorted(self.gunicorn().children(), key=lambda one: one.pid)

    def workers(self) -> list[psutil.Process]:
        """The model's worker processes that are ready, the oldest first."""
        return ready_workers(self.management, "en", self.management_key)

    def wait_for_workers(self) -> None:
        """Return once the model has all its workers; ``nerserve up`` is ready with one."""

        def has_all() -> bool:
            headers = authorization(self.management_key)
            (described,) = requests.get(f"{self.management}/models/en", headers=headers, timeout=5).json()
            return bool(len(self.workers()) == described["minWorkers"])

        wait_until(has_all, self.process, "nerserve up")

    def processes(self) -> dict[str, psutil.Process]:
        """Every process by its role: the JVM, the model's workers, the site's master and workers."""
        roles = {"nerserve up": self.process, "JVM": self.java(), "site master": self.gunicorn()}
        for role, processes in (("site worker", self.site_workers()), ("worker", self.workers())):
            roles |= {f"{role} {number}": one for number, one in enumerate(processes, 1)}
        return roles

    def _child(self, word: str) -> psutil.Process:
        """The child of ``nerserve up`` with *word* in its command line; NoSuchProcess when there is none."""
        for one in self.process.children():
            with contextlib.suppress(psutil.Error):
                if one.status() != psutil.STATUS_ZOMBIE and any(word in part for part in one.cmdline()):
                    return one
        raise psutil.NoSuchProcess(self.process.pid, msg=f"no child with {word} in its command line")


def ready_workers(management: str, model: str, key: Path | None = None) -> list[psutil.Process]:
    """The worker processes of *model* that are ready, the oldest first; *key* is the file with the management key."""
    described = requests.get(f"{management}/models/{model}", headers=authorization(key), timeout=5).json()
    pids = [worker["pid"] for worker in described[0]["workers"] if worker["status"] == "READY"]
    return [psutil.Process(pid) for pid in sorted(pids)]


def is_alive(process: psutil.Process) -> bool:
    """Whether *process* has not ended."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def wait_until(
    holds: Callable[[], bool],
    process: psutil.Process,
    name: str,
    *,
    output: Path | None = None,
    timeout_s: float = 120.0,
    every_s: float = 0.1,
) -> None:
    """Return once *holds*() is true; OSError, ValueError, LookupError and psutil.Error of it mean not yet.

    BenchError says that *name*, whose process is *process*, ended or is not ready after *timeout_s*, with the end of
    its *output*.
    """
    began_s = time.monotonic()
    while True:
        with contextlib.suppress(OSError, ValueError, LookupError, psutil.Error):
            if holds():
                return
        has_ended = not is_alive(process)
        if has_ended or time.monotonic() - began_s > timeout_s:
            words = f":\n{output.read_text('utf-8', 'replace')[-4000:]}" if output else ""
            what = "ended" if has_ended else f"is not ready after {timeout_s:g} s"
            raise BenchError(f"{name} {what}{words}")
        time.sleep(every_s)


@contextlib.contextmanager
def running(
    folder: Path,
    *,
    options: Sequence[str] = (),
    models: Sequence[str] = ("en",),
    num_workers: int | None = None,
    prefix: Sequence[str] = (),
) -> Iterator[Server]:
    """A nerserve with *models*, "en" the first, its files in *folder*, which is created; stopped at the end.

    *options* go to ``nerserve up``, whose command line follows *prefix*; *num_workers* is the archive's unless given.
    """
    store, output = folder / "model-store", folder / "output"
    folder.mkdir(parents=True, exist_ok=True)
    for model in models:
        build_mar(ROOT / "models" / model, store, model_config=model_config(folder, num_workers))
    inference, management, site = write_config(folder, "token_expiration_min=1440\n")  # no renewal in a measurement
    command = [
        *(*prefix, *NERSERVE, "up", "--config", str(folder / "config.properties"), "--model-store", str(store)),
        *("--state-dir", str(folder / "state"), "--port", str(site), "--models", ",".join(models), *options),
    ]
    with output.open("wb") as sink, subprocess.Popen(command, stdout=sink, stderr=sink, cwd=ROOT) as child:
        process = psutil.Process(child.pid)
        try:

            def is_up() -> bool:
                return "Press Ctrl-C" in output.read_text("utf-8")

            wait_until(is_up, process, "nerserve up", output=output, timeout_s=math.inf)
            yield Server(address(site), address(inference), address(management), folder, process)
        finally:
            child.send_signal(signal.SIGTERM)


def address(port: int) -> str:
    """The URL of *port* of the loopback address."""
    return f"http://127.0.0.1:{port}"


def write_config(folder: Path, settings: str) -> tuple[int, int, int]:
    """Write our settings for TorchServe, and *settings*, to *folder*.

    Returns the ports of inference and management, and a free one.
    """
    inference, management, metrics, grpc, other = free_ports(5)
    config = (ROOT / "config.properties").read_text("utf-8")
    for name, port in (("inference", inference), ("management", management), ("metrics", metrics)):
        config = re.sub(rf"(?m)^{name}_address=.*$", f"{name}_address={address(port)}", config)
    config = re.sub(r"(?m)^grpc_inference_port=.*$", f"grpc_inference_port={grpc}", config)
    (folder / "config.properties").write_text(config + settings, "utf-8")
    shutil.copy(ROOT / "metrics.yaml", folder)
    return inference, management, other


def model_config(folder: Path, num_workers: int | None = None) -> Path:
    """The archives' model-config.yaml, or a copy in *folder* with *num_workers* workers."""
    ours = ROOT / "archive" / "model-config.yaml"
    if num_workers is None:
        return ours
    changed = folder / "model-config.yaml"
    changed.write_text(re.sub(r"(?m)^(m..Workers): .*$", rf"\1: {num_workers}", ours.read_text("utf-8")), "utf-8")
    return changed


def entities_of(texts: Sequence[str]) -> list[list[dict[str, Any]]]:
    """The entities that models/en finds in *texts* in this process, as in a reply."""
    return [[entity._asdict() for entity in entities] for entities in Tagger.load(BUNDLE).tag(texts)]


def free_ports(count: int) -> list[int]:
    """*count* different ports of the loopback address on which nothing listens."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
