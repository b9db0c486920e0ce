"""The policy of retries: all its numbers, and the budgets that bound them (docs/decisions/0008).

A prediction changes nothing, so it is safe to repeat. TorchServe drops work in flight whenever a worker ends (a crash,
scaling down, retiring a version), and while it restarts it refuses, does not know its models, or does not answer. So a
request is repeated until its deadline. That has two dangers, each with a budget per model and process:

- *Refusals.* TorchServe reports a full queue and a missing worker alike, and retries make an overload worse. So they
  are paid from a budget, in the way of Finagle (https://finagle.github.io/blog/2016/02/08/retry-budgets), with
  exponential backoff and full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter"). The reserve lasts for
  one deadline with every call waiting, the longest that a restart of TorchServe takes; then calls fail at once.
- *Silence.* A request that reaches a worker as it dies is never answered, which looks like a request in a long queue,
  and TorchServe computes abandoned requests all the same. So only one attempt of a call is abandoned, the next one gets
  all the time that is left, and the right to abandon is a token: one for each attempt at a time, returned unless it was
  used, else regained with every twentieth request. An overload grows by about a tenth.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final


@dataclass(frozen=True)
class RetryPolicy:
    """The numbers of the policy; the defaults are meant for every site.

    Attributes:
        first_pause_s: Upper bound of the pause before the first retry; another worker may answer at once.
        longest_pause_s: The bound doubles up to this, the longest that a recovered model waits for its requests.
        retry_ratio: Retries that each request adds to the budget.
        longest_reserve_s: How long the reserve of retries lasts at most, with every call waiting; 0 means no reserve.
        retries_per_s: Retries that each second adds to the budget, for a site with little traffic.
        least_attempt_s: No attempt is abandoned sooner; far longer than a healthy model takes.
        abandon_ratio: Rights to abandon an attempt that each request adds.
        abandons_per_s: Rights to abandon an attempt that each second adds.
        max_deaths: Retries after the worker died that had the request, which may be what kills them.
        max_broken_replies: Retries after a reply off the contract. A broken version may be the default for a moment
            only, so one is retried; no more, so that a broken version is noticed.
    """

    first_pause_s: float = 0.02
    longest_pause_s: float = 0.5
    retry_ratio: float = 0.2
    longest_reserve_s: float = 30.0
    retries_per_s: float = 10.0
    least_attempt_s: float = 2.0
    abandon_ratio: float = 0.05
    abandons_per_s: float = 0.1
    max_deaths: int = 3
    max_broken_replies: int = 1

    def pauses_s(self) -> Iterator[float]:
        """Pauses before the first, second, ... retry in seconds: random, up to a bound that doubles ("full jitter")."""
        bound_s = self.first_pause_s
        while True:
            yield random.uniform(0, bound_s)  # noqa: S311  (it spreads load and guards nothing)
            bound_s = min(2 * bound_s, self.longest_pause_s)

    def attempt_s(self, timeout_s: float) -> float:
        """Seconds after which an attempt of a call with *timeout_s* seconds is abandoned: a third of them.

        >>> RetryPolicy().attempt_s(12.0), RetryPolicy().attempt_s(3.0)
        (4.0, 2.0)
        """
        return max(self.least_attempt_s, timeout_s / 3)

    def reserve(self, timeout_s: float, num_calls: int) -> float:
        """Retries that *num_calls* calls make within *timeout_s* seconds without any reply.

        >>> RetryPolicy().reserve(10.0, 8)
        320.0
        """
        return num_calls * min(timeout_s, self.longest_reserve_s) / (self.longest_pause_s / 2)


DEFAULT_POLICY: Final = RetryPolicy()


class TokenBucket:
    """A token bucket, full at first; shared by all requests."""

    def __init__(self, *, capacity: float, per_s: float) -> None:
        """Holds at most *capacity* tokens; each second adds *per_s*."""
        self._capacity = capacity
        self._per_s = per_s
        self._num_tokens = capacity
        self._filled_at_s = time.monotonic()
        self._lock = threading.Lock()

    def add(self, num_tokens: float) -> None:
        """Add tokens; what exceeds the capacity is lost."""
        with self._lock:
            self._num_tokens = min(self._num_tokens + num_tokens, self._capacity)

    def take(self) -> bool:
        """Take a token; False if there is none."""
        with self._lock:
            now_s = time.monotonic()
            gained = (now_s - self._filled_at_s) * self._per_s
            self._num_tokens = min(self._num_tokens + gained, self._capacity)
            self._filled_at_s = now_s
            if self._num_tokens < 1:
                return False
            self._num_tokens -= 1
            return True


class Budget:
    """The retries and abandoned attempts that one model's calls in one process may still cost."""

    def __init__(self, policy: RetryPolicy, *, timeout_s: float, num_calls: int, num_attempts: int) -> None:
        """For calls of *timeout_s* seconds, *num_calls* at a time, *num_attempts* of them at TorchServe."""
        self.policy = policy
        self.retries = TokenBucket(capacity=policy.reserve(timeout_s, num_calls), per_s=policy.retries_per_s)
        self.abandons = TokenBucket(capacity=num_attempts, per_s=policy.abandons_per_s)

    def count_request(self) -> None:
        """Add what a new request pays for."""
        self.retries.add(self.policy.retry_ratio)
        self.abandons.add(self.policy.abandon_ratio)
