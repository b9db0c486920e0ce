"""The shipped model under ``kill -9``: right answers again, without a human."""

import contextlib
import time

import pytest
import requests

from tests.e2e.instance import PATIENCE_S

TEXT = "Barack Obama was born in Hawaii."


def kill(process):
    process.kill()
    process.wait(PATIENCE_S)


def kill_one_worker(served):
    kill(served.workers()[0])


def kill_all_workers(served):
    for worker in served.workers():
        kill(worker)


def kill_java(served):
    kill(served.java())


def wait_until_right(url, key=None):
    deadline_s = time.monotonic() + PATIENCE_S
    while time.monotonic() < deadline_s:
        with contextlib.suppress(requests.RequestException):
            reply = requests.post(url, json={"text": TEXT}, auth=key, timeout=2)
            if reply.status_code == 200:
                found = [(entity["text"], entity["label"]) for entity in reply.json()["entities"]]
                assert found == [("Barack Obama", "PER"), ("Hawaii", "LOC")]
                return
        time.sleep(0.1)
    raise AssertionError(f"no answer within {PATIENCE_S} s")


@pytest.mark.parametrize(
    ("break_it", "keeps_java"),
    [(kill_one_worker, True), (kill_all_workers, True), (kill_java, False)],
    ids=["one worker", "all workers", "java"],
)
def test_what_is_killed_answers_again(served, break_it, keeps_java):
    served.wait_for_workers(2)
    java, workers = served.java(), served.workers()

    break_it(served)

    wait_until_right(f"{served.inference}/predictions/en", served.inference_key)
    wait_until_right(f"{served.site}/api/predict")
    served.wait_for_workers(2)
    assert (served.java() == java) == keeps_java
    assert set(served.workers()) != set(workers)
