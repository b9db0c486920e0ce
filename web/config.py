"""The settings of the site: read from the environment once, checked, then frozen."""

from __future__ import annotations

import math
import os
import re
import ssl
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from functools import cached_property
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

from contract.errors import SettingError
from contract.limits import DEFAULT_MAX_CHARS, LARGEST_MAX_CHARS, MAX_CHARS_VARIABLE, RequestLimits
from contract.names import MODEL_NAME_RULE, is_model_name
from contract.settings import read_settings
from web.hosts import ANY, is_loopback, is_pattern

BYTES_PER_FORM_CHAR: Final = 12
"""The most one code point takes in a form: ``%F0%9F%98%80``."""

FORM_ENVELOPE_BYTES: Final = 4_096
"""Bytes around the text in a form: field names, the model, multipart headers."""

_VARIABLES: Final = {
    "inference_url": "NERSERVE_INFERENCE_URL",
    "inference_key_file": "NERSERVE_INFERENCE_KEY_FILE",
    "ca_file": "NERSERVE_CA_FILE",
    "models": "NERSERVE_MODELS",
    "timeout_s": "NERSERVE_TIMEOUT_S",
    "ready_timeout_s": "NERSERVE_READY_TIMEOUT_S",
    "canary": "NERSERVE_CANARY",
    "ready_when": "NERSERVE_READY_WHEN",
    "max_chars": MAX_CHARS_VARIABLE,
    "host": "NERSERVE_HOST",
    "port": "NERSERVE_PORT",
    "allowed_hosts": "NERSERVE_ALLOWED_HOSTS",
    "num_workers": "NERSERVE_WEB_WORKERS",
    "max_in_flight": "NERSERVE_MAX_IN_FLIGHT",
    "max_long_requests": "NERSERVE_MAX_LONG_REQUESTS",
    "max_queue": "NERSERVE_MAX_QUEUE",
    "queue_s": "NERSERVE_QUEUE_S",
    "max_streams": "NERSERVE_MAX_STREAMS",
    "client_timeout_s": "NERSERVE_CLIENT_TIMEOUT_S",
}


@dataclass(frozen=True)
class WebConfig:
    """The site's settings; a wrong value raises SettingError, which names its variable.

    Attributes:
        inference_url: TorchServe's inference API, without a trailing slash.
        inference_key_file: A file with TorchServe's inference key in one line, or None if it asks for none. It may
            appear, and change, at any time; until it is there, requests get a 503.
        ca_file: Certificates in PEM form that vouch for an https ``inference_url``, None for the system's own.
        models: The allow-list of models, by the names TorchServe knows them; the first is the default.
        timeout_s: Deadline of one call to TorchServe in seconds, or None for what follows from ``max_chars``.
        ready_timeout_s: The same for the canary of ``/readyz``, which is never retried.
        canary: A sentence that every model must find an entity in to be ready, or None: then any answer counts.
        ready_when: Whether ``/readyz`` is 200 while "all" models answer, or "any" of them.
        max_chars: Longest text accepted, in Unicode code points.
        host: Address gunicorn binds.
        port: Port gunicorn binds.
        allowed_hosts: Names under which the site may be asked, beside loopback names; empty for loopback names alone
            where ``host`` is one, and for any name elsewhere.
        num_workers: Processes of gunicorn.
        max_in_flight: Requests that a process has TorchServe work on at a time.
        max_long_requests: Requests of more than ``LONG_CHARS`` characters that a model works on at a time, from all
            processes together; fewer than its workers, so that short ones pass.
        max_queue: Requests that wait in a process for their turn, or for another attempt; more are refused.
        queue_s: How many seconds a request waits for its turn at most.
        max_streams: NDJSON streams that a process serves at a time.
        client_timeout_s: How many seconds a client may send, or take, nothing.
    """

    inference_url: str = "http://127.0.0.1:8080"
    inference_key_file: Path | None = None
    ca_file: Path | None = None
    models: tuple[str, ...] = ("en",)
    timeout_s: float | None = None
    ready_timeout_s: float = 2.0
    canary: str | None = None
    ready_when: str = "all"
    max_chars: int = DEFAULT_MAX_CHARS
    host: str = "127.0.0.1"
    port: int = 8000
    allowed_hosts: tuple[str, ...] = ()
    num_workers: int = 2
    max_in_flight: int = 8
    max_long_requests: int = 1
    max_queue: int = 64
    queue_s: float = 5.0
    max_streams: int = 4
    client_timeout_s: float = 30.0

    def __post_init__(self) -> None:
        _check(_is_base_url(self.inference_url), "inference_url", "an http(s) URL of a host", self.inference_url)
        if self.inference_key_file is not None:  # a container's mount of what is not there is an empty directory
            _check(not self.inference_key_file.is_dir(), "inference_key_file", "a file", str(self.inference_key_file))
        if self.ca_file is not None:
            _check_certificates(self.ca_file)
        _check(len(self.models) > 0, "models", "at least one model name", self.models)
        for name in self.models:
            _check(is_model_name(name), "models", f"names of {MODEL_NAME_RULE}", name)
        _check(len(set(self.models)) == len(self.models), "models", "every name once", ",".join(self.models))
        if self.timeout_s is not None:
            _check_range("timeout_s", self.timeout_s, 0.01, 600)
        _check_range("ready_timeout_s", self.ready_timeout_s, 0.01, 600)
        _check_range("max_chars", self.max_chars, 1, LARGEST_MAX_CHARS)
        is_canary = self.canary is None or 0 < len(self.canary) <= 1_000
        _check(is_canary, "canary", "1 to 1000 characters", self.canary)
        _check(self.ready_when in {"all", "any"}, "ready_when", "all or any", self.ready_when)
        _check(re.fullmatch(r"[A-Za-z0-9.:_-]+", self.host) is not None, "host", "an address or a name", self.host)
        _check_range("port", self.port, 1, 65_535)
        for name in self.allowed_hosts:
            _check(is_pattern(name), "allowed_hosts", "hosts without a port, *.NAME for those below it, or *", name)
        _check_range("num_workers", self.num_workers, 1, 64)
        _check_range("max_in_flight", self.max_in_flight, 1, 256)
        _check_range("max_long_requests", self.max_long_requests, 1, 64)
        _check_range("max_queue", self.max_queue, 0, 1_000)
        _check_range("queue_s", self.queue_s, 0, 600)
        _check_range("max_streams", self.max_streams, 0, 64)
        _check_range("client_timeout_s", self.client_timeout_s, 0.1, 3_600)

    @property
    def deadline_s(self) -> float:
        """Deadline of one call to TorchServe in seconds: waiting for its turn, connecting, reading, repeating.

        >>> WebConfig(max_chars=1_000_000).deadline_s, WebConfig(timeout_s=3.0).deadline_s
        (100.0, 3.0)
        """
        return max(10.0, self.max_chars / 10_000) if self.timeout_s is None else self.timeout_s

    @cached_property
    def limits(self) -> RequestLimits:
        """How much one text and one request may hold."""
        return RequestLimits(self.max_chars)

    @property
    def max_form_bytes(self) -> int:
        """The longest form in bytes: holds every text of ``max_chars``, however a browser encodes it.

        >>> WebConfig().max_form_bytes
        1204096
        """
        return max(self.limits.request_bytes, BYTES_PER_FORM_CHAR * self.max_chars + FORM_ENVELOPE_BYTES)

    @property
    def served_hosts(self) -> tuple[str, ...]:
        """Patterns of :class:`~web.hosts.AllowedHosts` for the names that are served beside loopback names.

        >>> [WebConfig(**one).served_hosts for one in ({}, {"host": "0.0.0.0"}, {"allowed_hosts": ("ner.example",)})]
        [(), ('*',), ('ner.example',)]
        """
        return self.allowed_hosts or (() if is_loopback(self.host.lower()) else (ANY,))

    @property
    def bind(self) -> str:
        """Host and port as gunicorn wants them.

        >>> WebConfig(host="::1").bind
        '[::1]:8000'
        """
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{host}:{self.port}"

    @classmethod
    def from_env(cls, environ: Mapping[str, str] | None = None) -> WebConfig:
        """Read the ``NERSERVE_...`` variables of *environ*, by default the process's; what is not set has its default.

        Raises SettingError for an unknown name, and for a value that is there but wrong, an empty one included but for
        ``NERSERVE_MAX_CHARS``.

        >>> WebConfig.from_env({"NERSERVE_MODELS": "en, de"}).models
        ('en', 'de')
        """
        environ = read_settings(os.environ if environ is None else environ)
        given = {name: environ[variable] for name, variable in _VARIABLES.items() if variable in environ}
        return cls(**{name: _read(name, value) for name, value in given.items()})


