"""Nobody who uses the site notices: workers killed and scaled, TorchServe itself killed, under a stream of requests."""

import itertools
import sys
import threading
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor

import pytest
import requests

from ops.torchserve_api.management import ManagementClient

TEXT = "Barack Obama was born in Hawaii and worked for the United Nations in New York."
ENTITIES = [
    ("Barack Obama", "PER", 0, 12),
    ("Hawaii", "LOC", 25, 31),
    ("United Nations", "ORG", 51, 65),
    ("New York", "LOC", 69, 77),
]
NUM_THREADS = 8
EVERY_S = NUM_THREADS / 50  # per thread, so 50 requests a second
NUM_REQUESTS = 400


def outcome_of(site):
    """What a visitor's program got: "right", "wrong" or how it failed."""
    try:
        # A new connection each time: a kept one may be closed, after 5 idle seconds, just as it is used again.
        reply = requests.post(f"{site}/api/predict", json={"text": TEXT}, timeout=120)
    except requests.RequestException as error:
        return type(error).__name__
    if reply.status_code != 200:
        return f"{reply.status_code} {reply.text}"
    found = [(entity["text"], entity["label"], entity["start"], entity["end"]) for entity in reply.json()["entities"]]
    return "right" if found == ENTITIES else "wrong"


@pytest.fixture
def stream(served):
    """Requests in the background; call it to end them, once there were enough, and get how often each outcome came."""
    stop = threading.Event()
    began_s = time.monotonic()
    num_answers = itertools.count()
    were_enough = threading.Event()

    def ask():
        outcomes, times_s = Counter(), []
        while not stop.wait(max(0.0, began_s + len(times_s) * EVERY_S - time.monotonic())):
            asked_s = time.monotonic()
            outcomes[outcome_of(served.site)] += 1
            times_s.append(time.monotonic() - asked_s)
            if next(num_answers) == NUM_REQUESTS:
                were_enough.set()
        return outcomes, times_s

    def end():
        assert were_enough.wait(300)
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
    served.wait_for_workers(2)
    first, second = served.workers()

    time.sleep(1)
    first.kill()
    time.sleep(0.5)
    second.kill()
    served.wait_for_workers(2)
    management = ManagementClient(served.management, timeout_s=60, key=lambda: served.management_key.text)
    for count in (1, 3, 2):
        management.scale("en", count)
        served.wait_for_workers(count)
    served.java().kill()
    time.sleep(1)
    served.wait_for_workers(2)
    time.sleep(2)
    outcomes = stream()

    assert set(outcomes) == {"right"}
