"""Looks at TorchServe and the site, asks the policy what to do, and does it."""

from __future__ import annotations

import logging
import os
import time
from collections.abc import Callable, Sequence
from typing import Final

from ops.canary import Canaries
from ops.errors import ManagementError, UnknownModelError
from ops.group import Guard
from ops.management import ManagementClient
from ops.policy import (
    Action,
    GiveUp,
    KillTorchServe,
    ModelSeen,
    Note,
    Policy,
    Revive,
    Seen,
    StartSite,
    StartTorchServe,
)
from ops.site_process import Site
from ops.torchserve import TorchServe

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 0.25
POLL_EVERY_S: Final = 2.0
CANARY_EVERY_S: Final = 5.0


class Supervisor:
    """Keeps TorchServe, its models and the site answering; *site* is None when there is none.

    *tell* gets one line for every event.  Unless it *can_restart*, it gives up
    instead of starting or reviving anything.
    """

    def __init__(
        self,
        *,
        torchserve: TorchServe,
        site: Site | None,
        management: ManagementClient,
        canaries: Canaries,
        models: Sequence[str],
        guard: Guard,
        tell: Callable[[str], None],
        can_restart: bool = True,
    ) -> None:
        self._torchserve = torchserve
        self._site = site
        self._management = management
        self._canaries = canaries
        self._models = tuple(models)
        self._guard = guard
        self._tell = tell
        self._policy = Policy(models, time.monotonic(), can_restart=can_restart)
        self._poll_at_s = 0.0
        self._canary_at_s = time.monotonic() + CANARY_EVERY_S

    def run(self, should_stop: Callable[[], bool]) -> GiveUp | None:
        """Look and act until *should_stop*, or until there is a reason to give up, which is returned."""
        while not should_stop():
            self._guard.check()
            seen = self._look()
            for action in self._policy.decide(time.monotonic(), seen):
                if isinstance(action, GiveUp):
                    return action
                self._act(action)
            time.sleep(LOOK_EVERY_S)
        return None

    def _look(self) -> Seen:
        """One look at everything; polls and canaries have rhythms of their own."""
        torchserve_exit = self._torchserve.poll()
        site_exit = self._site.poll() if self._site else None
        signs = self._canaries.take()
        now_s = time.monotonic()
        if torchserve_exit is not None or now_s < self._poll_at_s:
            return Seen(torchserve_exit=torchserve_exit, site_exit=site_exit, signs=signs)
        models = self._describe()
        # One that does not reply is asked again at the next look: it may be about to come up.
        self._poll_at_s = now_s + POLL_EVERY_S if models is not None else now_s
        if models is not None and now_s >= self._canary_at_s:
            self._canary_at_s = now_s + CANARY_EVERY_S
            for name, model in models.items():
                if model is not None and model.num_ready:
                    self._canaries.send(name)
        return Seen(site_exit=site_exit, was_polled=True, models=models, signs=signs)

    def _describe(self) -> dict[str, ModelSeen | None] | None:
        """What the management API says of each model, None without a reply that makes sense."""
        seen: dict[str, ModelSeen | None] = {}
        for name in self._models:
            try:
                status = self._management.describe(name)
            except UnknownModelError:
                seen[name] = None
                continue
            except ManagementError as error:
                logger.info("management API: %s", error)
                return None
            seen[name] = ModelSeen(
                num_wanted=status.min_workers,
                num_ready=status.num_ready,
                num_alive=sum(_is_alive(worker.pid) for worker in status.workers if worker.pid is not None),
                num_pending=status.num_pending,
            )
        return seen

    def _act(self, action: Action) -> None:
        match action:
            case Note(text):
                self._tell(text)
            case KillTorchServe():
                self._torchserve.kill()
            case StartTorchServe():
                self._torchserve.start()
                self._poll_at_s = 0.0
            case StartSite():
                if self._site is not None:
                    self._site.start()
            case Revive(model, num_workers):
                self._revive(model, num_workers)

    def _revive(self, model: str, num_workers: int) -> None:
        """Scale *model* to nothing and back; should that fail, the policy sees it and tries again later."""
        try:
            self._management.scale(model, 0)
            self._management.scale(model, num_workers)
        except ManagementError as error:
            self._tell(f"model {model} could not be started anew: {error}")


def _is_alive(pid: int) -> bool:
    """Whether there is a process *pid*; workers are our own user's, so none is out of sight."""
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True  # somebody else's by now, which the next poll will show
    return True
