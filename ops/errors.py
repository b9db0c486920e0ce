"""Everything ``nerserve`` itself can fail with, one class each; ``exit_code`` is what the shell sees.

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


class OpsError(Exception):
    """Any failure that this package can name."""

    exit_code = 1


class ConfigFileError(OpsError):
    """config.properties, a setting or an option is missing or has a value that cannot be served."""

    exit_code = 2


class InputFileError(OpsError):
    """A file of keys, texts or certificates that the command line names cannot be used."""

    exit_code = 2


class WrongPortError(OpsError):
    """A URL that the command line names is another port of ours than the one that is needed, or has another scheme."""

    exit_code = 2


class PortBusyError(OpsError):
    """Another process has a port that is needed, or this one may not have it."""

    exit_code = 3


class StateDirBusyError(OpsError):
    """Another nerserve runs in the same state directory."""

    exit_code = 3


class JavaNotFoundError(OpsError):
    """There is no Java that TorchServe can run on; names every place that was looked at and what was there."""

    exit_code = 4


class BadArchiveError(OpsError):
    """A model archive is missing or broken."""

    exit_code = 5


class StartError(OpsError):
    """TorchServe, a model or the site does not come up; ``details`` are the lines of a log that say why."""

    def __init__(self, message: str, details: Sequence[str] = ()) -> None:
        super().__init__(message)
        self.details = tuple(details)


class ManagementError(OpsError):
    """The management API did not do what it was asked."""


class ManagementUnreachableError(ManagementError):
    """No reply: refused, or none in time."""

    exit_code = 10


class ManagementReplyError(ManagementError):
    """The reply is not what TorchServe's management API sends."""


class ManagementRefusedError(ManagementError):
    """A reply with the HTTP error *status*, TorchServe's own words in the message."""

    exit_code = 7

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class UnknownModelError(ManagementRefusedError):
    """404: no such model, version or archive in the server's model store."""

    exit_code = 6


class KeyRefusedError(ManagementRefusedError):
    """400: the key is missing, wrong or expired."""


class NotNowError(OpsError):
    """What was asked would hurt, or there is nothing to do it with."""

    exit_code = 7


class RolledBackError(OpsError):
    """A change did not hold and was taken back; the old state is served."""

    exit_code = 8


class WaitError(OpsError):
    """What was waited for did not happen in time."""

    exit_code = 9


class LoadError(OpsError):
    """Workers end while they load their model."""


class NotRestoredError(OpsError):
    """A change that did not hold could not be taken back either; the message says what is left to do."""

    exit_code = 11


class BrokenOffError(OpsError):
    """Signal N came: a change was taken back, or a start broken off."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number
