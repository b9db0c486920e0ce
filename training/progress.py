"""The progress display of a training run: one bar on a terminal, else a log line every minute."""

from __future__ import annotations

import logging
import sys
import time
from types import TracebackType

from tqdm import tqdm

logger = logging.getLogger(__name__)

#: Seconds between two log lines where there is no bar.
HEARTBEAT_SECONDS = 60.0


class Display:
    """Progress in tokens of *total*, of which *done* were processed before the display was opened.

    The time left assumes the average speed so far, of training and evaluation together, and no early stopping.
    """

    def __init__(self, *, total: int, done: int, heartbeat_seconds: float = HEARTBEAT_SECONDS) -> None:
        self._total, self._before, self._done = total, done, done
        self._heartbeat_seconds = heartbeat_seconds
        self._started = self._last_line = time.monotonic()
        self._bar = tqdm(
            total=total,
            initial=done,
            bar_format="{desc} {percentage:3.0f}%|{bar}|",
            disable=None,  # a bar only on a terminal
            dynamic_ncols=True,
            leave=False,
        )

    def __enter__(self) -> Display:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._bar.close()

    def advance(self, num_tokens: int, text: str) -> None:
        """Add *num_tokens*, and show *text* with the time left."""
        self._done += num_tokens
        line = f"{text}  {self.time_left()} left"
        self._bar.set_description_str(line, refresh=False)
        self._bar.update(num_tokens)
        if self._bar.disable and time.monotonic() - self._last_line >= self._heartbeat_seconds:
            self.say(f"{self._done / self._total:.0%}  {line}")

    def say(self, line: str) -> None:
        """Log *line*, above the bar if there is one."""
        self._last_line = time.monotonic()
        with tqdm.external_write_mode(file=sys.stderr):
            logger.info("%s", line)

    def time_left(self) -> str:
        """The time left, such as ``"1:02:03"``; ``"?"`` before the first token."""
        new = self._done - self._before
        if not new:
            return "?"
        left = max(0, self._total - self._done)  # the total is an estimate if a corpus is sampled
        return duration((time.monotonic() - self._started) * left / new)


def duration(seconds: float) -> str:
    """*seconds* as hours, minutes and seconds.

    >>> duration(59.7), duration(3723)
    ('1:00', '1:02:03')
    """
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
