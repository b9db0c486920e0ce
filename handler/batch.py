"""One batch of requests through the tagger: read, admitted, tagged, explained, answered; no server in it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import islice
from types import MappingProxyType
from typing import Final, NamedTuple

from contract.entities import Entity, TokenWeight
from contract.errors import DeadlineExceededError, OverloadedError, RequestError
from contract.limits import EXPLAINED_CHAR_COST, RequestLimits
from handler.network.inference import NotWantedError
from handler.protocol.headers import RequestHeaders
from handler.protocol.replies import Replies, refusal_reply
from handler.protocol.requests import Refusal, Request, read_request
from handler.tagger import TaggedText, Tagger

#: The parts of one request as TorchServe hands them over, and its headers.
Row = tuple[Mapping[str, object], RequestHeaders]

_NONE: Final[Mapping[str, int]] = MappingProxyType({})


class Answer(NamedTuple):
    """A reply, and what there is to count in it.

    Attributes:
        body: The reply as JSON.
        status: Its HTTP status.
        code: Of the error of a request that failed as a whole, else empty.
        retry_after_s: Seconds after which such a request may come again, if that is of any use.
        codes: How often each error is in the reply, the one of the request or those of single texts.
        num_texts: Texts that were tagged.
        num_chars: Code points in them.
        num_tokens: Tokens in them.
        num_unseen: Those of the tokens that have no pretrained vector of their own.
        labels: How many entities of each label the reply holds.
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
    """The answers to the requests of one batch, in order, and the seconds that each stage of the work took."""

    answers: Sequence[Answer]
    seconds: Mapping[str, float]


class _Work(NamedTuple):
    """A request, what was found in each of its texts, the entities asked for, and what explains them."""

    request: Request
    tagged: Sequence[TaggedText]
    kept: Sequence[Sequence[Entity]]
    weights: Sequence[Sequence[Sequence[TokenWeight]]] | None = None


class BatchWorker:
    """Answers batches of requests with the model of *tagger*, which calls itself *model*, within *limits*.

    *now* is the clock of the deadlines, Unix time in seconds.
    """

    def __init__(
        self, tagger: Tagger, model: Mapping[str, str], limits: RequestLimits, now: Callable[[], float] = time.time
    ) -> None:
        self._tagger = tagger
        self._replies = Replies(model)
        self._limits = limits
        self._now = now

    def answer(self, rows: Sequence[Row]) -> AnsweredBatch:
        """The answers to *rows*; a bad one spoils no other."""
        marks = [time.perf_counter()]
        requests = self._admitted(rows)
        marks.append(time.perf_counter())
        texts, deadlines = [], []
        for request, (_, headers) in zip(requests, rows, strict=True):
            if isinstance(request, Request):
                texts += request.texts
                deadlines += [headers.deadline] * len(request.texts)
        tagged = iter(self._tagger.tag_texts(texts, lambda i: deadlines[i] >= self._now()))
        marks.append(time.perf_counter())
        works = [
            self._work(request, headers, tagged) if isinstance(request, Request) else request
            for request, (_, headers) in zip(requests, rows, strict=True)
        ]
        marks.append(time.perf_counter())
        answers = [self._answer(work) for work in works]
        marks.append(time.perf_counter())
        stages = ("read", "tag", "explain", "reply")
        return AnsweredBatch(answers, {stage: marks[i + 1] - marks[i] for i, stage in enumerate(stages)})

    def _admitted(self, rows: Sequence[Row]) -> list[Request | Refusal]:
        """What is asked in each row; a request that is too late, or too much beside those before it, is refused."""
        admitted: list[Request | Refusal] = []
        cost = 0
        for row, headers in rows:
            request = self._late(headers) or read_request(row, headers, self._limits, self._tagger.config.model.labels)
            if isinstance(request, Request):
                own = request.num_chars * (EXPLAINED_CHAR_COST if headers.explain else 1)
                if cost and cost + own > self._limits.batch_chars:
                    request = Refusal(
                        OverloadedError(OverloadedError.example),
                        request.form,
                    )
                else:
                    cost += own
            admitted.append(request)
        return admitted

    def _late(self, headers: RequestHeaders, form: str = "text") -> Refusal | None:
        return None if headers.deadline >= self._now() else _too_late(form)

    def _work(self, request: Request, headers: RequestHeaders, tagged: Iterator[TaggedText]) -> _Work | Refusal:
        """What was found for *request*, the next of *tagged*, explained where that is asked."""
        found = list(islice(tagged, len(request.texts)))
        if refusal := self._late(headers, request.form):  # and so perhaps not all of it was tagged
            return refusal
        kept = [request.options.keep(one.entities) for one in found]
        if not headers.explain:
            return _Work(request, found, kept)
        weights: list[list[list[TokenWeight]]] = []
        for i, (text, entities) in enumerate(zip(request.texts, kept, strict=True)):
            try:
                weights.append(self._tagger.explain(text, entities, lambda: headers.deadline >= self._now()))
            except NotWantedError:
                return _too_late(request.form)
            except RequestError as error:
                if request.form == "text":
                    return Refusal(error, request.form)
                request.errors[i] = error
                weights.append([])
        return self._late(headers, request.form) or _Work(request, found, kept, weights)

    def _answer(self, work: _Work | Refusal) -> Answer:
        if isinstance(work, Refusal):
            return _refused(work)
        request, tagged, kept, weights = work
        body = self._replies.reply_to(request, kept, weights)
        try:
            self._limits.check_reply(body)
        except RequestError as error:
            return _refused(Refusal(error, request.form))
        labels: dict[str, int] = {}
        for i, entities in enumerate(kept):
            if i not in request.errors:
                for entity in entities:
                    labels[entity.label] = labels.get(entity.label, 0) + 1
        codes: dict[str, int] = {}
        for failure in request.errors.values():
            codes[failure.code] = codes.get(failure.code, 0) + 1
        return Answer(
            body,
            codes=codes,
            num_texts=len(request.texts) - len(request.errors),
            num_chars=request.num_chars,
            num_tokens=sum([one.num_tokens for one in tagged]),
            num_unseen=sum([one.num_unseen for one in tagged]),
            labels=labels,
        )


def _too_late(form: str) -> Refusal:
    return Refusal(DeadlineExceededError(DeadlineExceededError.example), form)


def _refused(refusal: Refusal) -> Answer:
    error = refusal.error
    return Answer(refusal_reply(refusal), error.status, error.code, error.retry_after_s, {error.code: 1})
