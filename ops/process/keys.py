"""TorchServe's three keys: read where it writes them, renewed before they expire, and published.

```text
management   scaling and describing models   expires
inference    predictions and /ping           expires
API          renewing the other two          lasts as long as the process; only this module uses it
```

TorchServe makes new ones at every start and writes them into its working directory.  A renewal invalidates the old key
at once, so the new one is published as soon as the reply is there; a client that is refused in between asks again for
the key, and waits here until it is the new one.
"""

from __future__ import annotations

import contextlib
import json
import logging
import math
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path
from typing import Final, Literal, TypeAlias

import requests

from ops.errors import OpsError
from ops.process.state_dir import StateDir, replace_private, unfinished
from ops.torchserve_api.endpoint import request

logger = logging.getLogger(__name__)

Kind: TypeAlias = Literal["inference", "management"]

KINDS: Final[tuple[Kind, ...]] = ("inference", "management")
DEFAULT_RENEWAL_SHARE: Final = 0.6
"""The part of a key's life after which it is renewed by default."""

WARNING_SHARE: Final = 0.2
"""The part of a key's life that is left when a renewal that fails is logged as a warning."""

LOOK_EVERY_S: Final = 0.1
RETRY_AFTER_S: Final = 1.0
RENEWAL_TIMEOUT_S: Final = 2.0


@dataclass(frozen=True)
class Key:
    """One key; neither ``repr`` nor ``str`` shows it.

    Attributes:
        text: What follows ``Authorization: Bearer``.
        expires_at_s: When it stops working, in Unix time; never, unless TorchServe says so.
    """

    text: str = field(repr=False)
    expires_at_s: float = math.inf


def read_keys(path: Path) -> dict[str, Key] | None:
    """The keys in TorchServe's file: inference, management and API; None unless all are there: it takes some writes."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        return {kind: _key(content[kind]) for kind in (*KINDS, "API")}
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _key(entry: Mapping[str, str]) -> Key:
    if not entry["key"] or not isinstance(entry["key"], str):
        raise ValueError("expected a key")
    expires = entry.get("expiration time")
    return Key(entry["key"], datetime.fromisoformat(expires).timestamp() if expires else math.inf)


@dataclass(frozen=True)
class PublishedKey:
    """A file with nothing but the key of one *kind*, for TorchServe's clients; *mode* says who may read it."""

    path: Path
    kind: Kind
    mode: int = 0o600

    def prepare(self) -> None:
        """Remove what an earlier TorchServe accepted; OpsError when no key could be written here."""
        try:
            new = unfinished(self.path)
            self.path.unlink(missing_ok=True)
            new.unlink(missing_ok=True)
            new.touch(0o600, exist_ok=False)
            new.unlink()
        except OSError as error:
            raise OpsError(f"no key can be written to {self.path}: {error.strerror or error}") from error

    def write(self, key: Key) -> None:
        """Replace the file as a whole: a reader gets the old key or the new one, never a piece."""
        replace_private(self.path, key.text, self.mode)

    def remove(self) -> None:
        """Leave nothing of it, as far as that is possible."""
        for path in (self.path, unfinished(self.path)):
            with contextlib.suppress(OSError):
                path.unlink()


def published_keys(state_dir: StateDir, also: Path | None) -> list[PublishedKey]:
    """The files of *state_dir* that keys are published in, and *also* for the inference key, readable by its group.

    Makes their folder; OpsError when it cannot.
    """
    try:
        state_dir.keys.mkdir(mode=0o700, exist_ok=True)
    except OSError as error:
        raise OpsError(f"no key can be written to {state_dir.keys}: {error.strerror or error}") from error
    return [
        *(PublishedKey(state_dir.published_key(kind), kind) for kind in KINDS),
        *([] if also is None else [PublishedKey(also.absolute(), "inference", mode=0o640)]),
    ]


def due_at_s(key: Key, life_s: float, renew_every_s: float) -> float:
    """When *key* is to be renewed, in Unix time: *renew_every_s* seconds into a life of *life_s*."""
    return key.expires_at_s - life_s + renew_every_s


