"""Nobody who uses the site notices: workers killed and scaled, TorchServe itself killed, under a stream of requests."""

import itertools
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

TEXT = "Barack Obama was born in Hawaii and worked for the United Nations in New York."
ENTITIES = [
    ("Barack Obama", "PER", 0, 12),
    ("Hawaii", "LOC", 25, 31),
    ("United Nations", "ORG", 51, 65),
    ("New York", "LOC", 69, 77),
]
NUM_THREADS = 8
EVERY_S = NUM_THREADS / 50  # per thread, so 50 requests a second


def wait_for_workers(served, count):
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline:
        try:
            if len(served.workers()) == count:
                return
        except (requests.RequestException, KeyError):  # TorchServe is not up again, or does not know the model yet
            pass
        time.sleep(0.2)
    raise AssertionError(f"not {count} workers within 60 s")


def scale(served, count):
    reply = requests.put(
        f"{served.management}/models/en", params={"min_worker": count, "max_worker": count}, timeout=10
    )
    assert reply.status_code == 202


def outcome_of(session, site):
    """What a visitor's program got: "right", "wrong" or how it failed."""
    try:
        reply = session.post(f"{site}/api/predict", json={"text": TEXT}, timeout=30)
    except requests.RequestException as error:
        return type(error).__name__
    if reply.status_code != 200:
        return f"{reply.status_code} {reply.text}"
    found = [(entity["text"], entity["label"], entity["start"], entity["end"]) for entity in reply.json()["entities"]]
    return "right" if found == ENTITIES else "wrong"


@pytest.fixture
def stream(served):
    """Requests in the background; call it to end them and get how often each outcome came."""
    stop = threading.Event()
    began_s = time.monotonic()

    def ask():
        session = requests.Session()
        outcomes, times_s = Counter(), []
        while not stop.wait(max(0.0, began_s + len(times_s) * EVERY_S - time.monotonic())):
            asked_s = time.monotonic()
            outcomes[outcome_of(session, served.site)] += 1
            times_s.append(time.monotonic() - asked_s)
        return outcomes, times_s

    def end():
        stop.set()
        answers = [thread.result() for thread in threads]
        outcomes = sum((outcomes for outcomes, _ in answers), Counter())
        slowest_s = max(itertools.chain.from_iterable(times_s for _, times_s in answers))
        counts = ", ".join(f"{count} {outcome}" for outcome, count in outcomes.items())
        sys.stdout.write(f"\n{outcomes.total()} requests: {counts}; the slowest in {slowest_s:.2f} s\n")
        return outcomes

    with ThreadPoolExecutor(NUM_THREADS) as pool:
        threads = [pool.submit(ask) for _ in range(NUM_THREADS)]
        yield end
        stop.set()


def test_every_request_is_answered_right_while_workers_and_torchserve_die_and_workers_are_scaled(served, stream):
    wait_for_workers(served, 2)
    first, second = served.workers()

    time.sleep(1)
    first.kill()
    time.sleep(0.5)
    second.kill()
    wait_for_workers(served, 2)
    for count in (1, 3, 2):
        scale(served, count)
        wait_for_workers(served, count)
    served.java().kill()
    time.sleep(1)
    wait_for_workers(served, 2)
    time.sleep(2)
    outcomes = stream()

    assert set(outcomes) == {"right"}
    assert outcomes["right"] > 400
