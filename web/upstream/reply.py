"""TorchServe's replies, checked against the contract before anything of them is used.

```text
one text        {"model": M, "entities": [E, ...]}
several texts   {"model": M, "results": [{"entities": [E, ...]} or {"error": X}, ...]}     same order, same length
M = {"name", "version", "digest"}   E = {"text", "label", "start", "end", "score"}   X = {"code", "message"}
```

Offsets are half-open and count code points of the text exactly as it was sent; entities are in the order of the text
and do not overlap. Keys that the contract does not name are dropped, so that a newer model may add some.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any, Final, NamedTuple, NoReturn

from contract.entities import Entity, ModelInfo
from contract.errors import ModelReplyError
from contract.strict_json import refuse_constant
from web.off_loop import LARGE

_DECODER: Final = json.JSONDecoder(parse_constant=refuse_constant)
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")


def _in_python(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A dict; between two calls of Python others may run, within one call of C they may not (web/off_loop.py)."""
    return dict(pairs)


_STEPPED_DECODER: Final = json.JSONDecoder(parse_constant=refuse_constant, object_pairs_hook=_in_python)


class RowError(NamedTuple):
    """Why one text of several has no entities."""

    code: str
    message: str


class TextReply(NamedTuple):
    """The reply for one text."""

    model: ModelInfo
    entities: list[Entity]

    def to_json(self) -> dict[str, Any]:
        """The reply in the contract's form."""
        return {"model": self.model._asdict(), **_result_to_json(self.entities)}


class TextsReply(NamedTuple):
    """The reply for several texts: one result for each, in their order."""

    model: ModelInfo
    results: list[list[Entity] | RowError]

    def to_json(self) -> dict[str, Any]:
        """The reply in the contract's form."""
        return {"model": self.model._asdict(), "results": [_result_to_json(result) for result in self.results]}


def parse_text_reply(body: bytes, text: str) -> TextReply:
    """Read the reply for *text*; raises ModelReplyError, naming the place, if it is off the contract.

    >>> model = b'{"name": "en", "version": "1.0", "digest": "sha256:0"}'
    >>> entity = b'{"text": "Rome", "label": "LOC", "start": 3, "end": 7, "score": 0.9}'
    >>> parse_text_reply(b'{"model": %s, "entities": [%s]}' % (model, entity), "In Rome").entities
    [Entity(text='Rome', label='LOC', start=3, end=7, score=0.9)]
    """
    reply = _load(body)
    return TextReply(_model(reply), _entities(reply, text, ""))


def parse_texts_reply(body: bytes, texts: Sequence[object]) -> TextsReply:
    """Read the reply for *texts*; raises ModelReplyError, naming the place, if it is off the contract.

    The result of a text that is not a string must be an error.
    """
    reply = _load(body)
    rows = _list(reply, "results", "")
    if len(rows) != len(texts):
        _off("results", f"{len(texts)} rows", f"{len(rows)}")
    results = [_result(row, text, f"results[{i}]") for i, (row, text) in enumerate(zip(rows, texts, strict=True))]
    return TextsReply(_model(reply), results)


def parse_rejection(body: bytes) -> RowError:
    """Read the error of a whole request; raises ModelReplyError if it is not in the contract's form."""
    return _error(_load(body), "the reply")


def _load(body: bytes) -> Any:
    """Strict JSON in UTF-8; ``json.loads`` would accept NaN, Infinity and other encodings."""
    try:
        return (_DECODER if len(body) < LARGE else _STEPPED_DECODER).decode(body.decode("utf-8"))
    except (ValueError, RecursionError) as error:
        raise ModelReplyError from error


def _model(reply: object) -> ModelInfo:
    model = _get(reply, "model", "the reply")
    return ModelInfo(*(_string(model, key, "model") for key in ModelInfo._fields))


