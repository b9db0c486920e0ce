"""A small client of TorchServe's inference API that judges what it gets: is it an answer by the contract?

It names no text of anybody in what it reports.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias
from urllib.parse import quote

import requests

from ops.torchserve_api.management import has_changed

Found: TypeAlias = tuple[int, int, str]
"""Start, end and label of one entity."""


@dataclass(frozen=True)
class Answer:
    """What one version of a model made of one text.

    Attributes:
        problem: Why it is no answer by the contract; empty when it is one.
        version: The version that answered, empty when none is named.
        digest: The digest of its bundle, likewise.
        entities: What was found, as half-open spans with labels.
        elapsed_s: From the question to the end of the reply.
    """

    problem: str = ""
    version: str = ""
    digest: str = ""
    entities: frozenset[Found] = frozenset()
    elapsed_s: float = 0.0

    @property
    def is_fine(self) -> bool:
        """Whether it is an answer by the contract."""
        return not self.problem


class PredictionClient:
    """Asks the inference API at *url*; every call is over within *timeout_s* seconds or so.

    *key* and *ca* are as for the management API.  Calls may come from several threads.
    """

    def __init__(
        self,
        url: str,
        timeout_s: float = 10.0,
        key: Callable[[], str | None] = lambda: None,
        ca: Path | None = None,
    ) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._key = key
        self._ca = ca

    def ask(self, text: str, model: str, version: str | None = None) -> Answer:
        """What *version* of *model*, by default its default version, makes of *text*."""
        path = [model] if version is None else [model, version]
        url = "/".join([f"{self._url}/predictions", *(quote(part, safe="") for part in path)])
        began_s = time.monotonic()
        try:
            key = self._key()
            response = self._send(url, text, key)
            if response.status_code == requests.codes.bad_request and key is not None and has_changed(self._key, key):
                response = self._send(url, text, self._key())
        except requests.Timeout:
            return Answer(problem=f"no answer within {self._timeout_s:g} s", elapsed_s=time.monotonic() - began_s)
        except requests.RequestException as error:
            return Answer(problem=f"no answer: {type(error).__name__}", elapsed_s=time.monotonic() - began_s)
        elapsed_s = time.monotonic() - began_s
        if response.status_code != requests.codes.ok:
            return Answer(problem=f"status {response.status_code}", elapsed_s=elapsed_s)
        try:
            reply = response.json()
        except requests.JSONDecodeError:
            return Answer(problem="a reply that is not JSON", elapsed_s=elapsed_s)
        return read_answer(reply, text, model, elapsed_s)

    def _send(self, url: str, text: str, key: str | None) -> requests.Response:
        with requests.Session() as session:
            session.trust_env = False  # no proxy stands between us and this machine
            session.verify = True if self._ca is None else str(self._ca)
            headers = {"Authorization": f"Bearer {key}"} if key else {}
            return session.post(
                url, json={"text": text}, headers=headers, timeout=self._timeout_s, allow_redirects=False
            )


def read_answer(reply: object, text: str, model: str, elapsed_s: float = 0.0) -> Answer:
    """*reply* to *text* as an answer of *model*; ``problem`` says where it leaves the contract.

    >>> read_answer({"model": {"name": "en", "version": "1.0", "digest": "d"}, "entities": []}, "", "en").version
    '1.0'
    >>> read_answer({"entities": []}, "", "en").problem
    'a reply off the contract: it does not say which model answered'
    """
    off = "a reply off the contract: "
    if not isinstance(reply, dict):
        return Answer(problem=f"{off}expected a JSON object", elapsed_s=elapsed_s)
    source, entities = reply.get("model"), reply.get("entities")
    if not isinstance(source, dict) or not all(isinstance(source.get(key), str) for key in _SOURCE):
        return Answer(problem=f"{off}it does not say which model answered", elapsed_s=elapsed_s)
    name, version, digest = (str(source[key]) for key in _SOURCE)
    if name != model:
        return Answer(f"the answer of another model, {name}", version, digest, elapsed_s=elapsed_s)
    if not isinstance(entities, list):
        return Answer(f"{off}it has no list of entities", version, digest, elapsed_s=elapsed_s)
    found: set[Found] = set()
    for i, entity in enumerate(entities):
        one = _found(entity, text)
        if one is None:
            return Answer(f"{off}entity {i} does not fit its text", version, digest, elapsed_s=elapsed_s)
        found.add(one)
    return Answer("", version, digest, frozenset(found), elapsed_s)


_SOURCE = ("name", "version", "digest")


def _found(entity: object, text: str) -> Found | None:
    """*entity* when its offsets give its text back, else None."""
    if not isinstance(entity, Mapping):
        return None
    start, end, label = entity.get("start"), entity.get("end"), entity.get("label")
    if type(start) is not int or type(end) is not int or not isinstance(label, str):
        return None
    if not 0 <= start < end <= len(text) or text[start:end] != entity.get("text"):
        return None
    return start, end, label
