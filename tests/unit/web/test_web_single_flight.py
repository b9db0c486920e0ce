import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from web.single_flight import SingleFlight


def test_those_who_ask_at_the_same_time_get_one_answer(wait_until):
    flight = SingleFlight()
    go_on = threading.Event()
    runs = []

    def compute():
        runs.append(1)
        go_on.wait(60)
        return len(runs)

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(flight.run, compute)
        wait_until(lambda: runs)
        others = [pool.submit(flight.run, compute) for _ in range(3)]
        wait_until(lambda: len(flight._flight._condition._waiters) == 3)
        go_on.set()

        assert [task.result() for task in (first, *others)] == [1] * 4
    assert runs == [1]


def test_whoever_asks_later_gets_an_answer_of_his_own():
    flight = SingleFlight()

    assert [flight.run(lambda number=number: number) for number in range(3)] == [0, 1, 2]


def test_a_failure_reaches_everybody_and_is_not_kept():
    flight = SingleFlight()

    with pytest.raises(ZeroDivisionError):
        flight.run(lambda: 1 / 0)

    assert flight.run(lambda: 1) == 1
