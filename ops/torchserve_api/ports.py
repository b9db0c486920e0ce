"""Which of our ports a URL is, by asking: for a message to whoever named the wrong one."""

from __future__ import annotations

import http.client
import socket
import ssl
from enum import Enum
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import requests

from ops.torchserve_api.endpoint import request

TIMEOUT_S: Final = 2.0
_SETTINGS_FRAME: Final = "\x04"
"""The type of the frame that an HTTP/2 server begins with, its fourth character."""


class Port(Enum):
    """A port of ours, and what it is called."""

    SITE = "the site"
    INFERENCE = "TorchServe's inference port"
    MANAGEMENT = "TorchServe's management port"
    METRICS = "TorchServe's metrics port"
    GRPC = "TorchServe's gRPC port"


def port_at(url: str, ca: Path | None = None) -> Port | None:
    """Which of our ports *url* is; None when nothing answers there in time, or something else.

    TorchServe describes each port's API to whoever asks, without a key.  Raises ConnectionRefusedError where nothing
    listens.
    """
    try:
        described = request("OPTIONS", f"{url}/", timeout_s=TIMEOUT_S, ca=ca)
        port = _described(described)
        if port is None and _says_it_is_alive(request("GET", f"{url}/livez", timeout_s=TIMEOUT_S, ca=ca)):
            return Port.SITE
    except requests.RequestException as error:
        if is_refused(error):
            raise ConnectionRefusedError from error
        return Port.GRPC if _begins_http2(error) else None
    return port


def _says_it_is_alive(reply: requests.Response) -> bool:
    """Whether *reply* is the site's to ``/livez``."""
    try:
        return bool(reply.json() == {"status": "alive"})
    except requests.JSONDecodeError:
        return False


def _described(reply: requests.Response) -> Port | None:
    """The port whose API TorchServe describes in *reply*."""
    try:
        paths = reply.json()["paths"]
        if "/predictions/{model_name}" in paths:
            return Port.INFERENCE
        if "/models/{model_name}" in paths:
            return Port.MANAGEMENT
        return Port.METRICS if "/metrics" in paths else None
    except (requests.JSONDecodeError, KeyError, TypeError):
        return None


def scheme_problem(url: str) -> str:
    """What is wrong with the scheme of *url*; empty when nothing is, or nothing listens there."""
    parts = urlsplit(url)
    host, port = parts.hostname or "", parts.port or {"http": 80, "https": 443}[parts.scheme]
    try:
        with socket.create_connection((host, port), timeout=TIMEOUT_S) as connection:
            context = ssl.create_default_context()
            context.check_hostname = False
            context.verify_mode = ssl.CERT_NONE  # it is told nothing
            try:
                context.wrap_socket(connection).close()
                has_tls = True
            except (ssl.SSLError, ConnectionError):
                has_tls = False
    except OSError:
        return ""
    if has_tls == (parts.scheme == "https"):
        return ""
    other = parts._replace(scheme="https" if has_tls else "http").geturl()
    return f"{url} speaks {'TLS' if has_tls else 'no TLS'}; expected {other}"


def is_refused(error: BaseException | None) -> bool:
    """Whether *error* comes of a connection that was refused: nothing listens there."""
    return _cause(error, ConnectionRefusedError) is not None


def _begins_http2(error: BaseException) -> bool:
    """Whether *error* comes of a reply that begins as HTTP/2 does."""
    cause = _cause(error, http.client.BadStatusLine)
    return cause is not None and str(cause)[3:4] == _SETTINGS_FRAME


def _cause(error: BaseException | None, kind: type[BaseException]) -> BaseException | None:
    """The first *kind* among *error* and what it comes of."""
    while error is not None and not isinstance(error, kind):
        error = error.__cause__ or error.__context__
    return error
