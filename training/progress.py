"""What a person sees of a training run: one bar for all of it on a terminal, a line now and then in a log file."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType

from tqdm import tqdm

logger = logging.getLogger(__name__)

#: Seconds after which a log file gets a sign of life.
HEARTBEAT_SECONDS = 60.0


class Display:
    """How far a run is, in tokens of *total*; *done* of them were there before it started.

    The time left is what the rest takes at the pace so far: that of training
    and evaluation together, and at most, as a run may end early.
    """

    def __init__(self, *, total: int, done: int, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> None:
        self._total, self._before, self._done = total, done, done
        self._heartbeat_seconds = heartbeat_seconds
        self._started = self._last_line = time.monotonic()
        self._bar = tqdm(
            total=total,
            initial=done,
            bar_format="{desc} {percentage:3.0f}%|{bar}|",
            disable=None,  # no bar where nobody looks
            dynamic_ncols=True,
            leave=False,
        )

    def __enter__(self) -> Display:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()

    def advance(self, num_tokens: int, text: str) -> None:
        """*Num_tokens* more are done; *text* says what and how."""
        self._done += num_tokens
        line = f"{text}  {self.time_left()} left"
        self._bar.set_description_str(line, refresh=False)
        self._bar.update(num_tokens)
        if self._bar.disable and time.monotonic() - self._last_line >= self._heartbeat_seconds:
            self.say(f"{self._done / self._total:.0%}  {line}")

    def say(self, line: str) -> None:
        """Log *line*, above the bar where there is one."""
        self._last_line = time.monotonic()
        with tqdm.external_write_mode(file=sys.stderr):
            logger.info("%s", line)

    def time_left(self) -> str:
        """At most this long: ``"1:02:03"``; ``"?"`` as long as nothing is done."""
        new = self._done - self._before
        if not new:
            return "?"
        left = max(0, self._total - self._done)  # the total is an estimate where corpora are seen in part
        return duration((time.monotonic() - self._started) * left / new)


def duration(seconds: float) -> str:
    """*Seconds* as hours, minutes and seconds.

    >>> duration(59.7), duration(3723)
    ('1:00', '1:02:03')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
