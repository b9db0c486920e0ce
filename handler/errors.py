"""The errors of bundles; what a request can be refused with is in :mod:`contract.errors`.

::

    NERError
      BundleError                       at load: the worker does not start
        ConfigError                     names the key and the value it got
        NotReplacedError                at save: the folder holds something else
      CancelledError                    handler/pieces.py: the request's deadline passed
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from contract.exit_status import ExitStatus, NerserveError


class NERError(NerserveError):
    """Any failure that this package can name."""


class BundleError(NERError):
    """A bundle's folder does not hold a model that fits together."""

    exit_status = ExitStatus.BAD_MODEL


class ConfigError(BundleError):
    """A configuration has an unknown or missing key, or a value that cannot be right."""


class NotReplacedError(BundleError):
    """A folder that a bundle would be written to holds something else."""

    exit_status = ExitStatus.UNUSABLE


@contextmanager
def errors_name(path: Path) -> Iterator[None]:
    """BundleErrors from within, which name a file of the bundle alone, get *path* in front."""
    try:
        yield
    except BundleError as error:
        raise BundleError(f"{path}: {error}") from error
