"""Everything ``nerserve up`` can fail with, one class each; ``exit_code`` is what the shell sees.

```text
OpsError                          1
  ConfigFileError                 2  config.properties is missing, or says something that cannot be served
  PortBusyError                   3  another process has the port, or this one may not have it
  StateDirBusyError               3  another nerserve runs in the same state directory
  JavaNotFoundError               4  names every place that was looked at and what was there
  BadArchiveError                 5  a model archive is missing or broken
  StoppedError              128 + N  signal N came before everything was up
  StartError                      1  TorchServe, a model or the site does not come up; ``details`` has the log's end
  ManagementError                 1  the management API was asked
    ManagementUnreachableError       no reply: refused, or none in time
    ManagementReplyError             a reply that is not TorchServe's
    ManagementRefusedError           a reply with an error status
      UnknownModelError              404: no model of that name is registered
```

A message says what was expected and what came, and holds no text of a user.
"""

from __future__ import annotations

from collections.abc import Sequence


class OpsError(Exception):
    """Any failure that this package can name."""

    exit_code = 1


class ConfigFileError(OpsError):
    """config.properties is missing or has a value that cannot be served."""

    exit_code = 2


class PortBusyError(OpsError):
    """A port that is needed cannot be had."""

    exit_code = 3


class StateDirBusyError(OpsError):
    """The state directory belongs to another nerserve that is running."""

    exit_code = 3


class JavaNotFoundError(OpsError):
    """There is no Java that TorchServe can run on."""

    exit_code = 4


class BadArchiveError(OpsError):
    """A model archive is missing or broken."""

    exit_code = 5


class StartError(OpsError):
    """Something that was started does not come up; ``details`` are the lines of a log that say why."""

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.details = tuple(details)


class StoppedError(OpsError):
    """Somebody asked us to stop before everything was up; the shell sees 128 plus the signal's number."""

    def __init__(self, signal_number: int) -> None:
        super().__init__(f"stopped by signal {signal_number} before everything was up")
        self.exit_code = 128 + signal_number


class ManagementError(OpsError):
    """The management API did not do what it was asked."""


class ManagementUnreachableError(ManagementError):
    """No reply from the management API."""


class ManagementReplyError(ManagementError):
    """The reply is not what TorchServe's management API sends."""


class ManagementRefusedError(ManagementError):
    """The management API answered with an error; ``status`` is its HTTP status."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class UnknownModelError(ManagementRefusedError):
    """No model of that name is registered."""
