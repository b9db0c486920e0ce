"""Scaling, draining and registering on a running TorchServe, with as little loss as its management API allows.

What TorchServe 0.12 does, seen in runs:

- Ending a worker drops the batch it has in hand: 500 "Worker died.", or it goes back into the queue.  The API chooses
  the worker (the youngest) and does not tell which of them are busy.
- A queue outlives its workers: what it holds hangs until there is a worker again, which then answers it; behind an
  unregistered version it hangs for ever.
- What was queued for the old default is still answered by the old version after set-default; only later requests go
  to the new one.

So a version is made idle before its workers go (it must not be the default for that), workers go one at a time while
the queue is empty, and what is stranded in a queue without workers gets a worker once more.  For a version that keeps
its traffic, each worker that goes may drop up to ``batchSize`` requests.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from contract.names import MODEL_NAME_RULE, is_model_name
from ops.errors import (
    BrokenOffError,
    LoadError,
    ManagementError,
    ManagementUnreachableError,
    NotNowError,
    UnknownModelError,
    WaitError,
)
from ops.operate.verdicts import IdleWatch, LoadWatch, Retire, other_version, scale_steps
from ops.torchserve_api.management import ManagementClient, ModelStatus

POLL_S: Final = 0.1
QUIET_S: Final = 5.0
"""For the queue of a version with traffic to be empty once, before each worker that goes."""

SILENCE_S: Final = 15.0
"""Of the management API, while something is waited for; one lost reply is no reason to give up."""


def carry_on() -> None:
    """The check between two polls of an operation that no signal interrupts."""


@dataclass(frozen=True)
class ModelVersions:
    """All versions of one model; *default* answers when none is named."""

    name: str
    default: str
    statuses: dict[str, ModelStatus]

    def status(self, version: str) -> ModelStatus:
        """The state of *version*; UnknownModelError, as TorchServe's own, when it is not registered."""
        if version not in self.statuses:
            there = ", ".join(sorted(self.statuses))
            raise UnknownModelError(404, f"{self.name} has no version {version}; there is {there}")
        return self.statuses[version]


