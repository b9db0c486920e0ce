"""Which model archives can be served, and the last good copy of each, for the day when the model store's is damaged."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

from archive import mar
from archive.errors import ArchiveError
from ops.errors import BadArchiveError
from ops.process.file_systems import is_in_memory
from ops.process.group import Guard
from ops.process.state_dir import StateDir

logger = logging.getLogger(__name__)

CheckArchive: TypeAlias = Callable[[Path, str], object]
"""Raises BadArchiveError unless the file is a whole archive of the model with that name."""


@dataclass(frozen=True)
class ArchiveSeen:
    """The archive of one model.

    Attributes:
        problem: Why the one in the model store cannot be served; empty when it can.
        has_last_good: Whether there is a copy of the last one that could.
    """

    problem: str = ""
    has_last_good: bool = False


_Signature: TypeAlias = tuple[int, ...]
"""What changes with a file: its device, number, size and times; empty without one."""


@dataclass
class _Checked:
    """What is known of one model's archive.

    Attributes:
        signature: The file as it was when it was checked.
        last: The file as it was at the last look.
        problem: What the check found.
        is_kept: Whether a last good copy was made, or tried.
    """

    signature: _Signature
    last: _Signature
    problem: str = ""
    is_kept: bool = False


class Archives:
    """The archives of *models* in *store*, which were just checked; each is read again when it has changed.

    The last good one is copied into *state_dir*, where *guard* removes it at the end.  A hard link would be damaged
    together with the store's file by all that writes into that, ``cp`` for one: it is made only where a copy would be
    kept in memory, or does not fit.
    """

    def __init__(
        self, store: Path, models: Sequence[str], state_dir: StateDir, guard: Guard, check: CheckArchive
    ) -> None:
        self._store = store
        self._state_dir = state_dir
        self._guard = guard
        self._check = check
        signatures = {model: _signature(self._archive(model)) for model in models}
        self._checked = {model: _Checked(signature, signature) for model, signature in signatures.items()}

    def look(self) -> dict[str, ArchiveSeen]:
        """The archive of every model; one that has changed since the last look is left alone until the next."""
        return {model: self._look_at(model, checked) for model, checked in self._checked.items()}

    def sources(self) -> dict[str, str]:
        """What TorchServe loads each model from, as of now; a model that has no whole archive is left out."""
        found = {model: self.source(model) for model in self._checked}
        return {model: source for model, source in found.items() if source is not None}

    def source(self, model: str) -> str | None:
        """The name of the archive of *model* in the store, else a directory with its last good one, else None."""
        checked = self._checked[model]
        self._check_changed(model, checked, _signature(self._archive(model)))
        if not checked.problem:
            return self._archive(model).name
        folder = self._state_dir.scratch / "last-good" / model
        shutil.rmtree(folder, ignore_errors=True)
        try:
            mar.unpack(self._last_good(model), folder)
        except (ArchiveError, OSError) as error:
            logger.info("no last good archive: %s", error)
            return None
        return str(folder)

    def _look_at(self, model: str, checked: _Checked) -> ArchiveSeen:
        signature = _signature(self._archive(model))
        if signature == checked.last:  # else it may be half written
            self._check_changed(model, checked, signature)
            if not checked.problem and not checked.is_kept:
                self._keep(model)
                checked.is_kept = True
        checked.last = signature
        return ArchiveSeen(checked.problem, self._last_good(model).exists())

    def _check_changed(self, model: str, checked: _Checked, signature: _Signature) -> None:
        """Check the archive of *model*, which has *signature* now, unless that was done."""
        if signature == checked.signature:
            return
        checked.signature, checked.problem, checked.is_kept = signature, "", False
        try:
            self._check(self._archive(model), model)
        except BadArchiveError as error:
            checked.problem = str(error)

    def _keep(self, model: str) -> None:
        """Make the whole archive of *model* the last good one, where there is a place for it."""
        kept = self._last_good(model)
        copy = kept.with_suffix(".new")
        try:
            kept.parent.mkdir(mode=0o700, exist_ok=True)
            for file in (kept, copy):
                self._guard.remove_at_the_end(file)
            _copy_or_link(self._archive(model), copy)
            self._check(copy, model)  # it may have changed since it was checked
            copy.replace(kept)
        except (BadArchiveError, OSError) as error:
            logger.info("model %s: no last good archive is kept: %s", model, error)
        finally:
            copy.unlink(missing_ok=True)

    def _archive(self, model: str) -> Path:
        return self._store / f"{model}.mar"

    def _last_good(self, model: str) -> Path:
        return self._state_dir.archives / f"{model}.mar"


def _copy_or_link(path: Path, copy: Path) -> None:
    copy.unlink(missing_ok=True)
    if not is_in_memory(copy.parent):
        try:
            shutil.copyfile(path, copy)
        except OSError as error:
            logger.warning("%s cannot be copied to %s: %s", path, copy.parent, error.strerror)
            copy.unlink(missing_ok=True)
        else:
            return
    os.link(path, copy)


def _signature(path: Path) -> _Signature:
    try:
        stat = path.stat()
    except OSError:
        return ()
    return (stat.st_dev, stat.st_ino, stat.st_size, stat.st_mtime_ns, stat.st_ctime_ns)
