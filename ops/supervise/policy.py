"""The supervisor's rules: actions for an observed state, without processes, sockets and clocks."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ops.supervise.archives import ArchiveSeen
from ops.torchserve_api.predictions import Sign


@dataclass(frozen=True)
class Thresholds:
    """Timeouts and back-off of the supervisor, in seconds but for hang_polls.

    Attributes:
        boot_s: From TorchServe's start to the first reply of its management API.
        hang_after_s: Silence of the management API after which TorchServe counts as hung.
        slow_s: The same while TorchServe is at work: it is slow then, and not hung.
        busy_share: It is at work while it takes at least this share of one processor,
        idle_s: or did so this long ago.
        hang_polls: Polls in a row that must have failed as well; one after a suspension proves nothing.
        canary_silence_s: Silence of the inference API while a worker is ready and its queue empty.
        no_worker_s: How long a model may be without any worker process; TorchServe itself takes about 3 s.
        loading_s: How long its worker processes may take to become ready.
        absent_s: How long a model may be missing from TorchServe; someone may be replacing it.
        longest_absence_s: The back-off between registrations of one model doubles up to this.
        remind_every_s: A trouble that lasts is told again after this long.
        longest_revival_s: The back-off between revivals of one model doubles up to this.
        first_pause_s: Back-off before the second restart of a process in a row; the first comes at once.
        longest_pause_s: It doubles up to this.
        stopped_s: How long a process may be stopped, as by SIGSTOP.
        calm_s: After this long without a restart the back-off is reset.
    """

    boot_s: float = 60.0
    hang_after_s: float = 10.0
    slow_s: float = 30.0
    busy_share: float = 0.05
    idle_s: float = 5.0
    hang_polls: int = 3
    canary_silence_s: float = 60.0
    no_worker_s: float = 15.0
    loading_s: float = 120.0
    absent_s: float = 5.0
    longest_absence_s: float = 60.0
    remind_every_s: float = 60.0
    longest_revival_s: float = 300.0
    first_pause_s: float = 1.0
    longest_pause_s: float = 30.0
    stopped_s: float = 3.0
    calm_s: float = 60.0


@dataclass(frozen=True)
class ModelSeen:
    """One model, as the management API and the process table show it.

    Attributes:
        num_wanted: Workers it should have; an operator may have scaled it to none.
        num_ready: Workers that can answer.
        num_alive: Workers whose process exists, whether it can answer yet or not.
        num_pending: Requests in its queue.
    """

    num_wanted: int
    num_ready: int
    num_alive: int
    num_pending: int = 0


@dataclass(frozen=True)
class Seen:
    """The observed state of everything.

    Attributes:
        torchserve_exit: Exit status of the JVM, None while it runs.
        site_exit: Exit status of the site, None while it runs or when there is none.
        was_polled: Whether the management API was asked.
        torchserve_cpu_s: Processor time that the JVM had taken by then; None when it is not known, or when the
            management API did reply, with a refusal.
        models: Its reply, None for a model that is not registered; None as a whole when there was no reply.
        archives: Each model's archive, as it would be loaded now.
        stopped: Processes that are stopped: what each is, by its process id.
        signs: What canaries brought back since the last look.
    """

    torchserve_exit: int | None = None
    site_exit: int | None = None
    was_polled: bool = False
    torchserve_cpu_s: float | None = None
    models: Mapping[str, ModelSeen | None] | None = None
    archives: Mapping[str, ArchiveSeen] = field(default_factory=dict)
    stopped: Mapping[int, str] = field(default_factory=dict)
    signs: Mapping[str, Sign] = field(default_factory=dict)


@dataclass(frozen=True)
class Note:
    """Tell the operator."""

    text: str


@dataclass(frozen=True)
class StartTorchServe:
    """Start TorchServe again."""


@dataclass(frozen=True)
class KillTorchServe:
    """End a TorchServe that runs and does not work."""


@dataclass(frozen=True)
class StartSite:
    """Start the site again."""


@dataclass(frozen=True)
class Revive:
    """Scale a model to no worker and back to *num_workers*; scaling to 0 resets TorchServe's retry back-off."""

    model: str
    num_workers: int


@dataclass(frozen=True)
class Register:
    """Register a model that TorchServe does not have, from its archive or the last good one."""

    model: str


@dataclass(frozen=True)
class KillStopped:
    """Kill the stopped process *pid*; its parent starts another."""

    pid: int


