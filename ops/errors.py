"""Everything ``nerserve`` itself can fail with, one class each; ``exit_code`` is what the shell sees.

```text
OpsError                          1
  ConfigFileError                 2  config.properties is missing, or says something that cannot be served
  PortBusyError                   3  another process has the port, or this one may not have it
  StateDirBusyError               3  another nerserve runs in the same state directory
  JavaNotFoundError               4  names every place that was looked at and what was there
  BadArchiveError                 5  a model archive is missing or broken
  StoppedError              128 + N  signal N came before everything was up
  StartError                      1  TorchServe, a model or the site does not come up; ``details`` has the log's end
  InputFileError                  2  a file of keys, texts or certificates that was named cannot be used
  ManagementError                 1  the management API was asked
    ManagementUnreachableError   10  no reply: refused, or none in time
    ManagementReplyError          1  a reply that is not TorchServe's
    ManagementRefusedError        7  a reply with an error status, TorchServe's own words in the message
      UnknownModelError           6  404: no such model, version or archive in its model store
  NotNowError                     7  nerserve itself refuses: it would hurt, or there is nothing to do it with
  RolledBackError                 8  a change did not hold and was taken back; the old state is served
  WaitError                       9  what was waited for did not happen in time
  LoadError                       1  workers end while they load their model
  NotRestoredError               11  a change could not be taken back; the message says what is left
  BrokenOffError            128 + N  signal N came; the old state is served
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

    exit_code = 10


class ManagementReplyError(ManagementError):
    """The reply is not what TorchServe's management API sends."""


class ManagementRefusedError(ManagementError):
    """The management API answered with an error; ``status`` is its HTTP status."""

    exit_code = 7

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


class UnknownModelError(ManagementRefusedError):
    """No model or version of that name is registered, or the model store has no such archive."""

    exit_code = 6


class InputFileError(OpsError):
    """A file that the command line names cannot be used."""

    exit_code = 2


class NotNowError(OpsError):
    """What was asked would hurt, or there is nothing to do it with."""

    exit_code = 7


class RolledBackError(OpsError):
    """A change did not hold and was taken back."""

    exit_code = 8


class WaitError(OpsError):
    """What was waited for did not happen in time."""

    exit_code = 9


class LoadError(OpsError):
    """Workers end while they load their model."""


class NotRestoredError(OpsError):
    """A change that did not hold could not be taken back either."""

    exit_code = 11


class BrokenOffError(OpsError):
    """Somebody asked us to stop; the shell sees 128 plus the signal's number."""

    def __init__(self, signal_number: int, message: str) -> None:
        super().__init__(message)
        self.signal_number = signal_number
        self.exit_code = 128 + signal_number
