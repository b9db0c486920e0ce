"""Whether the site serves, and whether its models do."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import Any, Final

from flask import Blueprint
from flask.typing import ResponseReturnValue

from web.errors import ModelReplyError, ModelUnavailableError, UpstreamError
from web.service import Service

blueprint = Blueprint("health", __name__)

#: The canary where the operator has chosen none.
_SENTENCE: Final = "Barack Obama was born in Hawaii."


@blueprint.get("/livez")
def livez() -> ResponseReturnValue:
    """200 as long as the process serves, whatever TorchServe does: a restart of the site would not cure that."""
    return {"status": "alive"}


@blueprint.get("/readyz")
def readyz() -> ResponseReturnValue:
    """200 when every model answers the canary sentence in time, else 503 with the reason for each model.

    A sentence that the operator has chosen must have an entity for every model; ours need not, as a model may be for
    another language or for diseases.

    TorchServe's own ``/ping`` says Healthy before a model is loaded and after its workers have died, so only an
    answer counts, and only to the first attempt. The models are asked at the same time: the slowest alone decides how
    long it takes.
    """
    service = Service.current()
    names = service.config.models
    with ThreadPoolExecutor(max_workers=len(names)) as pool:
        models = dict(zip(names, pool.map(lambda name: _state(service, name), names), strict=True))
    if all(state["ready"] for state in models.values()):
        return {"status": "ready", "models": models}
    headers = {"Retry-After": str(ModelUnavailableError.retry_after_s)}
    return {"status": "unready", "models": models}, 503, headers


def _state(service: Service, name: str) -> dict[str, Any]:
    config = service.config
    try:
        reply = service.client.probe(name, config.canary or _SENTENCE, timeout_s=config.ready_timeout_s)
        if config.canary and not reply.entities:
            raise ModelReplyError("The model found no entity in the canary sentence.")
    except UpstreamError as error:
        return {"ready": False, "error": {"code": error.code, "message": str(error)}}
    return {"ready": True, "version": reply.model.version, "digest": reply.model.digest}
