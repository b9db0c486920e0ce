"""Answers one batch of requests: read and admit, tag, explain, reply; independent of TorchServe."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from contract.entities import Entity, Explanation
from contract.errors import DeadlineExceededError, OverloadedError, RequestError
from contract.limits import EXPLAINED_CHAR_COST, RequestLimits
from handler.pieces import CancelledError, check_by
from handler.protocol.headers import RequestHeaders
from handler.protocol.replies import Replies, refusal_reply
from handler.protocol.requests import Refusal, Request, read_request
from handler.tagger import TaggedText, Tagger

#: The parts of one request's body by name, as TorchServe passes them, and its headers.
Row = tuple[Mapping[str, object], RequestHeaders]

_NONE: Final[Mapping[str, int]] = MappingProxyType({})


class Answer(NamedTuple):
    """The reply to one request, and the counts for logs and metrics.

    Attributes:
        body: The reply as JSON.
        status: Its HTTP status.
        code: The error code where the request failed as a whole, else empty.
        retry_after_s: Its Retry-After in seconds, where repeating the request is of use.
        codes: Errors in the reply by code, that of the request or those of single texts.
        num_texts: Texts tagged.
        num_chars: Code points in them.
        num_tokens: Tokens in them.
        num_unseen: Tokens without a pretrained vector of their own.
        labels: Entities in the reply by label.
    """

    body: str
    status: int = 200
    code: str = ""
    retry_after_s: int | None = None
    codes: Mapping[str, int] = _NONE
    num_texts: int = 0
    num_chars: int = 0
    num_tokens: int = 0
    num_unseen: int = 0
    labels: Mapping[str, int] = _NONE


class AnsweredBatch(NamedTuple):
    """The answers to the requests of one batch, in order, and the seconds that each stage took."""

    answers: Sequence[Answer]
    seconds: Mapping[str, float]


class _Result(NamedTuple):
    """A request's tagged texts, the entities of each that it asks for and, if it asks for them, their explanations."""

    request: Request
    tagged: Sequence[TaggedText]
    kept: Sequence[Sequence[Entity]]
    explanations: Sequence[Sequence[Explanation]] | None = None


class BatchWorker:
    """Answers batches of requests with *tagger*, whose name, version and digest are *model*, within *limits*.

    *work_s* is the longest that a batch is worked on, whatever deadlines its requests name, in seconds; *now* is the
    clock for deadlines, Unix time in seconds.
    """

    def __init__(
        self,
        tagger: Tagger,
        model: Mapping[str, str],
        limits: RequestLimits,
        *,
        work_s: float | None = None,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._tagger = tagger
        self._replies = Replies(model)
        self._limits = limits
        self._work_s = limits.work_s() if work_s is None else work_s
        self._now = now

    def answer(self, rows: Sequence[Row]) -> AnsweredBatch:
        """The answers to *rows*, in order; a refused request changes no other's answer."""
        times = [time.perf_counter()]
        last = self._now() + self._work_s
        rows = [(row, headers._replace(deadline=min(headers.deadline, last))) for row, headers in rows]
        requests = self._admit(rows)
        times.append(time.perf_counter())
        texts: list[str] = []
        deadlines: list[float] = []
        contexts: list[str] = []
        slices: list[slice] = []  # of each request in texts
        for request, (_, headers) in zip(requests, rows, strict=True):
            asked = request.texts if isinstance(request, Request) else []
            slices.append(slice(len(texts), len(texts) + len(asked)))
            texts += asked
            deadlines += [headers.deadline] * len(asked)
            contexts += [request.options.context for _ in asked] if isinstance(request, Request) else []
        tagged = self._tagger.tag_texts(texts, lambda i: deadlines[i] < self._now(), contexts)
        times.append(time.perf_counter())
        results = [
            self._finish(request, headers, tagged[part]) if isinstance(request, Request) else request
            for request, (_, headers), part in zip(requests, rows, slices, strict=True)
        ]
        times.append(time.perf_counter())
        answers = [self._reply(result) for result in results]
        times.append(time.perf_counter())
        stages = ("read", "tag", "explain", "reply")
        return AnsweredBatch(answers, {stage: times[i + 1] - times[i] for i, stage in enumerate(stages)})

    def _admit(self, rows: Sequence[Row]) -> list[Request | Refusal]:
        """Each row's request, or its refusal: malformed, past its deadline, or beyond the batch's characters."""
        admitted: list[Request | Refusal] = []
        cost = 0
        for row, headers in rows:
            request = self._late(headers) or read_request(row, headers, self._limits, self._tagger.config.model.labels)
            if isinstance(request, Request):
                own = request.num_chars * (EXPLAINED_CHAR_COST if headers.explain else 1)
                if cost and cost + own > self._limits.batch_chars:
                    request = Refusal(OverloadedError(), request.form)
                else:
                    cost += own
            admitted.append(request)
        return admitted

    def _late(self, headers: RequestHeaders, form: str = "text") -> Refusal | None:
        """The refusal of a request whose deadline has passed."""
        return None if headers.deadline >= self._now() else _too_late(form)

    def _finish(self, request: Request, headers: RequestHeaders, tagged: Sequence[TaggedText]) -> _Result | Refusal:
        """The result for *request* from its *tagged* texts, explained if asked for."""
        if refusal := self._late(headers, request.form):  # some of its texts may not be tagged
            return refusal
        kept = [request.options.keep(one.entities) for one in tagged]
        if not headers.explain:
            return _Result(request, tagged, kept)
        explanations: list[list[Explanation]] = []
        check = check_by(lambda: headers.deadline < self._now())
        for i, (text, entities) in enumerate(zip(request.texts, kept, strict=True)):
            try:
                explanations.append(self._tagger.explain(text, entities, check, request.options.context))
            except CancelledError:
                return _too_late(request.form)
            except RequestError as error:
                if request.form == "text":
                    return Refusal(error, request.form)
                request.errors[i] = error
                explanations.append([])
        return self._late(headers, request.form) or _Result(request, tagged, kept, explanations)

    def _reply(self, result: _Result | Refusal) -> Answer:
        if isinstance(result, Refusal):
            error = result.error
            return Answer(refusal_reply(result), error.status, error.code, error.retry_after_s, {error.code: 1})
        request, tagged, kept, explanations = result
        body = self._replies.reply_to(request, kept, explanations)
        try:
            self._limits.check_reply(body)
        except RequestError as error:
            return self._reply(Refusal(error, request.form))
        found = [entities for i, entities in enumerate(kept) if i not in request.errors]
        return Answer(
            body,
            codes=_counts([error.code for error in request.errors.values()]),
            num_texts=len(request.texts) - len(request.errors),
            num_chars=request.num_chars,
            num_tokens=sum([one.num_tokens for one in tagged]),
            num_unseen=sum([one.num_unseen for one in tagged]),
            labels=_counts([entity.label for entities in found for entity in entities]),
        )


def _too_late(form: str) -> Refusal:
    return Refusal(DeadlineExceededError(), form)


def _counts(names: Sequence[str]) -> Mapping[str, int]:
    counts: dict[str, int] = {}  # a Counter takes 7 times as long for a few names
    for name in names:
        counts[name] = counts.get(name, 0) + 1
    return counts