def read_or_exit() -> WebConfig:
    """The settings of this process; where one is wrong, one line on stderr says so and the exit status is 2."""
    try:
        return WebConfig.from_env()
    except SettingError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from None


def _read(name: str, value: str) -> Any:
    """Turn one variable's *value* into the type of the field *name*."""
    if name in {"models", "allowed_hosts"}:
        return tuple(one.strip() for one in value.split(","))
    if name == "inference_url":
        return value.rstrip("/")
    if name in {"inference_key_file", "ca_file"}:
        _check(bool(value), name, "the path of a file", value)
        return Path(value)
    if name == "max_chars":
        return RequestLimits.from_environment({MAX_CHARS_VARIABLE: value}).max_chars
    kinds = {field.name: str(field.type) for field in fields(WebConfig)}
    if kinds[name] == "int":
        return _number(name, value, int, "a whole number")
    return _number(name, value, float, "a number of seconds") if kinds[name].startswith("float") else value


def _number(name: str, value: str, kind: Callable[[str], float], expected: str) -> float:
    try:
        return kind(value)
    except ValueError as error:
        raise _wrong(name, expected, value) from error


def _is_base_url(url: str) -> bool:
    """Whether *url* is a plain http(s) base: a host, perhaps a port and a path, no credentials, query or fragment."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return False
    plain = url.isascii() and url.isprintable() and not set(url) & set(" @?#") and not url.endswith("/")
    return plain and parts.scheme in {"http", "https"} and bool(parts.hostname) and port != 0


def _check_certificates(path: Path) -> None:
    """Raise SettingError, with the reason, unless OpenSSL reads a certificate in *path*."""
    try:
        ssl.create_default_context(cafile=path)
    except OSError as error:  # an SSLError is one, but its words are OpenSSL's
        reason = "no certificate in it" if isinstance(error, ssl.SSLError) else error.strerror
        raise _wrong("ca_file", f"a file of certificates in PEM form ({reason})", str(path)) from error


def _check_range(name: str, value: float, low: float, high: float) -> None:
    _check(math.isfinite(value) and low <= value <= high, name, f"a number from {low} to {high}", value)


def _check(fine: bool, name: str, expected: str, value: object) -> None:
    if not fine:
        raise _wrong(name, expected, value)


def _wrong(name: str, expected: str, value: object) -> SettingError:
    return SettingError(f"{_VARIABLES[name]}: expected {expected}, got {value!r}")


if __name__ == "__main__":  # nerserve up asks before it starts anything
    read_or_exit()
