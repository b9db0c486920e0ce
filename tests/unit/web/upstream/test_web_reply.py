import copy
import json

import pytest

from contract.entities import Entity
from contract.errors import ModelReplyError
from web.upstream.reply import RowError, parse_rejection, parse_text_reply, parse_texts_reply

TEXT = "In Rome or Oslo 😀"
ROME = {"text": "Rome", "label": "LOC", "start": 3, "end": 7, "score": 0.9}
OSLO = {"text": "Oslo", "label": "LOC", "start": 11, "end": 15, "score": 1}
MODEL = {"name": "en", "version": "1.0", "digest": "sha256:0"}
REPLY = {"model": MODEL, "entities": [ROME, OSLO]}


def changed(path, value):
    """The good reply with one value replaced, or removed when *value* is Ellipsis."""
    reply = copy.deepcopy(REPLY)
    holder = reply
    for key in path[:-1]:
        holder = holder[key]
    if value is ...:
        del holder[path[-1]]
    else:
        holder[path[-1]] = value
    return reply


def test_a_reply_on_the_contract_is_read():
    reply = parse_text_reply(json.dumps(REPLY).encode(), TEXT)

    assert reply.model._asdict() == MODEL
    assert reply.entities == [Entity("Rome", "LOC", 3, 7, 0.9), Entity("Oslo", "LOC", 11, 15, 1)]
    assert reply.to_json() == REPLY


def test_offsets_count_code_points():
    emoji = {"text": "😀", "label": "MISC", "start": 16, "end": 17, "score": 0.5}

    reply = parse_text_reply(json.dumps({"model": MODEL, "entities": [emoji]}).encode(), TEXT)

    assert reply.entities == [Entity("😀", "MISC", 16, 17, 0.5)]


def test_entities_may_touch():
    ro, me = ROME | {"text": "Ro", "end": 5}, ROME | {"text": "me", "start": 5}

    reply = parse_text_reply(json.dumps(changed(["entities"], [ro, me])).encode(), TEXT)

    assert [entity.text for entity in reply.entities] == ["Ro", "me"]


def test_lone_surrogates_are_compared_as_they_are():
    entity = {"text": "\ud800x", "label": "MISC", "start": 0, "end": 2, "score": 0.5}

    reply = parse_text_reply(json.dumps({"model": MODEL, "entities": [entity]}).encode(), "\ud800x\udfff")

    assert reply.entities[0].text == "\ud800x"


def test_keys_the_contract_does_not_name_are_dropped():
    reply = changed(["entities", 0, "comment"], "<script>") | {"more": 1}

    assert parse_text_reply(json.dumps(reply).encode(), TEXT).to_json() == REPLY


@pytest.mark.parametrize(
    ("path", "value", "message"),
    [
        (["model"], ..., 'the reply: expected the key "model", got none'),
        (["model"], "en", "model: expected an object, got str"),
        (["model", "name"], ..., 'model: expected the key "name", got none'),
        (["model", "version"], 1.0, 'model: expected a string that is not empty for "version", got float'),
        (["model", "digest"], "", 'model: expected a string that is not empty for "digest", got an empty string'),
        (["entities"], ..., 'the reply: expected the key "entities", got none'),
        (["entities"], None, "entities: expected a list, got NoneType"),
        (["entities", 1], [], "entities[1]: expected an object, got list"),
        (["entities", 0, "text"], "Rom", "entities[0]: expected the text between start and end, got another text"),
        (["entities", 0, "text"], None, 'entities[0]: expected a string that is not empty for "text", got NoneType'),
        (["entities", 0, "label"], ..., 'entities[0]: expected the key "label", got none'),
        (["entities", 0, "label"], "", "got an empty string"),
        (["entities", 0, "label"], 7, "got int"),
        (["entities", 0, "start"], "3", 'entities[0]: expected a number for "start", got str'),
        (["entities", 0, "start"], True, 'entities[0]: expected a number for "start", got bool'),
        (["entities", 0, "start"], 3.0, "entities[0]: expected whole numbers for start and end, got a fraction"),
        (["entities", 0, "end"], 7.0, "entities[0]: expected whole numbers for start and end, got a fraction"),
        (["entities", 0, "start"], -14, "entities[0]: expected 0 <= start < end <= 17, got other offsets"),
        (["entities", 0, "start"], 7, "expected 0 <= start < end <= 17"),
        (["entities", 0, "start"], 8, "expected 0 <= start < end <= 17"),
        (["entities", 1, "end"], 18, "expected 0 <= start < end <= 17"),
        (["entities", 0, "score"], 1.0000001, "entities[0]: expected a score from 0 to 1, got another"),
        (["entities", 0, "score"], -0.1, "expected a score from 0 to 1"),
        (["entities", 0, "score"], 10**400, "expected a score from 0 to 1"),
        (["entities", 0, "score"], "high", 'expected a number for "score", got str'),
        (["entities", 0, "score"], False, 'expected a number for "score", got bool'),
        (["entities"], [OSLO, ROME], "entities[1]: expected a start at or after the end of the one before"),
        (["entities"], [ROME, ROME], "entities[1]: expected a start at or after the end of the one before"),
        (["entities", 1], ROME | {"text": "me", "start": 5}, "entities[1]: expected a start at or after the end"),
    ],
)
def test_a_reply_off_the_contract_is_refused(path, value, message):
    with pytest.raises(ModelReplyError) as caught:
        parse_text_reply(json.dumps(changed(path, value)).encode(), TEXT)

    assert message in str(caught.value)
    assert (caught.value.status, caught.value.code) == (502, "bad_model_reply")


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"<html>",
        b"{",
        b"\xff",
        json.dumps(REPLY).encode("utf-16"),
        json.dumps(REPLY).encode() + b"x",
        json.dumps(changed(["entities", 0, "score"], float("nan"))).encode(),
        json.dumps(changed(["entities", 0, "score"], float("inf"))).encode(),
        json.dumps(REPLY).replace("0.9", "9" * 5000).encode(),
        b"[" * 100_000,
    ],
    ids=["nothing", "HTML", "half", "bytes", "UTF-16", "more after it", "NaN", "Infinity", "5000 digits", "deep"],
)
def test_what_is_not_json_is_refused(body):
    with pytest.raises(ModelReplyError, match=r"The model's reply is not JSON\."):
        parse_text_reply(body, TEXT)


