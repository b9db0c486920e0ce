"""Headers as TorchServe hands them over: any case, parts in between, its own last."""

import pytest

from handler.protocol.headers import read_headers


@pytest.mark.parametrize("name", ["X-Request-Id", "x-request-id", "X-REQUEST-ID"])
def test_the_clients_request_id_is_taken_where_it_is_one(name):
    assert read_headers({name: "a.B-9_"}, "server").request_id == "a.B-9_"


@pytest.mark.parametrize("value", ["", " ", "a b", "a\nb", "ä", "a" * 129, '"}'])
def test_any_other_request_id_is_the_servers(value):
    assert read_headers({"X-Request-Id": value}, "server").request_id == "server"


@pytest.mark.parametrize(
    ("value", "deadline"),
    [("1700000000.5", 1700000000.5), ("0", 0.0), ("soon", float("inf")), ("", float("inf")), ("nan", float("inf"))],
)
def test_a_deadline_is_unix_seconds_or_none(value, deadline):
    assert read_headers({"x-request-DEADLINE": value}, "").deadline == deadline


@pytest.mark.parametrize(
    ("headers", "num_bytes"),
    [
        ({"Content-Length": "17"}, 17),
        ({"content-length": "+17"}, None),
        ({"content-length": {"a": "b"}}, None),
        ({}, None),
    ],
)
def test_the_length_of_the_body_is_a_number_or_unknown(headers, num_bytes):
    assert read_headers(headers, "").content_length == num_bytes


@pytest.mark.parametrize(
    ("headers", "explain"),
    [
        ({"explain": "True"}, True),
        ({"explain": "False"}, False),
        ({"explain": "False", "Explain": "True", "EXPLAIN": "True", "describe": "True"}, False),
        ({"explain": {"content-type": "True"}}, False),
        ({"Explain": "True"}, False),
        ({}, False),
    ],
)
def test_only_torchserves_own_header_asks_for_explanations(headers, explain):
    assert read_headers(headers, "").explain is explain


def test_a_part_named_like_a_header_is_none():
    headers = read_headers({"content-type": {"content-type": "text/plain"}, "Content-Encoding": "gzip"}, "server")

    assert (headers.content_type, headers.content_encoding) == ("", "gzip")


@pytest.mark.parametrize(
    ("headers", "is_grpc"),
    [
        ({}, True),
        ({"text": {"content-type": ""}}, True),
        ({"explain": "False", "url_path": ""}, False),
        ({"host": "localhost", "body": {"content-type": ""}}, False),
    ],
)
def test_a_call_without_headers_came_over_grpc(headers, is_grpc):
    assert read_headers(headers, "").is_grpc is is_grpc
