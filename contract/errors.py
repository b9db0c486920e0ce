"""Every failure on the wire, one class each; ``status``, ``code`` and ``retry_after_s`` sit on the class.

```text
ServingError
  RequestError                       the request is refused; the model was not asked, or did not begin
    MalformedRequestError       400  malformed_request
      EmptyTextError            400  empty_text               the form only; for a program "" is a text like any other
    UnknownModelError           404  unknown_model
    NotFoundError               404  not_found
    MethodNotAllowedError       405  method_not_allowed
    RequestTimeoutError         408  request_timeout
    TextTooLongError            413  text_too_long
    RequestTooLargeError        413  request_too_large
    UnsupportedMediaTypeError   415  unsupported_media_type
    MisdirectedRequestError     421  misdirected_request
    InvalidOptionError          422  invalid_option
    TooManyRequestsError        429  too_many_requests        with Retry-After
    OverloadedError             503  overloaded               with Retry-After
    DeadlineExceededError       504  deadline_exceeded
  InternalError                 500  internal_error
  UpstreamError                      the site asked TorchServe, or would have
    ModelReplyError             502  bad_model_reply
    ModelUnavailableError       503  model_unavailable        with Retry-After
    ModelTimeoutError           504  model_timeout
```

A message is a sentence that says what was expected and what came, the same on both tiers; it holds no text of a user.
A class's docstring says when the failure happens and what a client does; the reference of the API shows it, beside
``example``, a message that the server really sends.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import ClassVar, Literal, TypeAlias

from contract.exit_status import ExitStatus, NerserveError

Tier: TypeAlias = Literal["site", "inference"]

BOTH_TIERS: tuple[Tier, ...] = ("site", "inference")
SITE: tuple[Tier, ...] = ("site",)


class SettingError(NerserveError):
    """A setting is missing or wrong; the message names it, what was expected and what came."""

    exit_status = ExitStatus.UNUSABLE


class ServingError(NerserveError):
    """Base of every failure that goes on the wire; without a message of its own it says its ``example``.

    Attributes:
        status: HTTP status where the request as a whole fails.
        code: What programs decide by; it never changes.
        retry_after_s: The header Retry-After in seconds; None where repeating the same request is of no use.
        tiers: Where our own code says it; empty for a base class.
        example: A message; ``{max_chars:,}`` and the like stand for the limits of the server that is described.
    """

    status: int = 500
    code: str = ""
    retry_after_s: int | None = None
    tiers: ClassVar[tuple[Tier, ...]] = ()
    example: ClassVar[str] = ""

    def __init__(self, message: str = "") -> None:
        super().__init__(message or self.example)

    def to_json(self) -> dict[str, dict[str, str]]:
        """The failure in the contract's form: ``{"error": {"code", "message"}}``."""
        return {"error": {"code": self.code, "message": str(self)}}

    @classmethod
    def meaning(cls) -> str:
        """When it happens, and what a client does about it; Markdown in one line."""
        return " ".join((cls.__doc__ or "").split())


class RequestError(ServingError):
    """The request, or one text of it, is refused."""

    status = 400


class MalformedRequestError(RequestError):
    """The body is not what its `Content-Type` says, has an unknown key, a key twice, NaN or Infinity, or a value of
    another type. Mend the request.
    """  # noqa: D205  (one sentence, longer than a line)

    code = "malformed_request"
    tiers = BOTH_TIERS
    example = 'Expected a string for "text", got a number.'


class EmptyTextError(MalformedRequestError):
    """The form was sent without a text. Programs never get it: for them an empty text has no entities."""

    code = "empty_text"
    tiers = SITE
    example = "There is no text yet. Please enter one."


class UnknownModelError(RequestError):
    """`model` names none of the site's models; the message lists them."""

    status = 404
    code = "unknown_model"
    tiers = SITE
    example = "There is no such model here. The models are: {models}."


class NotFoundError(RequestError):
    """There is nothing at this address."""

    status = 404
    code = "not_found"
    tiers = SITE
    example = "There is nothing here; texts go to /api/predict, by POST."


class MethodNotAllowedError(RequestError):
    """The header `Allow` names the methods it takes."""

    status = 405
    code = "method_not_allowed"
    tiers = SITE
    example = "Expected another method; texts go to /api/predict, by POST."


