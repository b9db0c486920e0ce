"""The error of this package; its message names the archive and what is wrong with it."""

from __future__ import annotations


class ArchiveError(Exception):
    """A bundle cannot be packed, or an archive is damaged, not ours, or holds a model that does not answer."""