@dataclass(frozen=True)
class GiveUp:
    """Take everything down and exit.

    Attributes:
        reason: What ended or does not work, in words.
        model: The model that cannot answer any more, if it is one model's failure: its queue need not be drained.
    """

    reason: str
    model: str | None = None


Action: TypeAlias = Note | StartTorchServe | KillTorchServe | StartSite | Revive | Register | KillStopped | GiveUp

REVIVALS_BEFORE_RESTART: Final = 2


class Pauses:
    """Exponential back-off before each restart of one process; the first comes at once."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._num_restarts = 0
        self._last_s: float | None = None

    def next_s(self, now_s: float) -> float:
        """Seconds to wait before the restart that is due at *now_s*."""
        if self._last_s is not None and now_s - self._last_s > self._thresholds.calm_s:
            self._num_restarts = 0
        pause_s = 0.0
        if self._num_restarts:
            pause_s = min(
                self._thresholds.longest_pause_s, self._thresholds.first_pause_s * 2 ** (self._num_restarts - 1)
            )
        self._num_restarts += 1
        self._last_s = now_s + pause_s
        return pause_s


class _Process:
    """When to start a process again that has ended, if ever."""

    def __init__(self, name: str, thresholds: Thresholds, *, can_restart: bool) -> None:
        self._name = name
        self._can_restart = can_restart
        self._pauses = Pauses(thresholds)
        self._start_at_s: float | None = None

    def decide(self, now_s: float, exit_status: int, start: Action) -> list[Action]:
        if not self._can_restart:
            return [GiveUp(f"{self._name} ended ({_how(exit_status)})")]
        actions: list[Action] = []
        if self._start_at_s is None:
            pause_s = self._pauses.next_s(now_s)
            self._start_at_s = now_s + pause_s
            when = f"in {pause_s:.0f} s" if pause_s else "now"
            actions.append(Note(f"{self._name} ended ({_how(exit_status)}); restarting it {when}"))
        if now_s >= self._start_at_s:
            self._start_at_s = None
            actions.append(start)
        return actions


class _Stopped:
    """When to kill processes that are stopped (SIGSTOP): the requests that they hold would hang."""

    def __init__(self) -> None:
        self._since_s: dict[int, float] = {}

    def decide(self, now_s: float, stopped: Mapping[int, str], patience_s: float) -> list[Action]:
        self._since_s = {pid: self._since_s.get(pid, now_s) for pid in stopped}
        actions: list[Action] = []
        for pid, since_s in self._since_s.items():
            if now_s - since_s >= patience_s:
                stopped_s = now_s - since_s
                actions.append(Note(f"{stopped[pid]} (pid {pid}) has been stopped for {stopped_s:.0f} s; ending it"))
                actions.append(KillStopped(pid))
        return actions


class _Work:
    """Whether a process is at work, by the processor time that it takes."""

    def __init__(self, thresholds: Thresholds) -> None:
        self._thresholds = thresholds
        self._look: tuple[float, float] | None = None
        self._busy_s: float | None = None

    def saw(self, now_s: float, cpu_s: float | None) -> None:
        """Take note that the process had taken *cpu_s* by *now_s*; only looks a second apart are compared."""
        if cpu_s is None:
            return
        look_s, before_s = self._look or (now_s, cpu_s)
        if now_s - look_s >= 1.0 or self._look is None:
            if cpu_s - before_s > self._thresholds.busy_share * (now_s - look_s):
                self._busy_s = now_s
            self._look = now_s, cpu_s

    def is_going_on(self, now_s: float) -> bool:
        """Whether the process was at work a short time ago."""
        return self._busy_s is not None and now_s - self._busy_s < self._thresholds.idle_s


@dataclass
class _Model:
    """The state of one model between two decisions."""

    was_ready: bool = False
    idle_since_s: float | None = None  # no worker was ready since then
    num_revivals: int = 0
    num_owed: int = 0  # the workers it had before a revival took them
    last_sign_s: float = 0.0
    absent_since_s: float | None = None
    register_at_s: float = 0.0
    remind_at_s: dict[str, float] = field(default_factory=dict)  # when each trouble is told again


class Policy:
    """Decides what to do about each observed state."""

    def __init__(
        self, models: Collection[str], now_s: float, thresholds: Thresholds | None = None, *, can_restart: bool = True
    ) -> None:
        """Begin with everything up and answering at *now_s*.

        Unless it *can_restart*, it gives up where it would start or revive something; TorchServe may still restart
        workers.
        """
        self._names = tuple(models)
        self._thresholds = thresholds or Thresholds()
        self._can_restart = can_restart
        self._torchserve = _Process("TorchServe", self._thresholds, can_restart=can_restart)
        self._site = _Process("the site", self._thresholds, can_restart=can_restart)
        self._stopped = _Stopped()
        self._models: dict[str, _Model] = {}
        self._began_s = now_s
        self._heard_s: float | None = None  # the last reply of this TorchServe's management API
        self._num_missed = 0
        self._is_slow = False
        self._begin(now_s, heard_s=now_s)
        for model in self._models.values():
            model.was_ready = True

    def _begin(self, now_s: float, heard_s: float | None) -> None:
        """Forget all that was true of an earlier TorchServe."""
        self._began_s, self._heard_s, self._num_missed, self._is_slow = now_s, heard_s, 0, False
        self._work = _Work(self._thresholds)
        self._models = {name: _Model(last_sign_s=now_s) for name in self._names}

    def decide(self, now_s: float, seen: Seen) -> list[Action]:
        """What to do now; the caller does all of it, in order."""
        actions = self._stopped.decide(now_s, seen.stopped, self._thresholds.stopped_s)
        if seen.site_exit is not None:
            actions += self._site.decide(now_s, seen.site_exit, StartSite())
        if seen.torchserve_exit is not None:
            torchserve_actions = self._torchserve.decide(now_s, seen.torchserve_exit, StartTorchServe())
            if StartTorchServe() in torchserve_actions:
                self._begin(now_s, heard_s=None)
            return actions + torchserve_actions
        for name in seen.signs.keys() & self._models.keys():
            if seen.signs[name] is not Sign.SILENCE:
                self._models[name].last_sign_s = now_s
        if seen.was_polled:
            self._work.saw(now_s, seen.torchserve_cpu_s)
            actions += self._missed(now_s) if seen.models is None else self._heard(now_s, seen.models, seen.archives)
        return actions

    def _missed(self, now_s: float) -> list[Action]:
        """The management API did not reply."""
        self._num_missed += 1
        if self._heard_s is None:
            if now_s - self._began_s < self._thresholds.boot_s:
                return []
            return self._kill(now_s, f"TorchServe does not come up within {self._thresholds.boot_s:.0f} s")
        silence_s = now_s - self._heard_s
        if silence_s < self._thresholds.hang_after_s or self._num_missed < self._thresholds.hang_polls:
            return []
        if silence_s < self._thresholds.slow_s and self._work.is_going_on(now_s):
            is_new, self._is_slow = not self._is_slow, True
            limit_s = self._thresholds.slow_s
            text = (
                f"TorchServe has not replied for {silence_s:.0f} s and is at work; waiting for {limit_s:.0f} s at most"
            )
            return [Note(text)] if is_new else []
        return self._kill(now_s, f"TorchServe has not replied for {silence_s:.0f} s")

    def _heard(
        self, now_s: float, seen: Mapping[str, ModelSeen | None], archives: Mapping[str, ArchiveSeen]
    ) -> list[Action]:
        """The management API replied."""
        self._heard_s, self._num_missed, self._is_slow = now_s, 0, False
        actions: list[Action] = []
        any_ready = any(model is not None and model.num_ready for model in seen.values())
        for name, model in seen.items():
            if name in self._models:
                archive = archives.get(name, ArchiveSeen())
                if model is None:
                    actions += self._look_at_absent(now_s, name, archive)
                else:
                    actions += self._look_at(now_s, name, model, archive, any_ready=any_ready)
                if KillTorchServe() in actions:
                    break  # what the others look like is past
        return actions

    def _look_at(
        self, now_s: float, name: str, seen: ModelSeen, archive: ArchiveSeen, *, any_ready: bool
    ) -> list[Action]:
        """One model that the management API described."""
        self._models[name].absent_since_s = None
        actions: list[Action] = []
        if archive.problem:
            then = "load the last good one" if archive.has_last_good else f"leave model {name} out"
            actions += self._remind(now_s, name, "archive", f"{archive.problem}; a restart of TorchServe would {then}")
        else:
            self._models[name].remind_at_s.pop("archive", None)
        if seen.num_ready:
            return actions + self._look_at_ready(now_s, name, seen)
        return actions + self._look_at_idle(now_s, name, seen, any_ready=any_ready)

    def _look_at_absent(self, now_s: float, name: str, archive: ArchiveSeen) -> list[Action]:
        """A model that TorchServe does not have: it comes back as soon as there is an archive to load."""
        model, thresholds = self._models[name], self._thresholds
        if model.absent_since_s is None:
            model.absent_since_s, model.register_at_s = now_s, now_s + thresholds.absent_s
            model.was_ready = False
            model.remind_at_s.clear()
        problem = f"model {name} is not registered with TorchServe"
        actions = self._remind(now_s, name, "absent", f"{problem}: {archive.problem}" if archive.problem else problem)
        absent_s = now_s - model.absent_since_s
        if not self._can_restart:
            return [*actions, GiveUp(problem, name)] if absent_s >= thresholds.absent_s else actions
        if now_s < model.register_at_s or (archive.problem and not archive.has_last_good):
            return actions
        model.register_at_s = now_s + min(thresholds.longest_absence_s, absent_s)
        return [*actions, Register(name)]

    def _remind(self, now_s: float, name: str, trouble: str, text: str) -> list[Action]:
        """Tell a *trouble* of a model now and then while it lasts."""
        remind_at_s = self._models[name].remind_at_s
        if now_s < remind_at_s.get(trouble, now_s):
            return []
        remind_at_s[trouble] = now_s + self._thresholds.remind_every_s
        return [Note(text)]

    def _look_at_idle(self, now_s: float, name: str, seen: ModelSeen, *, any_ready: bool) -> list[Action]:
        """A model without a worker that is ready."""
        model = self._models[name]
        num_wanted = max(seen.num_wanted, model.num_owed)
        if not num_wanted:  # an operator wants it so
            model.idle_since_s, model.last_sign_s = None, now_s
            return []
        actions: list[Action] = []
        if model.idle_since_s is None:
            model.idle_since_s = now_s
            if model.was_ready:
                actions.append(Note(f"model {name} has no worker that is ready; TorchServe restarts it"))
            model.was_ready = False
        patience_s = self._thresholds.loading_s if seen.num_alive else self._thresholds.no_worker_s
        patience_s = min(self._thresholds.longest_revival_s, patience_s * 2**model.num_revivals)
        idle_s = now_s - model.idle_since_s
        if idle_s < patience_s:
            return actions
        problem = f"model {name} has had no worker that is ready for {idle_s:.0f} s"
        if not self._can_restart:
            return [*actions, GiveUp(problem, name)]
        if model.num_revivals >= REVIVALS_BEFORE_RESTART and not any_ready:
            return [*actions, *self._kill(now_s, problem)]
        model.num_revivals += 1
        model.num_owed = num_wanted
        model.idle_since_s = now_s
        return [*actions, Note(f"{problem}; starting {num_wanted} anew"), Revive(name, num_wanted)]

    def _look_at_ready(self, now_s: float, name: str, seen: ModelSeen) -> list[Action]:
        """A model with a worker that is ready, and should answer."""
        model = self._models[name]
        actions: list[Action] = []
        if not model.was_ready:
            actions.append(Note(f"model {name} is ready again"))
            model.last_sign_s = now_s
        model.was_ready, model.idle_since_s, model.num_revivals, model.num_owed = True, None, 0, 0
        if seen.num_pending:  # a full queue explains silence, and TorchServe kills workers that do not answer
            model.last_sign_s = now_s
        silence_s = now_s - model.last_sign_s
        if silence_s >= self._thresholds.canary_silence_s:
            actions += self._kill(now_s, f"model {name} is ready and has not answered for {silence_s:.0f} s")
        return actions

    def _kill(self, now_s: float, problem: str) -> list[Action]:
        self._begin(now_s, heard_s=None)
        if not self._can_restart:
            return [KillTorchServe(), GiveUp(problem)]  # killed first: the site's requests fail now, not at a deadline
        return [Note(f"{problem}; ending TorchServe"), KillTorchServe()]


def _how(exit_status: int) -> str:
    """How a process ended, in words.

    >>> _how(-9), _how(1)
    ('killed by signal 9', 'exit status 1')
    """
    return f"killed by signal {-exit_status}" if exit_status < 0 else f"exit status {exit_status}"