@pytest.mark.parametrize("body", [b"[]", b'"x"', b"null", b"1"])
def test_what_is_not_an_object_is_refused(body):
    with pytest.raises(ModelReplyError, match="the reply: expected an object"):
        parse_text_reply(body, TEXT)


def test_one_result_per_text_in_the_same_order():
    rows = [{"entities": [ROME]}, {"error": {"code": "text_too_long", "message": "Too long."}}, {"entities": []}]
    body = json.dumps({"model": MODEL, "results": rows}).encode()

    reply = parse_texts_reply(body, [TEXT, "b", "c"])

    assert reply.results == [[Entity("Rome", "LOC", 3, 7, 0.9)], RowError("text_too_long", "Too long."), []]
    assert reply.to_json() == {"model": MODEL, "results": rows}


@pytest.mark.parametrize(
    ("rows", "message"),
    [
        (..., 'the reply: expected the key "results", got none'),
        ({}, "results: expected a list, got dict"),
        ([], "results: expected 1 rows, got 0"),
        ([{"entities": []}] * 2, "results: expected 1 rows, got 2"),
        ([{}], "results[0]: expected either entities or an error, got neither"),
        ([{"entities": [], "error": {}}], "results[0]: expected either entities or an error, got both"),
        ([{"entities": 1}], "results[0].entities: expected a list, got int"),
        ([[]], "results[0]: expected an object, got list"),
        ([{"error": "no"}], "the error of results[0]: expected an object, got str"),
        ([{"error": {"code": "x"}}], 'the error of results[0]: expected the key "message", got none'),
        ([{"error": {"code": "<b>", "message": "m"}}], "expected a code of small letters, digits and _"),
        ([{"entities": [OSLO | {"end": 99}]}], "results[0].entities[0]: expected 0 <= start < end <= 17"),
    ],
)
def test_results_off_the_contract_are_refused(rows, message):
    body = json.dumps({"model": MODEL} | ({} if rows is ... else {"results": rows})).encode()

    with pytest.raises(ModelReplyError) as caught:
        parse_texts_reply(body, [TEXT])

    assert message in str(caught.value)


def test_what_is_no_string_cannot_have_entities():
    body = json.dumps({"model": MODEL, "results": [{"entities": []}]}).encode()

    with pytest.raises(ModelReplyError, match=r"results\[0\]: expected an error for what is no string, got entities"):
        parse_texts_reply(body, [None])


def test_a_rejection_is_read():
    body = b'{"error": {"code": "text_too_long", "message": "Too long."}}'

    assert parse_rejection(body) == RowError("text_too_long", "Too long.")


@pytest.mark.parametrize("body", [b"", b"{}", b'{"code": 400, "type": "InvalidKeyException", "message": "no token"}'])
def test_another_rejection_is_refused(body):
    with pytest.raises(ModelReplyError):
        parse_rejection(body)
