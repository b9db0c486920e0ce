"""Everything ``nerserve`` itself can fail with, one class each; ``exit_status`` is what the shell sees.

```text
OpsError                          1
  ConfigFileError                 2
  InputFileError                  2
  WrongPortError                  2
  PortBusyError                   3
  StateDirBusyError               3
  JavaNotFoundError               4
  BadArchiveError                 5
  StartError                      1
    StartTimeoutError             9
  ManagementError                 1
    ManagementUnreachableError   10
    ManagementReplyError          1
    ManagementRefusedError        7
      UnknownModelError           6
      KeyRefusedError             7
  NotNowError                     7
  RolledBackError                 8
  WaitError                       9
  LoadError                       1
  NotRestoredError               11
  BrokenOffError            128 + N
```

A message says what was expected and what came, and holds no text of a user.
"""

from __future__ import annotations

from collections.abc import Sequence

from contract.exit_status import ExitStatus, NerserveError


class OpsError(NerserveError):
    """Any failure that this package can name."""


class ConfigFileError(OpsError):
    """config.properties, a setting or an option is missing or has a value that cannot be served."""

    exit_status = ExitStatus.UNUSABLE


class InputFileError(OpsError):
    """A file of keys, texts or certificates that the command line names cannot be used."""

    exit_status = ExitStatus.UNUSABLE


class WrongPortError(OpsError):
    """A URL that the command line names is another port of ours than the one that is needed, or has another scheme."""

    exit_status = ExitStatus.UNUSABLE


class PortBusyError(OpsError):
    """Another process has a port that is needed, or this one may not have it."""

    exit_status = ExitStatus.BUSY


class StateDirBusyError(OpsError):
    """Another nerserve runs in the same state directory."""

    exit_status = ExitStatus.BUSY


class JavaNotFoundError(OpsError):
    """There is no Java that TorchServe can run on; names every place that was looked at and what was there."""

    exit_status = ExitStatus.NO_JAVA


class BadArchiveError(OpsError):
    """A model archive is missing or broken."""

    exit_status = ExitStatus.BAD_MODEL


class StartError(OpsError):
    """TorchServe, a model or the site does not come up; ``details`` are the lines of a log that say why."""

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.details = tuple(details)


class StartTimeoutError(StartError):
    """Something is not up in time."""

    exit_status = ExitStatus.NOT_IN_TIME


class ManagementError(OpsError):
    """The management API did not do what it was asked."""


class ManagementUnreachableError(ManagementError):
    """No reply: refused, or none in time."""

    exit_status = ExitStatus.NO_REPLY


class ManagementReplyError(ManagementError):
    """The reply is not what TorchServe's management API sends."""


class ManagementRefusedError(ManagementError):
    """A reply with the HTTP error *status*, TorchServe's own words in the message."""

    exit_status = ExitStatus.REFUSED

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class UnknownModelError(ManagementRefusedError):
    """404: no such model, version or archive in the server's model store."""

    exit_status = ExitStatus.UNKNOWN_MODEL


class KeyRefusedError(ManagementRefusedError):
    """400: the key is missing, wrong or expired."""


class NotNowError(OpsError):
    """What was asked would hurt, or there is nothing to do it with."""

    exit_status = ExitStatus.REFUSED


class RolledBackError(OpsError):
    """A change did not hold and was taken back; the old state is served."""

    exit_status = ExitStatus.ROLLED_BACK


class WaitError(OpsError):
    """What was waited for did not happen in time."""

    exit_status = ExitStatus.NOT_IN_TIME


class LoadError(OpsError):
    """Workers end while they load their model."""


class NotRestoredError(OpsError):
    """A change that did not hold could not be taken back either; the message says what is left to do."""

    exit_status = ExitStatus.NOT_RESTORED


class BrokenOffError(OpsError):
    """Signal N came: a change was taken back, or a start broken off."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_status = 128 + signal_number
