"""The attempts of one call: how much time each may take, and whether a failure allows another."""

from __future__ import annotations

import time
from typing import Final

from contract.errors import ModelReplyError, ModelTimeoutError, UpstreamError
from web.upstream.errors import RequestRejectedError, WorkerDeadlineError, WorkerDiedError, timeout_error
from web.upstream.retries import Budget

_MIN_ATTEMPT_S: Final = 0.02
"""With less time left, no attempt is made."""


class Attempts:
    """The state of one call: its deadline, its latest failure, and what it may still spend of its model's budget."""

    def __init__(self, budget: Budget, timeout_s: float, *, is_single: bool, may_abandon: bool) -> None:
        """*is_single*: no attempt after the first; *may_abandon*: one attempt may be given up for another."""
        self._policy = budget.policy
        self._budget = budget
        self._timeout_s = timeout_s
        self._is_single = is_single
        self._may_abandon = may_abandon and not is_single
        self._holds_abandon = False  # a token for this attempt, returned unless it is used
        self._pauses_s = budget.policy.pauses_s()
        self._num_deaths = 0
        self._num_broken_replies = 0
        self._attempt_s = timeout_s
        self._failure: UpstreamError | None = None  # the latest
        self.num_attempts = 0
        self.deadline_s = 0.0
        self.start_clock()
        budget.count_request()

    def start_clock(self) -> None:
        """Let the time of the call begin now."""
        self.deadline_s = time.monotonic() + self._timeout_s

    def begin(self) -> float:
        """Begin an attempt; the seconds it may take."""
        self.num_attempts += 1
        remaining_s = self.deadline_s - time.monotonic()
        attempt_s = self._policy.attempt_s(self._timeout_s)
        leaves_time = remaining_s > 1.5 * attempt_s  # for another attempt
        self._holds_abandon = self._may_abandon and leaves_time and self._budget.abandons.take()
        self._attempt_s = attempt_s if self._holds_abandon else remaining_s
        return self._attempt_s

    def end(self) -> None:
        """End the attempt; the right to abandon it is returned if it was not used."""
        if self._holds_abandon:
            self._holds_abandon = False
            self._budget.abandons.add(1)

    def failed(self, error: UpstreamError) -> None:
        """Return, perhaps after a pause, if another attempt is allowed after *error*; else raise the call's error.

        Where a last attempt had little time, that is the failure before it. A worker that began an attempt after its
        deadline counts as one that did not answer.
        """
        if isinstance(error, ModelTimeoutError):
            if self._holds_abandon:
                self._holds_abandon = self._may_abandon = False
                return
            if self._failure is not None and self._attempt_s < self._timeout_s / 2:
                raise self._failure from error
            raise error if isinstance(error, WorkerDeadlineError) else timeout_error(self._timeout_s) from error
        self._failure = error
        self._num_deaths += isinstance(error, WorkerDiedError)
        self._num_broken_replies += isinstance(error, ModelReplyError)
        is_hopeless = (
            isinstance(error, RequestRejectedError)
            or self._num_deaths > self._policy.max_deaths
            or self._num_broken_replies > self._policy.max_broken_replies
        )
        remaining_s = self.deadline_s - time.monotonic()
        if self._is_single or is_hopeless or remaining_s < _MIN_ATTEMPT_S or not self._budget.retries.take():
            raise error
        time.sleep(min(next(self._pauses_s), remaining_s / 2))  # the last attempts are near the deadline, not after it

    def deadline_error(self) -> UpstreamError:
        """The error of a call whose deadline passed between two attempts: the failure before it."""
        return self._failure or timeout_error(self._timeout_s)
