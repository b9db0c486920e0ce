"""The list of failures: the drawing in its docstring is the tree, and what programs decide by does not change."""

import re

import pytest

import contract.errors
from contract.errors import ServingError, documented

#: What programs decide by, since version 1.0.0 of the contract; a line may be added, none may change.
CODES = {
    "malformed_request": 400,
    "empty_text": 400,
    "unknown_model": 404,
    "not_found": 404,
    "method_not_allowed": 405,
    "request_timeout": 408,
    "text_too_long": 413,
    "request_too_large": 413,
    "unsupported_media_type": 415,
    "misdirected_request": 421,
    "invalid_option": 422,
    "too_many_requests": 429,
    "internal_error": 500,
    "bad_model_reply": 502,
    "model_unavailable": 503,
    "overloaded": 503,
    "model_timeout": 504,
    "deadline_exceeded": 504,
}
RETRIED = {"too_many_requests", "model_unavailable", "overloaded"}


def test_every_code_keeps_its_status():
    found = {error.code: error.status for tier in ("site", "inference") for error in documented(tier)}

    assert found == CODES
    assert len(documented("site")) == len(CODES)


def test_those_worth_repeating_say_when():
    assert {error.code for error in documented("site") if error.retry_after_s} == RETRIED


def test_the_drawing_is_the_tree():
    drawing = re.findall(r"^ +(\w+Error) +(\d{3}) +(\w+)", contract.errors.__doc__, re.MULTILINE)

    assert {code: int(status) for _, status, code in drawing} == CODES
    for name, status, code in drawing:
        error = getattr(contract.errors, name)
        assert (error.status, error.code) == (int(status), code)


@pytest.mark.parametrize("tier", ["site", "inference"])
def test_every_failure_says_when_it_happens_and_has_an_example(tier):
    for error in documented(tier):
        assert re.fullmatch(r"[A-Z`].*\.", error.meaning()), error
        assert re.fullmatch(r"[A-Z].*\.", error.example), error


def test_a_failure_on_the_wire():
    class TeapotError(ServingError):
        status, code = 418, "teapot"

    assert TeapotError("Expected tea.").to_json() == {"error": {"code": "teapot", "message": "Expected tea."}}
