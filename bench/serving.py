"""A nerserve of a benchmark's own: models/en on free ports, and every process of it."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import psutil
import requests

from archive.build import build_mar
from bench import ROOT
from handler.tagger import Tagger

NERSERVE: Final = (sys.executable, "-m", "nerserve.cli")


@dataclass(frozen=True)
class Server:
    """A running ``nerserve up``.

    Attributes:
        site: The site's base URL.
        inference: TorchServe's inference API.
        management: Its management API.
        model_store: The directory with its archive.
        state_dir: The directory with its logs.
        process: ``nerserve up`` itself.
    """

    site: str
    inference: str
    management: str
    model_store: Path
    state_dir: Path
    process: subprocess.Popen[bytes]

    def environment(self) -> dict[str, str]:
        """The environment in which nerserve's commands speak to this server."""
        urls = {"NERSERVE_MANAGEMENT_URL": self.management, "NERSERVE_INFERENCE_URL": self.inference}
        return {**os.environ, **urls}

    def switch(self, version: str) -> None:
        """Make *version* the default."""
        requests.put(f"{self.management}/models/en/{version}/set-default", timeout=10).raise_for_status()

    def versions(self) -> list[dict[str, Any]]:
        """All versions of the model as TorchServe describes them."""
        described: list[dict[str, Any]] = requests.get(f"{self.management}/models/en/all", timeout=10).json()
        return described

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
        return ready_workers(self.management, "en")

    def processes(self) -> dict[str, psutil.Process]:
        """Every process by what it is: JVM, workers, and the site's master and workers."""
        numbered = {
            **{f"worker {i}": one for i, one in enumerate(self.workers(), 1)},
            **{f"site worker {i}": one for i, one in enumerate(self.site_workers(), 1)},
        }
        return {"nerserve up": psutil.Process(self.process.pid), "JVM": self.java(), "site master": self.gunicorn()} | {
            name: numbered[name] for name in sorted(numbered)
        }

    def is_whole(self, num_workers: int, num_site_workers: int) -> bool:
        """Whether there are as many workers on both sides, all alive, and the site says that it is ready."""
        with contextlib.suppress(requests.RequestException, psutil.Error, LookupError):
            alive = [one for one in (*self.workers(), *self.site_workers()) if one.status() not in _NOT_WELL]
            return (
                len(alive) == num_workers + num_site_workers
                and requests.get(f"{self.site}/readyz", timeout=3).status_code == requests.codes.ok
            )
        return False

    def _child(self, word: str) -> psutil.Process:
        """The child of ``nerserve up`` with *word* in its command line; NoSuchProcess when there is none."""
        for one in psutil.Process(self.process.pid).children():
            with contextlib.suppress(psutil.Error):
                if one.status() != psutil.STATUS_ZOMBIE and any(word in part for part in one.cmdline()):
                    return one
        raise psutil.NoSuchProcess(self.process.pid, msg=f"no child with {word} in its command line")


_NOT_WELL: Final = frozenset({psutil.STATUS_ZOMBIE, psutil.STATUS_STOPPED})


def ready_workers(management: str, model: str) -> list[psutil.Process]:
    """The worker processes of *model* that are ready, the oldest first."""
    described = requests.get(f"{management}/models/{model}", timeout=5).json()
    pids = [worker["pid"] for worker in described[0]["workers"] if worker["status"] == "READY"]
    return [psutil.Process(pid) for pid in sorted(pids)]


@contextlib.contextmanager
def running(
    folder: Path,
    *,
    options: Sequence[str] = (),
    environ: Mapping[str, str] | None = None,
    models: Sequence[str] = ("en",),
    num_workers: int | None = None,
) -> Iterator[Server]:
    """A nerserve with *models*, "en" the first, its files in *folder*, stopped at the end.

    *options* go to ``nerserve up``, *environ* is added to our own environment; *num_workers* is the archive's unless
    given.
    """
    store, state_dir = folder / "model-store", folder / "state"
    for model in models:
        build_mar(ROOT / "models" / model, store, model_config=model_config(folder, num_workers))
    inference, management, site = write_config(folder)
    command = [
        *(*NERSERVE, "up", "--config", str(folder / "config.properties"), "--model-store", str(store)),
        *("--state-dir", str(state_dir), "--port", str(site), "--models", ",".join(models), *options),
    ]
    output = folder / "output"
    with output.open("wb") as sink:
        process = subprocess.Popen(command, stdout=sink, stderr=sink, env={**os.environ, **(environ or {})}, cwd=ROOT)
    try:
        while "Press Ctrl-C" not in output.read_text("utf-8"):
            if process.poll() is not None:
                raise SystemExit(f"nerserve up ended:\n{output.read_text('utf-8')}")
            time.sleep(0.1)
        yield Server(
            site=f"http://127.0.0.1:{site}",
            inference=f"http://127.0.0.1:{inference}",
            management=f"http://127.0.0.1:{management}",
            model_store=store,
            state_dir=state_dir,
            process=process,
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait()


def write_config(folder: Path) -> tuple[int, int, int]:
    """Put our settings for TorchServe into *folder*; the ports of inference and management, and a free one."""
    inference, management, metrics, grpc, other = free_ports(5)
    config = (ROOT / "config.properties").read_text("utf-8")
    for name, port in (("inference", inference), ("management", management), ("metrics", metrics)):
        config = re.sub(rf"(?m)^{name}_address=.*$", f"{name}_address=http://127.0.0.1:{port}", config)
    config = re.sub(r"(?m)^grpc_inference_port=.*$", f"grpc_inference_port={grpc}", config)
    (folder / "config.properties").write_text(config, "utf-8")
    shutil.copy(ROOT / "metrics.yaml", folder)
    return inference, management, other


def model_config(folder: Path, num_workers: int | None = None) -> Path:
    """The archives' model-config.yaml, or a copy in *folder* with so many workers."""
    ours = ROOT / "archive" / "model-config.yaml"
    if num_workers is None:
        return ours
    changed = folder / "model-config.yaml"
    changed.write_text(re.sub(r"(?m)^(m..Workers): .*$", rf"\1: {num_workers}", ours.read_text("utf-8")), "utf-8")
    return changed


def entities_of(texts: Sequence[str]) -> list[list[dict[str, Any]]]:
    """What models/en finds in *texts* in this process, in the form of a reply."""
    tagger = Tagger.load(ROOT / "models" / "en")
    return [[entity._asdict() for entity in entities] for entities in tagger.tag(texts)]


def free_ports(count: int) -> list[int]:
    """So many different ports of the loopback address that nothing listens on now."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]
