"""Looks at TorchServe and the site, asks the policy what to do, and does it."""

from __future__ import annotations

import logging
import os
import signal
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final

import psutil

from ops.errors import ManagementError, ManagementUnreachableError, UnknownModelError
from ops.process.group import Guard
from ops.supervise.archives import Archives
from ops.supervise.canaries import Canaries
from ops.supervise.policy import (
    Action,
    GiveUp,
    KillStopped,
    KillTorchServe,
    ModelSeen,
    Note,
    Policy,
    Register,
    Revive,
    Seen,
    StartSite,
    StartTorchServe,
)
from ops.supervise.servers import Servers

logger = logging.getLogger(__name__)

LOOK_EVERY_S: Final = 0.25
POLL_EVERY_S: Final = 2.0
CANARY_EVERY_S: Final = 5.0


class Supervisor:
    """Keeps *servers* answering; *tell* gets one line for every event.

    Unless it *can_restart*, it gives up instead of starting or reviving anything.
    """

    def __init__(
        self,
        servers: Servers,
        canaries: Canaries,
        archives: Archives,
        guard: Guard,
        tell: Callable[[str], None],
        *,
        can_restart: bool = True,
    ) -> None:
        self._torchserve, self._site, self._management = servers.torchserve, servers.site, servers.management
        self._models = servers.models
        self._canaries = canaries
        self._archives = archives
        self._guard = guard
        self._tell = tell
        self._policy = Policy(servers.models, time.monotonic(), can_restart=can_restart)
        self._workers: dict[int, str] = {}  # by process id, at the last poll
        self._was_refused = False
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
        """The state of everything; the management API is polled, and canaries sent, at intervals of their own."""
        torchserve_exit = self._torchserve.poll()
        site_exit = self._site.poll() if self._site else None
        signs = self._canaries.take()
        now_s = time.monotonic()
        stopped = self._stopped()
        if torchserve_exit is not None or now_s < self._poll_at_s:
            return Seen(torchserve_exit=torchserve_exit, site_exit=site_exit, stopped=stopped, signs=signs)
        models = self._describe()
        # One that does not reply is asked again at the next look: it may be about to come up.
        self._poll_at_s = now_s + POLL_EVERY_S if models is not None else now_s
        if models is not None and now_s >= self._canary_at_s:
            self._canary_at_s = now_s + CANARY_EVERY_S
            for name, model in models.items():
                if model is not None and model.num_ready:
                    self._canaries.send(name)
        archives = self._archives.look() if models is not None else {}
        return Seen(
            site_exit=site_exit,
            was_polled=True,
            torchserve_cpu_s=None if self._was_refused else self._torchserve.cpu_s,
            models=models,
            archives=archives,
            stopped=stopped,
            signs=signs,
        )

    def _describe(self) -> dict[str, ModelSeen | None] | None:
        """What the management API says of each model, None without a valid reply."""
        seen: dict[str, ModelSeen | None] = {}
        workers: dict[int, str] = {}
        self._was_refused = False
        for name in self._models:
            try:
                status = self._management.describe(name)
            except UnknownModelError:
                seen[name] = None
                continue
            except ManagementError as error:
                logger.info("management API: %s", error)
                self._was_refused = not isinstance(error, ManagementUnreachableError)
                return None
            pids = [worker.pid for worker in status.workers if worker.pid is not None]
            workers |= dict.fromkeys(pids, f"a worker of model {name}")
            seen[name] = ModelSeen(
                num_wanted=status.min_workers,
                num_ready=status.num_ready,
                num_alive=sum(map(psutil.pid_exists, pids)),
                num_pending=status.num_pending,
            )
        self._workers = workers
        return seen

    def _act(self, action: Action) -> None:
        match action:
            case Note(text):
                self._tell(text)
            case KillTorchServe():
                self._torchserve.kill()
            case StartTorchServe():
                self._start("TorchServe", self._torchserve.start)
                self._poll_at_s = 0.0
            case StartSite():
                if self._site is not None:
                    self._start("the site", self._site.start)
            case Revive(model, num_workers):
                self._revive(model, num_workers)
            case Register(model):
                self._register(model)
            case KillStopped(pid):
                if self._is_stopped(pid):
                    with suppress(ProcessLookupError):
                        os.kill(pid, signal.SIGKILL)

    def _start(self, what: str, start: Callable[[], None]) -> None:
        """Start *what*; should that fail, on a full disk for instance, the policy tries again later."""
        try:
            start()
        except OSError as error:
            self._tell(f"{what} could not be started: {error.strerror or error}")

    def _stopped(self) -> dict[int, str]:
        """What is stopped of TorchServe, its workers, the site and its workers, by process id."""
        processes = dict(self._workers)
        if self._torchserve.pid is not None:
            processes[self._torchserve.pid] = "TorchServe"
        if self._site is not None and self._site.pid is not None:
            with suppress(psutil.Error):
                children = psutil.Process(self._site.pid).children()
                processes |= dict.fromkeys((child.pid for child in children), "a worker of the site")
            processes[self._site.pid] = "the site"
        return {pid: what for pid, what in processes.items() if self._is_stopped(pid)}

    def _is_stopped(self, pid: int) -> bool:
        """Whether *pid* is a stopped process that we started; one in a debugger is not."""
        ours = {self._torchserve.pid, self._site.pid if self._site else None}
        try:
            return os.getpgid(pid) in ours and psutil.Process(pid).status() == psutil.STATUS_STOPPED
        except (ProcessLookupError, PermissionError, psutil.Error):
            return False

    def _revive(self, model: str, num_workers: int) -> None:
        """Scale *model* to 0 and back; should that fail, the policy tries again later."""
        try:
            self._management.scale(model, 0)
            self._management.scale(model, num_workers)
        except ManagementError as error:
            self._tell(f"model {model} could not be started anew: {error}")

    def _register(self, model: str) -> None:
        """Register *model* again; should that fail, the policy tries again later."""
        source = self._archives.source(model)
        if source is None:
            return
        try:
            self._management.register(source, model, num_workers=1)  # the archive's yaml has the last word
        except ManagementError as error:
            self._tell(f"model {model} could not be registered again: {error}")
