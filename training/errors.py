"""Errors of training and evaluation.

::

    TrainingError          1
      InputError           2    a file, option or folder of the command line that cannot be used
        CorpusError        2    names the file and the line
        VectorFileError    2    names the file
      RunError             2    a run folder that cannot be used, or a run that cannot be resumed
        RunBusyError       3    another process trains in the run folder
        RunFailedError     1    the run began and cannot go on
      StoppedError   128 + N    signal N ended the run; its checkpoint is written
"""

from __future__ import annotations

from contract.exit_status import ExitStatus, NerserveError


class TrainingError(NerserveError):
    """Base of all."""


class InputError(TrainingError):
    """A file, an option or a folder of the command line cannot be used."""

    exit_status = ExitStatus.UNUSABLE


class CorpusError(InputError):
    """A corpus or a label map cannot be read; the message names file and line."""


class VectorFileError(InputError):
    """A word-vector file cannot be read."""


class RunError(TrainingError):
    """A run folder cannot be written to, or holds a run that cannot be resumed."""

    exit_status = ExitStatus.UNUSABLE


class RunBusyError(RunError):
    """Another process trains in the run folder."""

    exit_status = ExitStatus.BUSY


class RunFailedError(RunError):
    """A run that began cannot go on: its loss is no number, or its files can no longer be written."""

    exit_status = ExitStatus.FAILED


class StoppedError(TrainingError):
    """A signal stopped the run."""

    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted; the same command with --resume goes on from there")
        self.exit_status = 128 + signal_number
