"""Which requests of a batch are taken, and when."""

import json
from unittest import mock

import pytest

from handler.batch import BatchWorker
from handler.limits import Limits
from handler.network import Network
from handler.request_headers import RequestHeaders
from handler.tagger import Tagger

MODEL = {"name": "tiny", "version": "1.0", "digest": "sha256:abc123"}
JSON = RequestHeaders(content_type="application/json")
LONG = "Obama apple Paris , " * 40


@pytest.fixture(scope="module")
def tagger(make_bundle):
    return Tagger(make_bundle())


def statuses(batch):
    return [answer.status for answer in batch.answers]


def text_of(num_chars):
    return {"body": b"a" * num_chars}


def test_a_batch_takes_what_fits_behind_its_first_request(tagger):
    worker = BatchWorker(tagger, MODEL, Limits(1_000_000))
    plain = RequestHeaders()

    batch = worker.answer([(text_of(n), plain) for n in (1_000_000, 150_000, 50_001, 50_000, 1)])

    assert statuses(batch) == [200, 200, 503, 200, 503]
    assert json.loads(batch.answers[2].body)["error"] == {
        "code": "overloaded", "message": "expected at most 1200000 characters at once, got more",
    }  # fmt: skip


def test_explanations_count_for_what_they_cost(tagger):
    worker = BatchWorker(tagger, MODEL, Limits(1000))
    explain = RequestHeaders(explain=True)

    batch = worker.answer([(text_of(1000), explain)] * 5 + [(text_of(1000), RequestHeaders())] * 2)

    assert statuses(batch) == [200, 200, 200, 200, 503, 200, 503]


def test_the_error_of_a_protocols_request_keeps_its_form(tagger):
    worker = BatchWorker(tagger, MODEL, Limits(1_000_000))
    row = {"body": json.dumps({"instances": ["a" * 300_000]}).encode()}

    batch = worker.answer([(text_of(1_000_000), RequestHeaders()), (row, JSON)])

    assert json.loads(batch.answers[1].body)["error"].startswith("overloaded: expected at most")


@pytest.mark.parametrize(("deadline", "status"), [(99.9, 504), (100.0, 200), (float("inf"), 200)])
def test_a_request_is_begun_until_its_deadline(tagger, deadline, status):
    worker = BatchWorker(tagger, MODEL, Limits(), now=lambda: 100.0)

    assert statuses(worker.answer([(text_of(9), RequestHeaders(deadline=deadline))])) == [status]


class Clock:
    """Unix time that goes on by a second whenever somebody looks."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        self.seconds += 1
        return self.seconds


@pytest.mark.parametrize("explain", [False, True])
def test_an_answer_that_comes_too_late_is_none(tagger, explain):
    rows = [({"body": b"Obama"}, RequestHeaders(deadline=deadline, explain=explain)) for deadline in (3.5, 90.0)]

    assert statuses(BatchWorker(tagger, MODEL, Limits(), now=Clock()).answer(rows)) == [504, 200]


@pytest.mark.parametrize(
    "text", ["Obama saw Paris .\n\n" * 5_000, "apple " * 16_000], ids=["many sentences", "one sentence"]
)
def test_work_on_a_text_ends_soon_after_its_deadline_and_its_neighbour_is_answered(tagger, text):
    neighbour = ({"body": b"Obama saw Paris"}, RequestHeaders())
    clock = Clock()
    worker = BatchWorker(tagger, MODEL, Limits(), now=clock)

    with mock.patch.object(Network, "_slots_of", autospec=True, side_effect=Network._slots_of) as passes:
        late, answered = worker.answer([({"body": text.encode()}, RequestHeaders(deadline=4.5)), neighbour]).answers

    assert (late.status, late.code) == (504, "deadline_exceeded")
    (alone,) = BatchWorker(tagger, MODEL, Limits()).answer([neighbour]).answers
    assert answered.body == alone.body
    assert sum(len(call.args[1]) for call in passes.call_args_list) < 6_000


def test_a_sentence_too_long_to_explain_fails_in_its_place(tagger):
    (entities,) = tagger.tag([LONG])
    assert entities
    worker = BatchWorker(tagger, MODEL, Limits())
    rows = [
        ({"body": json.dumps({"texts": [LONG, "Obama saw Paris"]}).encode()}, JSON._replace(explain=True)),
        ({"body": LONG.encode()}, RequestHeaders(explain=True)),
    ]

    many, single = worker.answer(rows).answers

    first, second = json.loads(many.body)["results"]
    assert first["error"]["code"] == "text_too_long"
    assert "128 tokens" in first["error"]["message"]
    assert second["entities"]
    assert (many.status, many.num_texts, many.codes) == (200, 1, {"text_too_long": 1})
    assert (single.status, single.code) == (413, "text_too_long")


def test_entities_that_are_not_asked_for_are_not_explained(tagger):
    worker = BatchWorker(tagger, MODEL, Limits())
    row = {"body": json.dumps({"text": LONG, "threshold": 1}).encode()}

    (answer,) = worker.answer([(row, JSON._replace(explain=True))]).answers

    assert (answer.status, json.loads(answer.body)["entities"]) == (200, [])


def test_stages_are_timed(tagger):
    batch = BatchWorker(tagger, MODEL, Limits()).answer([(text_of(9), RequestHeaders())])

    assert list(batch.seconds) == ["read", "tag", "explain", "reply"]
    assert all(seconds >= 0 for seconds in batch.seconds.values())
