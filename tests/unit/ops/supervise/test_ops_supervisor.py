import time

import pytest

from contract.limits import RequestLimits
from ops.process.server_config import ServerConfig
from ops.process.state_dir import StateDir
from ops.process.torchserve import TorchServe
from ops.supervise.archives import Archives
from ops.supervise.canaries import Canaries
from ops.supervise.servers import Servers
from ops.supervise.supervisor import Supervisor
from ops.torchserve_api.management import ManagementClient
from ops.torchserve_api.predictions import PredictionClient

NOBODY = "http://127.0.0.1:9"
GIVEN = "disable_token_authorization=true\nmax_request_size=2097152\nmax_response_size=13107000\n"


@pytest.fixture
def java(tmp_path):
    """A program that ends at once, in the place of Java."""
    java = tmp_path / "java"
    java.write_text("#!/bin/sh\nexit 3\n")
    java.chmod(0o700)
    return java


@pytest.fixture
def torchserve(tmp_path, java, guard):
    (tmp_path / "config.properties").write_text("disable_token_authorization=true\n")
    return TorchServe(
        java=java,
        config=ServerConfig.load(tmp_path / "config.properties", RequestLimits(200_000)),
        model_store=tmp_path,
        sources=lambda: {"en": "en.mar"},
        state_dir=StateDir(tmp_path / "state"),
        guard=guard,
    )


def test_what_cannot_be_started_is_told_and_tried_again(torchserve, java, guard, tmp_path):
    torchserve.start()
    while torchserve.poll() is None:
        time.sleep(0.01)
    java.unlink()
    told = []
    supervisor = Supervisor(
        Servers(torchserve, None, ManagementClient(NOBODY), PredictionClient(NOBODY), ("en",)),
        Canaries(PredictionClient(NOBODY), timeout_s=1.0),
        Archives(tmp_path, ["en"], StateDir(tmp_path / "state"), guard, lambda _path, _model: None),
        guard,
        told.append,
    )

    given_up = supervisor.run(lambda: len(told) >= 4)

    assert given_up is None
    assert told[:4] == [
        "TorchServe ended (exit status 3); restarting it now",
        "TorchServe could not be started: No such file or directory",
        "TorchServe ended (exit status 3); restarting it in 1 s",
        "TorchServe could not be started: No such file or directory",
    ]


def test_a_restart_has_the_settings_that_everybody_else_goes_by(torchserve, tmp_path):
    torchserve.start()
    (tmp_path / "config.properties").write_text("management_address=http://127.0.0.1:9999\n")
    torchserve.start()
    during = (tmp_path / "state" / "torchserve.properties").read_text()
    torchserve.kill()

    assert during == GIVEN


def test_torchserve_reads_the_operators_settings_with_ours_at_the_end(torchserve, tmp_path):
    torchserve.start()
    during = (tmp_path / "state" / "torchserve.properties").read_text()
    torchserve.kill()

    assert during == GIVEN
    assert not (tmp_path / "state" / "torchserve.properties").exists()
