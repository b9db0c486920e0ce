"""All that serves: the processes, the clients that ask them, and how they are drained."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from contract.entities import CANARY_TEXT
from ops.errors import ManagementError
from ops.process.site import Site
from ops.process.torchserve import TorchServe
from ops.torchserve_api.management import ManagementClient
from ops.torchserve_api.predictions import PredictionClient, Sign

LOOK_EVERY_S: Final = 0.1
JVM_GRACE_S: Final = 10.0
LAST_BATCHES_S: Final = 1.0
"""For batches that workers have in hand once the queues are empty; TorchServe does not say how many there are."""


@dataclass(frozen=True)
class Servers:
    """TorchServe with *models*, and the site in front; None without one."""

    torchserve: TorchServe
    site: Site | None
    management: ManagementClient
    predictions: PredictionClient
    models: tuple[str, ...]

    def is_answering(self, model: str, timeout_s: float) -> bool:
        """Whether *model* answers a canary within *timeout_s* seconds."""
        return self.predictions.ask(CANARY_TEXT, model, timeout_s=timeout_s).sign is Sign.ANSWER

    def drain(self, timeout_s: float, should_hurry: Callable[[], bool], dead_model: str | None = None) -> None:
        """Stop admitting, let accepted requests be answered, then end TorchServe; kill() ends what is left.

        The queue of *dead_model*, which cannot answer any more, is not waited for.
        """
        models = [model for model in self.models if model != dead_model]
        deadline_s = time.monotonic() + timeout_s

        def wait_while(is_busy: Callable[[], bool], deadline_s: float) -> None:
            while not should_hurry() and time.monotonic() < deadline_s and is_busy():
                time.sleep(LOOK_EVERY_S)

        site, torchserve = self.site, self.torchserve
        if site is not None:
            site.terminate()
            wait_while(lambda: site.poll() is None, deadline_s)
        if torchserve.poll() is None:
            wait_while(lambda: any(map(self._has_pending, models)), deadline_s)
            wait_while(lambda: True, time.monotonic() + LAST_BATCHES_S)
            torchserve.terminate()
            wait_while(lambda: torchserve.poll() is None, time.monotonic() + JVM_GRACE_S)

    def kill(self) -> None:
        """End both at once, with all that they started."""
        if self.site is not None:
            self.site.kill()
        self.torchserve.kill()

    def _has_pending(self, model: str) -> bool:
        """Whether *model* has requests in its queue, or all its workers are busy."""
        try:
            status = self.management.describe(model)
        except ManagementError:
            return False
        if status.num_pending or not status.num_ready:
            return bool(status.num_pending)
        # The queue does not count the batch in a worker's hand; with one worker, a canary is answered after it.
        return self.predictions.ask(CANARY_TEXT, model, timeout_s=1.0).sign is Sign.SILENCE
