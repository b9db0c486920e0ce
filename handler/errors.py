"""The error tree of the recogniser; ``status`` and ``code`` sit on the class.

::

    NERError
      BundleError                       at load: the worker does not start
        ConfigError                     names the key and the value it got
      RequestError                400   that row only; its neighbours are answered
        MalformedRequestError     400   malformed_request
        TextTooLongError          413   text_too_long
        RequestTooLargeError      413   request_too_large
        UnsupportedMediaTypeError 415   unsupported_media_type
"""

from __future__ import annotations


class NERError(Exception):
    """Any failure that this package can name."""


class BundleError(NERError):
    """A bundle's folder does not hold a model that fits together."""


class ConfigError(BundleError):
    """A configuration has an unknown or missing key, or a value that cannot be right."""


class RequestError(NERError):
    """One request (or one text of it) cannot be answered; ``str(error)`` holds no user text."""

    status = 400
    code = "bad_request"


class MalformedRequestError(RequestError):
    """The body is none of the three request forms."""

    code = "malformed_request"


class TextTooLongError(RequestError):
    """A text has more code points than the model accepts."""

    status = 413
    code = "text_too_long"


class RequestTooLargeError(RequestError):
    """A request has more texts, or more code points in all of them, than one request may have."""

    status = 413
    code = "request_too_large"


class UnsupportedMediaTypeError(RequestError):
    """The body is neither plain text nor JSON, or not UTF-8 by its own account."""

    status = 415
    code = "unsupported_media_type"
