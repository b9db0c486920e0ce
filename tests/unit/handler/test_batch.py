"""Which requests of a batch are admitted, and that each gets its own answer."""

import itertools
import json
from dataclasses import replace

import numpy as np
import pytest

from contract.limits import RequestLimits
from handler.batch import BatchWorker
from handler.protocol.headers import RequestHeaders
from handler.tagger import Tagger
from handler.vectors import WordVectors

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
    worker = BatchWorker(tagger, MODEL, RequestLimits(1_000_000))
    plain = RequestHeaders()

    batch = worker.answer([(text_of(n), plain) for n in (1_000_000, 150_000, 50_001, 50_000, 1)])

    assert statuses(batch) == [200, 200, 503, 200, 503]
    assert json.loads(batch.answers[2].body)["error"] == {
        "code": "overloaded",
        "message": "The model has more to do just now than it takes on. Please try again in a moment.",
    }  # fmt: skip


def test_explanations_count_for_what_they_cost(tagger):
    worker = BatchWorker(tagger, MODEL, RequestLimits(1000))
    explain = RequestHeaders(explain=True)

    batch = worker.answer([(text_of(1000), explain)] * 5 + [(text_of(1000), RequestHeaders())] * 2)

    assert statuses(batch) == [200, 200, 200, 200, 503, 200, 503]


def test_the_error_of_a_protocols_request_keeps_its_form(tagger):
    worker = BatchWorker(tagger, MODEL, RequestLimits(1_000_000))
    row = {"body": json.dumps({"instances": ["a" * 300_000]}).encode()}

    batch = worker.answer([(text_of(1_000_000), RequestHeaders()), (row, JSON)])

    assert json.loads(batch.answers[1].body)["error"].startswith("overloaded: The model has more to do")


@pytest.mark.parametrize(("deadline", "status"), [(99.9, 504), (100.0, 200), (float("inf"), 200)])
def test_a_request_is_begun_until_its_deadline(tagger, deadline, status):
    worker = BatchWorker(tagger, MODEL, RequestLimits(), now=lambda: 100.0)

    assert statuses(worker.answer([(text_of(9), RequestHeaders(deadline=deadline))])) == [status]


class Clock:
    """Unix time that advances by a second with each reading."""

    def __init__(self):
        self.seconds = 0.0

    def __call__(self):
        self.seconds += 1
        return self.seconds


@pytest.mark.parametrize("deadline", [float("inf"), 1e12])
def test_a_request_without_a_deadline_is_given_up_before_torchserve_kills_the_worker(tagger, deadline):
    clock = Clock()
    worker = BatchWorker(tagger, MODEL, RequestLimits(), now=clock)
    row = {"body": json.dumps({"texts": ["Obama saw Paris"] * 120}).encode()}

    late = worker.answer([(row, JSON._replace(deadline=deadline, explain=True))])  # each look at the clock is a second

    assert statuses(late) == [504]
    assert clock.seconds < 0.8 * 300  # of responseTimeout
    assert statuses(worker.answer([(text_of(9), RequestHeaders())])) == [200]


@pytest.mark.parametrize("explain", [False, True])
def test_an_answer_that_comes_too_late_is_none(tagger, explain):
    rows = [({"body": b"Obama"}, RequestHeaders(deadline=deadline, explain=explain)) for deadline in (3.5, 90.0)]

    assert statuses(BatchWorker(tagger, MODEL, RequestLimits(), work_s=1e9, now=Clock()).answer(rows)) == [504, 200]


