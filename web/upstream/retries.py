"""How often and how fast a lost reply is asked for again: all the numbers, and the budgets that bound them.

A prediction changes nothing, so it is safe to repeat. TorchServe drops work in flight whenever a worker goes (a crash,
scaling down, retiring a version), and while it restarts it refuses, does not know its models, or says nothing at all.
A request is therefore repeated for as long as its own deadline lasts. Two dangers come with that, and each has a budget
per model and process:

- *Refusals.* A full queue says the same as no worker at all. Repeating would turn an overload into a worse one, and
  calls that wait for a dead model take the place of others (``admission``). So retries are paid from a budget, in the
  way of Finagle (https://finagle.github.io/blog/2016/02/08/retry-budgets, 20 % of the requests and 10 a second;
  see also "Handling Overload" in Google's SRE book), with exponential backoff and full jitter (AWS Architecture Blog,
  "Exponential Backoff And Jitter"). The reserve lasts for one deadline with every call waiting, which is what a restart
  of TorchServe takes at most. Once it is used up, failures are quick.
- *Silence.* A request that reaches a worker in the instant of its death is never answered, but nobody can tell it from
  one that waits in a long queue, and TorchServe goes on to compute what was abandoned. Hence an attempt is abandoned
  only once per request, the next one gets all the time that is left, and the right to do it is scarce: one for each
  attempt at a time, returned unless it was used, else regained with every twentieth request. Under overload (say 3 s an
  answer, so 3 requests a second in 8 turns) that adds about a tenth; with no right left, an attempt may take its time.
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
    """The numbers; the defaults are meant for every site.

    Attributes:
        first_pause_s: The longest pause before the first retry; a dead worker's neighbour answers at once.
        longest_pause_s: To which it doubles; a model that comes back waits no longer than this for its requests.
        retry_ratio: Retries that one request pays for.
        longest_reserve_s: How long the reserve of retries lasts at most, with every call waiting; 0 means no reserve.
        retries_per_s: Retries a second that are free, for a site with little traffic.
        least_attempt_s: No attempt is abandoned sooner, far above any answer of a healthy model.
        abandon_ratio: Rights to abandon an attempt that one request regains.
        abandons_per_s: Rights a second that come back without any request.
        max_deaths: Retries after the death of the worker that had the request, which may be what kills them.
        max_broken_replies: Retries after a reply off the contract. A broken version may be the default for a moment
            only, so the first is forgiven; no more than that, because it must not stay unseen.
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
        """How long the first attempt of a call with *timeout_s* seconds may be silent: a third of them.

        >>> RetryPolicy().attempt_s(12.0), RetryPolicy().attempt_s(3.0)
        (4.0, 2.0)
        """
        return max(self.least_attempt_s, timeout_s / 3)

    def reserve(self, timeout_s: float, num_calls: int) -> float:
        """Retries that *num_calls* make within *timeout_s* seconds when nothing answers.

        >>> RetryPolicy().reserve(10.0, 8)
        320.0
        """
        return num_calls * min(timeout_s, self.longest_reserve_s) / (self.longest_pause_s / 2)


DEFAULT_POLICY: Final = RetryPolicy()


class TokenBucket:
    """Tokens that come with time and with requests, up to a capacity; full at first. Shared by threads."""

    def __init__(self, *, capacity: float, per_s: float) -> None:
        """At most *capacity* tokens, *per_s* of them a second."""
        self._capacity = capacity
        self._per_s = per_s
        self._num_tokens = capacity
        self._filled_at_s = time.monotonic()
        self._lock = threading.Lock()

    def add(self, num_tokens: float) -> None:
        """Put tokens in; what does not fit is lost."""
        with self._lock:
            self._num_tokens = min(self._num_tokens + num_tokens, self._capacity)

    def take(self) -> bool:
        """Take one token out, if there is one; whether there was."""
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
    """What one model's requests in one process may cost beyond their first attempts."""

    def __init__(self, policy: RetryPolicy, *, timeout_s: float, num_calls: int, num_attempts: int) -> None:
        """For calls of *timeout_s* seconds, *num_calls* at a time, of which *num_attempts* are with TorchServe."""
        self._policy = policy
        self.retries = TokenBucket(capacity=policy.reserve(timeout_s, num_calls), per_s=policy.retries_per_s)
        self.abandons = TokenBucket(capacity=num_attempts, per_s=policy.abandons_per_s)

    def count_request(self) -> None:
        """Credit a new request."""
        self.retries.add(self._policy.retry_ratio)
        self.abandons.add(self._policy.abandon_ratio)
