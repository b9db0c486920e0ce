"""The errors of this package.

::

    ArchiveError         names the archive or the bundle, and what is wrong with it
      UnusableError      names the file or folder beside it
"""

from __future__ import annotations

from contract.exit_status import ExitStatus, NerserveError


class ArchiveError(NerserveError):
    """A bundle cannot be packed, or an archive is damaged, not ours, or holds a model that does not answer."""

    exit_status = ExitStatus.BAD_MODEL


class UnusableError(ArchiveError):
    """A file or folder beside the bundle cannot be used: the settings of the workers, or the model store."""

    exit_status = ExitStatus.UNUSABLE
