"""A small client of TorchServe's management API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote

import requests

from ops.errors import (
    ManagementRefusedError,
    ManagementReplyError,
    ManagementUnreachableError,
    UnknownModelError,
)


@dataclass(frozen=True)
class WorkerStatus:
    """One worker as TorchServe sees it.

    Attributes:
        worker_id: TorchServe's number for it.
        status: ``"READY"`` once its model is loaded, else ``"UNLOADING"``, also while it loads.
        pid: Its process, the last one's while it is being restarted; None before the first has told.
    """

    worker_id: str
    status: str
    pid: int | None


@dataclass(frozen=True)
class ModelStatus:
    """The default version of one model.

    Attributes:
        name: The name predictions ask for.
        version: The version that answers when none is named.
        min_workers: Workers that TorchServe keeps up.
        max_workers: Workers it was allowed; it never scales by itself.
        workers: Those it has, whatever their state.
        num_pending: Requests in the queue; those a worker has in hand are not counted.
        response_timeout_s: After it TorchServe kills a worker that does not answer.
    """

    name: str
    version: str
    min_workers: int
    max_workers: int
    workers: tuple[WorkerStatus, ...]
    num_pending: int
    response_timeout_s: int

    @property
    def num_ready(self) -> int:
        """How many workers have their model loaded."""
        return sum(worker.status == "READY" for worker in self.workers)


class ManagementClient:
    """Asks the management API at *url*; every call is over within *timeout_s* seconds or so.

    *key* gives the management key at each call, for a server that wants one; None sends none.

    Methods raise a ManagementError: ManagementUnreachableError without a reply,
    UnknownModelError for a model that is not registered, ManagementRefusedError
    for another error status, ManagementReplyError for a reply that is none.
    """

    def __init__(self, url: str, timeout_s: float = 2.0, key: Callable[[], str | None] = lambda: None) -> None:
        self._url = url
        self._timeout_s = timeout_s
        self._key = key
        self._session = requests.Session()
        self._session.trust_env = False  # no proxy stands between us and this machine

    def describe(self, model: str) -> ModelStatus:
        """The state of *model* and its workers."""
        reply = self._ask("GET", model)
        try:
            return _model_status(reply[0])
        except (KeyError, IndexError, TypeError, ValueError) as error:
            raise ManagementReplyError(f"{self._url} describes model {model} in a form we do not know") from error

    def scale(self, model: str, num_workers: int) -> None:
        """Have *model* served by *num_workers* workers; returns before they are loaded."""
        self._ask("PUT", model, {"min_worker": str(num_workers), "max_worker": str(num_workers)})

    def _ask(self, method: str, model: str, parameters: dict[str, str] | None = None) -> Any:
        url = f"{self._url}/models/{quote(model, safe='')}"
        key = self._key()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        try:
            response = self._session.request(
                method, url, params=parameters, headers=headers, timeout=self._timeout_s, allow_redirects=False
            )
        except requests.RequestException as error:
            # The next call must not inherit a connection in an unknown state.
            self._session.close()
            raise ManagementUnreachableError(f"no reply from {url}: {type(error).__name__}") from error
        if response.status_code == requests.codes.not_found:
            raise UnknownModelError(response.status_code, f"TorchServe at {self._url} has no model {model}")
        if not response.ok:
            raise ManagementRefusedError(
                response.status_code, f"{method} {url} was refused with status {response.status_code}"
            )
        try:
            return response.json()
        except requests.JSONDecodeError as error:
            raise ManagementReplyError(f"{method} {url} got a reply that is not JSON") from error


def _model_status(reply: dict[str, Any]) -> ModelStatus:
    return ModelStatus(
        name=str(reply["modelName"]),
        version=str(reply["modelVersion"]),
        min_workers=int(reply["minWorkers"]),
        max_workers=int(reply["maxWorkers"]),
        workers=tuple(
            WorkerStatus(
                worker_id=str(worker["id"]),
                status=str(worker["status"]),
                pid=int(worker["pid"]) if int(worker["pid"]) > 0 else None,
            )
            for worker in reply["workers"]
        ),
        num_pending=int(reply["jobQueueStatus"]["pendingRequests"]),
        response_timeout_s=int(reply["responseTimeout"]),
    )
