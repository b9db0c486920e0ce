"""Who gets a place for a stream, and who loses it."""

import threading
import time

import pytest

from web.stream.places import STILL_S, Places

PATIENT_S = 60.0


class FakeStream:
    def __init__(self, still_s=0.0):
        self.still = still_s
        self.has_given_way = False

    def still_s(self):
        return self.still

    def give_way(self):
        self.has_given_way = True


def test_there_are_only_so_many_places():
    places = Places(2, wait_s=0)
    streams = [FakeStream() for _ in range(3)]

    assert [places.take(stream) for stream in streams] == [True, True, False]
    places.leave(streams[0])
    assert places.take(streams[2])


def test_the_stream_that_stands_still_for_longest_gives_way():
    places = Places(3, wait_s=0)
    streams = [FakeStream(STILL_S), FakeStream(STILL_S + 1), FakeStream(STILL_S - 1)]
    for stream in streams:
        places.take(stream)

    assert places.take(FakeStream())
    assert [stream.has_given_way for stream in streams] == [False, True, False]


@pytest.mark.parametrize("wait_s", [0, 0.3])
def test_a_stream_that_goes_on_keeps_its_place(wait_s):
    places = Places(1, wait_s)
    steady = FakeStream(STILL_S - 1)
    places.take(steady)

    assert not places.take(FakeStream())
    assert not steady.has_given_way


def test_whoever_gave_way_leaves_the_place_to_the_other():
    places = Places(1, wait_s=0)
    still, steady = FakeStream(STILL_S), FakeStream()
    places.take(still)
    places.take(steady)

    places.leave(still)  # it ends only now

    assert not places.take(FakeStream())


def test_as_many_as_there_are_places_wait_for_one():
    places = Places(1, PATIENT_S)
    first, second = FakeStream(), FakeStream()
    places.take(first)
    got = []
    waiting = threading.Thread(target=lambda: got.append(places.take(second)))
    waiting.start()
    while places._num_waiting == 0:
        time.sleep(0.01)

    assert not places.take(FakeStream())  # at once
    places.leave(first)
    waiting.join()
    assert got == [True]
