"""``nerserve up --no-restart``: what ends is not started again, so that whoever runs the container sees it."""

import re

import pytest

from tests.e2e.instance import PATIENCE_S, Up, is_there


@pytest.fixture
def up(tmp_path):
    """One that is up and restarts nothing, and gone after the test."""
    up = Up(tmp_path).start("--no-restart")
    yield up.wait_until_ready()
    up.end()


def test_a_worker_is_waited_for_and_a_dead_jvm_ends_everything(up):
    worker = up.worker
    worker.kill()
    up.wait_until(lambda: up.worker != worker and up.site_answers())
    told_before = up.text

    up.jvm.kill()
    status = up.process.wait(timeout=PATIENCE_S)

    assert status == 12
    told = up.text.removeprefix(told_before)
    assert re.fullmatch(
        r"(\d\d:\d\d:\d\d model en (has no worker that is ready; TorchServe restarts it|is ready again)\n)*"
        r"\d\d:\d\d:\d\d TorchServe ended \(killed by signal 9\); ending everything, as --no-restart says\nStopped\.\n",
        told,
    )
    assert not is_there(worker)
    assert up.left_behind() == []