@dataclass(frozen=True)
class Operator:
    """Changes what TorchServe serves.

    Attributes:
        management: The management API.
        say: Gets a line for every step.
        check: Is called between two polls, and raises to break off.
        load_timeout_s: Until new workers must be ready.
        idle_timeout_s: Until a version that gets no more requests must be idle.
        grace_s: How long its queue must have been empty for that, for the batches that workers have in hand.
    """

    management: ManagementClient
    say: Callable[[str], None]
    check: Callable[[], None] = carry_on
    load_timeout_s: float = 180.0
    idle_timeout_s: float = 60.0
    grace_s: float = 2.0

    def look(self, model: str) -> ModelVersions:
        """What is registered as *model* now."""
        default = self.management.describe(model).version
        return ModelVersions(model, default, self.management.versions(model))

    def wait_until_ready(self, model: str, version: str, num_workers: int, timeout_s: float | None = None) -> None:
        """Return once *version* has *num_workers* workers and all are ready.

        Raises LoadError when they end while loading, WaitError after *timeout_s* seconds, by default load_timeout_s.
        """
        load = LoadWatch()

        def is_ready(status: ModelStatus) -> bool:
            load.saw(status)
            if load.problem:
                raise LoadError(f"{model} {version}: {load.problem}")
            return status.num_ready == num_workers == len(status.workers)

        timeout_s = self.load_timeout_s if timeout_s is None else timeout_s
        last = self._poll_until(model, version, is_ready, timeout_s)
        if last is not None:
            raise WaitError(
                f"{model} {version} has {last.num_ready} of {num_workers} workers ready after {timeout_s:g} s"
            )

    def wait_until_idle(self, model: str, version: str) -> None:
        """Return once the queue of *version* was empty for grace_s seconds; WaitError after idle_timeout_s more."""
        idle = IdleWatch(self.grace_s)

        def is_idle(status: ModelStatus) -> bool:
            idle.saw(time.monotonic(), status.num_pending)
            return idle.is_idle(time.monotonic())

        timeout_s = self.grace_s + self.idle_timeout_s
        last = self._poll_until(model, version, is_idle, timeout_s)
        if last is not None:
            raise WaitError(f"{model} {version} still gets requests ({last.num_pending} wait) after {timeout_s:g} s")

    def scale(
        self, status: ModelStatus, num_workers: int, *, waits: bool = True, timeout_s: float | None = None
    ) -> None:
        """Have the version of *status* served by *num_workers* workers, at least one.

        Up at once; down one worker at a time, each when the queue is seen empty, or after QUIET_S seconds.  Without
        *waits* neither is waited for, nor that new workers are ready.
        """
        model, version = status.name, status.version
        for step in scale_steps(len(status.workers), num_workers) if waits else [num_workers]:
            if waits and step < len(status.workers):
                self._poll_until(model, version, lambda now: not now.num_pending, QUIET_S)
            self.management.scale(model, step, version)
        if waits:
            self.wait_until_ready(model, version, num_workers, timeout_s)

    def stop(self, model: str, version: str) -> None:
        """Leave an idle *version* without workers and with an empty queue.

        Clients that keep sending to it may fill the queue again in the moment that its last worker goes; that is tried
        again for idle_timeout_s seconds.  Raises WaitError after them; it then has one worker.
        """
        deadline_s = time.monotonic() + self.idle_timeout_s
        while True:
            num_workers = len(self.management.describe(model, version).workers)
            for step in scale_steps(num_workers, 0) if num_workers else [0]:
                self.management.scale(model, step, version)
            stranded = self.management.describe(model, version).num_pending
            if not stranded:
                return
            self.say(f"{stranded} requests came last of all; {model} {version} gets a worker again to answer them")
            self.management.scale(model, 1, version)
            self.wait_until_ready(model, version, 1, self.idle_timeout_s)
            if time.monotonic() > deadline_s:
                raise WaitError(f"{model} {version} keeps getting requests; it still has a worker")
            self.wait_until_idle(model, version)

    def drain(self, model: str, version: str | None, *, is_forced: bool) -> tuple[str, str]:
        """Stop *version* of *model*, None for its default, once it is idle: the version and the default.

        The default version is only stopped when *is_forced*: another version on standby becomes the default first, and
        without one the model does not answer any more.
        """
        seen = self.look(model)
        version = seen.default if version is None else version
        status = seen.status(version)
        default = self._hand_over(seen, version, is_forced=is_forced)
        self._stop_once_idle(status)
        self.say(f"{model} {version} is stopped: no worker, nothing in its queue")
        return version, default

    def _hand_over(self, seen: ModelVersions, version: str, *, is_forced: bool) -> str:
        """Have another version answer in the place of *version* if it is the default: what is the default now."""
        default = self.default_to_drain_for(seen, version, is_forced=is_forced)
        if default != seen.default:
            self.management.set_default(seen.name, default)
            self.say(f"{seen.name} is served by {default} now; {version} gets no more requests that name no version")
        return default

    @staticmethod
    def default_to_drain_for(seen: ModelVersions, version: str, *, is_forced: bool) -> str:
        """The default once *version* drains; NotNowError when that needs force."""
        if version != seen.default:
            return seen.default
        if not is_forced:
            raise NotNowError(
                f"{version} is the default version of {seen.name}; nerserve rollback serves another one first, and "
                "--force stops it all the same"
            )
        if any(status.num_ready for other, status in seen.statuses.items() if other != version):
            return other_version(seen.statuses, seen.default, None)
        return seen.default

    def retire(self, model: str, version: str, how: Retire) -> None:
        """Do with a *version* that is not the default any more as *how* says, once it is idle.

        When it does not get idle, or its last worker does not load, its workers stay, with a line that says so.
        """
        try:
            self.wait_until_idle(model, version)
            if how is Retire.STANDBY:
                status = self.management.describe(model, version)
                if len(status.workers) > 1:
                    self.scale(status, 1, timeout_s=self.idle_timeout_s)
                self.say(f"{model} {version} is on standby with {min(1, len(status.workers))} worker")
                return
            self.stop(model, version)
            if how is Retire.REMOVED:
                self.management.unregister(model, version)
            self.say(f"{model} {version} is {how}")
        except (LoadError, WaitError) as error:  # the new default is good: that is no reason to go back
            self.say(f"{model} {version} keeps its workers for now: {error}")

    def unregister(self, model: str, version: str, *, is_forced: bool) -> None:
        """Forget *version*, stopped first; the default version only when *is_forced*, see :meth:`drain`."""
        seen = self.look(model)
        status = seen.status(version)
        self.check_unregister(seen, version, is_forced=is_forced)
        self._hand_over(seen, version, is_forced=is_forced)
        self._stop_once_idle(status)
        self.management.unregister(model, version)
        self.say(f"{model} {version} is unregistered")

    def check_unregister(self, seen: ModelVersions, version: str, *, is_forced: bool) -> None:
        """Raise NotNowError when *version* cannot be unregistered, or only by force."""
        default = self.default_to_drain_for(seen, version, is_forced=is_forced)
        if default == version and len(seen.statuses) > 1:  # TorchServe refuses
            message = f"{version} is the default of {seen.name}; nerserve rollback serves another version first"
            raise NotNowError(message)

    def _stop_once_idle(self, status: ModelStatus) -> None:
        if status.workers:
            self.wait_until_idle(status.name, status.version)
        self.stop(status.name, status.version)

    def register(self, archive: str, model: str | None, num_workers: int) -> ModelStatus:
        """Register the file *archive* of the server's store: its status, once *num_workers* workers are ready.

        When they do not get ready, or the check breaks that off, it is unregistered again and the error is raised.
        """
        names = set(self.management.models())
        before = {name: set(self.management.versions(name)) for name in self._names(model)}
        self.management.register(archive, model, num_workers)
        for name in sorted(set(self.management.models()) - names):
            if not is_model_name(name):
                raise self._unfit(name, archive)
        new = self._new_version(before, model)
        self.say(f"{new.name} {new.version} is registered from {archive}; its workers load")
        try:
            self.management.scale(new.name, num_workers, new.version)  # the archive's yaml had the first word
            self.wait_until_ready(new.name, new.version, num_workers)
        except (LoadError, WaitError, BrokenOffError):
            self.management.scale(new.name, 0, new.version)
            self.management.unregister(new.name, new.version)
            self.say(f"{new.name} {new.version} is unregistered again")
            raise
        return self.management.describe(new.name, new.version)

    def _names(self, model: str | None) -> list[str]:
        """The models to look at: *model* where it is registered, or all when its name is not known."""
        return [name for name in self.management.models() if model in {None, name} and is_model_name(name)]

    def _unfit(self, name: str, archive: str) -> NotNowError:
        """The error for *archive*, which TorchServe took under a *name* that no model can have; unregisters it."""
        left = "; it is unregistered again"
        try:
            for version in self.management.versions(name):
                self.management.unregister(name, version)
        except ManagementError:  # TorchServe does not find a name with a slash
            left = ", and cannot unregister it before its next start"
        expected = f"expected a name of {MODEL_NAME_RULE}; --name gives it another"
        return NotNowError(f"TorchServe took {archive} as {name!r}{left}: {expected}")

    def _new_version(self, before: dict[str, set[str]], model: str | None) -> ModelStatus:
        """The one version that was not there *before*."""
        for name in self._names(model):
            for version, status in self.management.versions(name).items():
                if version not in before.get(name, set()):
                    return status
        raise NotNowError("TorchServe took the archive, but shows no new version; look at nerserve models")

    def _poll_until(
        self, model: str, version: str, is_done: Callable[[ModelStatus], bool], timeout_s: float
    ) -> ModelStatus | None:
        """Poll *version* until *is_done*: None; or its last state after *timeout_s* seconds."""
        heard_s = time.monotonic()
        deadline_s = heard_s + timeout_s
        while True:
            self.check()
            try:
                status = self.management.describe(model, version)
            except ManagementUnreachableError:
                if time.monotonic() - heard_s > SILENCE_S:
                    raise
            else:
                heard_s = time.monotonic()
                if is_done(status):
                    return None
                if heard_s > deadline_s:
                    return status
            time.sleep(POLL_S)
