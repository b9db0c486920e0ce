"""A server that answers ``nerserve predict``: a site, or TorchServe's inference port."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final

import requests

from contract.entities import Entity, ModelInfo
from contract.errors import InvalidOptionError
from contract.exit_status import ExitStatus, NerserveError
from nerserve.answers import Answer, Failure
from ops.operate.keys import KeySource
from ops.torchserve_api.endpoint import Endpoint, is_key_refusal
from ops.torchserve_api.ports import Port, is_refused, port_at, scheme_problem

TIMEOUT_S: Final = 60.0
"""For one request."""

TRIES: Final = 5
"""Of a request that the server has no time for now."""

MAX_PAUSE_S: Final = 30.0
"""Between two tries, whatever Retry-After says."""

_NO_TIME: Final = frozenset({429, 503, 504})


class ServerError(NerserveError):
    """A server does not answer as it should; ``exit_status`` is by what it does."""

    def __init__(self, message: str, exit_status: ExitStatus = ExitStatus.FAILED) -> None:
        super().__init__(message)
        self.exit_status = exit_status


class Remote:
    """The server at *url*: a site, or TorchServe's inference port, which gets the key of *source*.

    *url* may have the path that is asked, such as ``/predictions/en``, behind it.  *name* is that of the model; without
    one it is the site's default, or ``en``.  *options* are labels, threshold and context, as the API has them.
    """

    def __init__(
        self, url: str, source: KeySource, ca: Path | None, *, name: str | None, options: Mapping[str, Any]
    ) -> None:
        base, found, path = url.partition("/predictions/")
        self._name = path.partition("/")[0] if found and name is None else name
        self._url = base.removesuffix("/api/predict")
        self._ca = ca
        self._site = Endpoint(self._url, None, ca)
        self._port = Endpoint(self._url, source.key, ca)
        self._advice = source.advice
        self._options = options
        self._is_site = True if base != self._url else False if found else None

    def answer(self, texts: Sequence[str]) -> list[Answer]:
        """An answer to each of *texts*; where a server refuses them together, to each by itself."""
        try:
            reply = self._ask({"texts": list(texts), **self._options})
        except _RequestRefusedError as refused:
            if len(texts) == 1:
                return [Answer(None, (), refused.failure)]
            return [self.answer([text])[0] for text in texts]
        try:
            model = ModelInfo(**reply["model"])
            return [_answer(model, text, one) for text, one in zip(texts, reply["results"], strict=True)]
        except (KeyError, TypeError, ValueError) as error:
            raise ServerError(f"{self._url}: expected a reply of nerserve's, got another") from error

    def _ask(self, document: Mapping[str, Any]) -> Any:
        """The document in the reply to *document*; asks again while the server has no time."""
        if self._is_site is None:
            self._is_site = self._find() is Port.SITE
        if self._is_site:
            model = {} if self._name is None else {"model": self._name}
            ask = partial(self._send, self._site, "POST", "api", "predict", document={**document, **model})
        else:
            ask = partial(self._send, self._port, "POST", "predictions", self._name or "en", document=document)
        reply = ask()
        for attempt in range(TRIES - 1):
            if reply.status_code not in _NO_TIME:
                break
            said = reply.headers.get("Retry-After", "")
            time.sleep(min(float(said), MAX_PAUSE_S) if said.isdecimal() else float(2**attempt))
            reply = ask()
        return self._content(reply)

    def _find(self) -> Port:
        """Which of the ports that answer it is; ServerError where it is none."""
        try:
            found = port_at(self._url, self._ca)
        except ConnectionRefusedError as error:
            raise self._no_reply(error) from error
        if found in {Port.SITE, Port.INFERENCE}:
            return found
        wanted = f"expected {Port.SITE.value} or {Port.INFERENCE.value}"
        if found is not None:
            raise ServerError(f"{self._url} is {found.value}; {wanted}", ExitStatus.UNUSABLE)
        if problem := scheme_problem(self._url):
            raise ServerError(problem, ExitStatus.UNUSABLE)
        hint = " (--ca names the certificates to trust)" if self._url.startswith("https:") and self._ca is None else ""
        message = f"{self._url} does not say what it is{hint}; {wanted}, or an address with its path"
        raise ServerError(message, ExitStatus.NO_REPLY)

    def _no_reply(self, error: Exception) -> ServerError:
        """That *error* came in place of a reply."""
        if is_refused(error):
            message = f"nothing listens at {self._url}: is `nerserve up` running?"
        elif isinstance(error, requests.Timeout):
            message = f"{self._url}: no reply within {TIMEOUT_S:g} s"
        else:
            message = f"{self._url}: no reply: {type(error).__name__}"
        return ServerError(message, ExitStatus.NO_REPLY)

    def _send(self, endpoint: Endpoint, method: str, *path: str, **content: Any) -> requests.Response:
        try:
            return endpoint.send(method, *path, timeout_s=TIMEOUT_S, **content)
        except requests.RequestException as error:
            raise self._no_reply(error) from error

    def _content(self, reply: requests.Response) -> Any:
        """The document in *reply*; ServerError or _RequestRefusedError where it is an error."""
        try:
            content = reply.json()
        except ValueError as error:
            message = f"{self._url}: expected JSON, got something else with status {reply.status_code}"
            raise ServerError(message) from error
        if reply.ok:
            return content
        if is_key_refusal(reply):
            message = f"{self._url}: the key is missing, wrong or expired: {self._advice}"
            raise ServerError(message, ExitStatus.REFUSED)
        found = content.get("error") if isinstance(content, dict) else None
        found = found if isinstance(found, dict) else {}
        failure = Failure(str(found.get("code", "")), str(found.get("message", f"status {reply.status_code}")))
        if reply.status_code == requests.codes.not_found:
            message = f"{self._url}: no model {self._name or 'en'} there: {failure.message}"
            raise ServerError(message, ExitStatus.UNKNOWN_MODEL)
        if failure.code == InvalidOptionError.code:
            raise ServerError(failure.message, ExitStatus.UNUSABLE)
        if reply.status_code in _NO_TIME:
            raise ServerError(f"{self._url}: {failure.message}", ExitStatus.NOT_IN_TIME)
        if failure.code and reply.status_code < requests.codes.server_error:
            raise _RequestRefusedError(failure)
        raise ServerError(f"{self._url}: {failure.message}")


class _RequestRefusedError(Exception):
    """A request as a whole is refused, for what its texts are."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.message)
        self.failure = failure


def _answer(model: ModelInfo, text: str, result: Mapping[str, Any]) -> Answer:
    """The answer to *text* in *result*, an item of a reply; ValueError if its offsets do not give its entities back."""
    if "error" in result:
        return Answer(None, (), Failure(**result["error"]))
    entities = [Entity(**entity) for entity in result["entities"]]
    if any(text[entity.start : entity.end] != entity.text for entity in entities):
        raise ValueError("offsets")
    return Answer(model, entities)
