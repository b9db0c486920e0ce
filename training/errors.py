"""Errors of training and evaluation.

::

    TrainingError
      CorpusError        names the file and the line
      VectorFileError    names the file
      RunError           a run folder that cannot be used, or a run that cannot be resumed
      StoppedError       a signal ended the run; its checkpoint is written
"""

from __future__ import annotations


class TrainingError(Exception):
    """Base of all; ``exit_code`` is that of the command."""

    exit_code = 1


class CorpusError(TrainingError):
    """A corpus or a label map cannot be read; the message names file and line."""


class VectorFileError(TrainingError):
    """A word-vector file cannot be read."""


class RunError(TrainingError):
    """A run folder cannot be written to, is in use, or holds a run that cannot be resumed."""


class StoppedError(TrainingError):
    """A signal stopped the run; the exit code is 128 plus its number."""

    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted; the same command with --resume goes on from there")
        self.exit_code = 128 + signal_number
