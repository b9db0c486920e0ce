"""How a request reaches TorchServe: past proxies, with its key, its TLS, and a second attempt after a key's renewal."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import requests

KEY_CHANGE_S: Final = 0.5
"""For a renewed key to be published; it takes milliseconds."""


def request(
    method: str,
    url: str,
    *,
    timeout_s: float,
    key: str | None = None,
    ca: Path | None = None,
    parameters: Mapping[str, str] | None = None,
    document: Any = None,
) -> requests.Response:
    """The reply to one request, whatever its status, over a connection of its own; RequestException without one.

    *key* is a bearer token, *ca* a PEM file with the certificates to trust behind https, by default the machine's.
    """
    with requests.Session() as session:
        session.trust_env = False  # no proxy between this machine's processes
        return session.request(
            method,
            url,
            params=parameters,
            json=document,
            headers={"Authorization": f"Bearer {key}"} if key else {},
            verify=True if ca is None else str(ca),
            timeout=timeout_s,
            allow_redirects=False,
        )


def is_key_refusal(reply: requests.Response) -> bool:
    """Whether TorchServe says that the key is missing, wrong or expired; its status for that is 400."""
    if reply.status_code != requests.codes.bad_request:
        return False
    try:
        content = reply.json()
    except requests.JSONDecodeError:
        return False
    return isinstance(content, dict) and content.get("type") == "InvalidKeyException"


class Endpoint:
    """One of TorchServe's APIs at *url*, without a trailing slash; any thread may send.

    *key* gives the key that is valid now, or None; without the function TorchServe asks for none.
    """

    def __init__(self, url: str, key: Callable[[], str | None] | None = None, ca: Path | None = None) -> None:
        self.url = url
        self._key = key
        self._ca = ca

    def url_of(self, *path: str) -> str:
        """The URL of *path*, whose parts may hold anything."""
        return "/".join([self.url, *(quote(part, safe="") for part in path)])

    def send(self, method: str, *path: str, timeout_s: float, **content: Any) -> requests.Response:
        """The reply of :func:`request`; one that is refused because its key was renewed is sent once more."""
        send = partial(request, method, self.url_of(*path), timeout_s=timeout_s, ca=self._ca, **content)
        if self._key is None:
            return send()
        key = self._key()
        reply = send(key=key)
        if is_key_refusal(reply) and _has_changed(self._key, key):
            return send(key=self._key())
        return reply


def _has_changed(key: Callable[[], str | None], before: str | None) -> bool:
    """Whether *key* gives another key than *before*, now or within KEY_CHANGE_S."""
    deadline_s = time.monotonic() + KEY_CHANGE_S
    while key() in {before, None}:
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True
