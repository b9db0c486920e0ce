"""What a benchmark ends with when it cannot measure."""

from __future__ import annotations

from contract.exit_status import ExitStatus, NerserveError


class BenchError(NerserveError):
    """Something is missing, does not start, or answers otherwise than the tagger."""


class BenchInputError(BenchError):
    """A file or an option of the command line cannot be used."""

    exit_status = ExitStatus.UNUSABLE
