"""The handle of a running ``nerserve up``: what it says of itself in the state directory, for the other commands.

It is one small file, private to the user, written whole each time, and removed at the end; after a power failure it
stays.  So a process counts as the one in the file only by its number, the moment it was started and the boot together:
its number may be another's by now.
"""

from __future__ import annotations

import json
import os
import select
import signal
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Final, Literal, TypeAlias

from ops.errors import OpsError, WaitError
from ops.process.state_dir import StateDir, replace_private

Phase: TypeAlias = Literal["starting", "ready", "stopping"]

LOOK_EVERY_S: Final = 0.1


@dataclass(frozen=True)
class Handle:
    """One nerserve up, as it was when it wrote the file.

    Attributes:
        pid: Its process, which counts only while it *started* then.
        started: The boot and the clock tick at which the process was started, as the kernel has them.
        phase: "starting" until every model answers, "stopping" once it was asked to end.
        since: When this phase began, in Unix time.
        site: The URL of the site; None without one.
        grpc: Host and port; None where it is any free one.
        ca: A file with the certificates to trust behind https; None for the machine's own.
        has_keys: Whether TorchServe asks for keys.
        models: Those that it was started with; the first is the site's default.
        model_store: The directory of their archives.
        drain_s: How long accepted requests get to be answered when it stops.
    """

    pid: int
    started: str
    phase: Phase
    since: float
    site: str | None
    inference: str
    management: str
    metrics: str
    grpc: str | None
    ca: str | None
    has_keys: bool
    models: tuple[str, ...]
    model_store: str
    drain_s: float

    @property
    def is_running(self) -> bool:
        """Whether the process that wrote it still runs."""
        return start_of(self.pid) == self.started

    def write(self, state_dir: StateDir) -> None:
        """Write it into *state_dir*; OpsError when that cannot be."""
        try:
            replace_private(state_dir.handle, json.dumps(asdict(self), indent=2) + "\n")
        except OSError as error:
            raise OpsError(f"{state_dir.handle} cannot be written: {error.strerror or error}") from error

    def stop(self, state_dir: StateDir, *, hurries: bool, timeout_s: float, tell: Callable[[float], None]) -> None:
        """Have the process end in order, as SIGTERM does, and return when it is gone; a second signal *hurries* it.

        One that stops already is not asked again, since that would hurry it.  *tell* gets the seconds that have passed.
        Raises WaitError when it is still there after *timeout_s* seconds.
        """
        began_s = time.monotonic()
        with suppress(ProcessLookupError), _opened(self.pid) as process:
            if not self.is_running:  # from here on the number cannot become another's
                return
            if self.phase != "stopping":
                signal.pidfd_send_signal(process, signal.SIGTERM)
            while not _ends(process):
                now = running(state_dir) if hurries else None
                if now is not None and now.phase == "stopping":  # earlier, both would count as one signal
                    signal.pidfd_send_signal(process, signal.SIGTERM)
                    hurries = False
                elapsed_s = time.monotonic() - began_s
                tell(elapsed_s)
                if elapsed_s > timeout_s:
                    raise WaitError(
                        f"nerserve up (pid {self.pid}) has not ended after {timeout_s:g} s; "
                        "it goes on stopping, and nerserve down --hurry waits for no request"
                    )


def running(state_dir: StateDir) -> Handle | None:
    """The handle of the nerserve up that runs with *state_dir*, None when none does.

    Raises OpsError where the file is another user's, a link, or not what nerserve up writes.
    """
    text = state_dir.read_own(state_dir.handle)
    if text is None:
        return None
    try:
        content = json.loads(text)
        values = {one.name: content[one.name] for one in fields(Handle)}
        handle = Handle(**values | {"pid": int(values["pid"]), "models": tuple(values["models"])})
    except (ValueError, TypeError, KeyError) as error:
        raise OpsError(
            f"{state_dir.handle} is not what this version of nerserve up writes ({type(error).__name__})"
        ) from error
    return handle if handle.is_running else None


def start_of(pid: int) -> str | None:
    """The boot and the clock tick at which the process *pid* was started; None when there is none, or it has ended."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace")
        boot = Path("/proc/sys/kernel/random/boot_id").read_text(encoding="ascii").strip()
    except OSError:
        return None
    state, *values = stat.rpartition(")")[2].split()  # the name before it may hold anything
    return None if state in {"Z", "X"} else f"{boot} {values[18]}"


@contextmanager
def _opened(pid: int) -> Iterator[int]:
    """A descriptor of the process *pid*; it is that process's alone, whatever becomes of the number."""
    process = os.pidfd_open(pid)
    try:
        yield process
    finally:
        os.close(process)


def _ends(process: int) -> bool:
    """Whether the process ends within LOOK_EVERY_S."""
    return bool(select.select([process], [], [], LOOK_EVERY_S)[0])
