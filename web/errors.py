"""Everything the site can answer other than a result, one class each.

```text
WebError
  ConfigError                       at start: the site does not come up; names the variable and the value it got
  RequestError                      refused here, TorchServe was not asked
    MalformedRequestError      400  malformed_request
      EmptyTextError           400  empty_text               the form only; for a program "" is a text like any other
    UnknownModelError          404  unknown_model
    RequestTimeoutError        408  request_timeout          the client stopped sending
    TextTooLongError           413  text_too_long
    RequestTooLargeError       413  request_too_large
    UnsupportedMediaTypeError  415  unsupported_media_type
    InvalidOptionError         422  invalid_option
    TooManyRequestsError       429  too_many_requests        with Retry-After
  UpstreamError                     TorchServe was asked, or would have been
    RequestRejectedError       4xx  its own code and message, passed on
    ModelReplyError            502  bad_model_reply
    ModelUnavailableError      503  model_unavailable        with Retry-After
      WorkerDiedError          503                           the worker that had the request has died
      ModelKeyError            503                           TorchServe wants another key, or there is none yet
      CircuitOpenError         503                           it failed again and again: not even asked
      OverloadedError          503  overloaded               the worker has more to do than it takes on
    ModelTimeoutError          504  model_timeout
      DeadlineExceededError    504  deadline_exceeded        the worker gave it up at its deadline
```

A message says what was expected and what came, in a whole sentence, and holds no text of a user.
"""

from __future__ import annotations


class WebError(Exception):
    """Base of all errors the site raises on purpose; ``status`` and ``code`` are what goes on the wire."""

    status = 500
    code = "internal_error"
    retry_after_s: int | None = None

    def to_json(self) -> dict[str, dict[str, str]]:
        """The error in the contract's own form."""
        return {"error": {"code": self.code, "message": str(self)}}


class ConfigError(WebError):
    """A setting is missing or wrong."""


class RequestError(WebError):
    """The request was refused by the site itself."""

    status = 400
    code = "malformed_request"


class MalformedRequestError(RequestError):
    """The request has not the documented form."""


class EmptyTextError(MalformedRequestError):
    """The form was sent without a text."""

    code = "empty_text"


class UnknownModelError(RequestError):
    """The model is not on the allow-list."""

    status = 404
    code = "unknown_model"


class TextTooLongError(RequestError):
    """The text has more code points than the site accepts."""

    status = 413
    code = "text_too_long"


class RequestTooLargeError(RequestError):
    """The request has more bytes than the site, or TorchServe behind it, accepts."""

    status = 413
    code = "request_too_large"


class UnsupportedMediaTypeError(RequestError):
    """The body is neither JSON nor plain text in UTF-8."""

    status = 415
    code = "unsupported_media_type"


class InvalidOptionError(RequestError):
    """An option has the wrong type or a value that is not allowed."""

    status = 422
    code = "invalid_option"


class RequestTimeoutError(RequestError):
    """The client stopped sending before its request was complete."""

    status = 408
    code = "request_timeout"


class TooManyRequestsError(RequestError):
    """More requests wait than the site lets wait, or one has waited for as long as it may."""

    status = 429
    code = "too_many_requests"
    retry_after_s = 1


class UpstreamError(WebError):
    """TorchServe was asked and there is no result."""

    status = 502
    code = "bad_model_reply"


class RequestRejectedError(UpstreamError):
    """The model refused the request; its status, code and message are passed on."""

    def __init__(self, status: int, code: str, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.code = code


class ModelReplyError(UpstreamError):
    """The reply is not what the contract promises."""


class ModelUnavailableError(UpstreamError):
    """Nobody answers for the model: no connection, no worker, a full queue or a failed batch."""

    status = 503
    code = "model_unavailable"
    retry_after_s = 1


class WorkerDiedError(ModelUnavailableError):
    """A worker took the request and died, by accident or because of it."""


class ModelKeyError(ModelUnavailableError):
    """The model server does not let us in; says nothing about the key itself."""


class CircuitOpenError(ModelUnavailableError):
    """The model failed so often that it is asked only now and then."""


class OverloadedError(ModelUnavailableError):
    """The worker got more to do at once than it takes on; it may do so in a moment."""

    code = "overloaded"


class ModelTimeoutError(UpstreamError):
    """The deadline passed before the reply was complete."""

    status = 504
    code = "model_timeout"


class DeadlineExceededError(ModelTimeoutError):
    """The worker gave the request up, or never began it: its deadline had passed."""

    code = "deadline_exceeded"
