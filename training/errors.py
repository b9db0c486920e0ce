"""What can be wrong with the material that a training run is given.

::

    TrainingError
      CorpusError        names the file and the line
      VectorFileError    names the file
      RunError           a run folder that cannot be used, or a run that cannot be resumed
      StoppedError       a signal ended the run; its state is written
"""

from __future__ import annotations


class TrainingError(Exception):
    """Any failure of training or evaluation that this package can name; the shell sees ``exit_code``."""

    exit_code = 1


class CorpusError(TrainingError):
    """A corpus file, or a label map, cannot be read; the message names file and line."""


class VectorFileError(TrainingError):
    """A word-vector file cannot be read."""


class RunError(TrainingError):
    """A run folder cannot be written to, is in use, or does not hold what ``--resume`` needs."""


class StoppedError(TrainingError):
    """Somebody asked the run to stop; the shell sees 128 plus the signal's number."""

    def __init__(self, signal_number: int) -> None:
        super().__init__("interrupted; the same command with --resume goes on from there")
        self.exit_code = 128 + signal_number
