"""Predictions that ask for nothing but a sign of life, sent in the background."""

from __future__ import annotations

import queue
import threading
from typing import Final

from contract.entities import CANARY_TEXT
from ops.torchserve_api.predictions import PredictionClient, Sign

TIMEOUT_S: Final = 10.0


class Canaries:
    """Sends canaries from threads of their own, so that one that hangs holds nothing up."""

    def __init__(self, predictions: PredictionClient, timeout_s: float = TIMEOUT_S) -> None:
        self._predictions = predictions
        self._timeout_s = timeout_s
        self._signs: queue.SimpleQueue[tuple[str, Sign]] = queue.SimpleQueue()

    def send(self, model: str) -> None:
        """Ask *model*; returns at once."""
        threading.Thread(target=self._ask, args=(model,), name=f"canary-{model}", daemon=True).start()

    def take(self) -> dict[str, Sign]:
        """The latest sign of each model that gave one since the last call."""
        signs = {}
        while not self._signs.empty():
            model, sign = self._signs.get()
            signs[model] = sign
        return signs

    def _ask(self, model: str) -> None:
        self._signs.put((model, self._predictions.ask(CANARY_TEXT, model, timeout_s=self._timeout_s).sign))
