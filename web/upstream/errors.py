"""TorchServe's failures, distinguished where the site treats them differently; a client sees the base class alone.

```text
contract.errors
  RequestRejectedError       4xx  the model's own code and message, passed on
  ModelUnavailableError      503
    WorkerDiedError               the worker that had the request has died
    ModelKeyError                 TorchServe wants another key, or there is none yet
    CircuitOpenError              the circuit breaker is open: the model was not asked
    WorkerOverloadedError         the worker has more to do than it takes on: its own overloaded
  ModelTimeoutError          504
    WorkerDeadlineError           the worker dropped it at its deadline: its own deadline_exceeded
```
"""

from __future__ import annotations

from contract.errors import (
    DeadlineExceededError,
    ModelTimeoutError,
    ModelUnavailableError,
    OverloadedError,
    UpstreamError,
)


class RequestRejectedError(UpstreamError):
    """The model refused the request; its status, code and message are passed on."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class WorkerDiedError(ModelUnavailableError):
    """The worker that had the request died, perhaps because of it."""


class ModelKeyError(ModelUnavailableError):
    """TorchServe refuses our key, or there is none yet; the message does not hold it."""


class CircuitOpenError(ModelUnavailableError):
    """The model's circuit breaker is open."""


class WorkerOverloadedError(OverloadedError, ModelUnavailableError):
    """The worker got more at once than it takes on."""


class WorkerDeadlineError(DeadlineExceededError, ModelTimeoutError):
    """The worker dropped the request, or never began it: its deadline had passed."""


def timeout_error(timeout_s: float) -> ModelTimeoutError:
    """The error of a call, or an attempt, that took *timeout_s* seconds."""
    return ModelTimeoutError(f"The model did not answer within {timeout_s:g} seconds.")
