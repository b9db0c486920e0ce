"""A log file shows a sign of life now and then, and the time that is left."""

import re
import time

import pytest

from training.progress import Display, duration


def test_a_log_file_shows_life_in_a_long_epoch(caplog):
    started = time.monotonic()
    with caplog.at_level("INFO"), Display(total=100, done=0, heartbeat_seconds=0.05) as display:
        for number in range(1, 51):
            time.sleep(0.01)
            display.advance(1, f"epoch 1/2  batch {number}")
    num_heartbeats = (time.monotonic() - started) / 0.05

    lines = [record.getMessage() for record in caplog.records]
    assert 1 <= len(lines) <= num_heartbeats
    for line in lines:
        assert re.fullmatch(r"(\d+)%  epoch 1/2  batch \1  [:0-9]+ left", line)


def test_no_sign_of_life_is_needed_behind_another_line(caplog):
    with caplog.at_level("INFO"), Display(total=100, done=0, heartbeat_seconds=0.05) as display:
        time.sleep(0.06)
        started = time.monotonic()
        display.say("epoch 1/2: done")
        display.advance(10, "epoch 2/2")
    is_due = time.monotonic() - started >= 0.05  # another one, by now

    lines = [record.getMessage() for record in caplog.records]
    assert lines[0] == "epoch 1/2: done"
    assert len(lines) <= 1 + is_due


@pytest.mark.parametrize(("done", "advanced", "left"), [(0, 0, "?"), (50, 0, "?"), (0, 100, "0:00"), (60, 40, "0:00")])
def test_time_left_counts_what_this_process_has_done(done, advanced, left):
    with Display(total=100, done=done) as display:
        display.advance(advanced, "epoch")

        assert display.time_left() == left


@pytest.mark.parametrize(("done", "times"), [(500, 49), (0, 99)])
def test_time_left_is_at_the_pace_so_far(done, times):
    before = time.monotonic()
    with Display(total=1000, done=done) as display:
        time.sleep(0.2)
        display.advance(10, "epoch")

        minutes, seconds = display.time_left().split(":")
    most_s = time.monotonic() - before

    left_s = 60 * int(minutes) + int(seconds)
    assert times * 0.2 - 1 < left_s < times * most_s + 1  # so many times what the 10 took


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.5, "1:00"), (3599.6, "1:00:00"), (90061, "25:01:01")])
def test_durations(seconds, text):
    assert duration(seconds) == text
