"""Predictions that ask for nothing but a sign of life: whether a model *truly* answers.

TorchServe's ``/ping`` says Healthy with no worker at all, and the queue of a
dead worker still accepts, so only an answer counts.
"""

from __future__ import annotations

import enum
import queue
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final
from urllib.parse import quote

import requests

CANARY_TEXT: Final = "Barack Obama was born in Hawaii."


class Sign(enum.Enum):
    """What came back."""

    ANSWER = "answer"
    """A prediction."""
    REFUSAL = "refusal"
    """Something else: TorchServe lives, and says that the model cannot answer now."""
    SILENCE = "silence"
    """Nothing, or nothing in time."""


def no_key() -> str | None:
    """None: for a TorchServe that asks for no key."""
    return None


@dataclass(frozen=True)
class InferenceApi:
    """Where predictions are asked, and how.

    Attributes:
        url: The base URL, without a trailing slash.
        key: Gives the inference key that is valid now, None to send none.
        ca: The PEM file whose certificates are trusted when the URL is https.
    """

    url: str
    key: Callable[[], str | None] = no_key
    ca: Path | None = None


def ask(api: InferenceApi, model: str, timeout_s: float) -> Sign:
    """What *model* has to say to a sentence within *timeout_s* seconds.

    A refused key that is not the current one any more is no refusal: the
    question is asked once more, with the current one.
    """
    key = api.key()
    reply = _post(api, model, timeout_s, key)
    if reply is not None and reply.status_code == requests.codes.bad_request and api.key() != key:
        reply = _post(api, model, timeout_s, api.key())
    if reply is None:
        return Sign.SILENCE
    try:
        content = reply.json()
    except requests.JSONDecodeError:
        return Sign.REFUSAL
    is_prediction = reply.ok and isinstance(content, dict) and isinstance(content.get("entities"), list)
    return Sign.ANSWER if is_prediction else Sign.REFUSAL


def _post(api: InferenceApi, model: str, timeout_s: float, key: str | None) -> requests.Response | None:
    """The reply, whatever it says; None without one."""
    with requests.Session() as session:
        session.trust_env = False  # no proxy stands between us and this machine
        try:
            return session.post(
                f"{api.url}/predictions/{quote(model, safe='')}",
                json={"text": CANARY_TEXT},
                headers={"Authorization": f"Bearer {key}"} if key else {},
                verify=True if api.ca is None else str(api.ca),
                timeout=timeout_s,
                allow_redirects=False,
            )
        except requests.RequestException:
            return None


class Canaries:
    """Asks from threads of their own, so that a canary that hangs holds nothing up."""

    def __init__(self, api: InferenceApi, timeout_s: float) -> None:
        self._api = api
        self._timeout_s = timeout_s
        self._signs: queue.SimpleQueue[tuple[str, Sign]] = queue.SimpleQueue()

    def send(self, model: str) -> None:
        """Ask *model*; returns at once."""
        threading.Thread(target=self._ask, args=(model,), name=f"canary-{model}", daemon=True).start()

    def take(self) -> Mapping[str, Sign]:
        """The latest sign of each model that gave one since the last call."""
        signs = {}
        while not self._signs.empty():
            model, sign = self._signs.get()
            signs[model] = sign
        return signs

    def _ask(self, model: str) -> None:
        self._signs.put((model, ask(self._api, model, self._timeout_s)))
