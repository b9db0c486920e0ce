"""Every request form to texts and options, and every way to get it wrong."""

import json

import pytest

from contract.limits import RequestLimits
from contract.options import Options
from handler.protocol.headers import RequestHeaders
from handler.protocol.requests import Refusal, Request, read_request

LABELS = ("LOC", "PER")
JSON = RequestHeaders(content_type="application/json")
FORM = RequestHeaders(content_type="application/x-www-form-urlencoded")
MULTIPART = RequestHeaders(content_type="multipart/form-data; boundary=x")


LIMITS = RequestLimits(200)


def read(row, headers=JSON, limits=LIMITS):
    return read_request(row, headers, limits, LABELS)


def body(document):
    return {"body": json.dumps(document).encode()}


def tensor(*texts, **changes):
    return {"name": "text", "shape": [len(texts)], "datatype": "BYTES", "data": list(texts), **changes}


def refused(answer):
    assert isinstance(answer, Refusal)
    return answer.error.status, answer.error.code


@pytest.mark.parametrize(
    ("row", "headers", "form", "texts"),
    [
        ({"body": b"Paris"}, RequestHeaders(), "text", ["Paris"]),
        ({"body": b"Paris"}, RequestHeaders(content_encoding=" Identity "), "text", ["Paris"]),
        ({"body": b"Paris", "model_name": b"en"}, RequestHeaders(), "text", ["Paris"]),
        ({"data": b"Paris"}, RequestHeaders(), "text", ["Paris"]),
        (body({"text": "Paris"}), JSON, "text", ["Paris"]),
        (body({"texts": ["Paris", ""]}), JSON, "texts", ["Paris", ""]),
        (body({"instances": ["Paris", {"text": "Rome"}]}), JSON, "instances", ["Paris", "Rome"]),
        (body({"inputs": [tensor("Paris", "Rome")]}), JSON, "inputs", ["Paris", "Rome"]),
        ({"text": "é".encode()}, RequestHeaders(), "text", ["é"]),
        ({"text": b"Paris"}, FORM, "text", ["Paris"]),
        ({"text": b'{"text": "as it is"}'}, MULTIPART, "text", ['{"text": "as it is"}']),
        ({"body": b"Paris"}, FORM, "text", ["Paris"]),
        ({"data": b"Paris"}, MULTIPART, "text", ["Paris"]),
        ({"data": b'\r\n {"texts": ["Paris"]}'}, MULTIPART, "texts", ["Paris"]),
        ({"body": b'{"instances": ["Paris"]}'}, MULTIPART, "instances", ["Paris"]),
        ({"data": {"texts": ["Paris"]}}, MULTIPART, "texts", ["Paris"]),
        (body({"text": "Paris"}), RequestHeaders(), "text", ["Paris"]),
        (body({"texts": ["Paris"]}), RequestHeaders(content_type="application/octet-stream"), "texts", ["Paris"]),
        (body({"instances": ["Paris"]}), RequestHeaders(content_type="text/json"), "instances", ["Paris"]),
        (body({"inputs": [tensor("Paris")]}), RequestHeaders(content_type="Application/X+JSON"), "inputs", ["Paris"]),
        ({"body": b'{"text": "Paris"}'}, RequestHeaders(content_type="Text/Plain"), "text", ['{"text": "Paris"}']),
        ({"body": b"[1] Paris"}, RequestHeaders(), "text", ["[1] Paris"]),
        ({"json": b'{"text": "Paris"}'}, MULTIPART, "text", ["Paris"]),
        ({"json": b'{"instances": ["Paris"]}'}, RequestHeaders(), "instances", ["Paris"]),
        ({"json": {"texts": ["Paris"]}}, RequestHeaders(), "texts", ["Paris"]),
    ],
)
def test_every_form_is_understood(row, headers, form, texts):
    request = read(row, headers)

    assert isinstance(request, Request)
    assert (request.form, request.texts, request.errors, request.options) == (form, texts, {}, Options())


