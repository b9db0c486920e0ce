"""What tests of processes share."""

import os
import time

import pytest

from ops.process.group import Guard
from ops.process.handle import Handle, start_of
from ops.process.state_dir import StateDir


@pytest.fixture
def guard():
    guard = Guard()
    yield guard
    guard.close()


def write_handle(path, **changes):
    """Leave in the state directory *path* what a nerserve up leaves there, by default one that is this process."""
    pid = changes.get("pid", os.getpid())
    content = {
        "pid": pid,
        "started": start_of(pid),
        "phase": "ready",
        "since": time.time(),
        "site": None,
        "inference": "http://127.0.0.1:9",
        "management": "http://127.0.0.1:9",
        "metrics": "http://127.0.0.1:9",
        "grpc": None,
        "ca": None,
        "has_keys": True,
        "models": ("en",),
        "model_store": str(path / "store"),
        "drain_s": 30.0,
    }
    handle = Handle(**content | changes)
    handle.write(StateDir(path))
    return handle
