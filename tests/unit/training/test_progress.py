"""A log file shows a sign of life now and then, and the time that is left."""

import time

import pytest

from training.progress import Display, duration


def test_a_log_file_shows_life_in_a_long_epoch(caplog):
    with caplog.at_level("INFO"), Display(total=100, done=0, heartbeat_seconds=0.05) as display:
        display.advance(10, "epoch 1/2  loss 0.5")
        time.sleep(0.06)
        display.advance(15, "epoch 1/2  loss 0.4")
        display.advance(15, "epoch 1/2  loss 0.3")

    (line,) = [record.getMessage() for record in caplog.records]
    assert line == "25%  epoch 1/2  loss 0.4  0:00 left"


def test_no_sign_of_life_is_needed_behind_another_line(caplog):
    with caplog.at_level("INFO"), Display(total=100, done=0, heartbeat_seconds=0.05) as display:
        time.sleep(0.06)
        display.say("epoch 1/2: done")
        display.advance(10, "epoch 2/2")

    assert [record.getMessage() for record in caplog.records] == ["epoch 1/2: done"]


@pytest.mark.parametrize(("done", "advanced", "left"), [(0, 0, "?"), (50, 0, "?"), (0, 50, "0:00"), (60, 10, "0:00")])
def test_time_left_counts_what_this_process_has_done(done, advanced, left):
    with Display(total=100, done=done) as display:
        display.advance(advanced, "epoch")

        assert display.time_left() == left


def test_time_left_is_at_the_pace_so_far():
    with Display(total=1000, done=500) as display:
        time.sleep(0.2)
        display.advance(10, "epoch")

        minutes, seconds = display.time_left().split(":")

    assert 49 * 0.2 <= 60 * int(minutes) + int(seconds) + 1 < 60  # 49 times what the 10 took, at least


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.5, "1:00"), (3599.6, "1:00:00"), (90061, "25:01:01")])
def test_durations(seconds, text):
    assert duration(seconds) == text