class RequestTimeoutError(RequestError):
    """The client stopped sending in the middle of its request."""

    status = 408
    code = "request_timeout"
    tiers = SITE
    example = "The request was not complete in time."


class TextTooLongError(RequestError):
    """Cut the text, or stream its parts as lines of NDJSON; the message names the limit."""

    status = 413
    code = "text_too_long"
    tiers = BOTH_TIERS
    example = "The text is too long: it has {too_many_chars:,} characters, the limit is {max_chars:,}."


class RequestTooLargeError(RequestError):
    """Too many bytes, texts, or characters in all texts together, or a reply of too many bytes.

    Send less in a request; the message names the limit.
    """

    status = 413
    code = "request_too_large"
    tiers = BOTH_TIERS
    example = "The request has {too_many_texts:,} texts, the limit is {max_texts:,}."


class UnsupportedMediaTypeError(RequestError):
    """The `Content-Type` is none of those listed and the body is not JSON, a form has other parts, the charset is not
    UTF-8, or the body is compressed. The message names the header to add.
    """  # noqa: D205  (one sentence, longer than a line)

    status = 415
    code = "unsupported_media_type"
    tiers = BOTH_TIERS
    example = "Expected no Content-Encoding but identity."


class MisdirectedRequestError(RequestError):
    """`Host` is no name of this site. Ask it under one of its names; its operator lists them."""

    status = 421
    code = "misdirected_request"
    tiers = SITE
    example = "Expected a name of this site in the header Host, got another."


class InvalidOptionError(RequestError):
    """An option has a value that it cannot have; the message names the option and what it may be."""

    status = 422
    code = "invalid_option"
    tiers = BOTH_TIERS
    example = 'Expected a number from 0 to 1 for "threshold", got another number.'


class TooManyRequestsError(RequestError):
    """The site's own queue is full. Wait for the seconds of `Retry-After`, then send the same request again."""

    status = 429
    code = "too_many_requests"
    retry_after_s = 1
    tiers = SITE
    example = "There are too many requests just now. Please try again in a moment."


class OverloadedError(RequestError):
    """More characters came together in one batch than a worker takes on at a time.

    Wait for the seconds of `Retry-After`, then send the same request again.
    """

    status = 503
    code = "overloaded"
    retry_after_s = 1
    tiers = BOTH_TIERS
    example = "The model has more to do just now than it takes on. Please try again in a moment."


class DeadlineExceededError(RequestError):
    """The deadline passed while the request waited for a worker, or while it worked.

    Send less at a time, allow more time, or try again later.
    """

    status = 504
    code = "deadline_exceeded"
    tiers = BOTH_TIERS
    example = "The model did not get to the request in time."


class InternalError(ServingError):
    """A fault of ours; the log has the request's id."""

    code = "internal_error"
    tiers = SITE
    example = "Internal Server Error."


class UpstreamError(ServingError):
    """TorchServe was asked, or would have been, and there is no result."""

    status = 502


class ModelReplyError(UpstreamError):
    """TorchServe answered off the contract, twice. A fault of ours."""

    code = "bad_model_reply"
    tiers = SITE
    example = "The model's reply is not JSON."


class ModelUnavailableError(UpstreamError):
    """No worker answers, even after the site has asked again.

    Wait for the seconds of `Retry-After`, then send the same request again.
    """

    status = 503
    code = "model_unavailable"
    retry_after_s = 1
    tiers = SITE
    example = "There is no connection to the model server."


class ModelTimeoutError(UpstreamError):
    """The deadline passed before the answer was there. Send less at a time, or allow more time."""

    status = 504
    code = "model_timeout"
    tiers = SITE
    example = "The model did not answer within {timeout_s:g} seconds."


def documented(tier: Tier) -> list[type[ServingError]]:
    """The failures that *tier* itself tells, by status, then in the order of the tree above.

    >>> [error.code for error in documented("inference")][:3]
    ['malformed_request', 'text_too_long', 'request_too_large']
    """
    return sorted((error for error in _tree(ServingError) if tier in error.tiers), key=lambda error: error.status)


def _tree(base: type[ServingError]) -> Iterator[type[ServingError]]:
    yield base
    for error in base.__subclasses__():
        if error.__module__ == __name__:
            yield from _tree(error)
