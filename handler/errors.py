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
        InvalidOptionError        422   invalid_option
        OverloadedError           503   overloaded
        DeadlineExceededError     504   deadline_exceeded
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
    """The body is none of the request forms."""

    code = "malformed_request"


class TextTooLongError(RequestError):
    """A text has more code points than one text may have, or a sentence more tokens than can be explained."""

    status = 413
    code = "text_too_long"


class RequestTooLargeError(RequestError):
    """A request has more texts, or code points in all of them, than one may have, or a reply of too many bytes."""

    status = 413
    code = "request_too_large"


class UnsupportedMediaTypeError(RequestError):
    """The body is neither plain text nor JSON, or by its own account not UTF-8 or compressed."""

    status = 415
    code = "unsupported_media_type"


class InvalidOptionError(RequestError):
    """An option has a value that it cannot have."""

    status = 422
    code = "invalid_option"


class OverloadedError(RequestError):
    """The batch that the request came in holds more characters than one batch may take."""

    status = 503
    code = "overloaded"


class DeadlineExceededError(RequestError):
    """The request's deadline passed before there was an answer."""

    status = 504
    code = "deadline_exceeded"