def _result(row: object, text: object, place: str) -> list[Entity] | RowError:
    if isinstance(row, dict):
        if ("entities" in row) == ("error" in row):
            _off(place, "either entities or an error", "both" if "error" in row else "neither")
        if "error" in row:
            return _error(row, place)
    if not isinstance(text, str):
        _off(place, "an error for what is no string", "entities")
    return _entities(row, text, f"{place}.")


def _error(reply: object, place: str) -> RowError:
    error = _get(reply, "error", place)
    place = f"the error of {place}"
    code = _string(error, "code", place)
    if _CODE.fullmatch(code) is None:
        _off(place, "a code of small letters, digits and _", "another")
    return RowError(code, _string(error, "message", place))


def _entities(holder: object, text: str, prefix: str) -> list[Entity]:
    """The entities of *holder*, whose place *prefix* ends with a dot; it is empty for the reply itself."""
    items = _list(holder, "entities", prefix)
    entities = [_entity(item, text, prefix, i) for i, item in enumerate(items)]
    for i in range(1, len(entities)):
        if entities[i].start < entities[i - 1].end:
            _off(f"{prefix}entities[{i}]", "a start at or after the end of the one before", "an earlier one")
    return entities


def _entity(item: object, text: str, prefix: str, i: int) -> Entity:
    """One entity; ``_checked_entity``, which is slower, finds what is wrong with a malformed one."""
    if type(item) is dict:
        surface, label, start, end, score = map(item.get, Entity._fields)
        if (
            type(surface) is type(label) is str
            and type(start) is type(end) is int
            and (type(score) is float or type(score) is int)
            and label
            and 0 <= start < end <= len(text)
            and text[start:end] == surface
            and 0 <= score <= 1
        ):
            return Entity(surface, label, start, end, score)
    return _checked_entity(item, text, f"{prefix}entities[{i}]")


def _checked_entity(item: object, text: str, place: str) -> Entity:
    surface = _string(item, "text", place)
    label = _string(item, "label", place)
    start, end, score = (_number(item, key, place) for key in ("start", "end", "score"))
    if not isinstance(start, int) or not isinstance(end, int):
        _off(place, "whole numbers for start and end", "a fraction")
    if not 0 <= start < end <= len(text):
        _off(place, f"0 <= start < end <= {len(text)}", "other offsets")
    if text[start:end] != surface:
        _off(place, "the text between start and end", "another text")
    if not 0 <= score <= 1:
        _off(place, "a score from 0 to 1", "another")
    return Entity(surface, label, start, end, score)


def _get(holder: object, key: str, place: str) -> object:
    if not isinstance(holder, dict):
        _off(place, "an object", _kind(holder))
    if key not in holder:
        _off(place, f'the key "{key}"', "none")
    return holder[key]


def _list(holder: object, key: str, prefix: str) -> list[Any]:
    value = _get(holder, key, prefix.removesuffix(".") or "the reply")
    if not isinstance(value, list):
        _off(f"{prefix}{key}", "a list", _kind(value))
    return value


def _string(holder: object, key: str, place: str) -> str:
    value = _get(holder, key, place)
    if not isinstance(value, str) or not value:
        _off(place, f'a string that is not empty for "{key}"', _kind(value))
    return value


def _number(holder: object, key: str, place: str) -> float:
    value = _get(holder, key, place)
    if isinstance(value, bool) or not isinstance(value, int | float):  # True is an int to Python
        _off(place, f'a number for "{key}"', _kind(value))
    return value


def _kind(value: object) -> str:
    return "an empty string" if value == "" else type(value).__name__


def _off(place: str, expected: str, got: str) -> NoReturn:
    raise ModelReplyError(f"The model's reply is off the contract: {place}: expected {expected}, got {got}.")


def _result_to_json(result: list[Entity] | RowError) -> dict[str, Any]:
    if isinstance(result, RowError):
        return {"error": result._asdict()}
    return {"entities": [entity._asdict() for entity in result]}
