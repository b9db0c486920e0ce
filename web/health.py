"""Liveness, readiness and metrics."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

from flask import Blueprint, Response
from flask.typing import ResponseReturnValue
from prometheus_client import CONTENT_TYPE_LATEST

from contract.entities import CANARY_TEXT
from contract.errors import ModelReplyError, ModelUnavailableError, UpstreamError
from web.off_loop import off_loop
from web.service import Service, States

blueprint = Blueprint("health", __name__)


@blueprint.get("/livez")
def livez() -> ResponseReturnValue:
    """200 while the process serves, whatever the state of TorchServe, which a restart of the site would not change."""
    return {"status": "alive"}


@blueprint.get("/readyz")
def readyz() -> ResponseReturnValue:
    """200 when every model, or any where the operator chose so, answers the canary sentence in time, else 503.

    What is wrong with a model is said beside its name in both cases.

    In a sentence that the operator chose every model must find an entity; in the default one it need not, as a model
    may be for another language or for diseases.

    TorchServe's own ``/ping`` says Healthy before a model is loaded and after its workers have died, so only a reply
    counts, and only to the first attempt. The models are asked in parallel. Requests that come during a check share
    its result, so that many of them are no load.
    """
    service = Service.current()
    models = service.readiness.run(partial(_states, service))
    are_enough = any if service.config.ready_when == "any" else all
    if are_enough(state["ready"] for state in models.values()):
        return {"status": "ready", "models": models}
    headers = {"Retry-After": str(ModelUnavailableError.retry_after_s)}
    return {"status": "unready", "models": models}, 503, headers


@blueprint.get("/metrics")
def metrics() -> ResponseReturnValue:
    """The site's metrics in Prometheus' text format, summed over its processes."""
    return Response(off_loop(Service.current().metrics.render), content_type=CONTENT_TYPE_LATEST)


def _states(service: Service) -> States:
    names = service.config.models
    with ThreadPoolExecutor(max_workers=len(names)) as pool:
        return dict(zip(names, pool.map(partial(_state, service), names), strict=True))


def _state(service: Service, name: str) -> dict[str, Any]:
    config = service.config
    try:
        reply = service.client.probe(name, config.canary or CANARY_TEXT, timeout_s=config.ready_timeout_s)
        if config.canary and not reply.entities:
            raise ModelReplyError("The model found no entity in the canary sentence.")
    except UpstreamError as error:
        return {"ready": False, **error.to_json()}
    return {"ready": True, "version": reply.model.version, "digest": reply.model.digest}
