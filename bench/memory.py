"""The resident memory of processes over time."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import psutil


@dataclass
class Memory:
    """Samples of resident memory.

    Attributes:
        times_s: When each sample was taken, from the start.
        sizes_mb: The samples of each process by name; not a number once it is gone.
    """

    times_s: list[float] = field(default_factory=list)
    sizes_mb: dict[str, list[float]] = field(default_factory=dict)

    def growth(self) -> dict[str, tuple[float, float]]:
        """The first and the largest sample of each process in MB."""
        return {name: (sizes[0], max(sizes)) for name, sizes in self.sizes_mb.items()}


@contextlib.contextmanager
def watched(processes: Mapping[str, psutil.Process], every_s: float = 0.5) -> Iterator[Memory]:
    """Sample the memory of *processes* every *every_s* seconds, in a thread, until the end of the block."""
    memory = Memory(sizes_mb={name: [] for name in processes})
    stop = threading.Event()
    began_s = time.monotonic()

    def watch() -> None:
        while True:
            memory.times_s.append(time.monotonic() - began_s)
            for name, process in processes.items():
                size_mb = float("nan")
                with contextlib.suppress(psutil.Error):
                    size_mb = process.memory_info().rss / 1e6
                memory.sizes_mb[name].append(size_mb)
            if stop.wait(every_s):
                return

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield memory
    finally:
        stop.set()
        thread.join()
