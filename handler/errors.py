"""The errors of bundles; what a request can be refused with is in :mod:`contract.errors`.

::

    NERError
      BundleError                       at load: the worker does not start
        ConfigError                     names the key and the value it got
      CancelledError                    handler/pieces.py: the request's deadline passed
"""

from __future__ import annotations


class NERError(Exception):
    """Any failure that this package can name."""


class BundleError(NERError):
    """A bundle's folder does not hold a model that fits together."""


class ConfigError(BundleError):
    """A configuration has an unknown or missing key, or a value that cannot be right."""
