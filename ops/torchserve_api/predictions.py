"""A client of TorchServe's inference API that judges the replies: sign of life, and prediction by the contract.

TorchServe's ``/ping`` says Healthy with no worker at all, and the queue of a dead worker still accepts, so only an
answer proves that a model can answer.  What is reported names no text.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from enum import Enum
from pathlib import Path
from typing import Final, TypeAlias

import requests

from ops.torchserve_api.endpoint import Endpoint, is_key_refusal

Found: TypeAlias = tuple[int, int, str]
"""Start, end and label of one entity."""

_SOURCE: Final = ("name", "version", "digest")


class Sign(Enum):
    """What came back, for liveness."""

    ANSWER = "answer"
    """A list of entities."""
    REFUSAL = "refusal"
    """Something else: TorchServe lives, and says that the model cannot answer now."""
    SILENCE = "silence"
    """Nothing, or nothing in time."""


@dataclass(frozen=True)
class Prediction:
    """What one version of a model made of one text.

    Attributes:
        problem: Why it is no answer by the contract; empty when it is one.
        version: The version that answered, empty when the reply names none.
        digest: The digest of its bundle, or empty.
        entities: What was found, as half-open spans with labels.
        elapsed_s: From the request to the end of the reply.
        sign: Whether anything answered, by the contract or not.
    """

    problem: str = ""
    version: str = ""
    digest: str = ""
    entities: frozenset[Found] = frozenset()
    elapsed_s: float = 0.0
    sign: Sign = Sign.ANSWER

    @property
    def is_fine(self) -> bool:
        """Whether it is an answer by the contract."""
        return not self.problem


class PredictionClient:
    """Asks the inference API at *url*; *key* and *ca* are as for :class:`Endpoint`.  Any thread may ask."""

    def __init__(self, url: str, key: Callable[[], str | None] | None = None, ca: Path | None = None) -> None:
        self._endpoint = Endpoint(url, key, ca)

    def ask(self, text: str, model: str, version: str | None = None, timeout_s: float = 10.0) -> Prediction:
        """What *version* of *model*, by default its default version, makes of *text* within *timeout_s* seconds."""
        path = ["predictions", model] if version is None else ["predictions", model, version]
        began_s = time.monotonic()
        try:
            response = self._endpoint.send("POST", *path, timeout_s=timeout_s, document={"text": text})
            elapsed_s = time.monotonic() - began_s
            if response.status_code != requests.codes.ok:
                problem = "its key was refused" if is_key_refusal(response) else f"status {response.status_code}"
                return Prediction(problem, elapsed_s=elapsed_s, sign=Sign.REFUSAL)
            return replace(read_prediction(response.json(), text, model), elapsed_s=elapsed_s)
        except requests.JSONDecodeError:
            return Prediction("a reply that is not JSON", elapsed_s=time.monotonic() - began_s, sign=Sign.REFUSAL)
        except requests.RequestException as error:
            is_late = isinstance(error, requests.Timeout)
            problem = f"no answer within {timeout_s:g} s" if is_late else f"no answer: {type(error).__name__}"
            return Prediction(problem, elapsed_s=time.monotonic() - began_s, sign=Sign.SILENCE)


def read_prediction(reply: object, text: str, model: str) -> Prediction:
    """*reply* to *text* as a prediction of *model*; ``problem`` says where it leaves the contract.

    >>> read_prediction({"model": {"name": "en", "version": "1.0", "digest": "d"}, "entities": []}, "", "en").version
    '1.0'
    >>> read_prediction({"entities": []}, "", "en").problem
    'a reply off the contract: it does not say which model answered'
    """
    off = "a reply off the contract: "
    if not isinstance(reply, dict):
        return Prediction(f"{off}expected a JSON object", sign=Sign.REFUSAL)
    source, entities = reply.get("model"), reply.get("entities")
    sign = Sign.ANSWER if isinstance(entities, list) else Sign.REFUSAL
    if not isinstance(source, dict) or not all(isinstance(source.get(key), str) for key in _SOURCE):
        return Prediction(f"{off}it does not say which model answered", sign=sign)
    name, version, digest = (str(source[key]) for key in _SOURCE)
    if name != model:
        return Prediction(f"the answer of another model, {name}", version, digest, sign=sign)
    if not isinstance(entities, list):
        return Prediction(f"{off}it has no list of entities", version, digest, sign=sign)
    found: set[Found] = set()
    for i, entity in enumerate(entities):
        one = _found(entity, text)
        if one is None:
            return Prediction(f"{off}entity {i} does not fit its text", version, digest)
        found.add(one)
    return Prediction("", version, digest, frozenset(found))


def _found(entity: object, text: str) -> Found | None:
    """*entity* when its offsets give its text back, else None."""
    if not isinstance(entity, Mapping):
        return None
    start, end, label = entity.get("start"), entity.get("end"), entity.get("label")
    if type(start) is not int or type(end) is not int or not isinstance(label, str):
        return None
    if not 0 <= start < end <= len(text) or text[start:end] != entity.get("text"):
        return None
    return start, end, label
