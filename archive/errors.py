"""What can be wrong with an archive.

::

    ArchiveError     the message names the archive and what is wrong with it
"""

from __future__ import annotations


class ArchiveError(Exception):
    """A file is no archive of ours, is damaged, or holds a model that does not answer."""
