"""What a start does by itself; tests/e2e has the rest, with the real TorchServe."""

import itertools

from ops.supervise import startup


def test_a_traceback_that_comes_line_by_line_is_told_to_its_end():
    lines = ["Traceback (most recent call last):", '  File "/model/ner_handler.py", line 1', "RuntimeError: no weights"]
    looks = itertools.chain([[], lines[:1], lines[:1], lines[:1], lines[:2], lines[:2]], itertools.repeat(lines))

    assert startup.settled(lambda: next(looks)) == lines


def test_a_log_that_grows_for_ever_is_told_all_the_same(monkeypatch):
    monkeypatch.setattr(startup, "LOOK_EVERY_S", 0.001)
    looks = itertools.count(1)

    assert len(startup.settled(lambda: ["retry"] * next(looks))) > 1