class KeyRing:
    """The keys of one TorchServe, through restarts and renewals; any thread may ask.

    *key_file* is TorchServe's, *published* are the files for others; *ca* has the certificates to trust when
    *management_url* is https.
    """

    def __init__(
        self,
        *,
        key_file: Path,
        management_url: str,
        ca: Path | None,
        published: Iterable[PublishedKey],
        life_s: float,
        renew_every_s: float,
    ) -> None:
        self._key_file = key_file
        self._token_url = f"{management_url}/token"
        self._ca = ca
        self._published = tuple(published)
        self._life_s = life_s
        self._renew_every_s = renew_every_s
        self._lock = threading.Lock()
        self._keys: dict[str, Key] | None = None
        self._written: dict[PublishedKey, Key] = {}
        self._unwritable: set[PublishedKey] = set()
        self._retry_at_s: dict[Kind, float] = {}
        self._warned: set[Kind] = set()
        self._done = threading.Event()
        self._thread = threading.Thread(target=self._keep, name="keys", daemon=True)

    def current(self, kind: Kind) -> str | None:
        """The key of that *kind* that is valid now, None while TorchServe has not written any.

        A call during a renewal waits for its end, and gets the new key.
        """
        with self._lock:
            self._refresh()
            return self._keys[kind].text if self._keys is not None else None

    @property
    def is_published(self) -> bool:
        """Whether every file is there, with a key in it that this TorchServe accepts."""
        with self._lock:
            self._refresh()
            return len(self._written) == len(self._published)

    @contextmanager
    def kept(self) -> Iterator[None]:
        """Renew and publish the keys for a while; afterwards none of the published files is left.

        Raises OpsError when one of them cannot be written at all.
        """
        for file in self._published:
            file.prepare()
        self._thread.start()
        try:
            yield
        finally:
            self._done.set()
            self._thread.join(2 * RENEWAL_TIMEOUT_S)
            for file in self._published:
                file.remove()

    def _keep(self) -> None:
        while not self._done.wait(LOOK_EVERY_S):
            with self._lock:
                self._refresh()
                for kind in KINDS:
                    self._renew_if_due(kind)

    def _refresh(self) -> None:
        """Take over and publish what TorchServe's file says now."""
        keys = read_keys(self._key_file)
        if keys is not None and keys != self._keys:
            self._keys = keys
            self._retry_at_s.clear()
            self._warned.clear()
        if self._keys is None or self._done.is_set():
            return
        for file in self._published:
            key = self._keys[file.kind]
            if self._written.get(file) == key and file.path.exists():
                continue
            self._written.pop(file, None)
            try:
                file.write(key)
            except OSError as error:
                if file not in self._unwritable:  # logged once, retried each time
                    logger.warning("no key can be written to %s: %s", file.path, error.strerror or error)
                self._unwritable.add(file)
                continue
            self._written[file] = key
            self._unwritable.discard(file)

    def _renew_if_due(self, kind: Kind) -> None:
        now_s = time.time()
        if self._keys is None or now_s < self._retry_at_s.get(kind, 0.0):
            return
        if now_s < due_at_s(self._keys[kind], self._life_s, self._renew_every_s):
            return
        problem = self._renew(kind, self._keys["API"])
        self._refresh()
        if problem is None:
            return
        self._retry_at_s[kind] = now_s + RETRY_AFTER_S
        remaining_s = self._keys[kind].expires_at_s - now_s
        if remaining_s < WARNING_SHARE * self._life_s and kind not in self._warned:
            self._warned.add(kind)
            left_s = max(0.0, remaining_s)
            logger.warning("the %s key expires in %.0f s and could not be renewed: %s", kind, left_s, problem)

    def _renew(self, kind: Kind, api_key: Key) -> str | None:
        """Have TorchServe make a new key; returns what went wrong, if anything did."""
        kinds = {"type": kind}
        try:
            response = request(
                "GET", self._token_url, timeout_s=RENEWAL_TIMEOUT_S, key=api_key.text, ca=self._ca, parameters=kinds
            )
        except requests.RequestException as error:
            return type(error).__name__
        return None if response.ok else f"status {response.status_code}"
