"""``nerserve up`` with the shipped model, the way a user runs it, on ports of its own."""

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
from tests.e2e.instance import write_config

START_TIMEOUT_S = 90


class Served(NamedTuple):
    """Where a running nerserve answers: URLs, and for gRPC host and port."""

    site: str
    inference: str
    management: str
    metrics: str
    grpc: str
    log_dir: Path

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
        described = requests.get(f"{self.management}/models/en", timeout=5).json()
        return [psutil.Process(worker["pid"]) for worker in described[0]["workers"] if worker["status"] == "READY"]


@pytest.fixture(scope="session")
def served(tmp_path_factory):
    """A nerserve that is up, with models/en and the project's own config.properties but for the ports."""
    folder = tmp_path_factory.mktemp("served")
    build_mar(Path("models/en"), folder / "model-store")
    ports = write_config(folder)
    command = [
        *(Path(sys.executable).parent / "nerserve", "up", "--config", folder / "config.properties"),
        *("--model-store", folder / "model-store", "--state-dir", folder / "state", "--port", str(ports.site)),
    ]
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("COVERAGE_", "NERSERVE_"))}
    output = folder / "output"
    with output.open("wb") as sink:
        process = subprocess.Popen(command, env=environment, stdout=sink, stderr=sink)
    try:
        deadline = time.monotonic() + START_TIMEOUT_S
        while "Press Ctrl-C to stop" not in output.read_text():
            assert process.poll() is None, f"nerserve up ended:\n{output.read_text()}"
            assert time.monotonic() < deadline, f"not up within {START_TIMEOUT_S} s:\n{output.read_text()}"
            time.sleep(0.1)
        addresses = map(ports.url, ("site", "inference", "management", "metrics"))
        yield Served(*addresses, grpc=f"127.0.0.1:{ports.grpc}", log_dir=folder / "state")
    finally:
        process.send_signal(signal.SIGTERM)
        status = process.wait(timeout=60)
    assert status == 0, f"nerserve up ended with {status}:\n{output.read_text()}"
