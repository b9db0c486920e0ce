"""The rules of the operators' commands, without sockets, processes and clocks."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from contract.entities import CANARY_TEXT
from ops.errors import NotNowError, UnknownModelError
from ops.torchserve_api.management import ModelStatus
from ops.torchserve_api.predictions import Prediction

SAMPLE: Final = (
    CANARY_TEXT,
    "The United Nations met in New York on Tuesday.",
    "Angela Merkel visited Siemens in Munich before she flew to Paris.",
    "Nothing in this sentence has a name.",
    "Toyota and BMW will build a plant near Leipzig, said Akio Toyoda.",
    "The Amazon flows through Brazil, Peru and Colombia.",
    "In 1997 Deep Blue of IBM beat Garry Kasparov.",
    "Manchester United lost 2-1 to Real Madrid at Wembley.",
    "Marie Curie won the Nobel Prize twice.",
    "The Danish minister met French and Spanish colleagues in Brussels.",
)
"""What two versions are compared on by default."""

MOST_DEATHS: Final = 2
"""A worker that ended this often while loading will not load."""


class Retire(StrEnum):
    """What becomes of a version that has been replaced."""

    STANDBY = "standby"
    """It keeps one worker: going back to it takes milliseconds."""
    STOPPED = "stopped"
    """It stays registered without a worker: going back to it takes as long as its model needs to load."""
    REMOVED = "removed"
    """It is unregistered: going back to it needs its archive."""


@dataclass(frozen=True)
class Comparison:
    """What two versions made of the same texts.

    Attributes:
        num_compared: Texts that both answered.
        differing: Indices of the texts, from 0, whose entities differ.
        old_failed: Indices of those that the old version did not answer.
        new_failed: Indices of those that only the new version did not answer.
        problem: Of the first text that only the new version did not answer.
    """

    num_texts: int
    num_compared: int
    differing: tuple[int, ...]
    old_failed: tuple[int, ...]
    new_failed: tuple[int, ...]
    problem: str = ""

    @property
    def disagreement(self) -> float:
        """The share of the compared texts whose entities differ; 0 when there are none."""
        return len(self.differing) / self.num_compared if self.num_compared else 0.0

    @property
    def text(self) -> str:
        """All of it in one line."""
        line = f"{len(self.differing)} of {self.num_compared} texts differ ({self.disagreement:.0%})"
        if self.old_failed:
            line += f"; {len(self.old_failed)} could not be compared: the old version did not answer"
        return line


def compare(old: Sequence[Prediction], new: Sequence[Prediction]) -> Comparison:
    """How two versions differ on the same texts, in the same order."""
    differing, old_failed, new_failed = [], [], []
    problem = ""
    for i, (before, after) in enumerate(zip(old, new, strict=True)):
        if not before.is_fine:
            old_failed.append(i)
        elif not after.is_fine:
            new_failed.append(i)
            problem = problem or after.problem
        elif before.entities != after.entities:
            differing.append(i)
    num_compared = len(old) - len(old_failed) - len(new_failed)
    return Comparison(len(old), num_compared, tuple(differing), tuple(old_failed), tuple(new_failed), problem)


def comparison_problem(comparison: Comparison, max_disagreement: float) -> str:
    """Why the new version cannot be trusted after *comparison*; empty when it can.

    A *max_disagreement* of 1 also takes a new version that could not be compared at all: the old one may be broken.
    """
    if comparison.new_failed:
        return (
            f"it did not answer {len(comparison.new_failed)} of {comparison.num_texts} texts that the old one answers: "
            f"{comparison.problem}"
        )
    if max_disagreement >= 1:
        return ""
    if not comparison.num_compared:
        return "the old version answered none of the texts, so nothing could be compared"
    if comparison.disagreement > max_disagreement:
        return (
            f"it disagrees with the old one on {len(comparison.differing)} of {comparison.num_compared} texts "
            f"({comparison.disagreement:.0%}, at most {max_disagreement:.0%} are allowed)"
        )
    return ""


class ErrorWatch:
    """Counts canaries; they have failed as soon as their share must end above *error_rate* of the *num_planned*."""

    def __init__(self, num_planned: int, error_rate: float) -> None:
        self._num_planned = max(1, num_planned)
        self._error_rate = error_rate
        self.num_asked = 0
        self.num_failed = 0
        self._first = ""

    def saw(self, problem: str) -> None:
        """One more canary came back; *problem* is empty when it was fine."""
        self.num_asked += 1
        if problem:
            self.num_failed += 1
            self._first = self._first or problem

    @property
    def problem(self) -> str:
        """Why it has failed; empty while it has not."""
        if self.num_failed <= self._error_rate * max(self._num_planned, self.num_asked):
            return ""
        return f"{self.num_failed} of {self.num_asked} canaries failed: {self._first}"

    def problem_at_the_end(self) -> str:
        """Why it has failed, now that no more canaries come; empty when it has not."""
        self._num_planned = self.num_asked
        return self.problem


class LoadWatch:
    """Watches workers load, and finds when waiting any longer is useless.

    The management API does not say that a model does not load, and TorchServe restarts its worker for minutes; but each
    time it is another process.
    """

    def __init__(self) -> None:
        self._pids: dict[str, list[int]] = {}

    def saw(self, status: ModelStatus) -> None:
        """Note the processes of *status*."""
        for worker in status.workers:
            pids = self._pids.setdefault(worker.worker_id, [])
            if worker.status == "READY":
                pids.clear()
            elif worker.pid is not None and worker.pid not in pids:
                pids.append(worker.pid)

    @property
    def problem(self) -> str:
        """Why waiting is useless; empty while it is not."""
        num_deaths = max((len(pids) - 1 for pids in self._pids.values()), default=0)
        if num_deaths < MOST_DEATHS:
            return ""
        return f"its model does not load: a worker has ended {num_deaths} times while loading; its log says why"


class IdleWatch:
    """Watches a queue; it is idle once empty for *grace_s* seconds, for the batches that workers have in hand."""

    def __init__(self, grace_s: float) -> None:
        self._grace_s = grace_s
        self._empty_since_s: float | None = None

    def saw(self, now_s: float, num_pending: int) -> None:
        """The queue had *num_pending* requests at *now_s*."""
        if num_pending:
            self._empty_since_s = None
        elif self._empty_since_s is None:
            self._empty_since_s = now_s

    def is_idle(self, now_s: float) -> bool:
        """Whether it is idle at *now_s*."""
        return self._empty_since_s is not None and now_s - self._empty_since_s >= self._grace_s


def scale_steps(num_workers: int, target: int) -> list[int]:
    """The numbers to scale to, one after the other: up at once, down one worker at a time.

    >>> scale_steps(1, 4), scale_steps(4, 1), scale_steps(2, 2)
    ([4], [3, 2, 1], [2])
    """
    return list(range(num_workers - 1, target - 1, -1)) if num_workers > target else [target]


def other_version(versions: Mapping[str, ModelStatus], default: str, named: str | None) -> str:
    """The version to serve instead of *default*: the one *named*, else the only other one on standby.

    A version without a worker is only chosen by name: it may have been stopped because it is bad.

    Raises:
        NotNowError: there is no choice, or more than one.
        UnknownModelError: the one *named* is not registered.
    """
    if named is not None:
        if named not in versions:
            raise UnknownModelError(404, f"version {named} is not registered; there is {_listed(versions)}")
        if named == default:
            raise NotNowError(f"version {named} is the default already")
        return named
    others = {version: status for version, status in versions.items() if version != default}
    standby = [version for version, status in others.items() if status.num_ready]
    if len(standby) == 1:
        return standby[0]
    if not others:
        raise NotNowError(f"there is no other version than {default}")
    reason = "more than one other version has workers" if standby else "no other version has a worker that is ready"
    raise NotNowError(f"{reason}; choose one of {_listed(others)} with --to VERSION")


def _listed(versions: Collection[str]) -> str:
    return ", ".join(sorted(versions))