@pytest.mark.parametrize("late", [(0,), (1,), (2,), (3,), (4,), (0, 2), (1, 2, 3), (0, 1, 2, 3, 4)])
def test_a_request_refused_late_does_not_shift_its_neighbours(tagger, late):
    texts = [["Obama"], ["Paris , Obama", "the apple"], ["the", "Obama saw Paris", ""], [], ["apple Paris"]]
    rows = [{"body": json.dumps({"texts": group}).encode()} for group in texts]
    headers = [JSON._replace(deadline=10.0 if i in late else 99.0) for i in range(len(rows))]
    readings = itertools.chain([0.0] * len(rows), itertools.repeat(50.0))  # all are admitted, then some are late
    worker = BatchWorker(tagger, MODEL, RequestLimits(), now=lambda: next(readings))

    answers = worker.answer(list(zip(rows, headers, strict=True))).answers

    assert [answer.code == "deadline_exceeded" for answer in answers] == [i in late for i in range(len(rows))]
    for i in set(range(len(rows))) - set(late):
        assert answers[i] == BatchWorker(tagger, MODEL, RequestLimits()).answer([(rows[i], JSON)]).answers[0]


class CountingVectors(WordVectors):
    """Vectors that count the words looked up in them: what the network works on, but for words that it remembers."""

    num_asked = 0

    def look_up(self, word):
        self.num_asked += 1
        return super().look_up(word)


@pytest.mark.parametrize("between", [" . ", ".\n\n", " "], ids=["sentences", "paragraphs", "one sentence"])
def test_work_on_a_text_ends_soon_after_its_deadline_and_its_neighbour_is_answered(make_bundle, between):
    text = between.join(f"w{i}" for i in range(12_000))
    neighbour = ({"body": b"Obama saw Paris"}, RequestHeaders())
    bundle = make_bundle()
    vectors = CountingVectors.new(["paris", "obama"], np.eye(2, 6, dtype=np.float32), "int8")
    tagger = Tagger(replace(bundle, vectors=vectors))
    worker = BatchWorker(tagger, MODEL, RequestLimits(), work_s=1e9, now=Clock())

    late, answered = worker.answer([({"body": text.encode()}, RequestHeaders(deadline=4.5)), neighbour]).answers

    assert (late.status, late.code) == (504, "deadline_exceeded")
    assert vectors.num_asked < 6_000
    (alone,) = BatchWorker(tagger, MODEL, RequestLimits()).answer([neighbour]).answers
    assert answered.body == alone.body


@pytest.mark.parametrize("looks", [1, 30, 97])
@pytest.mark.parametrize("form", ["text", "texts"])
def test_an_explanation_ends_soon_after_its_deadline_and_its_neighbour_is_answered(tagger, form, looks):
    sentences = ["Obama saw Paris ."] * 100
    row = {"body": json.dumps({form: "\n\n".join(sentences) if form == "text" else sentences}).encode()}
    neighbour = ({"body": b"Obama saw Paris"}, RequestHeaders(explain=True))
    until_tagged = Clock()
    BatchWorker(tagger, MODEL, RequestLimits(), work_s=1e9, now=until_tagged).answer([(row, JSON), neighbour])
    headers = JSON._replace(explain=True, deadline=until_tagged.seconds + looks)

    late, answered = (
        BatchWorker(tagger, MODEL, RequestLimits(), work_s=1e9, now=Clock()).answer([(row, headers), neighbour]).answers
    )

    assert tagger.tag(sentences[:1])[0]
    assert (late.status, late.code) == (504, "deadline_exceeded")
    (alone,) = BatchWorker(tagger, MODEL, RequestLimits()).answer([neighbour]).answers
    assert (answered.status, answered.body) == (200, alone.body)


