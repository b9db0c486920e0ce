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
        go_on.wait(10)
        return len(runs)

    with ThreadPoolExecutor(4) as pool:
        first = pool.submit(flight.run, compute)
        wait_until(lambda: runs)
        others = [pool.submit(flight.run, compute) for _ in range(3)]
        wait_until(lambda: sum(thread.name.startswith("ThreadPool") for thread in threading.enumerate()) >= 4)
        go_on.set()

        assert first.result() == 1
        assert all(task.result() <= 2 for task in others)


def test_whoever_asks_later_gets_an_answer_of_his_own():
    flight = SingleFlight()

    assert [flight.run(lambda number=number: number) for number in range(3)] == [0, 1, 2]


def test_a_failure_reaches_everybody_and_is_not_kept():
    flight = SingleFlight()

    with pytest.raises(ZeroDivisionError):
        flight.run(lambda: 1 / 0)

    assert flight.run(lambda: 1) == 1
