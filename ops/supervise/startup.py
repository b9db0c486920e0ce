"""Starts everything, and waits until every model truly answers, through the site too."""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import ExitStack
from functools import partial
from typing import Final

from ops.errors import (
    BrokenOffError,
    ManagementRefusedError,
    ManagementUnreachableError,
    StartError,
    StartTimeoutError,
    UnknownModelError,
)
from ops.process.keys import KeyRing
from ops.process.tls import Trust
from ops.signals import StopRequests
from ops.supervise.console import Console
from ops.supervise.servers import LOOK_EVERY_S, Servers

CALM_LOOKS: Final = 5
"""Looks in a row that find nothing new in the logs, after which a worker's traceback is there to its last line."""

MOST_LOOKS: Final = 50
"""Looks for it altogether."""


class Startup:
    """One start of *servers*, for which there are *timeout_s* seconds.

    *keys* are those of a TorchServe that asks for some, *trust* what its clients trust when it speaks TLS.
    """

    def __init__(
        self,
        servers: Servers,
        *,
        keys: KeyRing | None,
        trust: Trust | None,
        stop: StopRequests,
        console: Console,
        timeout_s: float,
    ) -> None:
        self._servers = servers
        self._keys = keys
        self._trust = trust
        self._stop = stop
        self._console = console
        self._timeout_s = timeout_s

    def run(self, kept: ExitStack) -> None:
        """Start everything and return once every model answers; *kept* renews and publishes the keys until closed.

        Raises StartError when something does not come up, BrokenOffError when a signal came first.
        """
        torchserve, site, keys = self._servers.torchserve, self._servers.site, self._keys
        last_words = torchserve.last_words
        _start("TorchServe", torchserve.start)
        if keys is not None:
            kept.enter_context(keys.kept())
            self._wait("TorchServe to write its keys", lambda: keys.is_published, last_words)
        if site is not None:
            _start("the site", site.start)
        self._wait("TorchServe to start", self._is_managed, last_words)
        for model in self._servers.models:
            self._wait(f"model {model} to load", partial(self._is_loaded, model), last_words)
            answers = partial(self._servers.is_answering, model, timeout_s=5.0)
            self._wait(f"model {model} to answer", answers, last_words)
        if site is not None:
            self._wait("the site to be ready", lambda: site.is_ready(timeout_s=5.0), site.last_words)

    def _wait(self, what: str, is_there: Callable[[], bool], last_words: Callable[[], list[str]]) -> None:
        """Wait until *is_there*, while everything runs, no signal comes, and there is time."""
        while True:
            self._console.waiting_for(f"Waiting for {what}")
            if is_there():
                return
            if self._stop.should_stop:
                number = self._stop.signals[0]
                raise BrokenOffError(number, f"stopped by signal {number} before everything was up")
            self._check_processes()
            if self._console.elapsed_s > self._timeout_s:
                raise StartTimeoutError(f"gave up waiting for {what} after {self._timeout_s:.0f} s", last_words())
            time.sleep(LOOK_EVERY_S)

    def _check_processes(self) -> None:
        """Raise StartError when one of them has ended, or a worker could not load its model."""
        torchserve, site = self._servers.torchserve, self._servers.site
        for name, server in (("TorchServe", torchserve), ("the site", site)):
            status = None if server is None else server.poll()
            if server is not None and status is not None:
                raise StartError(f"{name} ended at once (exit status {status})", server.last_words())
        if torchserve.load_failed():
            raise StartError("a model does not load", settled(torchserve.last_words))

    def _is_managed(self) -> bool:
        """Whether TLS is there, where it should be, and the management API replies: every archive is unpacked then."""
        if self._trust is not None and not self._trust.is_served():
            return False
        try:
            self._servers.management.describe(self._servers.models[0])
        except ManagementUnreachableError:
            return False
        except UnknownModelError:
            return True  # _is_loaded names it
        except ManagementRefusedError:
            return self._keys is None  # a key may expire before this API is there to renew it
        return True

    def _is_loaded(self, model: str) -> bool:
        try:
            return self._servers.management.describe(model).num_ready > 0
        except ManagementUnreachableError:
            return False
        except UnknownModelError as error:
            raise StartError(f"TorchServe did not take model {model}", self._servers.torchserve.last_words()) from error


def _start(what: str, start: Callable[[], None]) -> None:
    """Start *what*; StartError where the system does not let it, on a full disk for instance."""
    try:
        start()
    except OSError as error:
        raise StartError(f"{what} could not be started: {error}") from error


def settled(read: Callable[[], list[str]]) -> list[str]:
    """The lines that *read* finds once it finds no more; it is called every LOOK_EVERY_S seconds until then."""
    lines, num_calm = read(), 0
    for _ in range(MOST_LOOKS):
        time.sleep(LOOK_EVERY_S)
        before, lines = lines, read()
        num_calm = num_calm + 1 if lines == before else 0
        if num_calm == CALM_LOOKS:
            break
    return lines
