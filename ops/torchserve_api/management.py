"""A client of TorchServe's management API."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import requests

from ops.errors import (
    KeyRefusedError,
    ManagementRefusedError,
    ManagementReplyError,
    ManagementUnreachableError,
    UnknownModelError,
)
from ops.torchserve_api.endpoint import Endpoint, is_key_refusal
from ops.torchserve_api.ports import is_refused

REGISTER_TIMEOUT_S: Final = 120.0
"""For a registration: TorchServe unpacks the archive before it replies."""

_MAX_MESSAGE_CHARS: Final = 500


@dataclass(frozen=True)
class WorkerStatus:
    """One worker as TorchServe sees it.

    Attributes:
        status: ``"READY"`` once its model is loaded, else ``"UNLOADING"``, also while it loads.
        pid: Its process, the last one's while it is being restarted; None before the first one started.
        memory_bytes: 0 while TorchServe's system metrics are off.
    """

    worker_id: str
    status: str
    pid: int | None
    memory_bytes: int = 0


@dataclass(frozen=True)
class ModelStatus:
    """One version of one model.

    Attributes:
        min_workers: Workers that TorchServe keeps up; it never scales by itself.
        workers: Those it has, whatever their state.
        num_pending: Requests in the queue, without those that a worker has in hand.
        response_timeout_s: After it TorchServe kills a worker that does not answer.
        archive: The file it was registered from, as its registration named it.
        batch_size: Most requests in one batch.
    """

    name: str
    version: str
    min_workers: int
    max_workers: int
    workers: tuple[WorkerStatus, ...]
    num_pending: int
    response_timeout_s: int
    archive: str = ""
    batch_size: int = 1

    @property
    def num_ready(self) -> int:
        """How many workers have their model loaded."""
        return sum(worker.status == "READY" for worker in self.workers)


class ManagementClient:
    """Asks the management API at *url*, each request for *timeout_s* seconds; *key* and *ca* are as for an Endpoint.

    Methods raise a ManagementError: ManagementUnreachableError without a reply, UnknownModelError for a model, version
    or archive that is not there, KeyRefusedError without the right key, ManagementRefusedError for another error
    status, with TorchServe's own message, and ManagementReplyError for a reply that is none.
    """

    def __init__(
        self, url: str, timeout_s: float = 2.0, key: Callable[[], str | None] | None = None, ca: Path | None = None
    ) -> None:
        self._endpoint = Endpoint(url, key, ca)
        self._timeout_s = timeout_s

    def models(self) -> list[str]:
        """The names of all models, sorted."""
        names: list[str] = []
        page: str | None = "0"
        while page is not None:
            reply = self._ask("GET", parameters={"limit": "100", "next_page_token": page})
            try:
                names += [str(model["modelName"]) for model in reply["models"]]
                following = reply.get("nextPageToken")
                if following is not None and int(following) <= int(page):
                    raise ValueError("a page that follows itself")
            except (KeyError, TypeError, ValueError, AttributeError) as error:
                raise ManagementReplyError(f"{self._endpoint.url} lists its models in a form we do not know") from error
            page = None if following is None else str(following)
        return sorted(names)

    def describe(self, model: str, version: str | None = None) -> ModelStatus:
        """The state of *version* of *model*, by default of its default version, and its workers."""
        return self._described(model, *([] if version is None else [version]))[0]

    def versions(self, model: str) -> dict[str, ModelStatus]:
        """The state of every version of *model*, by version."""
        return {status.version: status for status in self._described(model, "all")}

    def scale(self, model: str, num_workers: int, version: str | None = None) -> None:
        """Have *version* of *model*, by default its default version, served by *num_workers* workers.

        Returns before new ones are loaded.  Those that are too many are ended at once, the youngest first, with the
        batch that they have in hand.

        A busy worker that answers while it is being ended makes TorchServe 0.12 trip over the batch that is gone: it
        replies 500, still ends the worker, and leaves those after it.  So the request is repeated after a 500.
        """
        path = [model] if version is None else [model, version]
        parameters = {"min_worker": str(num_workers), "max_worker": str(num_workers)}
        for is_last in (False, False, True):
            try:
                self._ask("PUT", *path, parameters=parameters)
            except ManagementRefusedError as error:
                if is_last or error.status != requests.codes.internal_server_error:
                    raise
            else:
                return

    def register(self, archive: str, model: str | None, num_workers: int) -> None:
        """Have TorchServe unpack the file *archive* of its model store and start workers; returns before they load.

        It is served as *model*, None for the name that the archive has.  Numbers of workers in the archive's own yaml
        win over *num_workers*; only a later scale() wins over them.
        """
        parameters = {"url": archive, "initial_workers": str(num_workers), "synchronous": "false"}
        if model is not None:
            parameters["model_name"] = model
        self._ask("POST", parameters=parameters, timeout_s=max(self._timeout_s, REGISTER_TIMEOUT_S))

    def set_default(self, model: str, version: str) -> None:
        """Have *version* answer from now on when no version is named; queued requests stay where they are."""
        self._ask("PUT", model, version, "set-default")

    def unregister(self, model: str, version: str) -> None:
        """Forget *version* of *model*; requests in its queue are never answered, so stop its workers first."""
        self._ask("DELETE", model, version)

    def _described(self, *path: str) -> list[ModelStatus]:
        """The reply to a description of *path*: at least one status."""
        reply = self._ask("GET", *path)
        try:
            statuses = [_model_status(one) for one in reply]
            return [statuses[0], *statuses[1:]]
        except (KeyError, IndexError, TypeError, ValueError, AttributeError) as error:
            described = f"{self._endpoint.url} describes model {path[0]}"
            raise ManagementReplyError(f"{described} in a form we do not know") from error

    def _ask(
        self, method: str, *path: str, parameters: dict[str, str] | None = None, timeout_s: float | None = None
    ) -> Any:
        server, url = self._endpoint.url, self._endpoint.url_of("models", *path)
        try:
            response = self._endpoint.send(
                method, "models", *path, parameters=parameters, timeout_s=timeout_s or self._timeout_s
            )
        except requests.RequestException as error:
            problem = f"nothing listens at {server}" if is_refused(error) else f"no reply from {url}"
            raise ManagementUnreachableError(f"{problem}: {type(error).__name__}") from error
        reason, status = _message(response), response.status_code
        if is_key_refusal(response):
            raise KeyRefusedError(status, f"TorchServe at {server} asks for a management key, and did not get it")
        if status == requests.codes.not_found:
            missing = f"no model {path[0]}" if path else "nothing there"
            raise UnknownModelError(404, f"TorchServe at {server} says: {reason or missing}")
        if status == requests.codes.method_not_allowed and method in {"POST", "DELETE"}:
            raise ManagementRefusedError(
                405, f"TorchServe at {server} registers and unregisters nothing: its enable_model_api is not true"
            )
        if not response.ok:
            raise ManagementRefusedError(
                status, f"{method} {url} was refused with status {status}" + (f": {reason}" if reason else "")
            )
        try:
            return response.json()
        except requests.JSONDecodeError as error:
            raise ManagementReplyError(f"{method} {url} got a reply that is not JSON") from error


def _message(response: requests.Response) -> str:
    """What TorchServe says for people in an error reply, in one line; empty when it says nothing."""
    try:
        reply = response.json()
    except requests.JSONDecodeError:
        return ""
    message = reply.get("message") if isinstance(reply, dict) else None
    return " ".join(message.split())[:_MAX_MESSAGE_CHARS] if isinstance(message, str) else ""


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
                memory_bytes=int(worker.get("memoryUsage", 0)),
            )
            for worker in reply["workers"]
        ),
        num_pending=int(reply["jobQueueStatus"]["pendingRequests"]),
        response_timeout_s=int(reply["responseTimeout"]),
        archive=str(reply.get("modelUrl", "")),
        batch_size=int(reply.get("batchSize", 1)),
    )
