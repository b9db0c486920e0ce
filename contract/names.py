"""What a model and a version may be called; the same for bundles, archives, the operator's commands and the site."""

from __future__ import annotations

import re

_MODEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_VERSION = re.compile(r"[0-9]{1,9}(\.[0-9]{1,9}){0,2}")

MODEL_NAME_RULE = "1 to 64 letters, digits and . _ -, the first a letter or digit"
"""What :func:`is_model_name` takes, for messages that go on with ``got ...``."""

VERSION_RULE = "N, N.N or N.N.N"
"""The same of :func:`is_version`."""


def is_model_name(name: str) -> bool:
    """Whether *name* can name a model: in an address, in a file's name and in Prometheus alike.

    >>> [is_model_name(name) for name in ("en", "en-social", "en+x", "a/b", "x" * 64, "x" * 65)]
    [True, True, False, False, True, False]
    """
    return _MODEL.fullmatch(name) is not None


def is_version(version: str) -> bool:
    """Whether *version* can name a version, as TorchServe compares them.

    >>> [is_version(version) for version in ("1", "1.0", "1.0.2", "1.0rc1", "v1")]
    [True, True, True, False, False]
    """
    return _VERSION.fullmatch(version) is not None
