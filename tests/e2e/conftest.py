"""``nerserve up`` with the shipped model, the way a user runs it, on ports of its own."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

import psutil
import pytest
import requests

from archive.build import build_mar
from tests.e2e.instance import ANSWER_S, PATIENCE_S, SITE_TIMEOUT_S, START_TIMEOUT_S, KeyFile, write_config
from tests.unit.web.conftest import (  # noqa: F401  (fixtures: a site of a test's own, before any upstream)
    dead_url,
    good_reply,
    raw_upstream,
    read_request,
    silent,
    start_site,
    upstream,
)


class Served(NamedTuple):
    """Where a running nerserve answers: URLs, and for gRPC host and port."""

    site: str
    inference: str
    management: str
    metrics: str
    grpc: str
    log_dir: Path

    @property
    def inference_key(self):
        return KeyFile(self.log_dir / "keys" / "inference.key")

    @property
    def management_key(self):
        return KeyFile(self.log_dir / "keys" / "management.key")

    def java(self):
        """TorchServe's JVM: it listens on the inference port."""
        port = int(self.inference.rpartition(":")[2])
        (pid,) = {
            connection.pid
            for connection in psutil.net_connections("tcp")
            if connection.status == psutil.CONN_LISTEN and connection.laddr.port == port
        }
        return psutil.Process(pid)

    def workers(self):
        """The processes of the default version's workers that are ready."""
        described = requests.get(f"{self.management}/models/en", auth=self.management_key, timeout=ANSWER_S).json()
        found = []
        for worker in described[0]["workers"]:
            if worker["status"] == "READY":
                with contextlib.suppress(psutil.NoSuchProcess):  # it died, which TorchServe has not noticed yet
                    found.append(psutil.Process(worker["pid"]))
        return found

    def wait_for_workers(self, count):
        """Return once *count* are ready."""
        deadline_s = time.monotonic() + PATIENCE_S
        while True:
            # TorchServe may not be up again, or not know the model yet.
            with contextlib.suppress(requests.RequestException, KeyError):
                if len(self.workers()) == count:
                    return
            assert time.monotonic() < deadline_s, f"not {count} workers within {PATIENCE_S} s"
            time.sleep(0.2)


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """A nerserve that is up, with models/en and the project's own config.properties but for the ports.

    Its site gives a request more time than usual, because the machine may be busy.
    """
    folder = tmp_path_factory.mktemp("served")
    build_mar(Path("models/en"), folder / "model-store")
    ports = write_config(folder)
    command = [
        *(Path(sys.executable).parent / "nerserve", "up", "--config", folder / "config.properties"),
        *("--model-store", folder / "model-store", "--state-dir", folder / "state", "--port", str(ports.site)),
        *("--start-timeout", str(START_TIMEOUT_S), "--drain-timeout", str(SITE_TIMEOUT_S + 10)),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "NERSERVE_"))}
    environment["NERSERVE_TIMEOUT_S"] = str(SITE_TIMEOUT_S)
    output = folder / "output"
    with output.open("wb") as sink:
        process = subprocess.Popen(command, env=environment, stdout=sink, stderr=sink)
    try:
        while "Press Ctrl-C to stop" not in output.read_text():  # which it waits START_TIMEOUT_S for
            assert process.poll() is None, f"nerserve up ended:\n{output.read_text()}"
            time.sleep(0.1)
        addresses = map(ports.url, ("site", "inference", "management", "metrics"))
        yield Served(*addresses, grpc=f"127.0.0.1:{ports.grpc}", log_dir=folder / "state")
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=180)
    assert status == 0, f"nerserve up ended with {status}:\n{output.read_text()}"