@pytest.mark.parametrize(
    "row",
    [
        {},
        {"other": b"Paris"},
        {"json": b'{"text": "a"}', "text": b"a"},
        {"data": b"a", "text": b"a"},
        {"text": b"a", "model": b"en"},
        {"json": b'{"text": "a"}', "labels": b"PER"},
        {"data": b'{"text": "a"}', "threshold": b"0.5"},
    ],
)
@pytest.mark.parametrize("headers", [RequestHeaders(is_grpc=True), FORM, MULTIPART])
def test_other_parts_are_refused(row, headers):
    assert refused(read(row, headers)) == (415, "unsupported_media_type")


@pytest.mark.parametrize(
    ("sent", "row"),
    [
        (b'{"text": "Paris"}', {'{"text": "Paris"}': b""}),
        (b'{"text": "1 + 1 = 2 & more"}', {'{"text": "1   1 ': b" 2 ", ' more"}': b""}),
        (b'{"a": "&text=Paris"}', {'{"a": "': b"", "text": b'Paris"}'}),
        (b"text=AT&T", {"text": b"AT", "T": b""}),
        (b"Paris", {"Paris": b""}),
    ],
)
def test_what_is_left_of_json_sent_as_a_form_names_the_header_that_is_missing(sent, row):
    """*row* is what TorchServe makes of *sent*."""
    answer = read(row, FORM)

    assert refused(answer) == (415, "unsupported_media_type")
    assert "-H 'Content-Type: application/json'" in str(answer.error)
    assert "got application/x-www-form-urlencoded with other parts" in str(answer.error)
    assert "Paris" not in str(answer.error)


def test_a_form_of_which_something_is_lost_is_refused():
    """``text=AT&T in Paris``: TorchServe drops a last piece without =."""
    answer = read({"text": b"AT"}, FORM._replace(content_length=len("text=AT&T in Paris")))

    assert refused(answer) == (415, "unsupported_media_type")
    assert "got application/x-www-form-urlencoded that is not percent-encoded" in str(answer.error)
    assert read({"text": b"AT"}, FORM._replace(content_length=len("text=AT"))).texts == ["AT"]


@pytest.mark.parametrize(
    ("content_type", "named"),
    [("application/xml", "got application/xml;"), ("text/annan", "got another;")],
)
def test_a_body_of_another_type_is_refused_with_the_header_to_send(content_type, named):
    answer = read({"body": b"Paris"}, RequestHeaders(content_type=content_type))

    assert refused(answer) == (415, "unsupported_media_type")
    assert str(answer.error) == (
        f"Expected one of the Content-Types application/json, text/plain, {named} "
        "with curl, add -H 'Content-Type: application/json'."
    )


def test_json_of_no_type_is_read_strictly():
    answer = read({"body": b'{"text": "Paris"'}, RequestHeaders())

    assert refused(answer) == (400, "malformed_request")


@pytest.mark.parametrize(("name", "is_json"), [("text", False), ("json", True), ("data", True), ("body", True)])
def test_over_grpc_the_part_says_what_it_is(name, is_json):
    request = read({name: b'{"text": "Paris"}'}, RequestHeaders(is_grpc=True))

    assert request.texts == ["Paris" if is_json else '{"text": "Paris"}']


@pytest.mark.parametrize("name", ["text", "data", "body"])
@pytest.mark.parametrize("headers", [RequestHeaders(is_grpc=True), FORM, MULTIPART])
def test_a_form_has_options_beside_the_text(name, headers):
    request = read(
        {name: b"Paris", "labels": b"PER,LOC", "threshold": b"0.5", "offsets": b"utf8", "context": b"sentence"}, headers
    )

    assert (request.texts, request.options) == (["Paris"], Options(("PER", "LOC"), 0.5, "utf8", "sentence"))


@pytest.mark.parametrize(
    "fields", [{"labels": b"TOWN"}, {"labels": b""}, {"threshold": b"much"}, {"offsets": b"x"}, {"context": b"x"}]
)
def test_a_wrong_option_of_a_form_is_named(fields):
    answer = read({"text": b"Paris", **fields}, FORM)

    assert refused(answer) == (422, "invalid_option")
    assert f' for "{next(iter(fields))}"' in str(answer.error)


