"""A new version of a model in place of the old one, while requests come; and back again.

```text
register   the old version answers all, the new one loads its workers beside it
canaries   the new version answers canaries under its own address
compare    both versions answer the same sample
switch     set-default: requests without a version go to the new one; the old one still answers what is queued
watch      canaries without a version
retire     once the old version is idle, it keeps one worker (standby), none, or is unregistered
```

Until the end of *watch* the old version keeps all its workers, so going back is one set-default.  Afterwards it stays
on standby by default: a worker costs a few hundred MB, spares the seconds that loading takes just when every answer may
be wrong, and needs no archive.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final, TypeVar

from contract.entities import CANARY_TEXT
from ops.errors import (
    BrokenOffError,
    InputFileError,
    LoadError,
    ManagementError,
    ManagementUnreachableError,
    NotNowError,
    NotRestoredError,
    OpsError,
    RolledBackError,
    WaitError,
)
from ops.operate import model_store
from ops.operate.scale import ModelVersions, Operator, carry_on
from ops.operate.verdicts import Comparison, ErrorWatch, Retire, compare, comparison_problem, other_version
from ops.torchserve_api.predictions import Prediction, PredictionClient

CANARIES_EACH: Final = 3
"""For each worker; they are sent at once, so that every worker gets some."""

WATCH_EVERY_S: Final = 0.2
PERSIST_S: Final = 30.0
"""How long a step back is tried again while the management API does not reply."""

_Reply = TypeVar("_Reply")


@dataclass(frozen=True)
class Source:
    """Where the new version comes from.

    Attributes:
        archive: The name of its file in the server's model store.
        local: The same archive on this machine, to be copied there; None when it is there already.
        store: The server's model store when it is a directory of this machine.
        version: The archive's version, None when it cannot be read from here.
        digest: The digest of its bundle, or None.
        sha256: The digest of the local archive when it was checked.
    """

    archive: str
    local: Path | None = None
    store: Path | None = None
    version: str | None = None
    digest: str | None = None
    sha256: str = ""

    def put_in_store(self) -> bool:
        """Copy the local archive into the store; whether that was needed."""
        return bool(self.local and self.store and model_store.put(self.local, self.store, self.archive, self.sha256))

    def take_from_store(self) -> None:
        """Remove what put_in_store() brought."""
        if self.store:
            (self.store / self.archive).unlink(missing_ok=True)

    def plan(self) -> list[str]:
        """What put_in_store() would do, in words."""
        return [f"copy {self.local} into {self.store} as {self.archive}"] if self.local else []


@dataclass(frozen=True)
class RolloutOptions:
    """How careful a rollout is.

    Attributes:
        sample: Texts that both versions are asked.
        max_disagreement: The share of them whose entities may differ.
        error_rate: The share of canaries that may fail after the switch.
        watch_s: How long canaries are sent after the switch.
        retire: What becomes of the old version.
    """

    sample: Sequence[str]
    max_disagreement: float = 0.5
    error_rate: float = 0.05
    watch_s: float = 10.0
    retire: Retire = Retire.STANDBY


@dataclass
class RolloutReport:
    """What a rollout from version *old* to *new* did, for programs.

    Attributes:
        outcome: ``"done"``, ``"planned"``, ``"rolled back"``, ``"broken off"`` or ``"not restored"``.
        num_workers: Of the default version.
        num_canaries: Sent while watching.
        num_failed_canaries: Those that the new version did not answer by the contract.
        comparison: Of the sample; None before it was made.
    """

    model: str
    old: str = ""
    new: str = ""
    outcome: str = "planned"
    num_workers: int = 0
    num_canaries: int = 0
    num_failed_canaries: int = 0
    comparison: Comparison | None = None


class _UnfitError(OpsError):
    """The new version is not good enough and has to be taken back."""


class Rollout:
    """Serves a new version of *model*; or the old one again, whatever goes wrong on the way.

    The operator's check raises a BrokenOffError between two requests when a signal came.
    """

    def __init__(
        self, operator: Operator, predictions: PredictionClient, model: str, source: Source, options: RolloutOptions
    ) -> None:
        self._operator = operator
        self._management = operator.management
        self._say = operator.say
        self._predictions = predictions
        self._model = model
        self._source = source
        self._options = options
        self._before = ModelVersions(model, "", {})
        self._has_registered = False
        self._has_copied = False
        self.report = RolloutReport(model)

    def plan(self) -> list[str]:
        """What run() would do, a line each; changes nothing, and raises what run() would at once."""
        old = self._find_old()
        source, options, model = self._source, self._options, self._model
        num_workers = self.report.num_workers
        new = source.version or "the new version"
        return [
            *source.plan(),
            f"register {source.archive} as another version of {model}, beside {old} which answers all requests",
            f"wait up to {self._operator.load_timeout_s:g} s for {num_workers} ready workers",
            f"ask it {CANARIES_EACH * num_workers} canaries as /predictions/{model}/{source.version or 'VERSION'}",
            f"ask {old} and {new} {len(options.sample)} texts; at most {options.max_disagreement:.0%} may differ",
            f"make {new} the default version",
            f"ask canaries for {options.watch_s:g} s; at most {options.error_rate:.0%} may fail",
            f"wait until nothing waits for {old}, then leave it {_HOW[options.retire]}",
        ]

    def run(self) -> RolloutReport:
        """Do it.

        Raises RolledBackError when the new version is not good enough and BrokenOffError when a signal came, with the
        old version served again; NotRestoredError when that failed; any other error before anything was changed.
        """
        try:
            self._find_old()
            self._register()
            self._canaries()
            self._compare()
            self._operator.check()
            self._management.set_default(self._model, self.report.new)
            self._say(f"{self._model} is served by {self.report.new} now")
            self._watch()
            self._operator.retire(self._model, self.report.old, self._options.retire)
        except OpsError as error:
            if not self._has_registered and not self._has_copied:
                raise
            self._take_back(error)
            raise  # only an archive was copied, and it is removed again
        self.report.outcome = "done"
        remember(self._source.store, self._model, self.report.new, self._say)
        if self._options.retire is not Retire.REMOVED:
            self._say(f"to go back: nerserve rollback {self._model} --to {self.report.old}")
        return self.report

    def _find_old(self) -> str:
        """The version that is served now, and that it can be replaced."""
        self._before = seen = self._operator.look(self._model)
        version = self._source.version
        if version in seen.statuses:
            found = " and the default" if version == seen.default else "; nerserve rollback --to serves it"
            raise NotNowError(f"{self._model} {version} is registered already{found}, nerserve unregister forgets it")
        self.report.old, self.report.new = seen.default, self._source.version or ""
        # A model without workers gets one: otherwise there would be nothing to try.
        self.report.num_workers = max(1, seen.statuses[seen.default].min_workers)
        return seen.default

    def _register(self) -> None:
        source, model = self._source, self._model
        self._has_copied = source.put_in_store()
        if self._has_copied:
            self._say(f"{source.local} is in the model store as {source.archive}")
        self._operator.check()
        self._has_registered = True  # also when its reply is lost
        before = self._before.statuses
        try:
            self._management.register(source.archive, model, self.report.num_workers)
        except ManagementUnreachableError:
            raise
        except ManagementError:
            self._has_registered = False  # refused
            raise
        new = [version for version in self._management.versions(model) if version not in before]
        if len(new) != 1:
            raise _UnfitError(f"TorchServe shows {len(new)} new versions where one was expected")
        self.report.new = new[0]
        self._say(f"{model} {new[0]} is registered; its workers load")
        self._management.scale(model, self.report.num_workers, new[0])  # the archive's yaml had the first word
        self._operator.wait_until_ready(model, new[0], self.report.num_workers)
        self._say(f"{model} {new[0]} has {self.report.num_workers} workers ready")

    def _canaries(self) -> None:
        """Ask the new version under its own address, all its workers at once."""
        num_workers = self.report.num_workers
        texts = [self._options.sample[i % len(self._options.sample)] for i in range(CANARIES_EACH * num_workers)]
        with ThreadPoolExecutor(num_workers) as pool:
            answers = list(pool.map(self._ask_new, texts))
        self._operator.check()
        watch = ErrorWatch(len(answers), 0.0)
        for answer in answers:
            watch.saw(self._problem(answer))
        if watch.problem:
            raise _UnfitError(watch.problem)
        slowest_s = max(answer.elapsed_s for answer in answers)
        self._say(f"{self._model} {self.report.new} answers {len(answers)} canaries, the slowest in {slowest_s:.2f} s")

    def _compare(self) -> None:
        old, new = [], []
        for text in self._options.sample:
            self._operator.check()
            old.append(self._predictions.ask(text, self._model, self.report.old))
            new.append(self._ask_new(text))
        self.report.comparison = comparison = compare(old, new)
        problem = comparison_problem(comparison, self._options.max_disagreement)
        if problem:
            raise _UnfitError(problem)
        self._say(f"{self.report.old} and {self.report.new} compared: {comparison.text}")

    def _watch(self) -> None:
        options, sample = self._options, self._options.sample
        watch = ErrorWatch(round(options.watch_s / WATCH_EVERY_S), options.error_rate)
        end_s = time.monotonic() + options.watch_s
        while time.monotonic() < end_s:
            self._operator.check()
            asked_s = time.monotonic()
            answer = self._predictions.ask(sample[watch.num_asked % len(sample)], self._model)
            watch.saw(self._problem(answer))
            self.report.num_canaries, self.report.num_failed_canaries = watch.num_asked, watch.num_failed
            if watch.problem:
                raise _UnfitError(watch.problem)
            time.sleep(max(0.0, min(end_s, asked_s + WATCH_EVERY_S) - time.monotonic()))
        problem = watch.problem_at_the_end()
        if problem:
            raise _UnfitError(problem)
        self._say(f"{watch.num_failed} of {watch.num_asked} canaries failed in {options.watch_s:g} s")

    def _ask_new(self, text: str) -> Prediction:
        return self._predictions.ask(text, self._model, self.report.new)

    def _problem(self, answer: Prediction) -> str:
        """Why *answer* is none of the new version; empty when it is one."""
        if not answer.is_fine:
            return answer.problem
        if answer.version != self.report.new:
            return f"version {answer.version} answered"
        if self._source.digest is not None and answer.digest != self._source.digest:
            return "the bundle that answers is not the one in the archive"
        return ""

    def _take_back(self, error: OpsError) -> None:
        """Return to what there was before *error*, and raise what that makes of it.

        Returns without raising when nothing but a copied file had to go.
        """
        self._say(f"going back to {self._model} {self.report.old}: {error}")
        try:
            if self._has_registered:
                self._restore()
        except OpsError as failure:
            self.report.outcome = "not restored"
            raise NotRestoredError(
                f"{error}; and going back failed: {failure}.  nerserve models shows what is served; nerserve rollback "
                f"{self._model} --to {self.report.old} and nerserve unregister {self._model} "
                f"{self.report.new or 'VERSION'} are what is left to do"
            ) from error
        if self._has_copied:
            self._source.take_from_store()
        self.report.outcome = "rolled back"
        as_before = f"{self._model} is served by {self.report.old} as before"
        if isinstance(error, BrokenOffError):
            self.report.outcome = "broken off"
            raise BrokenOffError(error.signal_number, f"{error}; {as_before}") from error
        if self._has_registered:
            raise RolledBackError(f"rolled back: {error}; {as_before}") from error

    def _restore(self) -> None:
        """The old version as the default with its workers, and no version that was not there; safe to do twice."""
        model, seen = self._model, self._before
        operator = replace(self._operator, check=carry_on)  # nothing breaks this off
        old = seen.status(seen.default)
        now = persist(lambda: operator.look(model))
        if old.min_workers and len(now.statuses[old.version].workers) < old.min_workers:
            persist(lambda: self._management.scale(model, old.min_workers, old.version))
            if not now.statuses[old.version].num_ready:
                operator.wait_until_ready(model, old.version, old.min_workers)
        if now.default != seen.default:
            persist(lambda: self._management.set_default(model, seen.default))
            self._say(f"{model} is served by {seen.default} again")
        if old.min_workers:
            operator.wait_until_ready(model, old.version, old.min_workers)
        for version in now.statuses.keys() - seen.statuses.keys():
            self._forget(operator, version)

    def _forget(self, operator: Operator, version: str) -> None:
        """Stop and unregister a *version* that is not the default any more."""
        model = self._model
        if persist(lambda: self._management.describe(model, version)).num_ready:
            try:
                operator.wait_until_idle(model, version)
                operator.stop(model, version)
            except (LoadError, WaitError) as error:
                self._say(f"{model} {version} is not idle and goes all the same: {error}")
        persist(lambda: self._management.scale(model, 0, version))
        persist(lambda: self._management.unregister(model, version))
        self._say(f"{model} {version} is unregistered")


_HOW: Final = {
    Retire.STANDBY: "on standby with one worker",
    Retire.STOPPED: "registered without a worker",
    Retire.REMOVED: "unregistered",
}


def persist(call: Callable[[], _Reply], for_s: float = PERSIST_S) -> _Reply:
    """What *call* gives, made again for *for_s* seconds while there is no reply, or no key to ask with."""
    deadline_s = time.monotonic() + for_s
    while True:
        try:
            return call()
        except (ManagementUnreachableError, InputFileError):  # a server that restarts writes new keys
            if time.monotonic() > deadline_s:
                raise
        time.sleep(1.0)


def remember(store: Path | None, model: str, version: str, say: Callable[[str], None]) -> None:
    """Have restarts of the server serve *version* from its *store*, or say who has to."""
    if store is None:
        say(f"a restart of TorchServe serves what its model store has as {model}.mar: see that it is {version}")
    elif model_store.make_current(store, model, version):
        say(f"restarts serve {version} too: {store / (model + '.mar')}")


def rollback_versions(operator: Operator, model: str, to: str | None) -> tuple[str, str]:
    """The version that is left and the one that is gone back to; NotNowError when there is none."""
    seen = operator.look(model)
    return seen.default, other_version(seen.statuses, seen.default, to)


def roll_back(
    operator: Operator, predictions: PredictionClient, model: str, *, to: str | None, retire: Retire, store: Path | None
) -> tuple[str, str]:
    """Serve the registered version *to*, None for the one on standby: the version left and the one served now.

    One on standby answers at once and gets the other workers afterwards; one without workers loads them first.  *store*
    is the server's model store when it is a directory of this machine.  Raises an OpsError, with the default untouched,
    when the version does not load or does not answer its canary.
    """
    left, to = rollback_versions(operator, model, to)
    management, say = operator.management, operator.say
    statuses = management.versions(model)
    num_workers = max(1, statuses[left].min_workers, statuses[to].min_workers)
    is_on_standby = statuses[to].num_ready > 0
    if not is_on_standby:
        say(f"{model} {to} has no worker that is ready; {num_workers} load")
        management.scale(model, num_workers, to)
        try:
            operator.wait_until_ready(model, to, num_workers)
        except (LoadError, WaitError, BrokenOffError):  # TorchServe would start them again and again
            management.scale(model, statuses[to].min_workers, to)
            raise
    answer = predictions.ask(CANARY_TEXT, model, to)
    if not answer.is_fine:
        if not is_on_standby:
            management.scale(model, statuses[to].min_workers, to)
        raise NotNowError(f"{model} {to} does not answer its canary ({answer.problem}); {left} stays the default")
    management.set_default(model, to)
    say(f"{model} is served by {to} now")
    if is_on_standby and len(statuses[to].workers) < num_workers:
        management.scale(model, num_workers, to)
        operator.wait_until_ready(model, to, num_workers)
        say(f"{model} {to} has {num_workers} workers ready")
    remember(store, model, to, say)
    operator.retire(model, left, retire)
    return left, to
