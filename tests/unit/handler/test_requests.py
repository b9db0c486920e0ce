"""Limits of a whole request, with texts as long as a model may allow."""

import pytest

from handler.errors import RequestTooLargeError
from handler.requests import MAX_REQUEST_CHARS, read_request


def test_the_characters_of_all_texts_together_are_bounded():
    half = "a" * (MAX_REQUEST_CHARS // 2)

    assert read_request({"body": {"texts": [half, half]}}, "application/json", 10**6).texts == [half, half]
    with pytest.raises(RequestTooLargeError, match=f"at most {MAX_REQUEST_CHARS} characters in a request, got 100001"):
        read_request({"body": {"texts": [half, half, "a"]}}, "application/json", 10**6)


def test_a_multipart_part_named_data_is_a_body():
    assert read_request({"data": b"Paris"}, "", 10).texts == ["Paris"]
