"""The shipped model under ``kill -9``: right answers again within the promised time, without a human."""

import contextlib
import time

import pytest
import requests

TEXT = "Barack Obama was born in Hawaii."


def kill_one_worker(served):
    served.workers()[0].kill()


def kill_all_workers(served):
    for worker in served.workers():
        worker.kill()


def kill_java(served):
    served.java().kill()


def seconds_until_right(url, timeout_s=60):
    began = time.monotonic()
    while time.monotonic() - began < timeout_s:
        with contextlib.suppress(requests.RequestException):
            reply = requests.post(url, json={"text": TEXT}, timeout=2)
            if reply.status_code == 200:
                found = [(entity["text"], entity["label"]) for entity in reply.json()["entities"]]
                assert found == [("Barack Obama", "PER"), ("Hawaii", "LOC")]
                return time.monotonic() - began
        time.sleep(0.1)
    raise AssertionError(f"no answer within {timeout_s} s")


@pytest.mark.parametrize(
    ("kill", "within_s"),
    [(kill_one_worker, 10), (kill_all_workers, 10), (kill_java, 40)],
    ids=["one worker", "all workers", "java"],
)
def test_what_is_killed_answers_again(served, kill, within_s):
    deadline = time.monotonic() + 60
    while len(served.workers()) < 2 and time.monotonic() < deadline:
        time.sleep(0.2)

    kill(served)

    assert seconds_until_right(f"{served.inference}/predictions/en") < within_s
    assert seconds_until_right(f"{served.site}/api/predict") < within_s