def test_a_request_with_a_reply_that_torchserve_would_not_take_is_refused_in_the_form_that_it_had(make_bundle):
    tagger = Tagger(make_bundle(scheme="BIO", seed=1))  # every comma is an entity to it
    worker = BatchWorker(tagger, MODEL, RequestLimits(), work_s=600)
    plain = RequestHeaders()
    protocol = {"body": json.dumps({"instances": ["," * 50_000] * 2}).encode()}

    largest, larger = worker.answer([({"body": b"," * n}, plain) for n in (90_000, 100_000)]).answers
    of_protocol, neighbour = worker.answer([(protocol, JSON), ({"body": b","}, plain)]).answers

    assert largest.status == 200
    assert 6_000_000 < len(largest.body.encode()) <= 6_553_500  # the default of its max_response_size
    assert (larger.status, larger.code, larger.codes) == (413, "request_too_large", {"request_too_large": 1})
    assert "the limit is 6,553,500." in json.loads(larger.body)["error"]["message"]
    assert of_protocol.status == 413
    assert json.loads(of_protocol.body)["error"].startswith("request_too_large: The reply would have")
    assert (neighbour.status, len(json.loads(neighbour.body)["entities"])) == (200, 1)


def test_a_sentence_too_long_to_explain_fails_in_its_place(tagger):
    (entities,) = tagger.tag([LONG])
    assert entities
    worker = BatchWorker(tagger, MODEL, RequestLimits())
    rows = [
        ({"body": json.dumps({"texts": [LONG, "Obama saw Paris"]}).encode()}, JSON._replace(explain=True)),
        ({"body": LONG.encode()}, RequestHeaders(explain=True)),
    ]

    many, single = worker.answer(rows).answers

    first, second = json.loads(many.body)["results"]
    assert first["error"]["code"] == "text_too_long"
    assert "160 tokens, the limit is 128." in first["error"]["message"]
    assert second["entities"]
    assert (many.status, many.num_texts, many.codes) == (200, 1, {"text_too_long": 1})
    assert (single.status, single.code) == (413, "text_too_long")


def test_entities_that_are_not_asked_for_are_not_explained(tagger):
    worker = BatchWorker(tagger, MODEL, RequestLimits())
    row = {"body": json.dumps({"text": LONG, "threshold": 1}).encode()}

    (answer,) = worker.answer([(row, JSON._replace(explain=True))]).answers

    assert (answer.status, json.loads(answer.body)["entities"]) == (200, [])


def test_stages_are_timed(tagger):
    batch = BatchWorker(tagger, MODEL, RequestLimits()).answer([(text_of(9), RequestHeaders())])

    assert list(batch.seconds) == ["read", "tag", "explain", "reply"]
    assert all(seconds >= 0 for seconds in batch.seconds.values())


def test_each_request_of_a_batch_has_the_context_that_it_asks_for(tagger):
    text = "Obama saw the apple, Apple. The Obama! It was Obama xyz, the Apple."
    worker = BatchWorker(tagger, MODEL, RequestLimits())
    options = [{}, {"context": "sentence"}, {"context": "document"}]

    answers = worker.answer([({"body": json.dumps({"text": text, **of_one}).encode()}, JSON) for of_one in options])

    default, sentence, document = [json.loads(answer.body)["entities"] for answer in answers.answers]
    assert default == document != sentence
    (alone,) = tagger.tag_texts([text], contexts=["sentence"])
    assert sentence == [entity._asdict() for entity in alone.entities]


def test_an_explanation_shows_the_rest_of_the_text_in_the_unit_of_the_request(tagger):
    text = "😀 Obama saw the apple, Apple. The Obama! It was Obama xyz, the Apple."
    worker = BatchWorker(tagger, MODEL, RequestLimits())
    body = json.dumps({"text": text, "offsets": "utf16"}).encode()

    (answer,) = worker.answer([({"body": body}, JSON._replace(explain=True))]).answers

    changed = [entity for entity in json.loads(answer.body)["entities"] if "elsewhere" in entity]
    assert changed
    units = text.encode("utf-16-le")
    for entity in changed:
        alone, mentions = entity["elsewhere"]["alone"], entity["elsewhere"]["mentions"]
        assert mentions
        for one in [*mentions, *([alone] if alone else [])]:
            assert units[2 * one["start"] : 2 * one["end"]].decode("utf-16-le") == one["text"]
            assert one.keys() == {"text", "label", "start", "end", "score"}
