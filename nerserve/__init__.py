"""Named-entity recognition: the command ``nerserve``, and the same models in Python.

>>> import nerserve
>>> model = nerserve.load("models/en")
>>> model.predict("Kofi Annan was born in Kumasi.")[0].label
'PER'

Nothing heavy is imported before :func:`load`.  All errors are :class:`NerserveError`.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from archive.errors import ArchiveError
from contract.entities import Entity
from contract.errors import InvalidOptionError, TextTooLongError
from contract.exit_status import NerserveError
from handler.errors import BundleError

if TYPE_CHECKING:
    from nerserve.model import Model

__all__ = [
    "ArchiveError",
    "BundleError",
    "Entity",
    "InvalidOptionError",
    "Model",
    "NerserveError",
    "TextTooLongError",
    "load",
]


def load(path: str | os.PathLike[str]) -> Model:
    """The model at *path*, the folder of a bundle such as ``models/en`` or an archive (``.mar``).

    Raises:
        BundleError: the bundle is missing or broken; the message says what is wrong with which file.
        ArchiveError: the archive is.
    """
    from nerserve.model import Model

    return Model.load(path)


def __getattr__(name: str) -> Any:
    """``nerserve.Model``, whose module imports torch."""
    if name == "Model":
        from nerserve.model import Model

        return Model
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
