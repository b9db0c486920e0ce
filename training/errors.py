"""What can be wrong with the material that a training run is given.

::

    TrainingError
      CorpusError        names the file and the line
      VectorFileError    names the file
      RunError           a run folder that cannot be resumed
"""

from __future__ import annotations


class TrainingError(Exception):
    """Any failure of training or evaluation that this package can name."""


class CorpusError(TrainingError):
    """A corpus file, or a label map, cannot be read; the message names file and line."""


class VectorFileError(TrainingError):
    """A word-vector file cannot be read."""


class RunError(TrainingError):
    """A run folder does not hold what ``--resume`` needs."""
