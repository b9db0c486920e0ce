"""Checkpoints of a run, written atomically, and the lock of the run folder."""

from __future__ import annotations

import contextlib
import fcntl
import io
import pickle
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import torch

from training.errors import RunBusyError, RunError
from training.output import write_file

#: Seconds between two checkpoints.
CHECKPOINT_SECONDS = 30.0

_FORMAT = 3


def write_state(path: Path, state: Mapping[str, Any]) -> None:
    """Write *state*, tensors and plain values by name, to *path* as :func:`write_file` does."""
    buffer = io.BytesIO()  # torch.save has no specific error for a full disk
    torch.save({"format": _FORMAT, **state}, buffer)
    write_file(path, buffer.getvalue())


def read_state(path: Path) -> dict[str, Any]:
    """The state in *path*, loaded without running any code in it; raises RunError if it is none."""
    try:
        state = torch.load(path, weights_only=True)
    except (OSError, RuntimeError, EOFError, ValueError, pickle.UnpicklingError) as error:
        raise RunError(f"{path}: cannot be read as the state of a run: {error}") from error
    found = state.get("format") if isinstance(state, dict) else None
    if found != _FORMAT:
        raise RunError(f"{path}: expected a state of format {_FORMAT}, got {found}; it cannot be resumed")
    return {key: value for key, value in state.items() if key != "format"}


def first_difference(before: Mapping[str, str], now: Mapping[str, str]) -> str | None:
    """The first difference between the inputs of a run *before* and *now*, in words; None if there is none.

    The order counts too: files in another order give other batches.

    >>> first_difference({"training.seed": "0", "--dev a": "x"}, {"training.seed": "1", "--dev a": "x"})
    'training.seed: it began with 0, and not with 1'
    >>> first_difference({"--train a": "x"}, {"--train a": "x", "--train b": "y"})
    '--train b: it began without'
    >>> first_difference({"--train a": "x", "--train b": "y"}, {"--train b": "y", "--train a": "x"})
    '--train b: it began with another order'
    """
    for key in (*before, *now):
        if key not in before or key not in now:
            return f"{key}: it began {'with' if key in before else 'without'}"
    for key, value in now.items():
        if before[key] != value:
            return f"{key}: it began with {_short(before[key])}, and not with {_short(value)}"
    for key, at_its_place in zip(now, before, strict=True):
        if key != at_its_place:
            return f"{key}: it began with another order"
    return None


@contextlib.contextmanager
def only_run_in(folder: Path) -> Iterator[None]:
    """Create the run folder, and lock it against other processes until the block ends.

    Raises:
        RunBusyError: another process has locked it.
        RunError: the folder cannot be written to.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = (folder / ".lock").open("wb")
    except OSError as error:
        raise RunError(f"{folder}: cannot be written: {error.strerror}") from error
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)  # a killed process holds no lock
        except BlockingIOError as error:
            raise RunBusyError(f"{folder}: another process trains there") from error
        yield


def _short(value: str) -> str:
    return f"{value[:24]}..." if value.startswith("sha256:") else value