@pytest.mark.parametrize("name", ["body", "data"])
def test_an_empty_body_of_no_type_is_no_text(name):
    assert refused(read({name: b""}, RequestHeaders())) == (415, "unsupported_media_type")
    assert read({name: b""}, RequestHeaders(content_type="text/plain")).texts == [""]


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
def test_a_compressed_body_is_refused(encoding):
    headers = RequestHeaders(content_encoding=encoding)

    assert refused(read({"body": b"Paris"}, headers)) == (415, "unsupported_media_type")


@pytest.mark.parametrize("form", ["text", "texts", "instances"])
def test_options_stand_beside_the_text(form):
    text = "Paris" if form == "text" else ["Paris"]

    request = read(body({form: text, "labels": ["PER", "PER"], "threshold": 1, "offsets": "utf8"}))

    assert request.options == Options(("PER", "PER"), 1, "utf8")


def test_options_of_a_tensor_are_its_parameters():
    request = read(body({"inputs": [tensor("a")], "parameters": {"labels": "PER, LOC", "threshold": 0.5}, "id": "7"}))

    assert (request.options, request.id) == (Options(("PER", "LOC"), 0.5), "7")


@pytest.mark.parametrize(
    "options",
    [
        {"labels": []},
        {"labels": "PER"},
        {"labels": ["per"]},
        {"labels": ["PER", 1]},
        {"labels": [["PER"]]},
        {"labels": None},
        {"threshold": -0.1},
        {"threshold": 1.1},
        {"threshold": "0.5"},
        {"threshold": True},
        {"threshold": None},
        {"offsets": "bytes"},
        {"context": "text"},
        {"context": None},
        {"offsets": 8},
        {"offsets": None},
        {"offsets": ["utf8"]},
    ],
)
def test_a_wrong_option_is_named(options):
    answer = read(body({"texts": ["Paris"], **options}))

    assert refused(answer) == (422, "invalid_option")
    assert f' for "{next(iter(options))}"' in str(answer.error)


@pytest.mark.parametrize("labels", [["PER"], "", "PER,", "PER LOC", 3])
def test_a_tensor_takes_labels_joined_by_commas_alone(labels):
    answer = read(body({"inputs": [tensor("a")], "parameters": {"labels": labels}}))

    assert (*refused(answer), answer.form) == (422, "invalid_option", "inputs")


@pytest.mark.parametrize(
    "document",
    [
        b'{"text": "a", "text": "b"}',
        b'{"texts": [{"a": 1, "a": 2}]}',
        b'{"text": "a", "threshold": NaN}',
        b'{"text": "a", "threshold": Infinity}',
        b'{"text": "a", "threshold": -Infinity}',
        b'{"text": "a", "threshold": 1e999}',
        b'{"text": "a", "threshold": ' + b"9" * 5000 + b"}",
        b'{"text": "a", "labels": ' + b"[" * 100_000 + b"]" * 100_000 + b"}",
        b'\xef\xbb\xbf{"text": "a"}',
        b'{"text": "a"} {}',
        b'{"text": "a", "model": "en"}',
        b'{"text": "a", "Labels": ["PER"]}',
        b'{"texts": {"0": "a"}}',
        b'{"instances": "a"}',
        b'{"instances": ["a"], "texts": ["a"]}',
        b"",
    ],
    ids=lambda document: repr(document[:40]),
)
def test_json_is_read_strictly(document):
    assert refused(read({"body": document})) == (400, "malformed_request")


@pytest.mark.parametrize("data", [["a", "b", "c", "d"], [["a", "b"], ["c", "d"]]])
def test_a_tensor_is_flat_or_nested(data):
    assert read(body({"inputs": [tensor(shape=[2, 2], data=data)]})).texts == ["a", "b", "c", "d"]


def test_a_tensor_may_be_nested_deeper():
    assert read(body({"inputs": [tensor(shape=[1, 2, 1], data=[[["a"], ["b"]]])]})).texts == ["a", "b"]


