"""Refuses requests under a host name that is not the site's: a page under a rebound name could read its answers.

A page may have its own name resolve to this machine; then the browser takes the site for a part of that page. What it
sends still names that page's host.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable
from functools import lru_cache
from typing import TYPE_CHECKING, Final

from contract.errors import MisdirectedRequestError
from contract.strict_json import to_json
from web.record import record_of

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIApplication, WSGIEnvironment

ANY: Final = "*"
"""Allows every host."""

_UNCHECKED: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""Probes ask by address, and what they get is no secret."""

_LABEL: Final = "[a-z0-9_-]{1,63}"
_NAME: Final = rf"{_LABEL}(?:\.{_LABEL})*"
_PATTERN: Final = re.compile(rf"(?:\*\.)?{_NAME}", re.ASCII)
_AUTHORITY: Final = re.compile(rf"(\[[0-9a-f:.]+\]|{_NAME}\.?)(?::[0-9]*)?", re.IGNORECASE | re.ASCII)
_ABSOLUTE: Final = re.compile(r"https?://([^/?#]*)", re.IGNORECASE)


def host_in(authority: str) -> str | None:
    """The host in ``HOST[:PORT]``: a name in lower case, or an address in its shortest form; None for anything else.

    >>> [host_in(one) for one in ("Example.ORG.:80", "[0:0::1]:8000", "127.0.0.1", "u@localhost", "a,b", "")]
    ['example.org', '::1', '127.0.0.1', None, None, None]
    """
    found = _AUTHORITY.fullmatch(authority)
    if found is None:
        return None
    host = found[1].lower().removesuffix(".")
    if not host.startswith("["):
        return host or None
    try:
        return str(ipaddress.IPv6Address(host[1:-1]))
    except ValueError:
        return None


def is_loopback(host: str) -> bool:
    """Whether *host*, as :func:`host_in` gives it, means this machine and no other, whatever a name server says.

    >>> [is_loopback(one) for one in ("localhost", "ner.localhost", "127.0.0.1", "::1", "localhost.example.org")]
    [True, True, True, True, False]
    """
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def is_pattern(text: str) -> bool:
    """Whether *text* may stand in the list of allowed hosts.

    >>> [is_pattern(one) for one in ("ner.example.org", "*.example.org", "*", "10.0.0.5", "::1", "a:80", ".a", "")]
    [True, True, True, True, True, False, False, False]
    """
    return text == ANY or _pattern(text) is not None


def _pattern(text: str) -> str | None:
    """*text* in the form of :func:`host_in`, perhaps with ``*.`` in front; None if it is no such thing."""
    text = text.lower().removesuffix(".")
    if _PATTERN.fullmatch(text):
        return text
    try:
        return str(ipaddress.IPv6Address(text.removeprefix("[").removesuffix("]")))
    except ValueError:
        return None


class AllowedHosts:
    """WSGI middleware that answers 421 to a request for a host that neither *patterns* nor loopback names allow.

    A pattern is a name, an address, ``*.NAME`` for every name below it, or ``*`` for every host that is one at all. A
    request without a host comes from no browser, and is answered.
    """

    def __init__(self, app: WSGIApplication, patterns: Iterable[str]) -> None:
        self._app = app
        self._allows_any = ANY in patterns
        self._patterns = frozenset(filter(None, map(_pattern, patterns)))
        self._is_allowed = lru_cache(maxsize=64)(self._allows)  # clients send few different values
        error = MisdirectedRequestError()
        self._body = to_json(error.to_json()).encode() + b"\n"

    def __call__(self, environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        """Answer the request in *environ*."""
        if self._is_allowed(_authority(environ)) or environ.get("PATH_INFO") in _UNCHECKED:
            return self._app(environ, start_response)
        record = record_of(environ)
        record.endpoint, record.code = "none", MisdirectedRequestError.code
        headers = [("Content-Type", "application/json"), ("Content-Length", str(len(self._body)))]
        start_response("421 MISDIRECTED REQUEST", headers)
        return [] if environ["REQUEST_METHOD"] == "HEAD" else [self._body]

    def _allows(self, authority: str) -> bool:
        host = host_in(authority)
        if host is None or self._allows_any:
            return host is not None or not authority
        domains = (f"*.{host[i + 1 :]}" for i, letter in enumerate(host) if letter == ".")
        return is_loopback(host) or host in self._patterns or not self._patterns.isdisjoint(domains)


def _authority(environ: WSGIEnvironment) -> str:
    """The host that the request asks, as it was sent; an absolute target counts more than the header (RFC 9112)."""
    absolute = _ABSOLUTE.match(environ.get("RAW_URI", ""))
    return absolute[1] if absolute else environ.get("HTTP_HOST", "")
