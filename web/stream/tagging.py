"""A group of lines to its answers: one request to the model, or several where it refuses the whole group."""

from __future__ import annotations

import time
from collections.abc import Sequence
from typing import Any, Final, NamedTuple

from contract.entities import Entity, ModelInfo
from contract.errors import (
    DeadlineExceededError,
    ModelReplyError,
    ModelTimeoutError,
    ModelUnavailableError,
    OverloadedError,
    ServingError,
)
from contract.options import Options, in_unit
from contract.strict_json import Encoder
from web.off_loop import LARGE, off_loop, write_json
from web.service import Service
from web.stream.lines import BadLine, Line
from web.upstream.admission import Cancelled
from web.upstream.client import Caller
from web.upstream.errors import CircuitOpenError, RequestRejectedError
from web.upstream.reply import RowError, TextsReply

_STEP_S: Final = 0.2
_ENCODER: Final = Encoder()
_ENTITY_BYTES: Final = 80  # of one entity in the answer, about

_FAILURES: Final = frozenset(
    error.code
    for error in (ModelReplyError, ModelUnavailableError, OverloadedError, ModelTimeoutError, DeadlineExceededError)
)
"""Codes of lines that failed because of the model."""


class ClientGoneError(ServingError):
    """The client closed the connection before its last line."""

    code = "client_disconnected"


class GroupAnswer(NamedTuple):
    """The answers to a group's lines, as NDJSON, and whether every text in it failed because of the model."""

    ndjson: bytes
    is_failure: bool


class GroupTagger:
    """Asks the model about the groups of one stream; shared by all requests."""

    def __init__(self, service: Service, model: str, options: Options, caller: Caller) -> None:
        """*caller* is that of a stream."""
        self._service = service
        self._model = model
        self._options = options
        self._caller = caller

    def answer(self, group: Sequence[Line | BadLine]) -> GroupAnswer:
        """The answer to each line of *group*, in its order."""
        texts = [line.text for line in group if isinstance(line, Line)]
        if self._caller.record is not None:
            self._caller.record.add_texts(len(texts), sum(map(len, texts)))
        results = iter(self._tag(texts) if texts else [])
        answers = []
        num_failed = 0
        for line in group:
            result = line.error if isinstance(line, BadLine) else next(results)
            if isinstance(result, RowError):
                num_failed += isinstance(line, Line) and result.code in _FAILURES
                self._service.metrics.count_error(result.code)
                answers.append(to_line({**line.head, "error": result._asdict()}))
            else:
                model, entities = result
                found = [entity._asdict() for entity in entities]
                answer = {**line.head, "model": model._asdict(), "entities": found}
                answers.append(off_loop(to_line, answer, size=len(found) * _ENTITY_BYTES))
            self._service.metrics.count_line("error" if isinstance(result, RowError) else "ok")
        return GroupAnswer(b"".join(answers), is_failure=0 < num_failed == len(texts))

    def _tag(self, texts: Sequence[str]) -> list[tuple[ModelInfo, list[Entity]] | RowError]:
        """A result for each of *texts*; where the model refuses them together, each half is sent by itself."""
        try:
            reply = self._ask(texts)
        except Cancelled:
            return [RowError(ClientGoneError.code, "The request was cancelled: its client is gone.")] * len(texts)
        except (RequestRejectedError, ModelReplyError) as error:
            if len(texts) > 1:
                half = len(texts) // 2
                return self._tag(texts[:half]) + self._tag(texts[half:])
            return [RowError(error.code, str(error))]
        except ServingError as error:
            return [RowError(error.code, str(error))] * len(texts)
        unit = self._options.offsets
        return [
            result if isinstance(result, RowError) else (reply.model, in_unit(result, text, unit))
            for text, result in zip(texts, reply.results, strict=True)
        ]

    def _ask(self, texts: Sequence[str]) -> TextsReply:
        """The model's reply; while its circuit breaker is open, wait for as long as a request may take."""
        until_s = time.monotonic() + self._service.config.deadline_s
        cancelled = self._caller.cancelled
        while True:
            try:
                return self._service.client.tag_texts(self._model, texts, self._options, self._caller)
            except CircuitOpenError:
                if time.monotonic() > until_s or (cancelled is not None and cancelled.wait(_STEP_S)):
                    raise


def to_line(answer: dict[str, Any]) -> bytes:
    """*answer* as one line of NDJSON."""
    is_long = len(answer.get("entities", ())) * _ENTITY_BYTES >= LARGE
    return (write_json(_ENCODER, answer) if is_long else _ENCODER.encode(answer)).encode() + b"\n"
