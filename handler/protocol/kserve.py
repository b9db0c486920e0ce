"""The two protocols of KServe: what is particular to their requests and replies.

v1 is TensorFlow Serving's: ``{"instances": [...]}`` -> ``{"predictions":
[...]}``, for explanations also ``"explanations"``.  v2 is the Open Inference
Protocol (kserve/open-inference-protocol, inference_rest.md): tensors in,
tensors out; here one of BYTES with a text in each element, and one of BYTES
with the JSON of a result in each.  In both, the error of a failed request is
one string.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from contract import options
from contract.errors import InvalidOptionError, MalformedRequestError, RequestError
from contract.strict_json import kind, quoted, to_json

#: The name of the one tensor in a reply.
OUTPUT = "entities"

_MAX_DIMENSIONS = 8
_LARGEST_DIMENSION = 2**63 - 1


class Tensor(NamedTuple):
    """The texts, or what stands in their place, the options and the id of one Open Inference request."""

    texts: list[object]
    options: Mapping[str, object]
    id: str | None


def text_of_instance(instance: object) -> object:
    """The text of one of v1's instances, a string or ``{"text": "..."}``; anything else comes back as it is."""
    if isinstance(instance, dict) and instance.keys() == {"text"}:
        return instance["text"]
    return instance


def read_tensor(document: Mapping[str, object]) -> Tensor:
    """What the v2 request *document* asks.

    Raises:
        MalformedRequestError: it is not as the protocol says, or not one tensor of texts.
        InvalidOptionError: ``labels`` is no string.
    """
    unknown = document.keys() - {"id", "parameters", "inputs", "outputs"}
    if unknown:
        raise MalformedRequestError('Expected the keys "id", "parameters", "inputs" and "outputs", got another one.')
    number = document.get("id")
    if number is not None and not isinstance(number, str):
        raise MalformedRequestError(f'Expected a string for "id", got {kind(number)}.')
    _check_outputs(document.get("outputs", []))
    inputs = document["inputs"]
    if not isinstance(inputs, list) or len(inputs) != 1 or not isinstance(inputs[0], dict):
        raise MalformedRequestError('Expected a list of one tensor for "inputs", got something else.')
    return Tensor(_texts(inputs[0]), _options(document.get("parameters", {})), number)


def _texts(tensor: Mapping[str, object]) -> list[object]:
    if tensor.keys() - {"parameters"} != {"name", "shape", "datatype", "data"}:
        raise MalformedRequestError('Expected a tensor with "name", "shape", "datatype" and "data", got other keys.')
    if not isinstance(tensor["name"], str):
        raise MalformedRequestError(f'Expected a string for "name", got {kind(tensor["name"])}.')
    if tensor["datatype"] != "BYTES":
        raise MalformedRequestError('Expected BYTES for "datatype", got another one.')
    if tensor.get("parameters", {}) not in ({}, {"content_type": "str"}):
        raise MalformedRequestError('Expected no "parameters" of a tensor but "content_type": "str", got another one.')
    shape = tensor["shape"]
    if not isinstance(shape, list) or not 1 <= len(shape) <= _MAX_DIMENSIONS or not all(map(_is_dimension, shape)):
        raise MalformedRequestError(f'Expected 1 to {_MAX_DIMENSIONS} whole numbers for "shape", got something else.')
    return _elements(tensor["data"], shape)


def _elements(data: object, shape: Sequence[int]) -> list[object]:
    """The elements of *data* in row-major order; it is flat, or as deeply nested as *shape* has dimensions."""
    wrong = MalformedRequestError('Expected as many elements in "data" as "shape" says, got another number.')
    if not isinstance(data, list):
        raise wrong
    if len(data) == math.prod(shape) and not any(isinstance(item, list) for item in data):
        return data
    if len(data) != shape[0]:
        raise wrong
    for size in shape[1:]:
        if not all(isinstance(row, list) and len(row) == size for row in data):
            raise wrong
        data = [item for row in data for item in row]
    return data


def _is_dimension(size: object) -> bool:
    return isinstance(size, int) and not isinstance(size, bool) and 0 <= size <= _LARGEST_DIMENSION


def _check_outputs(outputs: object) -> None:
    if not isinstance(outputs, list) or not all(
        isinstance(output, dict)
        and output.get("name") == OUTPUT
        and output.keys() <= {"name", "parameters"}
        and output.get("parameters", {}) == {}
        for output in outputs
    ):
        raise MalformedRequestError(f'Expected no "outputs" but {OUTPUT}, without parameters, got another one.')


def _options(parameters: object) -> Mapping[str, object]:
    if not isinstance(parameters, dict) or not parameters.keys() <= set(options.NAMES):
        raise MalformedRequestError(f'Expected some of {", ".join(options.NAMES)} for "parameters", got another one.')
    if "labels" not in parameters:
        return parameters
    labels = parameters["labels"]
    if not isinstance(labels, str):
        raise InvalidOptionError('Expected labels joined by commas for "labels", got something else.')
    return {**parameters, "labels": [label.strip() for label in labels.split(",")]}


def instances_reply(model: str, predictions: Sequence[str], explanations: Sequence[str] | None = None) -> str:
    """The v1 reply, of JSON: the model, results, and in *explanations* the same with what explains them."""
    more = "" if explanations is None else f',"explanations":[{",".join(explanations)}]'
    return f'{{"model":{model},"predictions":[{",".join(predictions)}]{more}}}'


def tensor_reply(model: Mapping[str, str], number: str | None, results: Sequence[str]) -> str:
    """The v2 reply to the request with the id *number*; *results* are JSON."""
    head = {
        **({} if number is None else {"id": number}),
        "model_name": model["name"],
        "model_version": model["version"],
        "parameters": {"digest": model["digest"]},
    }
    data = ",".join(map(quoted, results))
    output = f'{{"name":"{OUTPUT}","shape":[{len(results)}],"datatype":"BYTES","data":[{data}]}}'
    return f'{to_json(head)[:-1]},"outputs":[{output}]}}'


def error_reply(error: RequestError) -> str:
    """A request that failed as a whole."""
    return to_json({"error": f"{error.code}: {error}"})
