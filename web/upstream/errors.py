"""How TorchServe fails, told apart as far as it decides what is done next; a client is told what the base class says.

```text
contract.errors
  RequestRejectedError       4xx  the model's own code and message, passed on
  ModelUnavailableError      503
    WorkerDiedError               the worker that had the request has died
    ModelKeyError                 TorchServe wants another key, or there is none yet
    CircuitOpenError              it failed again and again: not even asked
    WorkerOverloadedError         the worker has more to do than it takes on: its own overloaded
  ModelTimeoutError          504
    WorkerDeadlineError           the worker gave it up at its deadline: its own deadline_exceeded
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
    """A worker took the request and died, by accident or because of it."""


class ModelKeyError(ModelUnavailableError):
    """The model server does not let us in; says nothing about the key itself."""


class CircuitOpenError(ModelUnavailableError):
    """The model failed so often that it is asked only now and then."""


class WorkerOverloadedError(OverloadedError, ModelUnavailableError):
    """The worker got more to do at once than it takes on; it may do so in a moment."""


class WorkerDeadlineError(DeadlineExceededError, ModelTimeoutError):
    """The worker gave the request up, or never began it: its deadline had passed."""