@pytest.mark.parametrize(
    "document",
    [
        {"inputs": []},
        {"inputs": "a"},
        {"inputs": ["a"]},
        {"inputs": [tensor("a"), tensor("b")]},
        {"inputs": [tensor("a")], "model_name": "en"},
        {"inputs": [tensor("a")], "id": 7},
        {"inputs": [tensor("a")], "parameters": []},
        {"inputs": [tensor("a")], "parameters": {"binary_data_output": True}},
        {"inputs": [tensor("a")], "outputs": [{"name": "labels"}]},
        {"inputs": [tensor("a")], "outputs": [{"name": "entities", "parameters": {"classification": 2}}]},
        {"inputs": [tensor("a")], "outputs": ["entities"]},
        {"inputs": [tensor("a")], "outputs": {}},
        {"inputs": [tensor("a", extra=1)]},
        {"inputs": [{"name": "text", "shape": [1], "datatype": "BYTES"}]},
        {"inputs": [tensor("a", name=1)]},
        {"inputs": [tensor("a", datatype="FP32")]},
        {"inputs": [tensor("a", parameters={"content_type": "base64"})]},
        {"inputs": [tensor("a", shape=[])]},
        {"inputs": [tensor("a", shape=[1] * 9)]},
        {"inputs": [tensor("a", shape=["1"])]},
        {"inputs": [tensor("a", shape=[True])]},
        {"inputs": [tensor("a", shape=[-1])]},
        {"inputs": [tensor("a", shape=[2])]},
        {"inputs": [tensor("a", shape=[2**63])]},
        {"inputs": [tensor("a", data="a")]},
        {"inputs": [tensor("a", shape=[1, 2], data=[["a"]])]},
        {"inputs": [tensor("a", shape=[2, 1], data=[["a"], "b"])]},
    ],
    ids=lambda document: repr(document)[:90],
)
def test_a_tensor_request_is_read_strictly(document):
    answer = read(body(document))

    assert (*refused(answer), answer.form) == (400, "malformed_request", "inputs")


def test_what_clients_of_the_protocol_send_along_is_understood():
    document = {
        "id": "42",
        "inputs": [tensor("a", parameters={"content_type": "str"})],
        "outputs": [{"name": "entities", "parameters": {}}],
        "parameters": {},
    }

    assert read(body(document)).texts == ["a"]


@pytest.mark.parametrize("form", ["texts", "instances"])
def test_a_bad_text_has_its_error_in_its_place(form):
    request = read(body({form: ["a", 7, "b" * 201, None, {"txt": "a"}]}))

    assert request.texts == ["a", "", "", "", ""]
    assert {i: error.code for i, error in request.errors.items()} == {
        1: "malformed_request", 2: "text_too_long", 3: "malformed_request", 4: "malformed_request",
    }  # fmt: skip


def test_the_characters_of_all_texts_together_are_bounded():
    half = "a" * 100

    assert read(body({"texts": [half, half]})).num_chars == 200
    answer = read(body({"texts": [half, half, "a"]}))
    assert refused(answer) == (413, "request_too_large")
    assert str(answer.error) == "The texts have 201 characters in all, the limit is 200."


def test_the_number_of_texts_is_bounded():
    assert len(read(body({"texts": [""] * 256})).texts) == 256
    answer = read(body({"instances": [""] * 257}))
    assert refused(answer) == (413, "request_too_large")
    assert "256" in str(answer.error)


def test_a_text_that_is_too_long_is_told_the_limit():
    answer = read({"body": b"a" * 201}, RequestHeaders())

    assert refused(answer) == (413, "text_too_long")
    assert str(answer.error) == "The text is too long: it has 201 characters, the limit is 200."


def test_less_may_be_explained_than_tagged():
    headers = RequestHeaders(explain=True)

    assert read({"body": b"a" * 2000}, headers, RequestLimits()).num_chars == 2000
    assert read({"body": b"a" * 2001}, RequestHeaders(), RequestLimits()).num_chars == 2001
    answer = read({"body": b"a" * 2001}, headers, RequestLimits())
    assert refused(answer) == (413, "text_too_long")
    assert str(answer.error) == "The text to be explained is too long: it has 2,001 characters, the limit is 2,000."
    assert refused(read({"body": b"a" * 201}, headers)) == (413, "text_too_long")
