"""Predictions that ask for nothing but a sign of life: whether a model *truly* answers.

TorchServe's ``/ping`` says Healthy with no worker at all, and the queue of a
dead worker still accepts, so only an answer counts.
"""

from __future__ import annotations

import enum
import queue
import threading
from collections.abc import Mapping
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


def ask(inference_url: str, model: str, timeout_s: float) -> Sign:
    """What *model* has to say to a sentence within *timeout_s* seconds."""
    with requests.Session() as session:
        session.trust_env = False  # no proxy stands between us and this machine
        try:
            response = session.post(
                f"{inference_url}/predictions/{quote(model, safe='')}", json={"text": CANARY_TEXT}, timeout=timeout_s
            )
        except requests.RequestException:
            return Sign.SILENCE
    try:
        reply = response.json()
    except requests.JSONDecodeError:
        return Sign.REFUSAL
    is_prediction = response.ok and isinstance(reply, dict) and isinstance(reply.get("entities"), list)
    return Sign.ANSWER if is_prediction else Sign.REFUSAL


class Canaries:
    """Asks from threads of their own, so that a canary that hangs holds nothing up."""

    def __init__(self, inference_url: str, timeout_s: float) -> None:
        self._inference_url = inference_url
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
        self._signs.put((model, ask(self._inference_url, model, self._timeout_s)))
