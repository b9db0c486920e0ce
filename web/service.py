"""What all views share: settings, limits, the client of the models, and the allow-list."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final, TypeAlias, cast

from flask import Flask, current_app

from contract.errors import RequestTooLargeError, UnknownModelError
from contract.limits import RequestLimits
from web.config import WebConfig
from web.metrics import Metrics
from web.single_flight import SingleFlight
from web.stream.places import Places
from web.upstream.admission import Admission
from web.upstream.client import ModelClient
from web.upstream.keys import KeyReader
from web.upstream.torchserve import InferenceAPI

States: TypeAlias = dict[str, dict[str, Any]]
"""For each model whether it is ready, and its version or its error."""

_EXTENSION: Final = "nerserve"


@dataclass(frozen=True)
class Service:
    """The parts of one site, made once and shared by all its requests.

    Attributes:
        config: Settings.
        client: Client of the models.
        admission: Concurrency limit in front of TorchServe.
        metrics: Metrics for Prometheus.
        streams: Places for NDJSON streams.
        readiness: Runs one readiness check at a time.
    """

    config: WebConfig
    client: ModelClient
    admission: Admission
    metrics: Metrics
    streams: Places
    readiness: SingleFlight[States]

    @classmethod
    def new(cls, config: WebConfig) -> Service:
        """A service with new parts."""
        metrics = Metrics()
        admission = Admission(
            max_in_flight=config.max_in_flight, max_queue=config.max_queue, queue_s=config.queue_s, metrics=metrics
        )
        api = InferenceAPI(
            config.inference_url,
            num_connections=config.max_in_flight,
            max_request_bytes=config.limits.request_bytes,
            key_reader=None if config.inference_key_file is None else KeyReader(config.inference_key_file),
            ca_file=config.ca_file,
        )
        client = ModelClient(
            api, admission, metrics, timeout_s=config.deadline_s, max_long_requests=config.max_long_requests
        )
        streams = Places(config.max_streams, config.queue_s)
        return cls(config, client, admission, metrics, streams, SingleFlight())

    @property
    def limits(self) -> RequestLimits:
        """How much one text and one request may hold."""
        return self.config.limits

    def install(self, app: Flask) -> None:
        """Make this the service of *app*."""
        app.extensions[_EXTENSION] = self

    @staticmethod
    def current() -> Service:
        """The service of the app that handles this request."""
        return cast(Service, current_app.extensions[_EXTENSION])

    def model_named(self, name: str | None) -> str:
        """*name* if it is on the allow-list, the default model for None; raises UnknownModelError."""
        if name is None:
            return self.config.models[0]
        if name not in self.config.models:
            raise UnknownModelError(f"There is no such model here. The models are: {', '.join(self.config.models)}.")
        return name

    def body_too_large(self, limit_bytes: int) -> RequestTooLargeError:
        """The error of a body of more than *limit_bytes*, which is not read."""
        return RequestTooLargeError(f"The request is too large: the limit is {limit_bytes:,} bytes.")
